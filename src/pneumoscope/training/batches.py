"""The films or features of an epoch, in batches; the order and the flips follow from seed and epoch alone."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoscope.config import AugmentationConfig
from pneumoscope.data.augmentation import augment
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.preprocessing import to_unit_range
from pneumoscope.errors import InputError
from pneumoscope.types import SCHEMES, Split


@dataclass(frozen=True)
class LabelledFilms:
    """Films with their classes.

    Attributes:
        films: (all, height, width) uint8, may be memory-mapped.
        positions: (n,) int, which of `films` belong here.
        labels: (n,) int, their classes.
    """

    films: NDArray[np.uint8]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.labels) or len(self.positions) == 0:
            raise InputError(
                f"expected at least one film and a label for each, found {len(self.positions)} and {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.positions)


def labelled_films(dataset: Dataset, side: Split, classes: int) -> LabelledFilms:
    """The films of one side of a data set with their classes, two or three.

    Raises:
        DataError: There are none, or their etiology is not known and three classes are asked for.
    """
    positions = dataset.positions(side)
    return LabelledFilms(dataset.films, positions, dataset.labels(SCHEMES[classes], positions))


def repeated(data: LabelledFilms, chosen: NDArray[np.bool_], times: int) -> LabelledFilms:
    """The same films, the chosen ones (n,) bool so many times."""
    places = np.repeat(np.arange(len(data)), np.where(chosen, times, 1))
    return LabelledFilms(data.films, data.positions[places], data.labels[places])


_Batch = tuple[Tensor, Tensor]
# Enough that a batch which takes longer to prepare does not stall the network.
_AHEAD = 3


class Inputs(Protocol):
    """Gives what a network takes, for chosen films and flips."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of films."""
        ...

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The inputs of the chosen films, mirrored where asked."""
        ...


class FilmInputs:
    """Films as (n, 1, height, width) float32 in [0, 1], channels last."""

    def __init__(self, data: LabelledFilms) -> None:
        self._data = data
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The films chosen (positions within this set), mirrored left to right where asked."""
        return as_network_input(self.take_grey(chosen, flipped))

    def take_grey(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The same as (n, height, width) uint8."""
        films = self._data.films[self._data.positions[chosen]]
        films[flipped] = films[flipped][:, :, ::-1]
        return films


class AugmentedInputs:
    """Films that every epoch changes at random; how, follows from seed, epoch and film alone."""

    def __init__(self, data: LabelledFilms, settings: AugmentationConfig, key: tuple[int, int] = (0, 0)) -> None:
        self._data = data
        self._films = FilmInputs(data)
        self._settings = settings
        self._key = key
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The films chosen, mirrored where asked and changed, (n, 1, height, width) float32, channels last."""
        films = self._films.take_grey(chosen, flipped)
        generators = [np.random.default_rng([*self._key, int(film)]) for film in chosen]
        changed = [augment(film, self._settings, rng) for film, rng in zip(films, generators, strict=True)]
        return as_network_input(np.stack(changed))

    def of_epoch(self, seed: int, epoch: int) -> "AugmentedInputs":
        """The films as one epoch shows them."""
        return AugmentedInputs(self._data, self._settings, (seed, epoch))


def as_network_input(films: NDArray[np.uint8]) -> Tensor:
    """(n, height, width) uint8 to (n, 1, height, width) float32 in [0, 1], channels last.

    With one channel both memory formats hold the same bytes, and PyTorch tells them apart by the strides alone. Those
    of a permuted (n, height, width, 1) say channels last; otherwise every layer that follows runs several times slower.
    """
    return torch.from_numpy(to_unit_range(films)).unsqueeze(3).permute(0, 3, 1, 2)


def training_batches(inputs: Inputs, batch_size: int, flip: bool, seed: int, epoch: int) -> Iterator[_Batch]:
    """One epoch, shuffled; the last batch may be smaller, as in Keras.

    Args:
        inputs: What to draw from.
        batch_size: Films per batch.
        flip: Mirror each film with probability one half.
        seed: Of the training.
        epoch: From 0 on; the same seed and epoch always give the same batches.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(inputs))
    flips = rng.random(len(inputs)) < 0.5 if flip else np.zeros(len(inputs), dtype=bool)
    if isinstance(inputs, AugmentedInputs):
        yield from _prepared_ahead(_batches(inputs.of_epoch(seed, epoch), batch_size, order, flips))
    else:
        yield from _batches(inputs, batch_size, order, flips)


def plain_batches(inputs: Inputs, batch_size: int) -> Iterator[_Batch]:
    """All films once, in order, as they are."""
    yield from _batches(inputs, batch_size, np.arange(len(inputs)), np.zeros(len(inputs), dtype=bool))


def _batches(inputs: Inputs, batch_size: int, order: NDArray[np.int64], flips: NDArray[np.bool_]) -> Iterator[_Batch]:
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield inputs.take(chosen, flips[start : start + batch_size]), torch.from_numpy(inputs.labels[chosen])


def _prepared_ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches, made in a thread of their own while the network works on the earlier ones."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, batches, None) for _ in range(_AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, batches, None))
            yield batch

"""The images or features of an epoch, in batches; the order and the flips follow from seed and epoch alone."""

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
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.data.preprocessing import to_unit_range
from pneumoscope.models.batch_shard import BatchShard

_Batch = tuple[Tensor, Tensor]
# Enough that a batch which takes longer to prepare does not stall the network.
_AHEAD = 3


@dataclass(frozen=True)
class Portion:
    """Images that go through the network together, as far as they are this process's.

    Attributes:
        images: What the network takes.
        label: (n,) int64.
        shard: Which images of the portion these are; None for all of them.
        is_told: Whether this process's loss of the portion counts; where all have all its images, the first's does.
    """

    images: Tensor
    label: Tensor
    shard: BatchShard | None
    is_told: bool


@dataclass(frozen=True)
class Step:
    """What one change of the weights learns from.

    Attributes:
        labels: (n,) int, of all its images, whichever process has them.
        portions: One after the other; their gradients are added up.
    """

    labels: NDArray[np.int64]
    portions: tuple[Portion, ...]


class Inputs(Protocol):
    """Gives what a network takes, for chosen images and flips."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of images."""
        ...

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The inputs of the chosen images, mirrored where asked."""
        ...


class ImageInputs:
    """Images as (n, 1, height, width) float32 in [0, 1], channels last."""

    def __init__(self, data: LabelledImages) -> None:
        self._data = data
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The images chosen (positions within this set), mirrored left to right where asked."""
        return as_network_input(self.take_grey(chosen, flipped))

    def take_grey(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The same as (n, height, width) uint8."""
        images = self._data.images[self._data.positions[chosen]]
        images[flipped] = images[flipped][:, :, ::-1]
        return images


class AugmentedInputs:
    """Images that every epoch changes at random; how, follows from seed, epoch and image alone."""

    def __init__(self, data: LabelledImages, settings: AugmentationConfig, key: tuple[int, int] = (0, 0)) -> None:
        self._data = data
        self._images = ImageInputs(data)
        self._settings = settings
        self._key = key
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """The images chosen, mirrored where asked and changed, (n, 1, height, width) float32, channels last."""
        images = self._images.take_grey(chosen, flipped)
        generators = [np.random.default_rng([*self._key, int(image)]) for image in chosen]
        changed = [augment(image, self._settings, rng) for image, rng in zip(images, generators, strict=True)]
        return as_network_input(np.stack(changed))

    def of_epoch(self, seed: int, epoch: int) -> "AugmentedInputs":
        """The images as one epoch shows them."""
        return AugmentedInputs(self._data, self._settings, (seed, epoch))


def as_network_input(images: NDArray[np.uint8]) -> Tensor:
    """(n, height, width) uint8 to (n, 1, height, width) float32 in [0, 1], channels last.

    With one channel both memory formats hold the same bytes, and PyTorch tells them apart by the strides alone. Those
    of a permuted (n, height, width, 1) say channels last; otherwise every layer that follows runs several times slower.
    """
    return torch.from_numpy(to_unit_range(images)).unsqueeze(3).permute(0, 3, 1, 2)


def training_steps(
    inputs: Inputs,
    batch_size: int,
    flip: bool,
    seed: int,
    epoch: int,
    portions: int = 1,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Step]:
    """One epoch, shuffled; the last step may have fewer images, as in Keras.

    Args:
        inputs: What to draw from.
        batch_size: Images per step, of all processes together.
        flip: Mirror each image with probability one half.
        seed: Of the training.
        epoch: From 0 on; the same seed and epoch always give the same steps.
        portions: Into which a step is cut.
        rank: Of this process, from 0.
        processes: That share every portion.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(inputs))
    flips = rng.random(len(inputs)) < 0.5 if flip else np.zeros(len(inputs), dtype=bool)
    drawn = inputs.of_epoch(seed, epoch) if isinstance(inputs, AugmentedInputs) else inputs
    steps = (
        Step(
            drawn.labels[order[start : start + batch_size]],
            tuple(
                _portion(drawn, order[part], flips[part], rank, processes)
                for part in np.array_split(np.arange(start, min(start + batch_size, len(order))), portions)
                if len(part)
            ),
        )
        for start in range(0, len(order), batch_size)
    )
    yield from _prepared_ahead(steps) if isinstance(inputs, AugmentedInputs) else steps


def _portion(
    inputs: Inputs, chosen: NDArray[np.int64], flipped: NDArray[np.bool_], rank: int, processes: int
) -> Portion:
    total = len(chosen)
    if processes == 1 or total < processes:
        own, shard = slice(0, total), None
    else:
        own = slice(total * rank // processes, total * (rank + 1) // processes)
        shard = BatchShard(total, own.start, own.stop)
    images, label = inputs.take(chosen[own], flipped[own]), torch.from_numpy(inputs.labels[chosen[own]])
    return Portion(images, label, shard, shard is not None or rank == 0)


def plain_batches(inputs: Inputs, batch_size: int, rank: int = 0, processes: int = 1) -> Iterator[_Batch]:
    """All images once, in order, as they are; of several processes each gets a part of them."""
    own = np.array_split(np.arange(len(inputs)), processes)[rank]
    for start in range(0, len(own), batch_size):
        chosen = own[start : start + batch_size]
        images = inputs.take(chosen, np.zeros(len(chosen), dtype=bool))
        yield images, torch.from_numpy(inputs.labels[chosen])


def _prepared_ahead(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps, made in a thread of their own while the network works on the earlier ones."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, steps, None) for _ in range(_AHEAD))
        while (step := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, steps, None))
            yield step

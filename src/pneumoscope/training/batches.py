"""Batches of images or features for training and validation.

An epoch is one random permutation of the images, cut into steps of `batch_size`; a step is cut into micro-batches whose
gradients are summed, and each rank takes its shard of every micro-batch. Order and flips follow from (seed, epoch) alone;
the augmentation of an image follows from (seed, epoch, image) alone, whatever batch or rank it is in.
"""

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
# Number of prepared steps: a step that takes longer to prepare does not stall the network then.
_PREFETCHED_STEPS = 3


@dataclass(frozen=True)
class MicroBatch:
    """Images that go through the network together: this rank's shard of them.

    Attributes:
        images: Input of the network, (n, channels, height, width).
        label: (n,) int64 classes.
        shard: Position of these images in the micro-batch; None where this rank holds all of it.
        counts_loss: Whether this rank adds its loss to the sum over ranks; where every rank holds all images, only rank 0
            does.
    """

    images: Tensor
    label: Tensor
    shard: BatchShard | None
    counts_loss: bool


@dataclass(frozen=True)
class Step:
    """Images of one update of the weights.

    Attributes:
        labels: (n,) int, classes of all images of the step, on whichever rank they are.
        micro_batches: Micro-batches in order; their gradients are summed.
    """

    labels: NDArray[np.int64]
    micro_batches: tuple[MicroBatch, ...]


class Inputs(Protocol):
    """Source of a network's inputs for chosen images and flips."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of images."""
        ...

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Inputs of chosen images, mirrored left to right where flipped.

        Args:
            chosen: (n,) int, positions within this source.
            flipped: (n,) bool.
        """
        ...


class ImageInputs:
    """Images as (n, 1, height, width) float32 in [0, 1], channels last."""

    def __init__(self, data: LabelledImages) -> None:
        self._data = data
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Chosen images, mirrored left to right where flipped, (n, 1, height, width) float32, channels last."""
        return as_network_input(self.take_grey(chosen, flipped))

    def take_grey(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Chosen images, mirrored left to right where flipped, as grey levels (n, height, width) uint8."""
        images = self._data.images[self._data.positions[chosen]]
        images[flipped] = images[flipped][:, :, ::-1]
        return images


class AugmentedInputs:
    """Images with random augmentation, which follows from seed, epoch and image alone."""

    def __init__(self, data: LabelledImages, settings: AugmentationConfig, key: tuple[int, int] = (0, 0)) -> None:
        self._data = data
        self._images = ImageInputs(data)
        self._settings = settings
        self._key = key
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._data)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Chosen images, mirrored where flipped, augmented, (n, 1, height, width) float32, channels last."""
        images = self._images.take_grey(chosen, flipped)
        generators = [np.random.default_rng([*self._key, int(image)]) for image in chosen]
        augmented = [
            augment(image, self._settings, rng, self._draw) for image, rng in zip(images, generators, strict=True)
        ]
        return as_network_input(np.stack(augmented))

    def _draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """One of the images, (height, width) uint8."""
        image: NDArray[np.uint8] = self._data.images[self._data.positions[rng.integers(len(self))]]
        return image

    def for_epoch(self, seed: int, epoch: int) -> "AugmentedInputs":
        """Images with the augmentation of one epoch."""
        return AugmentedInputs(self._data, self._settings, (seed, epoch))


def as_network_input(images: NDArray[np.uint8]) -> Tensor:
    """Convert (n, height, width) uint8 to (n, 1, height, width) float32 in [0, 1], channels last.

    With one channel both memory formats hold the same bytes, and PyTorch distinguishes them by the strides alone. The strides
    of a permuted (n, height, width, 1) mean channels last; with others every later layer runs several times slower.
    """
    return torch.from_numpy(to_unit_range(images)).unsqueeze(3).permute(0, 3, 1, 2)


def training_steps(
    inputs: Inputs,
    batch_size: int,
    flip: bool,
    seed: int,
    epoch: int,
    accumulate: int = 1,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Step]:
    """Shuffled steps of one epoch; the last step may have fewer images, as in Keras.

    Args:
        inputs: Source of the images.
        batch_size: Number of images per step, over all ranks.
        flip: Whether to mirror each image with probability one half.
        seed: Seed of the training.
        epoch: Number of the epoch, from 0; the same seed and epoch always give the same steps.
        accumulate: Number of micro-batches per step.
        rank: Rank of this process.
        processes: Number of ranks.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(inputs))
    flips = rng.random(len(inputs)) < 0.5 if flip else np.zeros(len(inputs), dtype=bool)
    source = inputs.for_epoch(seed, epoch) if isinstance(inputs, AugmentedInputs) else inputs
    steps = (
        Step(
            source.labels[order[start : start + batch_size]],
            tuple(
                _micro_batch(source, order[part], flips[part], rank, processes)
                for part in np.array_split(np.arange(start, min(start + batch_size, len(order))), accumulate)
                if len(part)
            ),
        )
        for start in range(0, len(order), batch_size)
    )
    yield from _prefetched(steps) if isinstance(inputs, AugmentedInputs) else steps


def _micro_batch(
    inputs: Inputs, chosen: NDArray[np.int64], flipped: NDArray[np.bool_], rank: int, processes: int
) -> MicroBatch:
    """Shard of a micro-batch for one rank; every rank takes all images where there are fewer images than ranks."""
    total = len(chosen)
    if processes == 1 or total < processes:
        own, shard = slice(0, total), None
    else:
        own = slice(total * rank // processes, total * (rank + 1) // processes)
        shard = BatchShard(total, own.start, own.stop)
    images, label = inputs.take(chosen[own], flipped[own]), torch.from_numpy(inputs.labels[chosen[own]])
    return MicroBatch(images, label, shard, shard is not None or rank == 0)


def sequential_batches(inputs: Inputs, batch_size: int, rank: int = 0, processes: int = 1) -> Iterator[_Batch]:
    """All images once, in order, without flips; each of several ranks gets a contiguous part of them."""
    own = np.array_split(np.arange(len(inputs)), processes)[rank]
    for start in range(0, len(own), batch_size):
        chosen = own[start : start + batch_size]
        images = inputs.take(chosen, np.zeros(len(chosen), dtype=bool))
        yield images, torch.from_numpy(inputs.labels[chosen])


def _prefetched(steps: Iterator[Step]) -> Iterator[Step]:
    """Steps prepared in a thread while the network works on the earlier ones."""
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, steps, None) for _ in range(_PREFETCHED_STEPS))
        while (step := pending.popleft().result()) is not None:
            pending.append(thread.submit(next, steps, None))
            yield step

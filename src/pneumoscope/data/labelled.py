"""Labelled images: the input of training and evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import InputError
from pneumoscope.types import SCHEMES, Split


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Attributes:
        images: (m, height, width) uint8, possibly memory-mapped.
        positions: (n,) int, positions in `images` of the images that are used.
        labels: (n,) int, classes of these images.

    Raises:
        InputError: No image, or another number of labels than of positions.
    """

    images: NDArray[np.uint8]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.labels) or len(self.positions) == 0:
            raise InputError(
                f"expected at least one image and a label for each, found {len(self.positions)} and {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.positions)


def labelled_images(dataset: Dataset, split: Split, classes: int) -> LabelledImages:
    """Images of a split of a data set with their classes, two or three.

    Raises:
        DataError: No image in this split, or three classes and a pneumonia of unknown etiology.
    """
    positions = dataset.positions(split)
    return LabelledImages(dataset.images, positions, dataset.labels(SCHEMES[classes], positions))


def oversample(data: LabelledImages, chosen: NDArray[np.bool_], times: int) -> LabelledImages:
    """Repeat some images, those with True in `chosen`, (n,) bool, so that each occurs `times` times."""
    return repeat(data, np.where(chosen, times, 1))


def repeat(data: LabelledImages, times: NDArray[np.int64]) -> LabelledImages:
    """Repeat each image so many times, (n,) int."""
    positions = np.repeat(np.arange(len(data)), times)
    return LabelledImages(data.images, data.positions[positions], data.labels[positions])

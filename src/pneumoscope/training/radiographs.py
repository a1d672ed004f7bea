"""Images of a data set for a network of one's own, as PyTorch's `DataLoader` takes them."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.loading import LoadedRadiographs
from pneumoscope.data.preprocessing import to_unit_range
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.types import SCHEMES, Split


class RadiographDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images with their classes: an item is an image, (1, height, width) float32 in [0, 1], and its class, int.

    Attributes:
        class_names: (classes,) names, normal first.
        labels: (n,) int64, class of each image.
        patients: (n,) patient of each image, for intervals over patients.
        paths: (n,) path of each image in its data set.
    """

    def __init__(
        self,
        dataset: Dataset | LoadedRadiographs,
        split: Split | str | NDArray[np.int64] | None = None,
        classes: int = 2,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Takes the images of a split, or of a fold.

        Args:
            dataset: Data set from `load_dataset`, or radiographs from `load`.
            split: `train`, `validation` or `test` of a data set; positions of radiographs from `load`, (n,) int, or a mask of
                them, (all,) bool; all where None.
            classes: 2 for normal and pneumonia, 3 for normal, bacterial and viral; radiographs from `load` have their classes.
            transform: Function of an image, such as an augmentation; none where None.

        Raises:
            ConfigError: Another split or number of classes.
            DataError: No image in this split, or three classes and a pneumonia of unknown etiology.
            InputError: No position, or others than those of images.
        """
        self._transform = transform
        if isinstance(dataset, LoadedRadiographs):
            self._images = _chosen(dataset, split)
            self.class_names = dataset.class_names
            self.patients = dataset.patients[self._images.positions].tolist()
            self.paths = dataset.names[self._images.positions].tolist()
        elif not isinstance(split, str) or split not in list(Split) or classes not in SCHEMES:
            raise ConfigError(
                f"expected a split out of {', '.join(Split)} and 2 or 3 classes, found {split!r} and {classes!r}: change them"
            )
        else:
            self._images = labelled_images(dataset, Split(split), classes)
            self.class_names = SCHEMES[classes].names
            self.patients = dataset.patients(self._images.positions)
            self.paths = dataset.paths(self._images.positions)
        self.labels = self._images.labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(to_unit_range(np.asarray(self._images.images[self._images.positions[number]])[None]))
        return (self._transform(image) if self._transform else image), int(self.labels[number])


def _chosen(radiographs: LoadedRadiographs, positions: Split | str | NDArray[np.int64] | None) -> LabelledImages:
    """Radiographs at some positions; all where None.

    Raises:
        ConfigError: A split instead of positions.
        InputError: No position, or others than those of images.
    """
    if isinstance(positions, str):
        raise ConfigError(
            f"expected positions of radiographs, such as one half of a fold, found {positions!r}: take them from folds(), or load "
            "that split"
        )
    count = len(radiographs)
    chosen = np.arange(count) if positions is None else np.asarray(positions)
    if chosen.dtype == np.bool_ and chosen.shape == (count,):
        chosen = np.flatnonzero(chosen)
    elif chosen.size == 0:
        chosen = np.zeros(0, dtype=np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or np.any((chosen < 0) | (chosen >= count)):
        raise InputError(
            f"expected whole numbers in 0 to {count - 1}, or {count} of True and False, as positions, found {chosen.dtype} of shape "
            f"{chosen.shape}{f' up to {chosen.max()}' if chosen.dtype.kind in 'iu' else ''}: take them from folds()"
        )
    return LabelledImages(radiographs.images, chosen, radiographs.labels[chosen])

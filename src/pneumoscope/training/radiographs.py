"""Images of a data set for a network of one's own, as PyTorch's `DataLoader` takes them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.labelled import labelled_images
from pneumoscope.data.preprocessing import to_unit_range
from pneumoscope.errors import ConfigError
from pneumoscope.types import SCHEMES, Split


class RadiographDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images of one split with their classes: an item is an image, (1, height, width) float32 in [0, 1], and its class, int.

    Attributes:
        class_names: (classes,) names, normal first.
        labels: (n,) int64, class of each image.
        patients: (n,) patient of each image, for intervals over patients.
        paths: (n,) path of each image in its data set.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split | str,
        classes: int = 2,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Takes the images of a split.

        Args:
            dataset: Data set from `load_dataset`.
            split: `train`, `validation` or `test`.
            classes: 2 for normal and pneumonia, 3 for normal, bacterial and viral.
            transform: Function of an image, such as an augmentation; none where None.

        Raises:
            ConfigError: Another split or number of classes.
            DataError: No image in this split, or three classes and a pneumonia of unknown etiology.
        """
        if classes not in SCHEMES or split not in list(Split):
            raise ConfigError(
                f"expected a split out of {', '.join(Split)} and 2 or 3 classes, found {split!r} and {classes!r}: change them"
            )
        self._images = labelled_images(dataset, Split(split), classes)
        self._transform = transform
        self.class_names = SCHEMES[classes].names
        self.labels = self._images.labels
        self.patients = dataset.patients(self._images.positions)
        self.paths = dataset.paths(self._images.positions)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(to_unit_range(np.asarray(self._images.images[self._images.positions[number]])[None]))
        return (self._transform(image) if self._transform else image), int(self.labels[number])

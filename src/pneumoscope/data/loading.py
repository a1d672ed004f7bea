"""Radiographs of a data set as NumPy arrays, with the patients and acquisition clusters that a fair validation needs.

films = load("our-films", side=96)
for train, held_out in films.folds("cluster", 3):
    network.fit(films.images[train], films.labels[train])
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.config import Preprocessing
from pneumoscope.data.audit import check_splits
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import Dataset, find_clusters
from pneumoscope.data.folds import Ints, cluster_folds, ordinary_folds, patient_folds
from pneumoscope.data.index import Index, build_index
from pneumoscope.data.locate import Location, locate
from pneumoscope.data.sources import DataNames, Source
from pneumoscope.data.split import image_groups, published_split
from pneumoscope.errors import ConfigError
from pneumoscope.progress import Report, silent
from pneumoscope.types import BINARY, SCHEMES, THREE_CLASS, Split

_SPLITS = (Split.TRAIN, Split.TEST)
_METHODS = ("image", "patient", "cluster")


@dataclass(frozen=True, eq=False)
class LoadedRadiographs:
    """Labelled radiographs of one split of a data set.

    Attributes:
        images: (n, side, side) uint8, squashed to squares; memory-mapped and read-only where it can be.
        labels: (n,) int64, class of each image, its position in `class_names`; 0 is negative.
        class_names: (classes,) names, the negative class first.
        finest_labels: (n,) str, finest known class of each image: normal, bacterial, viral or pneumonia.
        patients: (n,) str, patient of each image.
        groups: (n,) int64, number of the images that belong together: of one patient, identical files and near duplicates.
        names: (n,) str, path of each image in its data set.
        file_sha256: (n,) str, SHA-256 of each image's file.
        split: Split that these are.
        find_clusters: Function that finds the acquisition clusters, (n,) int64.
    """

    images: NDArray[np.uint8]
    labels: Ints
    class_names: tuple[str, ...]
    finest_labels: NDArray[np.str_]
    patients: NDArray[np.str_]
    groups: Ints
    names: NDArray[np.str_]
    file_sha256: NDArray[np.str_]
    split: Split
    find_clusters: Callable[[], Ints]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = Counter(self.class_names[label] for label in self.labels.tolist())
        classes = ", ".join(f"{name} {counts[name]:,}" for name in self.class_names)
        height, width = self.images.shape[1:]
        return f"{len(self):,} {self.split} images of {len(np.unique(self.patients)):,} patients ({classes}), {height} x {width}"

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(n,) bool, whether each image is of a positive class."""
        return np.asarray(self.labels > 0)

    @cached_property
    def clusters(self) -> Ints:
        """(n,) int64, acquisition cluster of each image, found on the training images when they are first needed.

        Raises:
            InputError: Fewer training images than clusters.
        """
        return self.find_clusters()

    @property
    def cluster_groups(self) -> Ints:
        """(n, 2) int64, group and acquisition cluster of each image: `groups` of `ClusterFold`.

        Raises:
            InputError: Fewer training images than clusters.
        """
        return np.column_stack([self.groups, self.clusters])

    def folds(
        self, by: Literal["image", "patient", "cluster"] = "patient", count: int = 5, seed: int = 0
    ) -> list[tuple[Ints, Ints]]:
        """Draw folds for a cross-validation, stratified by the finest known class.

        Args:
            by: `patient`: images that belong together stay on one side. `cluster`: also, the negatives of whole acquisition clusters
                are held out, of which training then has positives alone. `image`: ordinary folds, in which patients of training are
                held out: they leak, and their figures are too high.
            count: Number of folds, 2 or more.
            seed: Seed of the draw.

        Returns:
            For each fold (k,) positions of its training images and (m,) of those that it holds out, ascending.

        Raises:
            ConfigError: Another method, fewer than two folds, or no whole number.
            DataError: Fewer patients (images) of some class than folds.
            InputError: By cluster, and fewer training images than clusters.
        """
        if by == "image":
            fold_of = ordinary_folds(self.finest_labels, count, seed)
        elif by == "patient":
            fold_of = patient_folds(self.finest_labels, self.groups, count, seed)
        elif by == "cluster":
            fold_of = cluster_folds(self.finest_labels, ~self.positive, self.groups, self.clusters, count, seed)
        else:
            raise ConfigError(f"expected folds by {', '.join(_METHODS)}, found {by!r}: name one of these")
        return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(count)]


def load(
    data: Location | Path | str | None = None,
    side: int = 224,
    split: Split | str = Split.TRAIN,
    classes: int = 2,
    limit: int | None = None,
    *,
    positive: str = BINARY.positive,
    negative: str = "",
    names: DataNames | None = None,
    cache_folder: Path | None = None,
    report: Report = silent,
    skip_unreadable: bool = False,
) -> LoadedRadiographs:
    """Load the radiographs of a data set as arrays. Needs scikit-learn (`pneumoscope[evaluate]`), not PyTorch.

    The images are listed, checked for damage and contradictory labels, and kept decoded in the cache.

    Args:
        data: Folder, table or archive; found as by the command line where None (PNEUMOSCOPE_DATA, data/chest_xray*, the cache, a
            download).
        side: Side of the square images, pixels.
        split: `train` or `test`; test images come only where they are named.
        classes: 2 for negative and positive, 3 for normal, bacterial and viral.
        limit: Approximate number of images of all splits, drawn evenly from every class and split; all where None.
        positive: Name of the positive class.
        negative: Name of the negative class, where `positive` is a site's own; the only other one that there is where empty.
        names: Names that the data set has for classes and columns; those that are plain are known where None.
        cache_folder: Folder for decoded images; the user's cache where None.
        report: Progress of the stages.
        skip_unreadable: Leave out images that cannot be read, instead of raising.

    Raises:
        ConfigError: Another split, number of classes, or side.
        DataError: No known layout, no image of the split, damaged images, contradictory labels, or three classes where a cause is
            unknown.
    """
    if split not in _SPLITS or classes not in SCHEMES:
        raise ConfigError(
            f"expected a split out of {', '.join(_SPLITS)} and 2 or 3 classes, found {split!r} and {classes!r}: change them; a "
            "validation set is drawn by folds()"
        )
    if not isinstance(side, int | np.integer):
        raise ConfigError(f"expected a whole number of pixels for the side, found {side!r}: change it")
    preprocessing = Preprocessing(int(side), int(side))
    location = data if isinstance(data, Location) else locate(None if data is None else Path(data), report)
    location = replace(location, limit=location.limit if limit is None else limit, names=names or location.names)
    source = location.open(positive, negative)
    index = build_index(source, report("films indexed"))
    check_splits(index, skip_unreadable=skip_unreadable)
    folder = cache_folder or paths.images_directory()
    images = cached_images(source, index, preprocessing, folder, report)
    dataset = Dataset(source, index, published_split(index), images)
    positions = dataset.positions(Split(split))
    rows = [index.rows[i] for i in positions]
    return LoadedRadiographs(
        _rows_of(images, positions),
        dataset.labels(SCHEMES[classes], positions),
        source.scheme.names if classes == len(BINARY) else THREE_CLASS.names,
        np.array([row.label for row in rows]),
        np.array(dataset.patients(positions)),
        image_groups(index)[positions],
        np.array(dataset.paths(positions)),
        np.array([row.sha256 for row in rows]),
        Split(split),
        # No closure: arrays are pickled, for the processes of joblib among others.
        partial(_clusters_at, source, index, folder, report, positions),
    )


def _clusters_at(source: Source, index: Index, folder: Path, report: Report, positions: Ints) -> Ints:
    return find_clusters(source, index, folder, report).cluster_of[positions]


def _rows_of(images: NDArray[np.uint8], positions: Ints) -> NDArray[np.uint8]:
    """Images at ascending positions, without a copy where these follow each other."""
    first, last = int(positions[0]), int(positions[-1])
    return images[first : last + 1] if last - first + 1 == len(positions) else images[positions]

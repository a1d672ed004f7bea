"""Data sets: images indexed, checked, split and decoded."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.acquisition_clusters import fit_clusters
from pneumoscope.data.audit import Audit, audit, check_splits
from pneumoscope.data.cache import cached_images
from pneumoscope.data.folds import minority_clusters
from pneumoscope.data.index import Index, build_index
from pneumoscope.data.locate import Location, locate
from pneumoscope.data.sources import Source
from pneumoscope.data.split import SplitAssignment, draw_cluster_validation, draw_validation
from pneumoscope.errors import DataError
from pneumoscope.progress import Report, one, silent
from pneumoscope.types import ClassScheme, Etiology, Finding, Split


@dataclass(frozen=True)
class AcquisitionClusters:
    """Acquisition clusters of the images of a data set, in the index' order.

    Attributes:
        squashed_images: (n, 224, 224) uint8, memory-mapped, images with the study's preprocessing, which the clusters are
            found on whatever the network's preprocessing.
        cluster_of: (n,) int, cluster of each image.
        minority_clusters: Clusters in which normals are a minority of the training images but not absent.
    """

    squashed_images: NDArray[np.uint8]
    cluster_of: NDArray[np.int64]
    minority_clusters: tuple[int, ...]

    def minority_normals(self, positions: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) bool, whether each image is a minority normal.

        Args:
            positions: (n,) int, positions of the images in the data set.
            labels: (n,) int, classes of these images.
        """
        return np.asarray((labels == 0) & np.isin(self.cluster_of[positions], self.minority_clusters))


@dataclass(frozen=True)
class Dataset:
    """Images of a data set with their index and split.

    Attributes:
        source: Source that the images were read from.
        index: Index, one row per image.
        split: Split of each image.
        images: (n, height, width) uint8, memory-mapped, in the index' order.
        clusters: Acquisition clusters, for a split by cluster; None otherwise, see `acquisition_clusters`.
    """

    source: Source
    index: Index
    split: SplitAssignment
    images: NDArray[np.uint8]
    clusters: AcquisitionClusters | None = None

    @cached_property
    def audit(self) -> Audit:
        """Audit of the index, made when it is first needed: its search for cues takes longer than all else here."""
        return audit(self.index)

    def positions(self, split: Split) -> NDArray[np.int64]:
        """(n,) int, positions of the images of a split, ascending.

        Raises:
            DataError: No image in this split.
        """
        found = self.split.positions(split)
        if len(found) == 0:
            raise DataError(f"expected {split} films in {self.source.root}, found none: name a data set that has them")
        return found

    def labels(self, scheme: ClassScheme, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) int, classes of the images at some positions, as positions in the scheme.

        Raises:
            DataError: Three classes, and a pneumonia of unknown etiology.
        """
        rows = [self.index.rows[i] for i in positions]
        if len(scheme) == 2:
            return np.array([int(row.finding is Finding.PNEUMONIA) for row in rows], dtype=np.int64)
        unknown = sum(row.etiology is Etiology.UNKNOWN for row in rows)
        if unknown:
            raise DataError(
                f"expected films of the classes {scheme}, found {unknown} with pneumonia of unknown cause in "
                f"{self.source.root}: use a model with two classes or a data set that names the cause"
            )
        return np.array([scheme.names.index(row.label) for row in rows], dtype=np.int64)

    def patients(self, positions: NDArray[np.int64]) -> list[str]:
        """Patient identifiers of the images at some positions."""
        return [self.index.rows[i].patient for i in positions]

    def paths(self, positions: NDArray[np.int64]) -> list[str]:
        """Paths of the images at some positions."""
        return [self.index.rows[i].path for i in positions]


def load_dataset(
    location: Location | Path | str | None = None,
    preprocessing: Preprocessing | None = None,
    split: SplitConfig | None = None,
    cache_folder: Path | None = None,
    report: Report = silent,
    skip_unreadable: bool = False,
) -> Dataset:
    """Index, check, split and decode the images of a data set. Needs the packages of `pneumoscope[train]`.

    The validation set is a fold of the training images, drawn by patient; the test images are those that the data set names so.

    Args:
        location: Data set, or the path of its folder, table or archive; found as by the command line where None
            (PNEUMOSCOPE_DATA, data/chest_xray*, the cache, a download).
        preprocessing: Size and fit of the decoded images; those of the study, 224 x 224 pixels, where None.
        split: Configuration of the validation set; a tenth of the training images where None.
        cache_folder: Folder for decoded images; the user's cache where None.
        report: Progress of the stages.
        skip_unreadable: Leave out images that cannot be read, instead of raising.

    Raises:
        DataError: No known layout, damaged images, contradictory labels, or too few images for a validation set.
        LeakageError: A patient or image in two splits.
    """
    if not isinstance(location, Location):
        location = locate(None if location is None else Path(location), report)
    preprocessing, split = preprocessing or Preprocessing(), split or SplitConfig()
    cache_folder = cache_folder or paths.images_directory()
    source = location.open()
    index = build_index(source, report("films indexed"))
    check_splits(index, skip_unreadable=skip_unreadable)
    clusters = None
    if split.by == "style":
        clusters = find_clusters(source, index, cache_folder, report)
        assignment = draw_cluster_validation(index, clusters.cluster_of, split.seed, split.folds, split.fold)
    else:  # before the images are decoded, which takes longer
        assignment = draw_validation(index, split.seed, split.folds, split.fold)
    images = cached_images(source, index, preprocessing, cache_folder, report)
    return Dataset(source, index, assignment, images, clusters)


def acquisition_clusters(dataset: Dataset, cache_folder: Path, report: Report = silent) -> AcquisitionClusters:
    """Acquisition clusters of a data set, found here unless it was split by cluster.

    Raises:
        InputError: Fewer training images than clusters.
    """
    return dataset.clusters or find_clusters(dataset.source, dataset.index, cache_folder, report)


def find_clusters(source: Source, index: Index, cache_folder: Path, report: Report = silent) -> AcquisitionClusters:
    """Fit clusters to the training images, before a validation set is drawn from them, and assign all images.

    Raises:
        InputError: Fewer training images than clusters.
    """
    squashed_images = cached_images(source, index, Preprocessing(), cache_folder, report)
    train = index.positions(Split.TRAIN)
    done = one(report, "acquisition clusters found")
    cluster_of = fit_clusters(squashed_images[train]).predict(squashed_images)
    done()
    normal = np.array([index.rows[i].finding is Finding.NORMAL for i in train])
    return AcquisitionClusters(squashed_images, cluster_of, tuple(minority_clusters(cluster_of[train], normal)))

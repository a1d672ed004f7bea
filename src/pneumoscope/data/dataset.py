"""A data set ready for use: indexed, audited, split and decoded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.acquisition_clusters import fit_clusters
from pneumoscope.data.audit import Audit, audit
from pneumoscope.data.cache import cached_images
from pneumoscope.data.index import Index, build_index
from pneumoscope.data.sources import Source, SourceImage, open_source
from pneumoscope.data.split import SplitAssignment, draw_cluster_validation, draw_validation, minority_clusters
from pneumoscope.errors import DataError
from pneumoscope.progress import Report, silent
from pneumoscope.types import ClassScheme, Etiology, Finding, Split


@dataclass(frozen=True)
class AcquisitionClusters:
    """What the images look like as files, whatever the network is shown of them.

    Attributes:
        squashed: (n, 224, 224) uint8, memory-mapped: the images with the study's preprocessing.
        cluster_of: (n,) int, the style of each image.
        minority: The clusters in which normals are in the minority of the training images but not absent.
    """

    squashed: NDArray[np.uint8]
    cluster_of: NDArray[np.int64]
    minority: tuple[int, ...]

    def minority_normals(self, positions: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) bool, which images, of positions and classes (n,), are normals of an odd style."""
        return np.asarray((labels == 0) & np.isin(self.cluster_of[positions], self.minority))


@dataclass(frozen=True)
class Dataset:
    """Images with everything that is known of them.

    Attributes:
        source: Where they came from.
        index: One row per image.
        audit: What is wrong with them.
        split: The side of each.
        images: (n, height, width) uint8, memory-mapped, in the index' order.
        clusters: What the images look like as files, for a split by style; `acquisition_clusters` finds it for others.
    """

    source: Source
    index: Index
    audit: Audit
    split: SplitAssignment
    images: NDArray[np.uint8]
    clusters: AcquisitionClusters | None = None

    def positions(self, split: Split) -> NDArray[np.int64]:
        """Positions of the images of one side.

        Raises:
            DataError: There are none.
        """
        found = self.split.positions(split)
        if len(found) == 0:
            raise DataError(f"expected {split} films in {self.source.root}, found none: name a data set that has them")
        return found

    def labels(self, scheme: ClassScheme, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes of chosen images, as positions in the scheme.

        Raises:
            DataError: The scheme tells etiologies apart and the images do not.
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
        """Patients of chosen images."""
        return [self.index.rows[i].patient for i in positions]

    def paths(self, positions: NDArray[np.int64]) -> list[str]:
        """Paths of chosen images."""
        return [self.index.rows[i].path for i in positions]


def load_dataset(
    root: Path,
    preprocessing: Preprocessing,
    split: SplitConfig,
    cache_folder: Path,
    report: Report = silent,
    skip_unreadable: bool = False,
    limit: int | None = None,
) -> Dataset:
    """Indexes, audits, splits and decodes the images at `root`.

    Args:
        root: Folder, table or archive.
        preprocessing: Size and fit of the decoded images.
        split: How the validation set is drawn.
        cache_folder: Where decoded images are kept.
        report: Told of progress.
        skip_unreadable: Go on without images that cannot be read.
        limit: About this many images, evenly out of every class and split; all where None.

    Raises:
        DataError: No known layout, damaged images, contradictory labels, or too few images for a validation set.
        LeakageError: A patient or image on two sides.
    """
    source = open_source(root)
    if limit is not None:
        source = _thinned(source, limit)
    index = build_index(source, report("films indexed"))
    found = audit(index)
    found.raise_for_errors(skip_unreadable)
    clusters = None
    if split.by == "style":
        clusters = _clusters_of(source, index, cache_folder, report)
        assignment = draw_cluster_validation(index, clusters.cluster_of, split.seed, split.folds, split.fold)
    else:  # before the decoding, which takes longer
        assignment = draw_validation(index, split.seed, split.folds, split.fold)
    images = cached_images(source, index, preprocessing, cache_folder, report("films decoded"))
    return Dataset(source, index, found, assignment, images, clusters)


def acquisition_clusters(dataset: Dataset, cache_folder: Path, report: Report = silent) -> AcquisitionClusters:
    """What the images of a data set look like as files; at once where it was split by style.

    Raises:
        InputError: Fewer training images than styles.
    """
    return dataset.clusters or _clusters_of(dataset.source, dataset.index, cache_folder, report)


def _clusters_of(source: Source, index: Index, cache_folder: Path, report: Report) -> AcquisitionClusters:
    squashed = cached_images(source, index, Preprocessing(), cache_folder, report("films decoded"))
    learnable = index.positions(Split.TRAIN)
    cluster_of = fit_clusters(squashed[learnable]).of(squashed)
    normal = np.array([index.rows[i].finding is Finding.NORMAL for i in learnable])
    return AcquisitionClusters(squashed, cluster_of, tuple(minority_clusters(cluster_of[learnable], normal)))


def _thinned(source: Source, limit: int) -> Source:
    """Every k-th image of each class and split, in the order of the paths."""
    share = min(1.0, limit / len(source.images))
    kept = []
    groups: dict[tuple[str, ...], list[SourceImage]] = {}
    for image in source.images:
        groups.setdefault((image.split, image.finding, image.etiology), []).append(image)
    for images in groups.values():
        count = max(1, round(share * len(images)))
        kept += [images[i * len(images) // count] for i in range(count)]
    return Source(source.root, source.kind, kept)

"""Hospitals as one data set: each divided by patient into training, validation and held-out images, and joined.

Images that a data set publishes as its test are not used: neither to train nor to measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.config import RunConfig, SplitConfig
from pneumoscope.data.audit import near_duplicate_pairs
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.index import Index
from pneumoscope.data.locate import Location
from pneumoscope.data.source_images import Listing
from pneumoscope.data.sources import Source
from pneumoscope.data.split import SplitAssignment, draw_validation
from pneumoscope.errors import ConfigError, DataError, LeakageError
from pneumoscope.evaluation.metrics import Ints
from pneumoscope.files import atomic_write, sha256_of_lines
from pneumoscope.progress import Report
from pneumoscope.types import Finding, Split

# A fifth of the patients of a hospital is held out, a fifth chooses thresholds, the rest is for training.
FOLDS = 5
_HELD_OUT_FOLD = 1
_FEWEST_SITES = 2
_COPIED = 1024


@dataclass(frozen=True)
class Site:
    """Images of one hospital.

    Attributes:
        name: Name in the report and of folders.
        location: Data set.
    """

    name: str
    location: Location


@dataclass(frozen=True)
class JoinedSites:
    """Images of all hospitals as one data set.

    Attributes:
        names: Names of the hospitals.
        dataset: Images of all; its split has `Split.TEST` for held-out images.
        site: (n,) int, number of the hospital of each image.
        lookalikes: Number of images that are near duplicates of one of another hospital.
    """

    names: tuple[str, ...]
    dataset: Dataset
    site: Ints
    lookalikes: int

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(n,) bool, images with pneumonia."""
        return np.array([row.finding is Finding.PNEUMONIA for row in self.dataset.index.rows])

    def without(self, left_out: int | None) -> Dataset:
        """Data set in which all images of a hospital are held out; None for that of all hospitals."""
        rows = self.dataset.index.rows
        splits = tuple(
            Split.TEST if site == left_out else split
            for site, split in zip(self.site, self.dataset.split.splits, strict=True)
        )
        digest = sha256_of_lines([f"{row.path} {row.sha256} {split}" for row, split in zip(rows, splits, strict=True)])
        return replace(self.dataset, split=replace(self.dataset.split, splits=splits, hash=digest))

    def images_of(self, site: int, split: Split | None = None) -> Ints:
        """(m,) int, positions of the images of a hospital; of a part of them where a split is named."""
        return np.array(
            [
                position
                for position, (own, part) in enumerate(zip(self.site, self.dataset.split.splits, strict=True))
                if own == site and split in (None, part)
            ],
            dtype=np.int64,
        )


def site_names(paths_of_data: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name and path of each hospital, from paths such as `data/nih.csv` or `NIH=data/nih.csv`.

    A folder without a name of its own has that of the folder, a file its name without the ending.

    Raises:
        ConfigError: Two hospitals of one name, or an empty one.
    """
    named = []
    for path in paths_of_data:
        name, equals, rest = str(path).partition("=")
        is_named = bool(equals and rest) and "/" not in name and not path.exists()
        if is_named and not name.strip():
            raise ConfigError(f"expected a name for each hospital, found none before {rest}: name it, --data NAME=PATH")
        own = path.resolve().name if path.is_dir() else path.stem
        named.append((name, Path(rest)) if is_named else (own, path))
    names = [name for name, _ in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"expected a name for each hospital, found {twice[0]} twice: name them, --data NAME=PATH")
    return named


def load_sites(
    sites: Sequence[Site], config: RunConfig, report: Report, skip_unreadable: bool = False
) -> list[Dataset]:
    """Read the images of all hospitals, each with a fold by patient for validation.

    Args:
        sites: Two hospitals or more.
        config: Configuration of the training; of its split the seed is used.
        report: Progress of the stages.
        skip_unreadable: Whether to leave out images that cannot be read.

    Raises:
        ConfigError: Fewer than two hospitals.
        DataError: Too few patients of a class, or images that cannot be read.
    """
    if len(sites) < _FEWEST_SITES:
        raise ConfigError(f"expected two hospitals or more, found {len(sites)}: add --data")
    split, cache = SplitConfig(config.split.seed, FOLDS), paths.images_directory()
    loaded = []
    for site in sites:
        try:
            loaded.append(load_dataset(site.location, config.preprocessing, split, cache, report, skip_unreadable))
        except DataError as error:
            raise type(error)(f"{site.name}: {error}") from error
    return loaded


def join_sites(names: Sequence[str], loaded: Sequence[Dataset], file: Path) -> JoinedSites:
    """Divide the images of each hospital by patient, and join them.

    Args:
        names: Name of each hospital.
        loaded: Data set of each hospital, from `load_sites`.
        file: File that gets the images of all, memory-mapped.

    Raises:
        DataError: A hospital without training images.
        LeakageError: An image in two hospitals.
    """
    used = [_used(dataset, name) for dataset, name in zip(loaded, names, strict=True)]
    index = _joined_index(loaded, names, used)
    site_of = np.repeat(np.arange(len(names)), [len(positions) for positions in used])
    _check_apart(index, site_of, names)
    splits = tuple(part for dataset, positions in zip(loaded, used, strict=True) for part in _parts(dataset, positions))
    source = Source(file.parent, Listing("sites", ()))
    assignment = SplitAssignment(splits, "", loaded[0].split.seed, FOLDS, 0)
    dataset = Dataset(source, index, assignment, _joined_images(loaded, used, file))
    return JoinedSites(tuple(names), dataset, site_of, _lookalikes(index, site_of))


def _used(dataset: Dataset, name: str) -> Ints:
    """Positions of the images of a hospital that are not published as its test."""
    found = np.array([i for i, row in enumerate(dataset.index.rows) if row.split is not Split.TEST], dtype=np.int64)
    if not len(found):
        raise DataError(f"expected training images in {name}, found test images alone: add a split, or name another")
    return found


def _parts(dataset: Dataset, positions: Ints) -> list[Split]:
    """Part of each image: one fold is for validation, another one is held out."""
    drawn = dataset.split
    held_out = draw_validation(dataset.index, drawn.seed, FOLDS, _HELD_OUT_FOLD).splits
    return [Split.TEST if held_out[i] is Split.VALIDATION else drawn.splits[i] for i in positions]


def _joined_index(loaded: Sequence[Dataset], names: Sequence[str], used: Sequence[Ints]) -> Index:
    """Index of all images, with the hospital before paths and patients."""
    rows, measurements = [], []
    for dataset, name, positions in zip(loaded, names, used, strict=True):
        for i in positions:
            row = dataset.index.rows[i]
            rows.append(replace(row, path=f"{name}/{row.path}", patient=f"{name}/{row.patient}"))
            measurements.append(dataset.index.measurements[i])
    return Index(tuple(rows), tuple(measurements))


def _check_apart(index: Index, site_of: Ints, names: Sequence[str]) -> None:
    """Check that no file is in two hospitals."""
    first: dict[str, int] = {}
    for row, site in zip(index.rows, site_of, strict=True):
        other = first.setdefault(row.sha256, int(site))
        if other != site:
            raise LeakageError(
                f"expected different images in each hospital, found {row.path} in {names[other]} too: name other data sets"
            )


def _lookalikes(index: Index, site_of: Ints) -> int:
    pairs = [(one, other) for one, other in near_duplicate_pairs(index) if site_of[one] != site_of[other]]
    return len({position for pair in pairs for position in pair})


def _joined_images(loaded: Sequence[Dataset], used: Sequence[Ints], file: Path) -> NDArray[np.uint8]:
    shape = (sum(map(len, used)), *loaded[0].images.shape[1:])
    # Written as a stream, not through a memory map: a full disk then raises an error instead of killing the process.
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for dataset, positions in zip(loaded, used, strict=True):
            for start in range(0, len(positions), _COPIED):
                stream.write(np.ascontiguousarray(dataset.images[positions[start : start + _COPIED]]).data)
    images: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    return images


def balanced_repeats(cell: Ints, rng: np.random.Generator) -> Ints:
    """Number of times that an epoch contains each image, so that it contains each cell as often as the largest.

    Args:
        cell: (n,) int, cell of each image: its hospital and class.
        rng: Random generator, which chooses the images of a cell that are repeated once more.

    Returns:
        (n,) int, 1 or more.
    """
    cells, counts = np.unique(cell, return_counts=True)
    repeats = np.ones(len(cell), dtype=np.int64)
    for each, count in zip(cells, counts, strict=True):
        members = np.flatnonzero(cell == each)
        repeats[members] = counts.max() // count
        repeats[rng.permutation(members)[: counts.max() % count]] += 1
    return repeats

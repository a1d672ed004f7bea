"""A data set ready for use: indexed, audited, split and decoded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.acquisition_clusters import find_styles
from pneumoscope.data.audit import Audit, audit
from pneumoscope.data.cache import cached_films
from pneumoscope.data.index import Index, build_index
from pneumoscope.data.sources import Source, SourceFilm, open_source
from pneumoscope.data.split import SplitAssignment, draw_style_validation, draw_validation, odd_styles
from pneumoscope.errors import DataError
from pneumoscope.progress import Report, silent
from pneumoscope.types import ClassScheme, Etiology, Finding, Split


@dataclass(frozen=True)
class FilmLooks:
    """What the films look like as files, whatever the network is shown of them.

    Attributes:
        squashed: (n, 224, 224) uint8, memory-mapped: the films with the study's preprocessing.
        styles: (n,) int, the style of each film.
        odd: The styles in which normals are in the minority of the training films but not absent.
    """

    squashed: NDArray[np.uint8]
    styles: NDArray[np.int64]
    odd: tuple[int, ...]

    def odd_normals(self, positions: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) bool, which films, of positions and classes (n,), are normals of an odd style."""
        return np.asarray((labels == 0) & np.isin(self.styles[positions], self.odd))


@dataclass(frozen=True)
class Dataset:
    """Films with everything that is known of them.

    Attributes:
        source: Where they came from.
        index: One row per film.
        audit: What is wrong with them.
        split: The side of each.
        films: (n, height, width) uint8, memory-mapped, in the index' order.
        looks: What the films look like as files, for a split by style; `film_looks` finds it for others.
    """

    source: Source
    index: Index
    audit: Audit
    split: SplitAssignment
    films: NDArray[np.uint8]
    looks: FilmLooks | None = None

    def positions(self, side: Split) -> NDArray[np.int64]:
        """Positions of the films of one side.

        Raises:
            DataError: There are none.
        """
        found = self.split.positions(side)
        if len(found) == 0:
            raise DataError(f"expected {side} films in {self.source.root}, found none: name a data set that has them")
        return found

    def labels(self, scheme: ClassScheme, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes of chosen films, as positions in the scheme.

        Raises:
            DataError: The scheme tells etiologies apart and the films do not.
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
        """Patients of chosen films."""
        return [self.index.rows[i].patient for i in positions]

    def paths(self, positions: NDArray[np.int64]) -> list[str]:
        """Paths of chosen films."""
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
    """Indexes, audits, splits and decodes the films at `root`.

    Args:
        root: Folder, table or archive.
        preprocessing: Size and fit of the decoded films.
        split: How the validation set is drawn.
        cache_folder: Where decoded films are kept.
        report: Told of progress.
        skip_unreadable: Go on without films that cannot be read.
        limit: About this many films, evenly out of every class and split; all where None.

    Raises:
        DataError: No known layout, damaged films, contradictory labels, or too few films for a validation set.
        LeakageError: A patient or film on two sides.
    """
    source = open_source(root)
    if limit is not None:
        source = _thinned(source, limit)
    index = build_index(source, report("films indexed"))
    found = audit(index)
    found.raise_for_errors(skip_unreadable)
    looks = None
    if split.by == "style":
        looks = _looks(source, index, cache_folder, report)
        assignment = draw_style_validation(index, looks.styles, split.seed, split.folds, split.fold)
    else:  # before the decoding, which takes longer
        assignment = draw_validation(index, split.seed, split.folds, split.fold)
    films = cached_films(source, index, preprocessing, cache_folder, report("films decoded"))
    return Dataset(source, index, found, assignment, films, looks)


def film_looks(dataset: Dataset, cache_folder: Path, report: Report = silent) -> FilmLooks:
    """What the films of a data set look like as files; at once where it was split by style.

    Raises:
        InputError: Fewer training films than styles.
    """
    return dataset.looks or _looks(dataset.source, dataset.index, cache_folder, report)


def _looks(source: Source, index: Index, cache_folder: Path, report: Report) -> FilmLooks:
    squashed = cached_films(source, index, Preprocessing(), cache_folder, report("films decoded"))
    learnable = index.positions(Split.TRAIN)
    styles = find_styles(squashed[learnable]).of(squashed)
    normal = np.array([index.rows[i].finding is Finding.NORMAL for i in learnable])
    return FilmLooks(squashed, styles, tuple(odd_styles(styles[learnable], normal)))


def _thinned(source: Source, limit: int) -> Source:
    """Every k-th film of each class and split, in the order of the paths."""
    share = min(1.0, limit / len(source.films))
    kept = []
    groups: dict[tuple[str, ...], list[SourceFilm]] = {}
    for film in source.films:
        groups.setdefault((film.split, film.finding, film.etiology), []).append(film)
    for films in groups.values():
        count = max(1, round(share * len(films)))
        kept += [films[i * len(films) // count] for i in range(count)]
    return Source(source.root, source.kind, kept)

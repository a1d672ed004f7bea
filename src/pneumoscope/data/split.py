"""Validation split: a fold of the training images, grouped by patient, stratified by class, seeded, saved and hashed."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.audit import check_splits, near_duplicate_pairs
from pneumoscope.data.folds import cluster_folds, patient_folds
from pneumoscope.data.index import Index
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import sha256_of_lines, write_text
from pneumoscope.types import Finding, Split


@dataclass(frozen=True)
class SplitAssignment:
    """Split of every image of an index.

    Attributes:
        splits: Split of each row of the index, in its order.
        hash: SHA-256 over paths, contents and splits, 64 hex digits.
        seed: Seed that the validation set was drawn with.
        folds: Number of folds of the training images.
        fold: Fold that became the validation set, 0 to folds - 1.
    """

    splits: tuple[Split, ...]
    hash: str
    seed: int
    folds: int
    fold: int

    def positions(self, split: Split) -> NDArray[np.int64]:
        """(n,) int, positions in the index of the images of a split, ascending."""
        return np.array([i for i, assigned in enumerate(self.splits) if assigned is split], dtype=np.int64)


def draw_validation(index: Index, seed: int, folds: int = 10, fold: int = 0) -> SplitAssignment:
    """Make one fold of the training images the validation set.

    Images of one patient (whatever the etiology in their names), identical files and near duplicates stay in one fold. A data
    set without training images keeps its splits.

    Args:
        index: Index with measurements.
        seed: Seed of the draw.
        folds: Number of folds, 2 or more; 10 gives a validation set of a tenth.
        fold: Fold that becomes the validation set, 0 to folds - 1.

    Raises:
        ConfigError: Folds or fold out of range.
        DataError: Fewer groups of some class than folds.
        LeakageError: Training and validation images share a patient or an image; checked, though the draw excludes it.
    """
    _check_folds(folds, fold)
    train = index.positions(Split.TRAIN)
    if len(train) == 0:
        return _assignment(index, train, seed, folds, fold)
    fold_of = patient_folds(_labels(index, train), image_groups(index)[train], folds, seed)
    return _assignment(index, train[fold_of == fold], seed, folds, fold)


def draw_cluster_validation(
    index: Index, cluster_of: NDArray[np.int64], seed: int, folds: int = 3, fold: int = 0
) -> SplitAssignment:
    """Make a validation set for shortcut stress validation: minority normals from clusters seen only as pneumonia.

    In a minority cluster most training images are pneumonia. These clusters are distributed over the folds: all normals of a
    fold's minority clusters are held out, while their pneumonias are spread over the folds like every other image, grouped by
    patient and stratified by class. A network can therefore learn in training that such images are always pneumonia, and the
    validation set measures whether it did. Every training image is held out in exactly one fold.

    Args:
        index: Index with measurements.
        cluster_of: (rows,) int, acquisition cluster of each image of the index.
        seed: Seed of the draw of the other images.
        folds: Number of folds, 2 or more.
        fold: Fold that becomes the validation set, 0 to folds - 1.

    Raises:
        ConfigError: Folds or fold out of range.
        DataError: Fewer groups of some class than folds.
        LeakageError: Training and validation images share a patient or an image; checked, though the draw excludes it.
    """
    _check_folds(folds, fold)
    train = index.positions(Split.TRAIN)
    normal = np.array([index.rows[i].finding is Finding.NORMAL for i in train])
    groups = image_groups(index)[train]
    fold_of = cluster_folds(_labels(index, train), normal, groups, cluster_of[train], folds, seed)
    return _assignment(index, train[fold_of == fold], seed, folds, fold)


def published_split(index: Index) -> SplitAssignment:
    """Splits as the source names them, train and test, without a validation set."""
    return _assignment(index, np.zeros(0, dtype=np.int64), 0, 0, 0)


def _check_folds(folds: int, fold: int) -> None:
    if folds < 2 or not 0 <= fold < folds:
        raise ConfigError(f"expected 2 or more folds and a fold in 0 to folds - 1, found {folds} and {fold}")


def _labels(index: Index, positions: NDArray[np.int64]) -> list[str]:
    """Finest known classes of the images at some positions."""
    return [index.rows[i].label for i in positions]


def _assignment(index: Index, positions: NDArray[np.int64], seed: int, folds: int, fold: int) -> SplitAssignment:
    """Assignment with some positions as the validation set, checked for leakage."""
    validation = set(positions.tolist())
    splits = tuple(Split.VALIDATION if i in validation else row.split for i, row in enumerate(index.rows))
    if validation:
        check_splits(index, splits)
    return SplitAssignment(splits, _hash(index, splits), seed, folds, fold)


def image_groups(index: Index) -> NDArray[np.int64]:
    """(rows,) int, group of each image; images of one group must stay in one split.

    Groups are the connected components of the graph that links images of one patient, identical files and near duplicates.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first_with: dict[str, int] = {}
    pairs = near_duplicate_pairs(index)
    for position, row in enumerate(index.rows):
        for key in (f"patient {row.patient}", f"bytes {row.sha256}"):
            pairs.append((first_with.setdefault(key, position), position))
    ends = np.array(pairs, dtype=np.int64).T
    count = len(index.rows)
    links = coo_array((np.ones(ends.shape[1], dtype=np.int8), (ends[0], ends[1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _hash(index: Index, splits: tuple[Split, ...]) -> str:
    return sha256_of_lines([f"{row.path} {row.sha256} {split}" for row, split in zip(index.rows, splits, strict=True)])


def save_split(index: Index, assignment: SplitAssignment, path: Path) -> None:
    """Write `split.csv` (path, sha256, patient, class, side) atomically; its first line holds seed, folds, fold and hash."""
    text = io.StringIO()
    text.write(f"# seed={assignment.seed} folds={assignment.folds} fold={assignment.fold} hash={assignment.hash}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "sha256", "patient", "class", "side"])
    for row, split in zip(index.rows, assignment.splits, strict=True):
        writer.writerow([row.path, row.sha256, row.patient, row.label, split])
    write_text(path, text.getvalue())


def load_split(index: Index, path: Path) -> SplitAssignment:
    """Read a `split.csv` and check it against the index.

    Raises:
        DataError: Missing or damaged file, or a split of other images.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            settings = dict(item.split("=") for item in stream.readline().lstrip("# ").split())
            split_of = {record["path"]: Split(record["side"]) for record in csv.DictReader(stream)}
        splits = tuple(split_of[row.path] for row in index.rows)
        seed, folds, fold = (int(settings[name]) for name in ("seed", "folds", "fold"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected a split of these films at {path}, found {error}: draw it again") from error
    if (found := _hash(index, splits)) != settings.get("hash"):
        raise DataError(f"expected the split {settings.get('hash')} at {path}, found {found}: draw it again")
    return SplitAssignment(splits, found, seed, folds, fold)

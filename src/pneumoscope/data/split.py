"""A validation set out of the training images: grouped by patient, stratified by class, seeded, saved and hashed."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.audit import audit, near_duplicate_pairs
from pneumoscope.data.index import Index
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import sha256_of_lines, write_text
from pneumoscope.types import Finding, Split


@dataclass(frozen=True)
class SplitAssignment:
    """The side of every image of an index.

    Attributes:
        splits: One per row of the index.
        hash: SHA-256 over paths, contents and sides, 64 hex digits.
        seed: That drew the validation set.
        folds: The training images were cut into this many.
        fold: The one that became the validation set.
    """

    splits: tuple[Split, ...]
    hash: str
    seed: int
    folds: int
    fold: int

    def positions(self, split: Split) -> NDArray[np.int64]:
        """Positions in the index of the images of one side, ascending."""
        return np.array([i for i, assigned in enumerate(self.splits) if assigned is split], dtype=np.int64)


def draw_validation(index: Index, seed: int, folds: int = 10, fold: int = 0) -> SplitAssignment:
    """Makes one of `folds` parts of the training images the validation set.

    A data set without training images keeps its sides: there is nothing to draw from. Images stay together that share a patient (whatever the etiology in their name), their bytes or their look.

    Args:
        index: With measurements.
        seed: Of the draw.
        folds: Parts, 2 or more; 10 gives a validation set of a tenth.
        fold: Which part, 0 to folds - 1.

    Raises:
        ConfigError: Folds or fold out of range.
        DataError: Fewer groups of some class than folds.
        LeakageError: The two sides are not apart; never expected, always checked.
    """
    _check_folds(folds, fold)
    train = index.positions(Split.TRAIN)
    if len(train) == 0:
        return _assignment(index, set(), seed, folds, fold)
    chosen = _stratified(index, train, _groups(index), seed, folds)[fold]
    return _assignment(index, set(chosen), seed, folds, fold)


def draw_cluster_validation(
    index: Index, cluster_of: NDArray[np.int64], seed: int, folds: int = 3, fold: int = 0
) -> SplitAssignment:
    """A validation set that hurts: its odd normals come from image styles that training knows as pneumonia alone.

    A style is odd where normals are in the minority. Odd styles are dealt out over the folds; the normals of those dealt to
    this fold are all held out, while their pneumonias are spread over the folds like every other image: grouped by patient,
    stratified by class. So a network may learn in training that such an image is always ill, and is judged here on whether it
    did. Every training image is held out in one fold.

    Args:
        index: With measurements.
        cluster_of: (rows,) int, the style of each image of the index.
        seed: Of the draw of the other images.
        folds: Parts, 2 or more.
        fold: Which part, 0 to folds - 1.

    Raises:
        ConfigError: Folds or fold out of range.
        DataError: Fewer groups of some class than folds.
        LeakageError: The two sides are not apart; never expected, always checked.
    """
    _check_folds(folds, fold)
    train = index.positions(Split.TRAIN)
    normal = np.array([row.finding is Finding.NORMAL for row in index.rows])
    dealt = _deal_odd_styles(cluster_of[train], normal[train], folds)
    groups = _groups(index)
    fold_of_group = {
        int(groups[i]): dealt[style] for i in train if normal[i] and (style := int(cluster_of[i])) in dealt
    }
    ordinary = np.array([i for i in train if int(groups[i]) not in fold_of_group], dtype=np.int64)
    held = {int(i) for i in train if fold_of_group.get(int(groups[i])) == fold}
    held |= set(_stratified(index, ordinary, groups, seed, folds)[fold])
    return _assignment(index, held, seed, folds, fold)


def minority_clusters(cluster_of: NDArray[np.int64], normal: NDArray[np.bool_]) -> list[int]:
    """The styles in which normals are in the minority but not absent, those with the most normals first.

    Args:
        cluster_of: (n,) int, of training images.
        normal: (n,) bool.
    """
    count = {
        int(s): (int(normal[cluster_of == s].sum()), int((~normal[cluster_of == s]).sum()))
        for s in np.unique(cluster_of)
    }
    return sorted((s for s, (well, positive) in count.items() if 0 < well < positive), key=lambda s: (-count[s][0], s))


def _deal_odd_styles(cluster_of: NDArray[np.int64], normal: NDArray[np.bool_], folds: int) -> dict[int, int]:
    """Odd style to fold: the largest first, each to the fold with the fewest odd normals so far."""
    held = [0] * folds
    dealt = {}
    for style in minority_clusters(cluster_of, normal):
        dealt[style] = held.index(min(held))
        held[dealt[style]] += int(normal[cluster_of == style].sum())
    return dealt


def _check_folds(folds: int, fold: int) -> None:
    if folds < 2 or not 0 <= fold < folds:
        raise ConfigError(f"expected 2 or more folds and a fold in 0 to folds - 1, found {folds} and {fold}")


def _stratified(
    index: Index, images: NDArray[np.int64], groups: NDArray[np.int64], seed: int, folds: int
) -> list[list[int]]:
    """Positions of the chosen images of each fold: groups, a number per row of the index, stay whole; classes are spread evenly.

    Raises:
        DataError: Fewer groups of some class than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.array([index.rows[i].label for i in images])
    own_groups = groups[images]
    for name in np.unique(labels):
        if (found := len(np.unique(own_groups[labels == name]))) < folds:
            raise DataError(
                f"expected at least {folds} patients with the class {name} to draw a validation set, found {found}: "
                "add films or ask for fewer folds"
            )
    drawn = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, own_groups)
    return [[int(images[i]) for i in held] for _, held in drawn]


def _assignment(index: Index, chosen: set[int], seed: int, folds: int, fold: int) -> SplitAssignment:
    """The chosen images become the validation set; checked for leaks."""
    splits = tuple(Split.VALIDATION if i in chosen else row.split for i, row in enumerate(index.rows))
    if chosen:
        audit(index, splits).raise_for_errors(skip_unreadable=True)
    return SplitAssignment(splits, _hash(index, splits), seed, folds, fold)


def _groups(index: Index) -> NDArray[np.int64]:
    """A number per image, the same for images that must stand on one side."""
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
    """Writes `split.csv` (path, sha256, patient, class, side), atomically; its first line holds seed, folds and hash."""
    text = io.StringIO()
    text.write(f"# seed={assignment.seed} folds={assignment.folds} fold={assignment.fold} hash={assignment.hash}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "sha256", "patient", "class", "side"])
    for row, split in zip(index.rows, assignment.splits, strict=True):
        writer.writerow([row.path, row.sha256, row.patient, row.label, split])
    write_text(path, text.getvalue())


def load_split(index: Index, path: Path) -> SplitAssignment:
    """Reads a `split.csv` back and checks it against the index.

    Raises:
        DataError: Missing, damaged, or made for other images.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            settings = dict(item.split("=") for item in stream.readline().lstrip("# ").split())
            side_of = {record["path"]: Split(record["side"]) for record in csv.DictReader(stream)}
        splits = tuple(side_of[row.path] for row in index.rows)
        seed, folds, fold = (int(settings[name]) for name in ("seed", "folds", "fold"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected a split of these films at {path}, found {error}: draw it anew") from error
    if (found := _hash(index, splits)) != settings.get("hash"):
        raise DataError(f"expected the split {settings.get('hash')} at {path}, found {found}: draw it anew")
    return SplitAssignment(splits, found, seed, folds, fold)

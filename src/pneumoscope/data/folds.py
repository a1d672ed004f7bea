"""Folds of labelled images as arrays: which images are held out together, so that a validation is fair.

Ordinary folds spread images; folds by patient keep what belongs together on one side; folds by acquisition cluster also hold out
the normals of whole clusters, of which training then has only positives.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import ConfigError, DataError

Ints = NDArray[np.int64]


def ordinary_folds(labels: Sequence[str] | NDArray[np.str_], folds: int, seed: int) -> Ints:
    """Fold of each image where images are spread without regard to patients: a validation set then has patients of training.

    Args:
        labels: (n,) class of each image.
        folds: Number of folds, 2 or more.
        seed: Seed of the draw.

    Returns:
        (n,) int, 0 to folds - 1.

    Raises:
        ConfigError: Fewer than two folds, or no whole number.
        DataError: Fewer images of some class than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    classes, each = np.asarray(labels), np.arange(len(labels))
    _check_enough(classes, each, folds, "images")
    return _fold_of(StratifiedKFold(folds, shuffle=True, random_state=seed).split(classes, classes), len(classes))


def patient_folds(labels: Sequence[str] | NDArray[np.str_], groups: Ints, folds: int, seed: int) -> Ints:
    """Fold of each image where groups stay whole and classes are spread evenly.

    Args:
        labels: (n,) class of each image.
        groups: (n,) int, group of each image, as `image_groups` finds it.
        folds: Number of folds, 2 or more.
        seed: Seed of the draw.

    Returns:
        (n,) int, 0 to folds - 1.

    Raises:
        ConfigError: Fewer than two folds, or no whole number.
        DataError: Fewer groups of some class than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = np.asarray(labels)
    _check_enough(classes, groups, folds, "patients")
    drawn = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(classes, classes, groups)
    return _fold_of(drawn, len(classes))


def cluster_folds(
    labels: Sequence[str] | NDArray[np.str_],
    negative: NDArray[np.bool_],
    groups: Ints,
    cluster_of: Ints,
    folds: int,
    seed: int,
) -> Ints:
    """Fold of each image where the negatives of minority clusters are held out by whole clusters.

    In a minority cluster most images are positive. These clusters are distributed over the folds: all negatives of a fold's
    minority clusters are held out, while their positives are spread over the folds like every other image, grouped by patient and
    stratified by class. A network can therefore learn in training that such images are always positive, and the held-out images
    measure whether it did.

    Args:
        labels: (n,) class of each image.
        negative: (n,) bool, whether each image is of the negative class.
        groups: (n,) int, group of each image, as `image_groups` finds it.
        cluster_of: (n,) int, acquisition cluster of each image.
        folds: Number of folds, 2 or more.
        seed: Seed of the draw of the other images.

    Returns:
        (n,) int, 0 to folds - 1.

    Raises:
        ConfigError: Fewer than two folds, or no whole number.
        DataError: Fewer groups of some class than folds.
    """
    fold_of_cluster = _distribute_minority_clusters(cluster_of, negative, _checked(folds))
    fold_of_group = {
        int(groups[i]): fold_of_cluster[cluster]
        for i in np.flatnonzero(negative)
        if (cluster := int(cluster_of[i])) in fold_of_cluster
    }
    found = np.array([fold_of_group.get(int(group), -1) for group in groups], dtype=np.int64)
    other = np.flatnonzero(found < 0)
    found[other] = patient_folds(np.asarray(labels)[other], groups[other], folds, seed)
    return found


def minority_clusters(cluster_of: Ints, normal: NDArray[np.bool_]) -> list[int]:
    """Clusters in which normals are a minority but not absent, those with the most normals first.

    Args:
        cluster_of: (n,) int, clusters of training images.
        normal: (n,) bool, whether each image is normal.
    """
    count = {
        int(c): (int(normal[cluster_of == c].sum()), int((~normal[cluster_of == c]).sum()))
        for c in np.unique(cluster_of)
    }
    minority = [c for c, (normals, pneumonias) in count.items() if 0 < normals < pneumonias]
    return sorted(minority, key=lambda c: (-count[c][0], c))


def _distribute_minority_clusters(cluster_of: Ints, normal: NDArray[np.bool_], folds: int) -> dict[int, int]:
    """Fold of each minority cluster: the largest first, each into the fold with the fewest minority normals so far."""
    normals_in_fold = [0] * folds
    fold_of_cluster = {}
    for cluster in minority_clusters(cluster_of, normal):
        fold_of_cluster[cluster] = normals_in_fold.index(min(normals_in_fold))
        normals_in_fold[fold_of_cluster[cluster]] += int(normal[cluster_of == cluster].sum())
    return fold_of_cluster


def _checked(folds: int) -> int:
    if not isinstance(folds, int | np.integer) or folds < 2:
        raise ConfigError(f"expected 2 or more folds, a whole number, found {folds!r}: change it")
    return folds


def _check_enough(labels: NDArray[np.str_], groups: Ints, folds: int, things: str) -> None:
    for name in np.unique(labels):
        if (found := len(np.unique(groups[labels == name]))) < _checked(folds):
            raise DataError(
                f"expected at least {folds} {things} with the class {name} to draw a validation set, found {found}: "
                "add films or ask for fewer folds"
            )


def _fold_of(drawn: Iterable[tuple[Ints, Ints]], count: int) -> Ints:
    """(n,) int, fold of each image, from pairs of training and held-out positions."""
    found = np.zeros(count, dtype=np.int64)
    for fold, (_, held_out) in enumerate(drawn):
        found[held_out] = fold
    return found

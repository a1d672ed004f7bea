"""Cross-validation with scikit-learn that a network cannot pass by knowing patients or acquisition clusters.

films = load("our-films")
with sklearn.config_context(enable_metadata_routing=True):
    cross_validate(model, features, films.labels, params={"groups": films.cluster_groups},
                   cv=ClusterFold(3), scoring=auc_within_clusters)
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.metadata_routing import MetadataRequest

from pneumoscope.data.folds import Ints, cluster_folds
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.evaluation.metrics import weighted_auc_within


class ClusterFold(BaseCrossValidator):  # type: ignore[misc]
    """Splitter of scikit-learn: folds that hold out the negatives of whole acquisition clusters, patients whole.

    Of a cluster in which most images are positive, training has positives alone, and the held-out fold all negatives: a model that
    knows the cluster instead of the disease fails there. The folds are those of the package's own detectors where `y` has as many
    classes (`folds.cluster_folds`).

    Attributes:
        n_splits: Number of folds, 2 or more.
        random_state: Seed of the draw, int.
    """

    # Splitters request `groups` where metadata is routed, as those of scikit-learn by group do.
    __metadata_request__split = {"groups": True}  # noqa: RUF012

    def __init__(self, n_splits: int = 3, *, random_state: int = 0) -> None:
        """Keeps the settings.

        Raises:
            ConfigError: Fewer than two folds.
        """
        if n_splits < 2:
            raise ConfigError(f"expected 2 or more folds, found {n_splits}: ask for more")
        self.n_splits, self.random_state = n_splits, random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds; all arguments are ignored."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Ints, Ints]]:
        """Positions of the training and of the held-out images of each fold.

        Args:
            X: (n, ...) images or features; their number alone is used.
            y: (n,) int or bool, class of each image, 0 for negative.
            groups: (n, 2), patient and acquisition cluster of each image, such as `LoadedRadiographs.cluster_groups`.

        Raises:
            InputError: Labels or groups of another form.
            DataError: Fewer patients of some class than folds.
        """
        yield from super().split(X, y, groups)

    def _iter_test_indices(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Ints]:
        labels, patient, cluster = _checked(y, groups)
        fold_of = cluster_folds(labels.astype(np.str_), labels == 0, patient, cluster, self.n_splits, self.random_state)
        for fold in range(self.n_splits):
            yield np.flatnonzero(fold_of == fold)


class _AucWithinClusters:
    """Scorer of scikit-learn; `auc_within_clusters` is the one that there is."""

    def __call__(self, estimator: Any, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> float:
        """AUC of an estimator within the acquisition clusters of a held-out fold.

        Args:
            estimator: Fitted classifier with `predict_proba` or `decision_function`.
            X: (n, ...) images or features.
            y: (n,) int or bool, class of each image, 0 for negative.
            groups: (n, 2), patient and acquisition cluster of each image.

        Returns:
            AUC in [0, 1], the mean over clusters; NaN where no cluster has three images of both classes.

        Raises:
            InputError: No groups, or labels or groups of another form.
        """
        if groups is None:
            raise InputError(
                'expected groups for auc_within_clusters, found none: pass params={"groups": ...} within '
                "sklearn.config_context(enable_metadata_routing=True)"
            )
        labels, _, cluster = _checked(y, groups)
        score = _positive_score(estimator, X)
        return float(weighted_auc_within(score, labels > 0, cluster, np.ones((1, len(score))))[0])

    def __repr__(self) -> str:
        return "auc_within_clusters"

    def get_metadata_routing(self) -> MetadataRequest:
        """Request for `groups`, by which scikit-learn passes those of the held-out images."""
        request = MetadataRequest(owner=repr(self))
        request.score.add_request(param="groups", alias=True)
        return request


auc_within_clusters = _AucWithinClusters()
"""Scorer of scikit-learn: mean over acquisition clusters of the AUC within each, which knowing the cluster does not raise."""


def _positive_score(estimator: Any, X: Any) -> NDArray[np.float64]:
    """(n,) score of the positive classes: one minus the probability of the first class, or the decision function."""
    if hasattr(estimator, "predict_proba"):
        return np.asarray(1 - estimator.predict_proba(X)[:, 0], dtype=np.float64)
    score = np.asarray(estimator.decision_function(X), dtype=np.float64)
    if score.ndim != 1:
        raise InputError(f"expected one score for an image, found {score.shape}: use a model with predict_proba")
    return score


def _checked(y: ArrayLike | None, groups: ArrayLike | None) -> tuple[Ints, Ints, Ints]:
    """(n,) int classes, patients and clusters.

    Raises:
        InputError: Another form.
    """
    labels, pairs = np.asarray(y), np.asarray(groups)
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise InputError(
            f"expected (n,) int labels with 0 for negative, found {labels.shape} {labels.dtype}: pass the classes as y"
        )
    if pairs.shape != (len(labels), 2):
        raise InputError(
            f"expected ({len(labels)}, 2) groups, patient and acquisition cluster of each image, found {pairs.shape}: pass "
            "groups=films.cluster_groups, or np.column_stack([patients, clusters])"
        )
    patient, cluster = (np.unique(pairs[:, column], return_inverse=True)[1].astype(np.int64) for column in (0, 1))
    return labels.astype(np.int64), patient, cluster

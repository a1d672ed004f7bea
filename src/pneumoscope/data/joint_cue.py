"""Cue of several properties together: boosted trees, fitted to other patients' images (`data/cues.py`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.cues import TOGETHER, Cue
from pneumoscope.data.labels import FOLDS, Labels
from pneumoscope.data.properties import Property
from pneumoscope.evaluation.intervals import LEVEL
from pneumoscope.evaluation.metrics import Floats
from pneumoscope.types import Split

# Settings of the trees: shallow ones, since a few properties are all there is.
_TREES: Mapping[str, Any] = {
    "max_iter": 40,
    "max_depth": 3,
    "min_samples_leaf": 10,
    "early_stopping": False,
    "random_state": 0,
}
_MOST_CATEGORIES = 40


def joint_cues(found: Sequence[Property], labels: Labels, present: Sequence[Split], level: float) -> list[Cue]:
    """Find cues of properties together, fitted to other patients' images; none where there are fewer than two, or too few images."""
    reference = labels.reference(present, np.ones(len(labels.label), dtype=bool))
    if reference is None or len(found) < 2:
        return []
    own = labels.of_split(reference)
    probability = _probabilities(found, labels, reference, own)
    auc = {
        target: labels.estimates(probability[:, target], target, own, LEVEL, within_folds=True)[0].value
        for target in labels.targets
        if labels.are_enough(target, own)
    }
    best = max(auc, key=lambda target: auc[target])
    cues = []
    for split in present[present.index(reference) :]:
        among = labels.of_split(split)
        if labels.are_enough(best, among):
            estimate, bound = labels.estimates(probability[:, best], best, among, level, split is reference)
            cues.append(Cue(split, TOGETHER, estimate, "", {}, "file", labels.classes[best], bound))
    return cues


def _probabilities(found: Sequence[Property], labels: Labels, reference: Split, own: NDArray[np.bool_]) -> Floats:
    """(n, classes) probabilities by trees that are fitted to the reference images of other patients."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = np.stack([_column(each, own) for each in found], axis=1)
    categorical = np.array([not each.is_number for each in found])
    probability = np.zeros((len(columns), len(labels.classes)))
    parts = [(own & (labels.fold != fold), own & (labels.fold == fold)) for fold in range(FOLDS)]
    if not own.all():
        parts.append((own, ~own))
    for train, held_out in parts:
        if held_out.any() and len(np.unique(labels.label[train])) > 1:
            used = np.isfinite(columns[train]).any(axis=0)
            trees = HistGradientBoostingClassifier(categorical_features=categorical[used], **_TREES)
            trees.fit(columns[train][:, used], labels.label[train])
            probability[np.ix_(held_out, trees.classes_)] = trees.predict_proba(columns[held_out][:, used])
    return probability


def _column(found: Property, own: NDArray[np.bool_]) -> Floats:
    """(n,) numbers, or numbers of words by their frequency; NaN where unknown or rare."""
    if found.is_number:
        return np.array(found.values, dtype=np.float64)
    words = np.array(found.values, dtype=object).astype(str)
    names, counts = np.unique(words[own], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES]
    code = {str(names[i]): float(rank) for rank, i in enumerate(order) if names[i]}
    return np.array([code.get(word, np.nan) for word in words], dtype=np.float64)

"""Labels and probabilities become numbers. Every function takes weights, so that a bootstrap needs no second code.

A weight is how often an image counts: all ones for the plain metric, a resample's multiplicities for an interval.
Weights are (resamples, n); results have one value per resample. A metric without the images it needs is NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import pneumonia_probability, predicted_classes
from pneumoscope.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINS = 15


def check_probabilities(probability: Floats, label: Ints) -> None:
    """Refuses what is not a table of class probabilities with labels.

    Args:
        probability: (n, classes) float in [0, 1], rows summing to 1. Logits are refused, not guessed.
        label: (n,) int in 0 to classes - 1.

    Raises:
        InputError: A shape, value or sum outside these ranges.
    """
    if probability.ndim != 2 or label.shape != probability.shape[:1]:
        raise InputError(
            f"expected (n, classes) probabilities and (n,) labels, found {probability.shape} and {label.shape}"
        )
    if not np.isfinite(probability).all() or probability.min(initial=0) < 0 or probability.max(initial=0) > 1:
        raise InputError("expected probabilities in [0, 1], found a value outside: apply softmax to logits first")
    if len(probability) and np.abs(probability.sum(axis=1) - 1).max() > 1e-3:
        raise InputError("expected probabilities that sum to 1 per film, found others: apply softmax to logits first")
    if len(label) and not (label.min() >= 0 and label.max() < probability.shape[1]):
        raise InputError(f"expected labels in 0 to {probability.shape[1] - 1}, found {label.min()} to {label.max()}")


def confusion_matrices(label: Ints, predicted: Ints, classes: int, weight: Floats) -> Floats:
    """Confusion matrices of all resamples.

    Args:
        label: (n,) int, the reference class.
        predicted: (n,) int, the answered class.
        classes: Their number.
        weight: (resamples, n) float, how often each image counts.

    Returns:
        (resamples, classes, classes) float; rows are reference classes, columns answers.
    """
    cell = np.eye(classes * classes)[label * classes + predicted]
    return np.asarray((weight @ cell).reshape(-1, classes, classes))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def accuracy(matrix: Floats) -> Floats:
    """Share of images answered right, from (..., classes, classes) confusion matrices; in [0, 1]."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def recall(matrix: Floats) -> Floats:
    """Share of each reference class answered right, (..., classes) in [0, 1]; NaN for a class without images."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def precision(matrix: Floats) -> Floats:
    """Share of each answer that is right, (..., classes) in [0, 1]; NaN for an answer never given."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-2))


def balanced_accuracy(matrix: Floats) -> Floats:
    """Mean recall over the classes, in [0, 1]; NaN where a class has no images."""
    return np.asarray(recall(matrix).mean(axis=-1))


def roc_auc(score: NDArray[np.floating], positive: NDArray[np.bool_] | Ints) -> float:
    """Area under the ROC curve: the chance that a random positive scores higher than a random negative, ties half.

    Args:
        score: (n,) float, higher speaks for positive.
        positive: (n,) bool or 0/1.

    Returns:
        In [0, 1]; NaN where one of the two kinds is missing.
    Source: Hanley and McNeil, Radiology 1982, doi 10.1148/radiology.143.1.7063747.
    """
    scores = np.asarray(score, dtype=np.float64)
    weight = np.ones((1, len(scores)))
    return float(weighted_roc_auc(scores, np.asarray(positive, dtype=bool), weight)[0])


def weighted_roc_auc(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats:
    """`roc_auc` of every resample, (resamples,).

    Args:
        score: (n,) float.
        positive: (n,) bool.
        weight: (resamples, n) float, how often each image counts.
    """
    if len(score) == 0:
        return np.full(len(weight), np.nan)
    _, tie = np.unique(score, return_inverse=True)
    order = np.argsort(tie, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(tie[order]) > 0])
    mass_positive = np.add.reduceat((weight * positive)[:, order], starts, axis=1)
    mass_negative = np.add.reduceat((weight * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(mass_negative, axis=1) - mass_negative / 2
    return _ratio((mass_positive * below).sum(axis=1), mass_positive.sum(axis=1) * mass_negative.sum(axis=1))


def roc_curve(score: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold from the strictest on, both starting at 0 and ending at 1."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.r_[np.diff(score[order]) != 0, True]
    true = np.cumsum(positive[order])[last_of_tie]
    false = np.cumsum(~positive[order])[last_of_tie]
    return np.r_[0.0, false / max(false[-1], 1)], np.r_[0.0, true / max(true[-1], 1)]


def expected_calibration_error(
    probability: Floats, positive: NDArray[np.bool_], weight: Floats, bins: int = BINS
) -> Floats:
    """Mean distance of what is said from what is so, over bins of equal width, for every resample.

    Args:
        probability: (n,) float in [0, 1], chance of pneumonia. Logits are refused, not guessed.
        positive: (n,) bool.
        weight: (resamples, n) float, how often each image counts.
        bins: Of [0, 1].

    Returns:
        (resamples,) in [0, 1]; NaN without images.

    Raises:
        InputError: A value outside its range.
    Source: Naeini et al., AAAI 2015.
    """
    check_chances(probability)
    if len(probability) == 0:
        return np.full(len(weight), np.nan)
    bin_of = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = (weight * (positive - probability)) @ np.eye(bins)[bin_of]
    return np.asarray(np.abs(gap).sum(axis=1) / weight.sum(axis=1))


def brier_score(probability: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats:
    """Mean squared distance of the probability of pneumonia from 1 or 0, (resamples,) in [0, 1]; NaN without images.

    Args:
        probability: (n,) float in [0, 1].
        positive: (n,) bool.
        weight: (resamples, n) float.
    Source: Brier, Monthly Weather Review 1950.
    """
    check_chances(probability)
    if len(probability) == 0:
        return np.full(len(weight), np.nan)
    return np.asarray((weight @ np.square(probability - positive)) / weight.sum(axis=1))


def check_chances(probability: Floats) -> None:
    """Refuses what is not (n,) probabilities.

    Raises:
        InputError: A value outside [0, 1].
    """
    if not np.isfinite(probability).all() or probability.min(initial=0) < 0 or probability.max(initial=0) > 1:
        raise InputError("expected probabilities in [0, 1], found a value outside: calibrate the logits first")


def measures(
    probability: Floats, label: Ints, class_names: Sequence[str], weight: Floats, threshold: float | None = None
) -> dict[str, Floats]:
    """Every number of the report, for every resample.

    Without a threshold the answer is the class of the highest probability, and of more than two classes the binary answer
    is pneumonia where the summed probability of the classes other than normal reaches 0.5, as in the study. With one, the
    answer is `decision.predicted_classes`, and the binary answer follows from it.

    Args:
        probability: (n, classes) float in [0, 1]; class 0 is normal.
        label: (n,) int.
        class_names: One per class.
        weight: (resamples, n) float, how often each image counts.
        threshold: Pneumonia from this probability on.

    Returns:
        Name to (resamples,) values.
    """
    classes = len(class_names)
    matrix = confusion_matrices(label, predicted_classes(probability, threshold), classes, weight)
    pneumonia = label > 0
    binary_probability = pneumonia_probability(probability)
    result = {"accuracy": accuracy(matrix), "balanced_accuracy": balanced_accuracy(matrix)}
    if classes > 2:
        answer = (binary_probability >= (0.5 if threshold is None else threshold)).astype(np.int64)
        binary = confusion_matrices(pneumonia.astype(np.int64), answer, 2, weight)
        result["binary_accuracy"] = accuracy(binary)
        result["binary_balanced_accuracy"] = balanced_accuracy(binary)
    else:
        binary = matrix
    result["sensitivity"] = recall(binary)[:, 1]
    result["specificity"] = recall(binary)[:, 0]
    result["auc"] = weighted_roc_auc(binary_probability, pneumonia, weight)
    result["ece"] = expected_calibration_error(binary_probability, pneumonia, weight)
    result["brier"] = brier_score(binary_probability, pneumonia, weight)
    if classes > 2:
        share = probability[:, 2] / np.maximum(binary_probability, 1e-300)
        result["auc_viral_vs_bacterial"] = weighted_roc_auc(
            share[pneumonia], label[pneumonia] == 2, weight[:, pneumonia]
        )
    for position, name in enumerate(class_names):
        result[f"recall_{name}"] = recall(matrix)[:, position]
        result[f"precision_{name}"] = precision(matrix)[:, position]
        if classes > 2:
            result[f"auc_{name}"] = weighted_roc_auc(probability[:, position], label == position, weight)
    return result

"""Metrics of classification, ranking and calibration, each for all bootstrap resamples at once.

Metrics take weights, (resamples, n): the number of times that a resample holds each image, all ones for the plain metric.
Confusion matrices and calibration bins are matrix products of the weights with one-hot rows; the AUC is a cumulative sum over
sorted scores. Results have one value per resample; a metric without the images it needs is NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import pneumonia_probability, predicted_classes
from pneumoscope.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINS = 15
# Positives, and negatives, below which the AUC within a group is not counted.
FEWEST_OF_GROUP = 3


def check_probabilities(probability: Floats, label: Ints) -> None:
    """Check that class probabilities and labels are valid.

    Args:
        probability: (n, classes) float in [0, 1], rows summing to 1; logits are refused, not converted.
        label: (n,) int in 0 to classes - 1.

    Raises:
        InputError: Shape, value or sum outside these ranges.
    """
    if probability.ndim != 2 or label.shape != probability.shape[:1]:
        raise InputError(
            f"expected (n, classes) probabilities and (n,) labels, found {probability.shape} and {label.shape}"
        )
    if not np.isfinite(probability).all() or probability.min(initial=0) < 0 or probability.max(initial=0) > 1:
        raise InputError("expected probabilities in [0, 1], found a value outside: apply softmax to logits first")
    if len(probability) and np.abs(probability.sum(axis=1) - 1).max() > 1e-3:
        raise InputError(
            "expected probabilities that sum to 1 per image, found other sums: apply softmax to logits first"
        )
    if len(label) and not (label.min() >= 0 and label.max() < probability.shape[1]):
        raise InputError(f"expected labels in 0 to {probability.shape[1] - 1}, found {label.min()} to {label.max()}")


def confusion_matrices(label: Ints, predicted: Ints, classes: int, weight: Floats) -> Floats:
    """Confusion matrix of every resample.

    Args:
        label: (n,) int, reference class.
        predicted: (n,) int, predicted class.
        classes: Number of classes.
        weight: (resamples, n) float, multiplicity of each image.

    Returns:
        (resamples, classes, classes) float; rows are reference classes, columns predicted classes.
    """
    cell = np.eye(classes * classes)[label * classes + predicted]
    return np.asarray((weight @ cell).reshape(-1, classes, classes))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient; NaN where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def accuracy(matrix: Floats) -> Floats:
    """Accuracy from (..., classes, classes) confusion matrices, (...) in [0, 1]."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def recall(matrix: Floats) -> Floats:
    """Recall of each class from (..., classes, classes) confusion matrices, (..., classes) in [0, 1]; NaN without images."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def precision(matrix: Floats) -> Floats:
    """Precision of each class from (..., classes, classes) confusion matrices, (..., classes) in [0, 1]; NaN if never predicted."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-2))


def balanced_accuracy(matrix: Floats) -> Floats:
    """Mean recall over the classes, in [0, 1]; NaN where a class has no images."""
    return np.asarray(recall(matrix).mean(axis=-1))


def roc_auc(score: NDArray[np.floating], positive: NDArray[np.bool_] | Ints) -> float:
    """Area under the ROC curve: probability that a random positive scores higher than a random negative, ties counted half.

    Args:
        score: (n,) float, higher for positive.
        positive: (n,) bool or 0/1.

    Returns:
        Area in [0, 1]; NaN where one of the two classes is missing.
    Source: Hanley and McNeil, Radiology 1982, doi 10.1148/radiology.143.1.7063747.
    """
    scores = np.asarray(score, dtype=np.float64)
    weight = np.ones((1, len(scores)))
    return float(weighted_roc_auc(scores, np.asarray(positive, dtype=bool), weight)[0])


def weighted_roc_auc(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats:
    """Area under the ROC curve of every resample, (resamples,) in [0, 1]; see `roc_auc`.

    Args:
        score: (n,) float, higher for positive.
        positive: (n,) bool.
        weight: (resamples, n) float, multiplicity of each image.
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


def weighted_auc_within(score: Floats, positive: NDArray[np.bool_], group: Ints, weight: Floats) -> Floats:
    """Weighted mean over groups of the AUC within each, of every resample.

    The weight of a group is the number of its positives or of its negatives, whichever is smaller; groups with fewer than three of
    either are left out, and of a resample those in which it has none of a class.

    Args:
        score: (n,) float, higher for positive.
        positive: (n,) bool.
        group: (n,) int, group of each image.
        weight: (resamples, n) float, multiplicity of each image.

    Returns:
        (resamples,) in [0, 1]; NaN where no group has enough images.
    """
    total, total_weight = np.zeros(len(weight)), np.zeros(len(weight))
    for each in np.unique(group):
        members = group == each
        smaller = min(int(positive[members].sum()), int((~positive)[members].sum()))
        if smaller >= FEWEST_OF_GROUP:
            auc = weighted_roc_auc(score[members], positive[members], weight[:, members])
            known = np.isfinite(auc)
            total[known] += smaller * auc[known]
            total_weight[known] += smaller
    return _ratio(total, total_weight)


def roc_curve(score: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False and true positive rates at descending thresholds.

    Args:
        score: (n,) float, higher for positive.
        positive: (n,) bool.

    Returns:
        (k,) false positive rates and (k,) true positive rates, both from 0 to 1.
    """
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.r_[np.diff(score[order]) != 0, True]
    true = np.cumsum(positive[order])[last_of_tie]
    false = np.cumsum(~positive[order])[last_of_tie]
    return np.r_[0.0, false / max(false[-1], 1)], np.r_[0.0, true / max(true[-1], 1)]


def expected_calibration_error(
    probability: Floats, positive: NDArray[np.bool_], weight: Floats, bins: int = BINS
) -> Floats:
    """Expected calibration error of every resample: mean |observed rate - mean probability| over bins of equal width.

    Args:
        probability: (n,) float in [0, 1], probability of pneumonia; logits are refused, not converted.
        positive: (n,) bool.
        weight: (resamples, n) float, multiplicity of each image.
        bins: Number of bins on [0, 1]; each is weighted by its images.

    Returns:
        (resamples,) in [0, 1]; NaN without images.

    Raises:
        InputError: Probability outside [0, 1].
    Source: Naeini et al., AAAI 2015.
    """
    check_binary_probabilities(probability)
    if len(probability) == 0:
        return np.full(len(weight), np.nan)
    bin_of = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = (weight * (positive - probability)) @ np.eye(bins)[bin_of]
    return np.asarray(np.abs(gap).sum(axis=1) / weight.sum(axis=1))


def brier_score(probability: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats:
    """Brier score of every resample: mean squared difference of probability and outcome, (resamples,) in [0, 1].

    Args:
        probability: (n,) float in [0, 1], probability of pneumonia.
        positive: (n,) bool.
        weight: (resamples, n) float, multiplicity of each image.

    Returns:
        (resamples,) in [0, 1]; NaN without images.

    Raises:
        InputError: Probability outside [0, 1].
    Source: Brier, Monthly Weather Review 1950.
    """
    check_binary_probabilities(probability)
    if len(probability) == 0:
        return np.full(len(weight), np.nan)
    return np.asarray((weight @ np.square(probability - positive)) / weight.sum(axis=1))


def check_binary_probabilities(probability: Floats) -> None:
    """Check that (n,) probabilities are finite and in [0, 1].

    Raises:
        InputError: Probability outside [0, 1].
    """
    if not np.isfinite(probability).all() or probability.min(initial=0) < 0 or probability.max(initial=0) > 1:
        raise InputError("expected probabilities in [0, 1], found a value outside: calibrate the logits first")


def compute_metrics(
    probability: Floats, label: Ints, class_names: Sequence[str], weight: Floats, threshold: float | None = None
) -> dict[str, Floats]:
    """Metrics of a report, for every resample.

    Without a threshold the predicted class is the most probable one; with more than two classes, the binary prediction is
    pneumonia where the summed probability of the classes other than normal is at least 0.5, as in the study. With a threshold,
    both follow from `decision.predicted_classes`.

    Args:
        probability: (n, classes) float in [0, 1]; class 0 is normal.
        label: (n,) int, reference class.
        class_names: (classes,) names.
        weight: (resamples, n) float, multiplicity of each image.
        threshold: Probability of pneumonia from which on the prediction is pneumonia, in [0, 1]; None for the most probable class.

    Returns:
        Name to (resamples,) values.
    """
    classes = len(class_names)
    matrix = confusion_matrices(label, predicted_classes(probability, threshold), classes, weight)
    result = {"accuracy": accuracy(matrix), "balanced_accuracy": balanced_accuracy(matrix)}
    binary = matrix
    if classes > 2:
        binary = _binary_confusion_matrices(probability, label, weight, 0.5 if threshold is None else threshold)
        result["binary_accuracy"] = accuracy(binary)
        result["binary_balanced_accuracy"] = balanced_accuracy(binary)
    result["sensitivity"] = recall(binary)[:, 1]
    result["specificity"] = recall(binary)[:, 0]
    result |= _probability_metrics(probability, label, weight)
    for index, name in enumerate(class_names):
        result[f"recall_{name}"] = recall(matrix)[:, index]
        result[f"precision_{name}"] = precision(matrix)[:, index]
        if classes > 2:
            result[f"auc_{name}"] = weighted_roc_auc(probability[:, index], label == index, weight)
    return result


def _binary_confusion_matrices(probability: Floats, label: Ints, weight: Floats, threshold: float) -> Floats:
    """Confusion matrices of normal against pneumonia, (resamples, 2, 2)."""
    predicted = (pneumonia_probability(probability) >= threshold).astype(np.int64)
    return confusion_matrices((label > 0).astype(np.int64), predicted, 2, weight)


def _probability_metrics(probability: Floats, label: Ints, weight: Floats) -> dict[str, Floats]:
    """Metrics that need no threshold: of pneumonia against normal and, with three classes, of viral against bacterial."""
    pneumonia = label > 0
    binary_probability = pneumonia_probability(probability)
    result = {
        "auc": weighted_roc_auc(binary_probability, pneumonia, weight),
        "ece": expected_calibration_error(binary_probability, pneumonia, weight),
        "brier": brier_score(binary_probability, pneumonia, weight),
    }
    if probability.shape[1] > 2:
        viral = probability[:, 2] / np.maximum(binary_probability, 1e-300)
        result["auc_viral_vs_bacterial"] = weighted_roc_auc(
            viral[pneumonia], label[pneumonia] == 2, weight[:, pneumonia]
        )
    return result

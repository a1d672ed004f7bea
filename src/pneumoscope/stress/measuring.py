"""Measures of a stress test: each trial's figures, and what the model relies on, with intervals over patients.

All intervals come from one bootstrap over patients, so that a change is paired with the unaltered radiographs. Accuracy is the
fraction of right decisions; balanced accuracy the mean of sensitivity and specificity, of which 0.5 is chance whatever the prevalence.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pneumoscope.evaluation.intervals import (
    Estimate,
    fraction_estimate,
    interval_of,
    patient_weights,
    simultaneous_estimate,
)
from pneumoscope.evaluation.metrics import (
    FEWEST_OF_GROUP,
    Floats,
    balanced_accuracy,
    confusion_matrices,
    expected_calibration_error,
    weighted_auc_within,
    weighted_roc_auc,
)
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.stress.alterations import STORED_ALIKE
from pneumoscope.stress.battery import UNALTERED, Trial, at_strength, other_class, same_class
from pneumoscope.stress.corruptions import CORRUPTIONS, STRENGTHS
from pneumoscope.stress.radiographs import FEWEST, Radiographs
from pneumoscope.stress.running import Predictions
from pneumoscope.stress.transplants import TRANSPLANTS

RESAMPLES = 1000


@dataclass(frozen=True)
class TrialMeasures:
    """Figures of a trial.

    Attributes:
        auc: AUC.
        accuracy: Accuracy at the model's threshold.
        balanced_accuracy: Balanced accuracy at the model's threshold.
        sensitivity: Fraction of positives that are called so.
        specificity: Fraction of negatives that are called so.
        auc_change: AUC minus that of the same radiographs unaltered.
        balanced_accuracy_change: Balanced accuracy minus that of the same radiographs unaltered.
        changed: Fraction of the radiographs that get another decision than unaltered.
    """

    auc: Estimate
    accuracy: Estimate
    balanced_accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    auc_change: Estimate
    balanced_accuracy_change: Estimate
    changed: float


@dataclass(frozen=True)
class Reliance:
    """Loss of a model when a property says the other class.

    Measured in balanced accuracy at the threshold that is best for the unaltered images. The AUC would not see a property that moves
    one class alone, such as compression, which can be added but not taken away.

    Attributes:
        same: Balanced accuracy where each radiograph has the property of another radiograph of its class.
        other: Balanced accuracy where each radiograph has the property of a radiograph of the other class.
        difference: The first minus the second: 0 where the model does not read the property, up to 1 where it reads nothing else. Its
            interval holds for all properties at once in 95 %.
    """

    same: Estimate
    other: Estimate
    difference: Estimate


@dataclass(frozen=True)
class StressMeasures:
    """All figures of a stress test.

    Attributes:
        trials: Figures by the name of the trial.
        reliance: Reliance by the name of the property.
        within: AUC within acquisition clusters, the negatives stored like positives; over all radiographs where clusters are unknown.
        within_images: Number of negatives and of positives behind it.
        clustered: Whether clusters are known.
        corruption_error: Balanced error at each corruption, 1 less the balanced accuracy, mean over the strengths; empty where none were run.
        calibration_error: Expected calibration error of the unaltered radiographs.
        best_threshold: Threshold at which the accuracy on the unaltered radiographs would be largest.
        best_accuracy: Accuracy at that threshold, which these radiographs themselves chose.
    """

    trials: dict[str, TrialMeasures]
    reliance: dict[str, Reliance]
    within: Estimate
    within_images: tuple[int, int]
    clustered: bool
    corruption_error: dict[str, float]
    calibration_error: Estimate
    best_threshold: float
    best_accuracy: float

    @property
    def plain(self) -> TrialMeasures:
        """Figures of the unaltered radiographs."""
        return self.trials[UNALTERED]

    @property
    def ranked(self) -> list[str]:
        """Properties, the one that the model relies on most first."""
        return sorted(self.reliance, key=lambda name: -self.reliance[name].difference.value)


def measure(
    radiographs: Radiographs, trials: tuple[Trial, ...], predictions: Predictions, threshold: float
) -> StressMeasures:
    """Measures of the predictions to a battery.

    Args:
        radiographs: Radiographs of the battery.
        trials: Trials that were run.
        predictions: Name of each to its (n,) probabilities.
        threshold: Probability from which on the model calls a radiograph positive.
    """
    draws = draws_of(radiographs)
    plain = predictions[UNALTERED]
    measured = {}
    # Trials of the same images, one after the other, are compared with the same figures of the unaltered ones.
    for _, group in groupby(trials, key=lambda trial: trial.most):
        together = list(group)
        own = together[0].positions(radiographs)
        positive, drawn = radiographs.positive[own], draws[:, own]
        plain_auc = weighted_roc_auc(plain[own], positive, drawn)
        for trial in together:
            measured[trial.name] = _trial(predictions[trial.name], plain[own], plain_auc, positive, drawn, threshold)
    within = stress_scores(radiographs, predictions, draws)
    error = expected_calibration_error(plain, radiographs.positive, draws)
    best = best_operating_point(plain, radiographs.positive).threshold
    return StressMeasures(
        measured,
        reliances(radiographs, predictions, draws),
        interval_of(float(within[0]), within[1:]),
        images_within(radiographs),
        radiographs.clusters is not None,
        _corruption_errors(measured),
        interval_of(float(error[0]), error[1:]),
        best,
        float(((plain >= best) == radiographs.positive).mean()),
    )


def draws_of(radiographs: Radiographs) -> Floats:
    """(1 + resamples, n) weights of the images: all alike, then of a bootstrap over patients, the same at every call."""
    resampled = patient_weights(radiographs.patients, np.random.default_rng(0), RESAMPLES)
    return np.vstack([np.ones(len(radiographs)), resampled])


def stress_scores(radiographs: Radiographs, predictions: Predictions, draws: Floats) -> Floats:
    """(draws,) AUC within acquisition clusters, the negatives with geometry and storage of positives.

    Over all radiographs where clusters are unknown; NaN where clusters with both classes have fewer than ten images of one.
    """
    alike = predictions[STORED_ALIKE]
    if radiographs.clusters is None:
        return weighted_roc_auc(alike, radiographs.positive, draws)
    if min(images_within(radiographs)) < FEWEST:
        return np.full(len(draws), np.nan)
    return weighted_auc_within(alike, radiographs.positive, radiographs.clusters, draws)


def images_within(radiographs: Radiographs) -> tuple[int, int]:
    """Number of negatives and of positives in acquisition clusters with enough of both; all where clusters are unknown."""
    positive = radiographs.positive
    clusters = np.zeros(len(positive), dtype=np.int64) if radiographs.clusters is None else radiographs.clusters
    counts = np.array(
        [np.bincount(clusters[positive == which], minlength=clusters.max() + 1) for which in (False, True)]
    )
    negatives, positives = counts[:, counts.min(axis=0) >= FEWEST_OF_GROUP].sum(axis=1)
    return int(negatives), int(positives)


def reliances(radiographs: Radiographs, predictions: Predictions, draws: Floats) -> dict[str, Reliance]:
    """Reliance on each property that is exchanged, by its name.

    Args:
        radiographs: Radiographs of the battery.
        predictions: Probabilities of the unaltered radiographs and of each exchange.
        draws: Weights from `draws_of`.
    """
    positive, patients = radiographs.positive, radiographs.patients
    threshold = best_operating_point(predictions[UNALTERED], positive, "balanced_accuracy").threshold
    found = {}
    for name in TRANSPLANTS:
        same, other = (
            _balanced(predictions[trial] >= threshold, positive, draws)
            for trial in (same_class(name), other_class(name))
        )
        value, *resampled = same - other
        difference = simultaneous_estimate(value, np.array(resampled), positive, patients, len(TRANSPLANTS))
        found[name] = Reliance(
            interval_of(float(same[0]), same[1:]),
            interval_of(float(other[0]), other[1:]),
            Estimate(float(value), max(-1.0, difference.low), min(1.0, difference.high)),
        )
    return found


def _balanced(called: NDArray[np.bool_], positive: NDArray[np.bool_], draws: Floats) -> Floats:
    """(draws,) balanced accuracy of decisions."""
    return balanced_accuracy(confusion_matrices(positive.astype(np.int64), called.astype(np.int64), 2, draws))


def _trial(
    prediction: Floats, plain: Floats, plain_auc: Floats, positive: NDArray[np.bool_], draws: Floats, threshold: float
) -> TrialMeasures:
    called, plainly = prediction >= threshold, plain >= threshold
    everyone, weight = np.ones(len(positive), dtype=bool), draws[1:]
    auc = weighted_roc_auc(prediction, positive, draws)
    balanced = _balanced(called, positive, draws)
    gain = balanced - _balanced(plainly, positive, draws)
    return TrialMeasures(
        interval_of(float(auc[0]), auc[1:]),
        fraction_estimate(called == positive, everyone, weight),
        interval_of(float(balanced[0]), balanced[1:]),
        fraction_estimate(called, positive, weight),
        fraction_estimate(~called, ~positive, weight),
        interval_of(float(auc[0] - plain_auc[0]), auc[1:] - plain_auc[1:]),
        interval_of(float(gain[0]), gain[1:]),
        float((called != plainly).mean()),
    )


def _corruption_errors(measured: dict[str, TrialMeasures]) -> dict[str, float]:
    return {
        name: float(np.mean([1 - measured[at_strength(name, s)].balanced_accuracy.value for s in STRENGTHS]))
        for name in CORRUPTIONS
        if at_strength(name, STRENGTHS[0]) in measured
    }

"""Performance of decisions: operating points, referrals, calibration, prediction sets, and acquisition clusters."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import DecisionPolicy, at_prevalence, pneumonia_probability
from pneumoscope.evaluation.calibration import calibration_curve, calibration_line, ece_under_perfect_calibration
from pneumoscope.evaluation.conformal import coverage_per_class, prediction_sets
from pneumoscope.evaluation.intervals import delong_interval, fraction_estimate, interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, brier_score, expected_calibration_error, roc_auc
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.evaluation.selective import risk_coverage

Flags = NDArray[np.bool_]
# Coverages at which the report gives the accuracy: fractions of images that are not referred.
_COVERAGES = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class DecisionOutcomes:
    """Images that a detector referred or rejected.

    Attributes:
        referred: Operating point to (n,) bool, images referred to a reader.
        outside: (n,) bool, images outside of what the detector was validated on, referred at any operating point.
        rejected: (n,) bool, images rejected, at any operating point.
    """

    referred: Mapping[str, Flags]
    outside: Flags
    rejected: Flags


def measure_decisions(
    table: PredictionTable,
    policy: DecisionPolicy,
    outcomes: DecisionOutcomes,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Measure a detector's decisions.

    Args:
        table: Probabilities and labels.
        policy: Operating points, prediction sets and assumed prevalence of the detector.
        outcomes: Images that the detector referred and rejected.
        clusters: (n,) int, acquisition cluster of each image; None where unknown.

    Returns:
        Plain data, as in `report.json`; fractions in [0, 1], with 95 % intervals by bootstrap over patients.
    """
    probability, positive = pneumonia_probability(table.probability), table.label > 0
    everything = np.ones_like(positive)
    weight = patient_weights(table.patients, np.random.default_rng(0))
    balanced = policy.operating_points["balanced"].threshold
    measured = {
        "auc_delong": asdict(delong_interval(probability, positive)),
        "operating_points": {
            name: {
                "measured": _measure_point(
                    probability >= point.threshold, positive, outcomes.referred[name], outcomes.rejected, weight
                )
            }
            | point.fitted
            for name, point in policy.operating_points.items()
        },
        "rejected": _fraction(outcomes.rejected, everything, weight),
        "outside": _fraction(outcomes.outside, everything, weight),
        "calibration": _measure_calibration(table, probability, positive, policy.prevalence),
        "answered": _accuracy_at_coverages(probability, positive, balanced),
        "conformal": {coverage: _measure_sets(table, lowest) for coverage, lowest in policy.conformal.items()},
    }
    if clusters is not None:
        measured["styles"] = _measure_clusters(clusters, probability, positive, balanced)
    return measured


def _fraction(hit: Flags, among: Flags, weight: Floats) -> dict[str, float]:
    return asdict(fraction_estimate(hit, among, weight))


def _measure_point(
    predicted: Flags, positive: Flags, referred: Flags, rejected: Flags, weight: Floats
) -> dict[str, dict[str, float]]:
    correct = predicted == positive
    everything = np.ones_like(positive)
    return {
        "sensitivity": _fraction(predicted, positive, weight),
        "specificity": _fraction(~predicted, ~positive, weight),
        "accuracy": _fraction(correct, everything, weight),
        "referred": _fraction(referred, everything, weight),
        "accuracy_of_answered": _fraction(correct, ~(referred | rejected), weight),
    }


def _measure_calibration(
    table: PredictionTable, probability: Floats, positive: Flags, assumed: float
) -> dict[str, Any]:
    observed = float(positive.mean())
    by_chance = ece_under_perfect_calibration(probability)
    measured: dict[str, Any] = {
        "curve": calibration_curve(probability, positive),
        "assumed_prevalence": assumed,
        "ece_by_chance": asdict(interval_of(float(by_chance.mean()), by_chance)),
    }
    if 0 < observed < 1:
        slope, intercept = calibration_line(probability, positive)
        at_observed = pneumonia_probability(at_prevalence(table.probability, assumed, observed))
        weight = np.ones((1, len(positive)))
        measured |= {
            "slope": slope,
            "intercept": intercept,
            "at_own_prevalence": {
                "prevalence": observed,
                "ece": float(expected_calibration_error(at_observed, positive, weight)[0]),
                "brier": float(brier_score(at_observed, positive, weight)[0]),
            },
        }
    return measured


def _accuracy_at_coverages(probability: Floats, positive: Flags, threshold: float) -> list[dict[str, float]]:
    coverage, risk = risk_coverage(probability, positive, threshold)
    positions = [min(len(coverage), max(1, round(fraction * len(coverage)))) - 1 for fraction in _COVERAGES]
    return [{"answered": float(coverage[i]), "accuracy": float(1 - risk[i])} for i in positions]


def _measure_sets(table: PredictionTable, lowest: tuple[float, ...]) -> dict[str, Any]:
    sets = prediction_sets(table.probability, lowest)
    size = sets.sum(axis=1)
    coverage = coverage_per_class(sets, table.label)
    return {
        "coverage": dict(zip(table.class_names, map(float, coverage), strict=True)),
        "mean_size": float(size.mean()),
        "one_class": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
    }


def _measure_clusters(
    clusters: NDArray[np.int64], probability: Floats, positive: Flags, threshold: float
) -> list[dict[str, Any]]:
    """Performance within each acquisition cluster, the largest first."""
    names, sizes = np.unique(clusters, return_counts=True)
    order = sorted(zip(names.tolist(), sizes.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [
        {"style": name} | _measure_cluster(probability[clusters == name], positive[clusters == name], threshold)
        for name, _ in order
    ]


def _measure_cluster(probability: Floats, positive: Flags, threshold: float) -> dict[str, Any]:
    """Counts and performance of the images of one cluster; None where undefined."""
    predicted, normal = probability >= threshold, ~positive
    return {
        "normal": int(normal.sum()),
        "pneumonia": int(positive.sum()),
        "specificity": float((~predicted[normal]).mean()) if normal.any() else None,
        "sensitivity": float(predicted[positive].mean()) if positive.any() else None,
        "auc": roc_auc(probability, positive) if positive.any() and normal.any() else None,
    }

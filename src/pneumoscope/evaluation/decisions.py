"""How a detector's decisions fare: operating points, referred images, calibration, prediction sets, image styles."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import DecisionPolicy, at_prevalence, pneumonia_probability
from pneumoscope.evaluation.calibration import calibration_curve, calibration_line, ece_under_perfect_calibration
from pneumoscope.evaluation.conformal import coverage_per_class, prediction_sets
from pneumoscope.evaluation.intervals import Estimate, delong_interval, interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, brier_score, expected_calibration_error, roc_auc
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.evaluation.selective import risk_coverage
from pneumoscope.types import OperatingPoint

Flags = NDArray[np.bool_]
# Shares of images answered for which the report tells how many answers are right.
_ANSWERED = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class DecisionOutcomes:
    """Images that a detector did not answer.

    Attributes:
        referred: Operating point to (n,) bool, images referred to a reader.
        unlike: (n,) bool, images referred for being unlike the training images, at any operating point.
        rejected: (n,) bool, images rejected, at any operating point.
    """

    referred: Mapping[str, Flags]
    unlike: Flags
    rejected: Flags


def measure_decisions(
    table: PredictionTable,
    policy: DecisionPolicy,
    outcomes: DecisionOutcomes,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Plain data for `report.json`; fractions in [0, 1], with 95 % intervals by bootstrap over patients.

    Args:
        table: Probabilities and labels.
        policy: Operating points, prediction sets and assumed prevalence of the detector.
        outcomes: Images that the detector referred and rejected.
        clusters: (n,) int, acquisition cluster of each image, where known.
    """
    probability, positive = pneumonia_probability(table.probability), table.label > 0
    everything = np.ones_like(positive)
    weight = patient_weights(table.patients, np.random.default_rng(0))
    balanced = policy.operating_points["balanced"].threshold
    measured = {
        "auc_delong": asdict(delong_interval(probability, positive)),
        "operating_points": {
            name: _point(point, probability, positive, outcomes.referred[name], outcomes.rejected, weight)
            | point.fitted
            for name, point in policy.operating_points.items()
        },
        "rejected": _fraction(outcomes.rejected, everything, weight),
        "unlike": _fraction(outcomes.unlike, everything, weight),
        "calibration": _calibration(table, probability, positive, policy.prevalence),
        "answered": _answered(probability, positive, balanced),
        "conformal": {coverage: _sets(table, lowest) for coverage, lowest in policy.conformal.items()},
    }
    if clusters is not None:
        measured["styles"] = _clusters(clusters, probability, positive, balanced)
    return measured


def _fraction(hit: Flags, among: Flags, weight: Floats) -> dict[str, float]:
    """Fraction of images with a property among some of them."""
    if not among.any():
        return asdict(Estimate(float("nan"), float("nan"), float("nan")))
    with np.errstate(invalid="ignore"):
        resampled = (weight @ (hit & among)) / (weight @ among)
    return asdict(interval_of(float(hit[among].mean()), resampled))


def _point(
    point: OperatingPoint, probability: Floats, positive: Flags, referred: Flags, rejected: Flags, weight: Floats
) -> dict[str, Any]:
    answer = probability >= point.threshold
    right = answer == positive
    everything = np.ones_like(positive)
    return {
        "measured": {
            "sensitivity": _fraction(answer, positive, weight),
            "specificity": _fraction(~answer, ~positive, weight),
            "accuracy": _fraction(right, everything, weight),
            "referred": _fraction(referred, everything, weight),
            "accuracy_of_answered": _fraction(right, ~(referred | rejected), weight),
        }
    }


def _calibration(table: PredictionTable, probability: Floats, positive: Flags, assumed: float) -> dict[str, Any]:
    known = float(positive.mean())
    by_chance = ece_under_perfect_calibration(probability)
    told: dict[str, Any] = {
        "curve": calibration_curve(probability, positive),
        "assumed_prevalence": assumed,
        "ece_by_chance": asdict(interval_of(float(by_chance.mean()), by_chance)),
    }
    if 0 < known < 1:
        slope, intercept = calibration_line(probability, positive)
        moved = pneumonia_probability(at_prevalence(table.probability, assumed, known))
        one = np.ones((1, len(positive)))
        told |= {
            "slope": slope,
            "intercept": intercept,
            "at_own_prevalence": {
                "prevalence": known,
                "ece": float(expected_calibration_error(moved, positive, one)[0]),
                "brier": float(brier_score(moved, positive, one)[0]),
            },
        }
    return told


def _answered(probability: Floats, positive: Flags, threshold: float) -> list[dict[str, float]]:
    coverage, risk = risk_coverage(probability, positive, threshold)
    places = [min(len(coverage), max(1, round(share * len(coverage)))) - 1 for share in _ANSWERED]
    return [{"answered": float(coverage[p]), "accuracy": float(1 - risk[p])} for p in places]


def _sets(table: PredictionTable, lowest: tuple[float, ...]) -> dict[str, Any]:
    sets = prediction_sets(table.probability, lowest)
    size = sets.sum(axis=1)
    found = coverage_per_class(sets, table.label)
    return {
        "coverage": dict(zip(table.class_names, map(float, found), strict=True)),
        "mean_size": float(size.mean()),
        "one_class": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
    }


def _clusters(
    clusters: NDArray[np.int64], probability: Floats, positive: Flags, threshold: float
) -> list[dict[str, Any]]:
    """Performance within each acquisition cluster, the largest first."""
    told = []
    for cluster in sorted(np.unique(clusters).tolist(), key=lambda s: (-int((clusters == s).sum()), s)):
        own = clusters == cluster
        answer, own_positive = probability[own] >= threshold, positive[own]
        told.append(
            {
                "style": cluster,
                "normal": int((~own_positive).sum()),
                "pneumonia": int(own_positive.sum()),
                "specificity": float((~answer[~own_positive]).mean()) if (~own_positive).any() else None,
                "sensitivity": float(answer[own_positive].mean()) if own_positive.any() else None,
                "auc": roc_auc(probability[own], own_positive)
                if own_positive.any() and (~own_positive).any()
                else None,
            }
        )
    return told

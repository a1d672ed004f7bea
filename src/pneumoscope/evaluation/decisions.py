"""How a detector's decisions fare: operating points, referred films, calibration, prediction sets, film styles."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import DecisionRule, at_prevalence, pneumonia_probability
from pneumoscope.evaluation.calibration import calibration_curve, calibration_line, error_by_chance
from pneumoscope.evaluation.conformal import coverage_per_class, prediction_sets
from pneumoscope.evaluation.intervals import Estimate, delong_interval, interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, brier_score, expected_calibration_error, roc_auc
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.evaluation.selective import risk_coverage

Flags = NDArray[np.bool_]
# Shares of films answered for which the report tells how many answers are right.
_ANSWERED = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class Rules:
    """What a detector decides by.

    Attributes:
        points: Operating points by name; `balanced` is the one that answers.
        conformal: Promised coverage to the lowest probability per class that belongs to the set.
        prevalence: That its probabilities assume.
    """

    points: Mapping[str, DecisionRule]
    conformal: Mapping[str, tuple[float, ...]]
    prevalence: float


def judge_decisions(
    table: PredictionTable,
    rules: Rules,
    styles: NDArray[np.int64] | None = None,
    unlike: Flags | None = None,
    rejected: Flags | None = None,
) -> dict[str, Any]:
    """Plain data for `report.json`; shares in [0, 1], with 95 % intervals by bootstrap over patients.

    Args:
        table: Answers and labels.
        rules: Of the detector.
        styles: (n,) int, the film style of each film, where known.
        unlike: (n,) bool, films referred for being unlike those that the detector learnt from; none where None.
        rejected: (n,) bool, films that the input guard does not take for chest films; none where None.
    """
    chance, positive = pneumonia_probability(table.probability), table.label > 0
    unlike, rejected = (np.zeros_like(positive) if flags is None else flags for flags in (unlike, rejected))
    weight = patient_weights(table.patients, np.random.default_rng(0))
    told = {
        "auc_delong": asdict(delong_interval(chance, positive)),
        "operating_points": {
            name: _point(rule, chance, positive, unlike, rejected, weight) | asdict(rule)
            for name, rule in rules.points.items()
        },
        "rejected": _share(rejected, np.ones_like(positive), weight),
        "unlike": _share(unlike, np.ones_like(positive), weight),
        "calibration": _calibration(table, chance, positive, rules.prevalence),
        "answered": _answered(chance, positive, rules.points["balanced"].threshold),
        "conformal": {coverage: _sets(table, lowest) for coverage, lowest in rules.conformal.items()},
    }
    if styles is not None:
        told["styles"] = _styles(styles, chance, positive, rules.points["balanced"].threshold)
    return told


def _share(hit: Flags, among: Flags, weight: Floats) -> dict[str, float]:
    """Share of films with a property among some of them."""
    if not among.any():
        return asdict(Estimate(float("nan"), float("nan"), float("nan")))
    with np.errstate(invalid="ignore"):
        resampled = (weight @ (hit & among)) / (weight @ among)
    return asdict(interval_of(float(hit[among].mean()), resampled))


def _point(
    rule: DecisionRule, chance: Floats, positive: Flags, unlike: Flags, rejected: Flags, weight: Floats
) -> dict[str, Any]:
    answer = chance >= rule.threshold
    right = answer == positive
    referred = (rule.refers(chance) | unlike) & ~rejected
    everything = np.ones_like(positive)
    return {
        "measured": {
            "sensitivity": _share(answer, positive, weight),
            "specificity": _share(~answer, ~positive, weight),
            "accuracy": _share(right, everything, weight),
            "referred": _share(referred, everything, weight),
            "accuracy_of_answered": _share(right, ~(referred | rejected), weight),
        }
    }


def _calibration(table: PredictionTable, chance: Floats, positive: Flags, assumed: float) -> dict[str, Any]:
    known = float(positive.mean())
    by_chance = error_by_chance(chance)
    told: dict[str, Any] = {
        "curve": calibration_curve(chance, positive),
        "assumed_prevalence": assumed,
        "ece_by_chance": asdict(interval_of(float(by_chance.mean()), by_chance)),
    }
    if 0 < known < 1:
        slope, intercept = calibration_line(chance, positive)
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


def _answered(chance: Floats, positive: Flags, threshold: float) -> list[dict[str, float]]:
    coverage, risk = risk_coverage(chance, positive, threshold)
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


def _styles(styles: NDArray[np.int64], chance: Floats, positive: Flags, threshold: float) -> list[dict[str, Any]]:
    """The styles with the most films first."""
    told = []
    for style in sorted(np.unique(styles).tolist(), key=lambda s: (-int((styles == s).sum()), s)):
        own = styles == style
        answer, sick = chance[own] >= threshold, positive[own]
        told.append(
            {
                "style": style,
                "normal": int((~sick).sum()),
                "pneumonia": int(sick.sum()),
                "specificity": float((~answer[~sick]).mean()) if (~sick).any() else None,
                "sensitivity": float(answer[sick].mean()) if sick.any() else None,
                "auc": roc_auc(chance[own], sick) if sick.any() and (~sick).any() else None,
            }
        )
    return told

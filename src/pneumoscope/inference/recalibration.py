"""Logits of labelled films become calibration and operating points; a bundle refitted to a site's own films."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import NamedOperatingPoint
from pneumoscope.config import DetectorConfig
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.calibration import fit_calibration
from pneumoscope.evaluation.conformal import fit_conformal
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc
from pneumoscope.evaluation.selective import fit_refer_band
from pneumoscope.evaluation.thresholds import (
    OperatingPoint,
    best_operating_point,
    operating_point_at_sensitivity,
    operating_point_at_specificity,
)

_COVERAGES = (0.9, 0.95)


def fit_decision(
    logit: NDArray[np.floating], label: Ints, settings: DetectorConfig, weight: Floats | None = None
) -> dict[str, Any]:
    """Calibration, operating points and prediction sets, as plain data.

    Args:
        logit: (n, classes) of films that the network did not learn from.
        label: (n,) int, normal first.
        settings: What the operating points are to reach.
        weight: (n,) how much each film counts; by default, as much as makes normals and pneumonias count alike.
    """
    sick = label > 0
    counts = np.where(sick, 0.5 / sick.mean(), 0.5 / (1 - sick.mean())) if weight is None else weight
    calibration = fit_calibration(logit, label, weight=counts)
    probability = calibration.probabilities(logit)
    chance = pneumonia_probability(probability)
    points = {
        "balanced": best_operating_point(chance, sick, "balanced_accuracy", counts),
        "sensitive": operating_point_at_sensitivity(chance, sick, settings.sensitivity, counts),
        "specific": operating_point_at_specificity(chance, sick, settings.specificity, counts),
    }
    return {
        "calibration": asdict(calibration),
        "prevalence": 0.5,
        "operating_points": {
            name: asdict(_named(point, chance, settings.refer_share)) for name, point in points.items()
        },
        "conformal": {str(coverage): fit_conformal(probability, label, coverage) for coverage in _COVERAGES},
        "films": len(label),
        "auc": roc_auc(chance, sick),
    }


def _named(point: OperatingPoint, chance: Floats, share: float) -> NamedOperatingPoint:
    threshold = float(np.clip(point.threshold, 1e-6, 1 - 1e-6))
    band = fit_refer_band(chance, threshold, share)
    return NamedOperatingPoint(**asdict(band), sensitivity=point.sensitivity, specificity=point.specificity)

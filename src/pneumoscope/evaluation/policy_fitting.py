"""Fitting of a decision policy: calibration, operating points and prediction sets from the logits of labelled images."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import DetectorConfig
from pneumoscope.decision import DecisionPolicy, pneumonia_probability
from pneumoscope.evaluation.calibration import fit_calibration, fit_pneumonia_calibration
from pneumoscope.evaluation.conformal import fit_conformal
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc
from pneumoscope.evaluation.selective import fit_refer_band
from pneumoscope.evaluation.thresholds import (
    best_operating_point,
    operating_point_at_sensitivity,
    operating_point_at_specificity,
)
from pneumoscope.types import OperatingPoint

_COVERAGES = (0.9, 0.95)


@dataclass(frozen=True)
class FittedPolicy:
    """A decision policy with the images it was fitted on.

    Attributes:
        policy: Calibration, operating points and prediction sets.
        images: Number of images it was fitted on.
        auc: Area under the ROC curve, pneumonia against normal, on these images, in [0, 1].
    """

    policy: DecisionPolicy
    images: int
    auc: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `decision.json`."""
        return self.policy.to_dict() | {"films": self.images, "auc": self.auc}


def balancing_weights(positive: NDArray[np.bool_]) -> Floats:
    """(n,) weights of mean 1, by which the negative and the positive images, (n,) bool, count alike."""
    return np.asarray(np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean())))


def fit_policy(
    logit: NDArray[np.floating],
    label: Ints,
    settings: DetectorConfig,
    weight: Floats | None = None,
    etiologies: bool = True,
) -> FittedPolicy:
    """Fit calibration, operating points and prediction sets.

    Args:
        logit: (n, classes) logits of images that the network was not trained on.
        label: (n,) int, normal first.
        settings: Targets of the operating points.
        weight: (n,) weight of each image; by default normal and pneumonia get equal total weight.
        etiologies: Whether the labels distinguish bacterial and viral; where they do not, any label above 0 is pneumonia and
            no prediction sets are fitted.
    """
    positive = label > 0
    counts = balancing_weights(positive) if weight is None else weight
    if etiologies:
        calibration = fit_calibration(logit, label, weight=counts)
    else:
        calibration = fit_pneumonia_calibration(logit, positive, counts)
    class_probability = calibration.probabilities(logit)
    probability = pneumonia_probability(class_probability)
    points = _operating_points(probability, positive, settings, counts)
    coverages = _COVERAGES if etiologies else ()
    conformal = {str(coverage): fit_conformal(class_probability, label, coverage) for coverage in coverages}
    policy = DecisionPolicy(calibration, 0.5, points, conformal)
    return FittedPolicy(policy, len(label), roc_auc(probability, positive))


def _operating_points(
    probability: Floats, positive: NDArray[np.bool_], settings: DetectorConfig, weight: Floats
) -> dict[str, OperatingPoint]:
    points = {
        "balanced": best_operating_point(probability, positive, "balanced_accuracy", weight),
        "sensitive": operating_point_at_sensitivity(probability, positive, settings.sensitivity, weight),
        "specific": operating_point_at_specificity(probability, positive, settings.specificity, weight),
    }
    return {name: _with_refer_band(point, probability, settings.refer_share) for name, point in points.items()}


def _with_refer_band(point: OperatingPoint, probability: Floats, fraction: float) -> OperatingPoint:
    threshold = float(np.clip(point.threshold, 1e-6, 1 - 1e-6))
    low, high = fit_refer_band(probability, threshold, fraction)
    return replace(point, threshold=threshold, refer_from=low, refer_to=high)

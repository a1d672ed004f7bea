"""Logits to calibrated probabilities to decisions: NumPy only, no image, no network.

logit --Calibration--> class probability --pneumonia_probability--> probability --decide, at an OperatingPoint--> Decision
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.types import Decision, OperatingPoint

Floats = NDArray[np.float64]
# Smallest probability whose logarithm is taken, so that it is finite.
_SMALLEST = 1e-30


@dataclass(frozen=True)
class Calibration:
    """Temperature and bias per class, fitted on validation images.

    Attributes:
        temperature: Divisor of the logits, above 0; above 1 for an overconfident network.
        bias: (classes,) offsets added to the scaled logits; none where empty.

    Raises:
        InputError: Value that is not finite, or temperature of 0 or less.
    Source: Guo et al., ICML 2017, arXiv 1706.04599; with biases: Alexandari et al., ICML 2020, arXiv 1901.06852.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0 and np.isfinite(self.bias).all()):
            raise InputError(f"expected a finite calibration with a temperature above 0, found {self}: fit it again")

    def probabilities(self, logit: NDArray[np.floating]) -> Floats:
        """Calibrated probabilities of (n, classes) logits: (n, classes) float64 in [0, 1], rows summing to 1."""
        scaled = np.asarray(logit, dtype=np.float64) / self.temperature
        return softmax(scaled + np.asarray(self.bias) if self.bias else scaled)


@dataclass(frozen=True)
class DecisionPolicy:
    """Everything that turns a network's logits into decisions.

    Attributes:
        calibration: Calibration of the logits.
        prevalence: Prevalence of pneumonia that the probabilities assume, in (0, 1); both etiologies equally frequent.
        operating_points: Name to operating point; `balanced` is always there.
        conformal: Coverage, such as "0.9", to the lowest probability per class that belongs to the prediction set.
    """

    calibration: Calibration
    prevalence: float
    operating_points: Mapping[str, OperatingPoint]
    conformal: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in manifests and `decision.json`."""
        return {
            "calibration": asdict(self.calibration),
            "prevalence": self.prevalence,
            "operating_points": {name: point.fitted for name, point in self.operating_points.items()},
            "conformal": {coverage: list(lowest) for coverage, lowest in self.conformal.items()},
        }


def softmax(logit: Floats) -> Floats:
    """Softmax of (n, classes) logits: (n, classes) float64 in [0, 1], rows summing to 1."""
    raised: Floats = np.exp(logit - logit.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def logits_of(probability: Floats) -> Floats:
    """(n, classes) finite logits, whose softmax is the given (n, classes) probabilities."""
    return np.asarray(np.log(np.maximum(probability, _SMALLEST)))


def pneumonia_probability(class_probability: Floats) -> Floats:
    """(n,) probability of pneumonia in [0, 1]: sum over the classes other than normal of (n, classes), normal first."""
    # The sum may exceed 1 by rounding.
    return np.asarray(np.minimum(class_probability[:, 1:].sum(axis=1), 1.0))


def predicted_classes(class_probability: Floats, threshold: float | None = None) -> NDArray[np.int64]:
    """(n,) int, predicted class of each image, from (n, classes) probabilities, normal first.

    Args:
        class_probability: (n, classes) float in [0, 1].
        threshold: Probability of pneumonia below which the prediction is normal, and from which on it is the most probable
            of the other classes; None for the most probable class of all.
    """
    if threshold is None:
        return np.asarray(class_probability.argmax(axis=1), dtype=np.int64)
    etiology = 1 + class_probability[:, 1:].argmax(axis=1)
    return np.where(pneumonia_probability(class_probability) >= threshold, etiology, 0).astype(np.int64)


def at_prevalence(class_probability: Floats, assumed: float, prevalence: float) -> Floats:
    """Class probabilities at another prevalence of pneumonia, by Bayes' rule.

    The distribution of images within a class is assumed constant (label shift), as is the ratio of bacterial to viral.

    Args:
        class_probability: (n, classes), normal first.
        assumed: Prevalence that the probabilities hold for, in (0, 1).
        prevalence: New prevalence, in (0, 1).

    Raises:
        InputError: Prevalence outside (0, 1).
    Source: Saerens et al., Neural Computation 2002, doi 10.1162/089976602753284446, equation 2.4.
    """
    if not (0 < assumed < 1 and 0 < prevalence < 1):
        raise InputError(
            f"expected a prevalence above 0 and below 1, found {prevalence if 0 < assumed < 1 else assumed:g}: change it"
        )
    factor = np.full(class_probability.shape[1], prevalence / assumed)
    factor[0] = (1 - prevalence) / (1 - assumed)
    moved: Floats = class_probability * factor
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def point_at_prevalence(point: OperatingPoint, assumed: float, prevalence: float) -> OperatingPoint:
    """Operating point with its thresholds converted to probabilities at another prevalence."""
    edges = np.array([point.threshold, point.refer_from, point.refer_to])
    shown = pneumonia_probability(at_prevalence(np.stack([1 - edges, edges], axis=1), assumed, prevalence))
    threshold, low, high = map(float, shown)
    return replace(point, threshold=threshold, refer_from=min(low, threshold), refer_to=max(high, threshold))


def is_referred(probability: Floats, point: OperatingPoint) -> NDArray[np.bool_]:
    """(n,) bool, whether each of (n,) probabilities of pneumonia lies in the band that is referred to a reader."""
    return np.asarray((probability >= point.refer_from) & (probability < point.refer_to))


def decide(probability: Floats, point: OperatingPoint) -> list[Decision]:
    """Decision for each of (n,) probabilities of pneumonia."""
    positive = probability >= point.threshold
    return [
        Decision.REFER if refer else Decision.PNEUMONIA if above else Decision.NORMAL
        for refer, above in zip(is_referred(probability, point).tolist(), positive.tolist(), strict=True)
    ]

"""Operating points: thresholds on a score, and the performance of each. To be fitted on validation images only."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats
from pneumoscope.types import OperatingPoint

Goal = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True)
class ThresholdSweep:
    """Performance of every threshold that tells the images apart, from the lowest (all positive) to the highest (none).

    Attributes:
        threshold: (k,) thresholds, each midway between two neighbouring scores; positive from it on.
        sensitivity: (k,) in [0, 1].
        specificity: (k,) in [0, 1].
        accuracy: (k,) in [0, 1].
    """

    threshold: Floats
    sensitivity: Floats
    specificity: Floats
    accuracy: Floats

    @property
    def balanced_accuracy(self) -> Floats:
        """(k,) mean of sensitivity and specificity, in [0, 1]."""
        return np.asarray((self.sensitivity + self.specificity) / 2)

    def point(self, position: int) -> OperatingPoint:
        """Operating point at a position in the sweep, without a band to refer."""
        # Behind the highest score, where nothing is positive, the sweep goes a hair beyond 1.
        threshold = min(float(self.threshold[position]), 1.0)
        rates = float(self.sensitivity[position]), float(self.specificity[position])
        return OperatingPoint(threshold, threshold, threshold, *rates)


def sweep_thresholds(score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None) -> ThresholdSweep:
    """Performance of every threshold.

    Args:
        score: (n,) float in [0, 1], higher for pneumonia.
        positive: (n,) bool, whether the image shows pneumonia.
        weight: (n,) float, weight of each image; equal where None.

    Raises:
        InputError: One of the two classes is missing, or a score is not finite.
    """
    counts = np.ones(len(score)) if weight is None else weight
    positives, negatives = float(counts[positive].sum()), float(counts[~positive].sum())
    if positives == 0 or negatives == 0 or not np.isfinite(score).all():
        raise InputError(
            "expected finite scores of normal and pneumonia images, "
            f"found {int((~positive).sum())} and {int(positive.sum())} images: add images"
        )
    levels, level = np.unique(score, return_inverse=True)
    cuts = np.r_[levels[0], (levels[:-1] + levels[1:]) / 2, np.nextafter(levels[-1], np.inf)]
    below = np.zeros((2, len(cuts)))
    for row, chosen in enumerate((positive, ~positive)):
        below[row, 1:] = np.cumsum(np.bincount(level[chosen], counts[chosen], len(levels)))
    found, spared = positives - below[0], below[1]
    return ThresholdSweep(cuts, found / positives, spared / negatives, (found + spared) / (positives + negatives))


def best_operating_point(
    score: Floats, positive: NDArray[np.bool_], goal: Goal = "accuracy", weight: Floats | None = None
) -> OperatingPoint:
    """Operating point with the highest value of the goal; of equal ones the middle one, furthest from both sides."""
    sweep = sweep_thresholds(score, positive, weight)
    values = sweep.accuracy if goal == "accuracy" else sweep.balanced_accuracy
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return sweep.point(int(best[len(best) // 2]))


def operating_point_at_sensitivity(
    score: Floats, positive: NDArray[np.bool_], sensitivity: float, weight: Floats | None = None
) -> OperatingPoint:
    """Most specific operating point with at least this sensitivity."""
    sweep = sweep_thresholds(score, positive, weight)
    return sweep.point(int(np.flatnonzero(sweep.sensitivity >= sensitivity - 1e-12)[-1]))


def operating_point_at_specificity(
    score: Floats, positive: NDArray[np.bool_], specificity: float, weight: Floats | None = None
) -> OperatingPoint:
    """Most sensitive operating point with at least this specificity."""
    sweep = sweep_thresholds(score, positive, weight)
    return sweep.point(int(np.flatnonzero(sweep.specificity >= specificity - 1e-12)[0]))

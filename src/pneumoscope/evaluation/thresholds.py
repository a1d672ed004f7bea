"""Operating points: thresholds on a score and the performance of each, to be fitted on validation images only.

Cumulative sums of the weights of positives and negatives over the sorted scores give sensitivity, specificity and accuracy at
all thresholds; an operating point is the threshold with the best value of a goal, or the first to reach a target.
"""

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
    """Performance at every distinct threshold, from the lowest (all images positive) to the highest (none).

    Attributes:
        threshold: (k,) thresholds, each midway between two neighbouring scores; positive from it on.
        sensitivity: (k,) sensitivity in [0, 1].
        specificity: (k,) specificity in [0, 1].
        accuracy: (k,) accuracy in [0, 1].
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
        # The last threshold, at which no image is positive, may exceed 1 by one rounding step.
        threshold = min(float(self.threshold[position]), 1.0)
        rates = float(self.sensitivity[position]), float(self.specificity[position])
        return OperatingPoint(threshold, threshold, threshold, *rates)


def sweep_thresholds(score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None) -> ThresholdSweep:
    """Compute the performance at every distinct threshold.

    Args:
        score: (n,) float in [0, 1], higher for pneumonia.
        positive: (n,) bool, whether the image shows pneumonia.
        weight: (n,) float, weight of each image; equal where None.

    Raises:
        InputError: Missing class, or score that is not finite.
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
    for row, of_class in enumerate((positive, ~positive)):
        below[row, 1:] = np.cumsum(np.bincount(level[of_class], counts[of_class], len(levels)))
    true_positives, true_negatives = positives - below[0], below[1]
    accuracy = (true_positives + true_negatives) / (positives + negatives)
    return ThresholdSweep(cuts, true_positives / positives, true_negatives / negatives, accuracy)


def best_operating_point(
    score: Floats, positive: NDArray[np.bool_], goal: Goal = "accuracy", weight: Floats | None = None
) -> OperatingPoint:
    """Operating point with the highest value of the goal; the middle one of several equal ones."""
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

"""Where to say pneumonia: thresholds on a score, and what each gives. Fit them on validation films only."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats

Goal = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it gave on the films it was fitted on.

    Attributes:
        threshold: Pneumonia where the score is at least this.
        sensitivity: Share of pneumonias found, in [0, 1].
        specificity: Share of normals let go, in [0, 1].
        accuracy: Share answered right, in [0, 1].
    """

    threshold: float
    sensitivity: float
    specificity: float
    accuracy: float

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity, in [0, 1]."""
        return (self.sensitivity + self.specificity) / 2


def operating_points(score: Floats, positive: NDArray[np.bool_]) -> list[OperatingPoint]:
    """One per set of films that a threshold can tell apart, from the lowest threshold (all positive) to the highest (none).

    Each threshold lies midway between two neighbouring scores.

    Args:
        score: (n,) float, higher speaks for pneumonia.
        positive: (n,) bool, whether the film shows pneumonia.

    Raises:
        InputError: One of the two kinds is missing, or a score is not a number.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0 or not np.isfinite(score).all():
        raise InputError(
            f"expected finite scores of normal and pneumonia films, found {negatives} and {positives} films: add films"
        )
    levels = np.unique(score)
    cuts = np.r_[levels[0], (levels[:-1] + levels[1:]) / 2, np.nextafter(levels[-1], np.inf)]
    found = positives - np.searchsorted(np.sort(score[positive]), cuts)
    spared = np.searchsorted(np.sort(score[~positive]), cuts)
    columns = (cuts, found / positives, spared / negatives, (found + spared) / len(score))
    return [OperatingPoint(*map(float, row)) for row in np.stack(columns, axis=1)]


def best_operating_point(score: Floats, positive: NDArray[np.bool_], goal: Goal = "accuracy") -> OperatingPoint:
    """The operating point with the highest value of the goal; of equal ones the middle one, furthest from both sides."""
    points = operating_points(score, positive)
    values = np.array([getattr(point, goal) for point in points])
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return points[int(best[len(best) // 2])]


def operating_point_at_sensitivity(score: Floats, positive: NDArray[np.bool_], sensitivity: float) -> OperatingPoint:
    """The most specific operating point that finds at least this share of the pneumonias."""
    return [p for p in operating_points(score, positive) if p.sensitivity >= sensitivity][-1]


def operating_point_at_specificity(score: Floats, positive: NDArray[np.bool_], specificity: float) -> OperatingPoint:
    """The most sensitive operating point that lets go at least this share of the normals."""
    return next(p for p in operating_points(score, positive) if p.specificity >= specificity)

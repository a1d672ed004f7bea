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


def operating_points(score: Floats, positive: NDArray[np.bool_], weight: Floats | None = None) -> list[OperatingPoint]:
    """One per set of films that a threshold can tell apart, from the lowest threshold (all positive) to the highest (none).

    Each threshold lies midway between two neighbouring scores.

    Args:
        score: (n,) float, higher speaks for pneumonia.
        positive: (n,) bool, whether the film shows pneumonia.
        weight: (n,) float, how much each film counts; all alike where None.

    Raises:
        InputError: One of the two kinds is missing, or a score is not a number.
    """
    counts = np.ones(len(score)) if weight is None else weight
    positives, negatives = float(counts[positive].sum()), float(counts[~positive].sum())
    if positives == 0 or negatives == 0 or not np.isfinite(score).all():
        raise InputError(
            "expected finite scores of normal and pneumonia films, "
            f"found {int((~positive).sum())} and {int(positive.sum())} films: add films"
        )
    levels, level = np.unique(score, return_inverse=True)
    cuts = np.r_[levels[0], (levels[:-1] + levels[1:]) / 2, np.nextafter(levels[-1], np.inf)]
    below = np.zeros((2, len(cuts)))
    for kind, chosen in enumerate((positive, ~positive)):
        below[kind, 1:] = np.cumsum(np.bincount(level[chosen], counts[chosen], len(levels)))
    found, spared = positives - below[0], below[1]
    columns = (cuts, found / positives, spared / negatives, (found + spared) / (positives + negatives))
    return [OperatingPoint(*map(float, row)) for row in np.stack(columns, axis=1)]


def best_operating_point(
    score: Floats, positive: NDArray[np.bool_], goal: Goal = "accuracy", weight: Floats | None = None
) -> OperatingPoint:
    """The operating point with the highest value of the goal; of equal ones the middle one, furthest from both sides."""
    points = operating_points(score, positive, weight)
    values = np.array([getattr(point, goal) for point in points])
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return points[int(best[len(best) // 2])]


def operating_point_at_sensitivity(
    score: Floats, positive: NDArray[np.bool_], sensitivity: float, weight: Floats | None = None
) -> OperatingPoint:
    """The most specific operating point that finds at least this share of the pneumonias."""
    return [p for p in operating_points(score, positive, weight) if p.sensitivity >= sensitivity - 1e-12][-1]


def operating_point_at_specificity(
    score: Floats, positive: NDArray[np.bool_], specificity: float, weight: Floats | None = None
) -> OperatingPoint:
    """The most sensitive operating point that lets go at least this share of the normals."""
    return next(p for p in operating_points(score, positive, weight) if p.specificity >= specificity - 1e-12)

"""Drift of image statistics: population stability index of a window of images against the reference of a bundle.

The reference cuts each statistic into bins of equal counts. The index of a window with bin fractions p against reference
fractions q is the sum over bins of (p - q) ln(p / q). Without drift it is distributed as (1 / n + 1 / m) times a chi-squared
variable with BINS - 1 degrees of freedom, for n images in the window and m in the reference.

Source: Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation 2020,
doi 10.21314/JRMV.2020.227.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.evaluation.metrics import Floats

BINS = 10
# 99.9 % of the chi-squared distribution with BINS - 1 degrees of freedom.
_CHI_SQUARED = 27.877
# Conventional limits of the index: no relevant drift up to the first, strong drift above the second.
_MOVED, _DRIFTED = 0.1, 0.25
# Added to every count, so that the index of an empty bin is finite.
_HALF = 0.5
# Smallest window in which drift is assessed.
FEWEST = 50


class Drift(StrEnum):
    """Level of drift from the reference."""

    TOO_FEW = "too_few"
    STEADY = "steady"
    MOVED = "moved"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Histogram:
    """Distribution of one statistic over bins.

    Attributes:
        edges: (BINS - 1,) edges between the bins, increasing; the outer bins are open.
        share: (BINS,) fraction of the images in each bin, summing to 1.
    """

    edges: tuple[float, ...]
    share: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != BINS - 1 or len(self.share) != BINS or not np.isfinite([*self.edges, *self.share]).all():
            raise InputError(f"expected {BINS - 1} edges and {BINS} fractions, found {self}: fit it again")
        if min(self.share) < 0 or not np.isclose(sum(self.share), 1, atol=1e-6) or (np.diff(self.edges) < 0).any():
            raise InputError(f"expected increasing edges and fractions that sum to 1, found {self}: fit it again")

    @staticmethod
    def of(values: Floats) -> "Histogram":
        """Histogram of (n,) values with bins of equal counts, as far as ties allow."""
        edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
        return Histogram(tuple(edges.tolist()), tuple((_counts(values, edges) / len(values)).tolist()))

    def counts(self, values: Floats) -> NDArray[np.int64]:
        """(BINS,) number of (n,) values in each bin."""
        return _counts(values, np.asarray(self.edges))


@dataclass(frozen=True)
class Reference:
    """Reference statistics: distribution of the images that a bundle was fitted on.

    Attributes:
        images: Number of images, rejected ones included.
        rejected: Fraction of the images that the input guard rejected, in [0, 1].
        histograms: Name in `types.ImageStatistics` to histogram.
    """

    images: int
    rejected: float
    histograms: Mapping[str, Histogram]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in manifests."""
        histograms = {name: asdict(histogram) for name, histogram in self.histograms.items()}
        return {"films": self.images, "rejected": self.rejected, "histograms": histograms}

    @staticmethod
    def of(values: Mapping[str, Floats], rejected: int) -> "Reference":
        """Reference from the statistics of accepted images, name to (n,) values, and the number of rejected ones."""
        images = len(next(iter(values.values()))) + rejected
        histograms = {name: Histogram.of(column) for name, column in values.items()}
        return Reference(images, rejected / images, histograms)


@dataclass(frozen=True)
class StatisticDrift:
    """Drift of one statistic.

    Attributes:
        drift: Level of drift.
        index: Population stability index, 0 or more.
        by_chance: 99.9 % quantile of the index without drift.
        share: (BINS,) fraction of the window's images in each bin of the reference.
    """

    drift: Drift
    index: float
    by_chance: float
    share: tuple[float, ...]


def statistic_drift(reference: Reference, name: str, values: Floats) -> StatisticDrift:
    """Drift of a statistic, from its (n,) values in a window."""
    histogram = reference.histograms[name]
    counts = histogram.counts(values)
    observed = (counts + _HALF) / (len(values) + BINS * _HALF)
    expected = np.asarray(histogram.share) * reference.images
    expected = (expected + _HALF) / (reference.images + BINS * _HALF)
    index = float(((observed - expected) * np.log(observed / expected)).sum())
    by_chance = _CHI_SQUARED * (1 / max(1, len(values)) + 1 / reference.images)
    fractions = tuple((counts / max(1, len(values))).tolist())
    return StatisticDrift(_level(len(values), index, by_chance), index, by_chance, fractions)


def _level(images: int, index: float, by_chance: float) -> Drift:
    if images < FEWEST:
        return Drift.TOO_FEW
    if index <= max(by_chance, _MOVED):
        return Drift.STEADY
    return Drift.DRIFTED if index > _DRIFTED else Drift.MOVED


def rejection_drift(reference: Reference, rejected: int, images: int) -> tuple[Drift, float, float]:
    """Drift of the fraction of rejected images, with the ends of its 95 % interval by Wilson's method.

    Level `moved` where the whole interval is above twice the fraction of the reference, `drifted` above five times.

    Args:
        reference: Reference statistics.
        rejected: Number of rejected images in the window.
        images: Number of images in the window.
    """
    interval = wilson_interval(rejected, images)
    low, high = interval.low, interval.high
    # The guard is fitted to reject 0.5 % of chest radiographs, even where the reference has no rejected image.
    usual = max(reference.rejected, 0.005)
    if images < FEWEST:
        return Drift.TOO_FEW, low, high
    return (Drift.DRIFTED if low > 5 * usual else Drift.MOVED if low > 2 * usual else Drift.STEADY), low, high


def _counts(values: Floats, edges: Floats) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=BINS)

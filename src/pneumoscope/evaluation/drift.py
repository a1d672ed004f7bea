"""Have the images changed? What a detector is asked about, against what it was fitted on: counts in bins, NumPy only.

The population stability index of counts with shares p against a reference with shares q is the sum over bins of
(p - q) ln(p / q). Chance alone makes it (1 / n + 1 / m) times a chi-squared variable with one degree of freedom less than
there are bins, for n images against m of the reference.

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
from pneumoscope.evaluation.metrics import Floats

BINS = 10
# 99.9 % of the chi-squared distribution with BINS - 1 degrees of freedom.
_CHI_SQUARED = 27.877
# Customary limits: below the first nothing has changed that matters, above the second much has.
_MOVED, _DRIFTED = 0.1, 0.25
# Added to every count, so that an empty bin does not make the index infinite.
_HALF = 0.5
# With fewer images nothing can be told.
FEWEST = 50
# Standard normal quantile of a two-sided 95 % interval.
_Z = 1.959964


class Drift(StrEnum):
    """How far something has moved from its reference."""

    TOO_FEW = "too_few"
    STEADY = "steady"
    MOVED = "moved"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Histogram:
    """How one statistic was distributed.

    Attributes:
        edges: (BINS - 1,) between the bins, rising; the outer bins are open.
        share: (BINS,) of the images in each bin, summing to 1.
    """

    edges: tuple[float, ...]
    share: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != BINS - 1 or len(self.share) != BINS or not np.isfinite([*self.edges, *self.share]).all():
            raise InputError(f"expected {BINS - 1} edges and {BINS} shares, found {self}: fit it anew")
        if min(self.share) < 0 or not np.isclose(sum(self.share), 1, atol=1e-6) or (np.diff(self.edges) < 0).any():
            raise InputError(f"expected rising edges and shares that sum to 1, found {self}: fit it anew")

    @staticmethod
    def of(values: Floats) -> "Histogram":
        """Bins with a tenth each of (n,) values, as far as ties allow."""
        edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
        return Histogram(tuple(edges.tolist()), tuple((_counts(values, edges) / len(values)).tolist()))

    def counts(self, values: Floats) -> NDArray[np.int64]:
        """(BINS,) how many of (n,) values lie in each bin."""
        return _counts(values, np.asarray(self.edges))


@dataclass(frozen=True)
class Reference:
    """What images were like when a detector was fitted.

    Attributes:
        images: How many.
        rejected: Share of them that the input guard rejected, in [0, 1].
        histograms: By the names in `types.ImageStatistics`.
    """

    images: int
    rejected: float
    histograms: Mapping[str, Histogram]

    def as_json(self) -> dict[str, Any]:
        """Plain data, as in manifests."""
        histograms = {name: asdict(histogram) for name, histogram in self.histograms.items()}
        return {"films": self.images, "rejected": self.rejected, "histograms": histograms}

    @staticmethod
    def of(values: Mapping[str, Floats], rejected: int) -> "Reference":
        """Of statistics of judged images, (n,) each, and how many more were rejected."""
        judged = len(next(iter(values.values())))
        histograms = {name: Histogram.of(found) for name, found in values.items()}
        return Reference(judged + rejected, rejected / (judged + rejected), histograms)


@dataclass(frozen=True)
class Moved:
    """How a statistic has moved.

    Attributes:
        drift: In a word.
        index: Population stability index, from 0.
        by_chance: What it stays below in 99.9 % of windows of images that have not changed.
        share: (BINS,) of the images in each bin of the reference.
    """

    drift: Drift
    index: float
    by_chance: float
    share: tuple[float, ...]


def stability(reference: Reference, name: str, values: Floats) -> Moved:
    """How (n,) values of a statistic have moved from the reference."""
    histogram = reference.histograms[name]
    counts = histogram.counts(values)
    found = (counts + _HALF) / (len(values) + BINS * _HALF)
    expected = np.asarray(histogram.share) * reference.images
    expected = (expected + _HALF) / (reference.images + BINS * _HALF)
    index = float(((found - expected) * np.log(found / expected)).sum())
    by_chance = _CHI_SQUARED * (1 / max(1, len(values)) + 1 / reference.images)
    share = tuple((counts / max(1, len(values))).tolist())
    return Moved(_word(len(values), index, by_chance), index, by_chance, share)


def _word(images: int, index: float, by_chance: float) -> Drift:
    if images < FEWEST:
        return Drift.TOO_FEW
    if index <= max(by_chance, _MOVED):
        return Drift.STEADY
    return Drift.DRIFTED if index > _DRIFTED else Drift.MOVED


def rejections(reference: Reference, rejected: int, images: int) -> tuple[Drift, float, float]:
    """Whether more images are rejected than should be: in a word, and the ends of Wilson's 95 % interval of their share.

    Moved where all of the interval lies above twice the reference's share, drifted above five times.

    Source: Wilson, Journal of the American Statistical Association 1927, doi 10.1080/01621459.1927.10502953.
    """
    if images == 0:
        return Drift.TOO_FEW, 0.0, 1.0
    share, z2 = rejected / images, _Z**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = _Z / (1 + z2 / images) * float(np.sqrt(share * (1 - share) / images + z2 / (4 * images**2)))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # A reference without a single rejection still allows for the half per cent that the guard is fitted to.
    usual = max(reference.rejected, 0.005)
    if images < FEWEST:
        return Drift.TOO_FEW, low, high
    return (Drift.DRIFTED if low > 5 * usual else Drift.MOVED if low > 2 * usual else Drift.STEADY), low, high


def _counts(values: Floats, edges: Floats) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=BINS)

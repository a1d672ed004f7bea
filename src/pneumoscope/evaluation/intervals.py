"""Intervals by bootstrap over patients: images of one child are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats, Ints, check_probabilities, measures, roc_auc

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: On all images; NaN where undefined.
        low: Lower end of the interval; NaN where undefined.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.value != self.value:
            return "undefined"
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f})"


def patient_weights(patients: Sequence[str], rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """How often each image counts when patients are drawn with replacement.

    Args:
        patients: (n,) identity per image.
        rng: Source of the draws.
        resamples: Number of draws.

    Returns:
        (resamples, n) float, whole numbers.
    """
    names, patient = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    count = len(names)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, patient].astype(np.float64)


def estimates(
    probability: Floats,
    label: Ints,
    patients: Sequence[str],
    class_names: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
    threshold: float | None = None,
) -> dict[str, Estimate]:
    """Every measure with its 95 % interval, percentiles of a bootstrap over patients.

    Args:
        probability: (n, classes) float in [0, 1], rows summing to 1.
        label: (n,) int.
        patients: (n,) identity per image.
        class_names: One per class; the first is normal.
        seed: Of the resampling.
        resamples: Number of draws.
        threshold: Pneumonia from this probability on; None for the most probable class.

    Returns:
        Name to estimate. A resample in which a measure is undefined does not count towards its interval.

    Raises:
        InputError: Lengths or values out of range, or no image.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; clusters as in Field and Welsh,
        JRSS B 2007, doi 10.1111/j.1467-9868.2007.00593.x.
    """
    check_probabilities(probability, label)
    if len(patients) != len(label) or len(label) == 0:
        raise InputError(f"expected one patient per film and at least one film, found {len(patients)} and {len(label)}")
    plain = measures(probability, label, class_names, np.ones((1, len(label))), threshold)
    weight = patient_weights(patients, np.random.default_rng(seed), resamples)
    resampled = measures(probability, label, class_names, weight, threshold)
    return {name: interval_of(float(plain[name][0]), resampled[name]) for name in plain}


def interval_of(value: float, resampled: Floats) -> Estimate:
    """A value with the percentile interval of its resamples; those in which it is undefined do not count."""
    defined = resampled[np.isfinite(resampled)]
    if value != value or len(defined) == 0:
        return Estimate(value, float("nan"), float("nan"))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def delong_interval(score: Floats, positive: NDArray[np.bool_]) -> Estimate:
    """AUC with its 95 % interval by DeLong's variance, which takes images, not patients, as independent.

    Args:
        score: (n,) float, higher speaks for pneumonia.
        positive: (n,) bool.

    Returns:
        NaN where one of the two kinds is missing; the interval is cut at 0 and 1.
    Source: DeLong et al., Biometrics 1988, doi 10.2307/2531595; by ranks as in Sun and Xu, IEEE Signal Processing
        Letters 2014, doi 10.1109/LSP.2014.2337313.
    """
    from scipy.stats import norm, rankdata

    count, rest = int(positive.sum()), int((~positive).sum())
    if count < 2 or rest < 2:
        return Estimate(roc_auc(score, positive), float("nan"), float("nan"))
    rank = rankdata(score)
    # How often each image is on the right side of those of the other kind.
    above = (rank[positive] - rankdata(score[positive])) / rest
    below = 1 - (rank[~positive] - rankdata(score[~positive])) / count
    deviation = float(np.sqrt(above.var(ddof=1) / count + below.var(ddof=1) / rest))
    value = float(above.mean())
    reach = float(norm.ppf((1 + LEVEL) / 2)) * deviation
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))

"""Selective prediction: accuracy when low-confidence images are deferred to a reader.

Confidence is the absolute distance of the probability from the threshold in log-odds; deferring images by rising confidence
gives the coverage and the selective risk, and a quantile of the confidence gives the band to refer.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.evaluation.metrics import Floats


def confidence_margin(probability: Floats, threshold: float) -> Floats:
    """(n,) absolute distance of probabilities from the threshold, in log-odds; 0 on the threshold."""
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    edge = np.clip(threshold, 1e-9, 1 - 1e-9)
    return np.asarray(np.abs(np.log(inside / (1 - inside)) - np.log(edge / (1 - edge))))


def fit_refer_band(probability: Floats, threshold: float, fraction: float) -> tuple[float, float]:
    """Edges of the band around the threshold, symmetric in log-odds, that contains a given fraction of the images.

    Args:
        probability: (n,) probabilities of pneumonia of validation images.
        threshold: Threshold of the operating point.
        fraction: Fraction of images to refer to a reader, in [0, 1).
    """
    if fraction <= 0 or len(probability) == 0:
        return threshold, threshold
    width = float(np.quantile(confidence_margin(probability, threshold), fraction))
    edge = np.log(threshold / (1 - threshold))
    low, high = (float(1 / (1 + np.exp(-(edge + sign * width)))) for sign in (-1, 1))
    return min(low, threshold), max(high, threshold)


def risk_coverage(probability: Floats, positive: NDArray[np.bool_], threshold: float) -> tuple[Floats, Floats]:
    """Coverage and selective risk, from the most confident image alone to all images.

    Coverage is the fraction of images answered, risk the fraction of wrong answers among them.

    Args:
        probability: (n,) probabilities of pneumonia.
        positive: (n,) bool, whether the image shows pneumonia.
        threshold: Threshold of the operating point.
    Source: El-Yaniv and Wiener, JMLR 2010.
    """
    order = np.argsort(-confidence_margin(probability, threshold), kind="stable")
    wrong = (probability[order] >= threshold) != positive[order]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong) / answered

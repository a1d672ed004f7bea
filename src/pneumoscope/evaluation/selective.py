"""What is gained when the unsure films are left to a person."""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import DecisionRule
from pneumoscope.evaluation.metrics import Floats


def sureness(probability: Floats, threshold: float) -> Floats:
    """(n,) how far a probability lies from the threshold, in log-odds; 0 on the threshold."""
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    edge = np.clip(threshold, 1e-9, 1 - 1e-9)
    return np.asarray(np.abs(np.log(inside / (1 - inside)) - np.log(edge / (1 - edge))))


def fit_refer_band(probability: Floats, threshold: float, share: float) -> DecisionRule:
    """The band around the threshold, equally wide in log-odds to both sides, that holds this share of the films.

    Args:
        probability: (n,) of pneumonia, of validation films.
        threshold: Of the operating point.
        share: Of films to be read by a person, in [0, 1).
    """
    if share <= 0 or len(probability) == 0:
        return DecisionRule(threshold, threshold, threshold)
    width = float(np.quantile(sureness(probability, threshold), share))
    edge = np.log(threshold / (1 - threshold))
    low, high = (float(1 / (1 + np.exp(-(edge + side * width)))) for side in (-1, 1))
    return DecisionRule(threshold, min(low, threshold), max(high, threshold))


def risk_coverage(probability: Floats, positive: NDArray[np.bool_], threshold: float) -> tuple[Floats, Floats]:
    """Share of films answered, and share of wrong answers among them, from the surest film on to all of them.

    Args:
        probability: (n,) of pneumonia.
        positive: (n,) bool.
        threshold: Of the operating point.
    Source: El-Yaniv and Wiener, JMLR 2010.
    """
    order = np.argsort(-sureness(probability, threshold), kind="stable")
    wrong = (probability[order] >= threshold) != positive[order]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong) / answered

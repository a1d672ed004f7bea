"""A network's logits become calibrated probabilities, and probabilities a decision: NumPy only, no film, no network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.types import Decision

Floats = NDArray[np.float64]
# Keeps the logarithm of a probability finite.
_SMALLEST = 1e-30


@dataclass(frozen=True)
class Calibration:
    """Temperature and one bias per class, as fitted on validation films.

    Attributes:
        temperature: Divides the logits; above 1 for a network that is too sure.
        bias: (classes,) added after that; moves the balance between the classes.
    Source: Guo et al., ICML 2017, arXiv 1706.04599; with biases: Alexandari et al., ICML 2020, arXiv 1901.06852.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0 and np.isfinite(self.bias).all()):
            raise InputError(f"expected a finite calibration with a temperature above 0, found {self}: fit it anew")

    def probabilities(self, logit: NDArray[np.floating]) -> Floats:
        """(n, classes) float64 in [0, 1], rows summing to 1, of (n, classes) logits."""
        scaled = np.asarray(logit, dtype=np.float64) / self.temperature
        return softmax(scaled + np.asarray(self.bias) if self.bias else scaled)


def softmax(logit: Floats) -> Floats:
    """(n, classes) float64 in [0, 1], rows summing to 1."""
    raised: Floats = np.exp(logit - logit.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def logits_of(probability: Floats) -> Floats:
    """(n, classes) finite logarithms of (n, classes) probabilities: logits that `softmax` turns into these again."""
    return np.asarray(np.log(np.maximum(probability, _SMALLEST)))


def pneumonia_probability(class_probability: Floats) -> Floats:
    """(n,) in [0, 1], the summed probability of the classes other than normal, of (n, classes) with normal first."""
    # Rounding may carry the sum a hair beyond 1.
    return np.asarray(np.minimum(class_probability[:, 1:].sum(axis=1), 1.0))


def class_answers(class_probability: Floats, threshold: float | None = None) -> NDArray[np.int64]:
    """(n,) int, the class answered for each film of (n, classes) probabilities, normal first.

    Args:
        class_probability: (n, classes).
        threshold: Of the probability of pneumonia: below it the answer is normal, from it on the most probable of the
            other classes. None for the most probable class of all.
    """
    if threshold is None:
        return np.asarray(class_probability.argmax(axis=1), dtype=np.int64)
    kind = 1 + class_probability[:, 1:].argmax(axis=1)
    return np.where(pneumonia_probability(class_probability) >= threshold, kind, 0).astype(np.int64)


def at_prevalence(class_probability: Floats, assumed: float, prevalence: float) -> Floats:
    """Probabilities for a place where pneumonia is as frequent as `prevalence`.

    The films of a class are taken to look the same everywhere; only how frequent the class is changes. How bacterial and
    viral pneumonias share the prevalence stays as it was.

    Args:
        class_probability: (n, classes), normal first.
        assumed: Prevalence that they hold for, in (0, 1).
        prevalence: The new one, in (0, 1).

    Raises:
        InputError: A prevalence outside (0, 1).
    Source: Saerens et al., Neural Computation 2002, doi 10.1162/089976602753284446, equation 2.4.
    """
    if not (0 < assumed < 1 and 0 < prevalence < 1):
        raise InputError(f"expected prevalences between 0 and 1, found {assumed:g} and {prevalence:g}: change them")
    factor = np.full(class_probability.shape[1], prevalence / assumed)
    factor[0] = (1 - prevalence) / (1 - assumed)
    moved: Floats = class_probability * factor
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class DecisionRule:
    """Where the answer changes.

    Attributes:
        threshold: Pneumonia where its probability is at least this, normal below.
        refer_from: From this probability on a person should read the film; equal to `threshold` for never.
        refer_to: Up to this, exclusive.
    """

    threshold: float
    refer_from: float
    refer_to: float

    def __post_init__(self) -> None:
        if not 0 <= self.refer_from <= self.threshold <= self.refer_to <= 1:
            raise InputError(f"expected 0 <= refer_from <= threshold <= refer_to <= 1, found {self}: fit it anew")

    def refers(self, probability: Floats) -> NDArray[np.bool_]:
        """(n,) bool, for which of (n,) probabilities of pneumonia a person should read the film."""
        return np.asarray((probability >= self.refer_from) & (probability < self.refer_to))

    def decide(self, probability: Floats) -> list[Decision]:
        """A decision for each of (n,) probabilities of pneumonia."""
        sick = probability >= self.threshold
        return [
            Decision.REFER if unsure else Decision.PNEUMONIA if ill else Decision.NORMAL
            for unsure, ill in zip(self.refers(probability).tolist(), sick.tolist(), strict=True)
        ]

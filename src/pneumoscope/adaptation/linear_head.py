"""Linear head on a network's features: softmax regression with a ridge penalty, for a path of penalties.

Features are standardised, x = (f - mean) / deviation; logits are (x V + a) C', where the columns of C (classes x classes - 1) are
orthonormal contrasts between the classes. Newton's method minimises

    sum of weight * cross-entropy + penalty / 2 |V|^2

from the largest penalty to the smallest, each starting at the solution before it; the intercept a is not penalised.

Source: Hoerl and Kennard, Technometrics 1970, doi 10.1080/00401706.1970.10488634 (ridge); le Cessie and van Houwelingen, Applied
Statistics 1992, doi 10.2307/2347628 (in logistic regression).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import softmax
from pneumoscope.evaluation.metrics import Floats, Ints

_STEPS = 50
# Largest change of a parameter at which Newton's method has converged, and smallest deviation of a feature that varies.
_CONVERGED, _MIN_DEVIATION = 1e-6, 1e-6


@dataclass(frozen=True)
class LinearHead:
    """Linear function from features to logits.

    Attributes:
        weight: (classes, channels) float64.
        bias: (classes,) float64.
    """

    weight: Floats
    bias: Floats

    def __call__(self, features: NDArray[np.floating]) -> Floats:
        """(n, classes) logits of (n, channels) features."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float64)

    def centred(self, features: NDArray[np.floating], weight: Floats) -> "LinearHead":
        """Head whose mean logits, weighted, are 0 over (n, channels) features.

        The intercept that is fitted follows the classes' frequencies among the images of a fold: out-of-fold logits would differ
        from fold to fold by what their labels were, the more the larger the penalty is beside the features' part.
        """
        return LinearHead(self.weight, -self.weight @ np.average(features, axis=0, weights=weight))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Arrays for a bundle."""
        return {"weight": self.weight.astype(np.float32), "bias": self.bias.astype(np.float32)}


def fit_linear_heads(
    features: NDArray[np.floating], label: Ints, classes: int, penalties: Sequence[float], weight: Floats
) -> list[LinearHead]:
    """Fit a linear head for each penalty.

    Args:
        features: (n, channels) float.
        label: (n,) int in 0 to classes - 1, each class present.
        classes: Number of classes, 2 or more.
        penalties: Penalties above 0, the largest first.
        weight: (n,) weight of each image, above 0; their sum should be n.
    """
    values = np.asarray(features, dtype=np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > _MIN_DEVIATION, deviation, 1.0)
    # The solution lies in the span of the images: with fewer images than channels, fewer parameters give the same.
    rotation = np.linalg.svd((values - mean) / deviation, full_matrices=False)[2].T
    design = np.concatenate([(values - mean) / deviation @ rotation, np.ones((len(values), 1))], axis=1)
    contrasts = np.linalg.svd(np.eye(classes) - 1 / classes)[0][:, : classes - 1]
    target = np.eye(classes)[label]
    parameters = np.zeros((design.shape[1], classes - 1))
    heads = []
    for penalty in penalties:
        parameters = _minimise(parameters, design, target, contrasts, penalty, weight)
        slope = (rotation @ parameters[:-1] / deviation[:, None]) @ contrasts.T
        heads.append(LinearHead(slope.T.copy(), contrasts @ parameters[-1] - mean @ slope))
    return heads


def _minimise(
    parameters: Floats, design: Floats, target: Floats, contrasts: Floats, penalty: float, weight: Floats
) -> Floats:
    """(channels + 1, classes - 1) parameters by Newton's method, halving steps that raise the loss."""
    penalties = np.full(parameters.shape, penalty)
    penalties[-1] = 0
    loss, probability = _loss(parameters, design, target, contrasts, penalties, weight)
    for _ in range(_STEPS):
        gradient = design.T @ ((weight[:, None] * (probability - target)) @ contrasts) + penalties * parameters
        hessian = _hessian(design, probability, contrasts, weight) + np.diag(penalties.T.ravel())
        step = np.linalg.solve(hessian, gradient.T.ravel()).reshape(parameters.shape[::-1]).T
        for _ in range(30):
            lower, probability = _loss(parameters - step, design, target, contrasts, penalties, weight)
            if lower <= loss + 1e-12 * abs(loss):
                break
            step = step / 2
        parameters, loss = parameters - step, lower
        if np.abs(step).max() < _CONVERGED:
            break
    return parameters


def _loss(
    parameters: Floats, design: Floats, target: Floats, contrasts: Floats, penalties: Floats, weight: Floats
) -> tuple[float, Floats]:
    logit = design @ parameters @ contrasts.T
    highest = logit.max(axis=1, keepdims=True)
    log_sum = highest[:, 0] + np.log(np.exp(logit - highest).sum(axis=1))
    loss = float((weight * (log_sum - (target * logit).sum(axis=1))).sum() + (penalties * parameters**2).sum() / 2)
    return loss, softmax(logit)


def _hessian(design: Floats, probability: Floats, contrasts: Floats, weight: Floats) -> Floats:
    """Second derivatives of the cross-entropy, parameters in the order of their columns."""
    columns, length = contrasts.shape[1], design.shape[1]
    projected = probability @ contrasts
    hessian = np.zeros((columns * length, columns * length))
    for i in range(columns):
        for j in range(i + 1):
            curvature = probability @ (contrasts[:, i] * contrasts[:, j]) - projected[:, i] * projected[:, j]
            block = design.T @ ((weight * curvature)[:, None] * design)
            rows, others = slice(i * length, (i + 1) * length), slice(j * length, (j + 1) * length)
            hessian[rows, others] = block
            hessian[others, rows] = block.T
    # The small ridge keeps it regular where a class is separated.
    return hessian + 1e-9 * np.eye(len(hessian))

"""Stacking: weights of an ensemble's members, fitted on predictions for images that no member was trained on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import softmax
from pneumoscope.evaluation.metrics import Floats, Ints


def fit_member_weights(logits: Sequence[NDArray[np.floating]], label: Ints, weight: Floats) -> tuple[float, ...]:
    """Fit weights of 0 or more with the lowest cross-entropy of the weighted sum of the members' logits.

    Each class also has a bias, which the ensemble's calibration fits again and which is not returned.

    Args:
        logits: Logits (n, classes) of each member for the same images.
        label: (n,) int classes.
        weight: (n,) weight of each image.

    Returns:
        Weights, which sum to 1.

    Source: Wolpert, Neural Networks 1992, doi 10.1016/S0893-6080(05)80023-1.
    """
    if len(logits) == 1:
        return (1.0,)
    from scipy.optimize import minimize

    stacked = np.stack([np.asarray(each, dtype=np.float64) for each in logits])
    count, classes = stacked.shape[1:]
    fraction, target = weight / weight.sum(), np.eye(classes)[label]

    def loss_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        scales, bias = parameters[: len(stacked)], parameters[len(stacked) :]
        probability = softmax(np.tensordot(scales, stacked, axes=1) + bias)
        loss = -(fraction * np.log(np.maximum(probability[np.arange(count), label], 1e-300))).sum()
        error = fraction[:, None] * (probability - target)
        return float(loss), np.concatenate([np.einsum("mnk,nk->m", stacked, error), error.sum(axis=0)])

    start = np.concatenate([np.full(len(stacked), 1 / len(stacked)), np.zeros(classes)])
    bounds = [(0.0, None)] * len(stacked) + [(-20.0, 20.0)] * classes
    found = np.maximum(
        minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds).x[: len(stacked)], 0
    )
    # Members that know nothing at all have no weights of their own.
    total = found.sum()
    return tuple((found / total if total > 0 else start[: len(stacked)]).tolist())

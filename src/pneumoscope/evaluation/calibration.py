"""Calibration of class probabilities: fitting by maximum likelihood, and measures of miscalibration.

A calibration divides logits by a temperature and adds a bias per class; L-BFGS minimises the weighted cross-entropy over the
logarithm of the inverse temperature and over the biases. To be fitted on validation images only.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import Calibration, softmax
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats, Ints, check_binary_probabilities, expected_calibration_error


def fit_calibration(
    logit: NDArray[np.floating], label: Ints, biases: bool = True, weight: Floats | None = None
) -> Calibration:
    """Fit the calibration with the lowest cross-entropy.

    Args:
        logit: (n, classes) float.
        label: (n,) int in 0 to classes - 1.
        biases: Whether to fit a bias per class too, of mean 0; otherwise the temperature alone.
        weight: (n,) weight of each image; equal where None.

    Raises:
        InputError: Class without images.
    """
    from scipy.optimize import minimize

    count, classes = logit.shape
    missing = sorted(set(range(classes)) - set(np.unique(label).tolist()))
    if missing or len(label) != count:
        raise InputError(f"expected a label per image and images of every class, found none of {missing}: add images")
    fraction = np.ones(count) if weight is None else weight
    fraction = fraction / fraction.sum()
    logits = np.asarray(logit, dtype=np.float64)
    target = np.eye(classes)[label]

    def loss_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        # parameters: logarithm of the inverse temperature, then the biases
        scale, bias = np.exp(parameters[0]), parameters[1:] - parameters[1:].mean() if biases else 0.0
        probability = softmax(logits * scale + bias)
        loss = -(fraction * np.log(np.maximum(probability[np.arange(count), label], 1e-300))).sum()
        error = fraction[:, None] * (probability - target)
        gradient = [(error * logits).sum() * scale]
        if biases:
            per_class = error.sum(axis=0)
            gradient += list(per_class - per_class.mean())
        return float(loss), np.array(gradient)

    found = minimize(
        loss_and_gradient,
        np.zeros(1 + (classes if biases else 0)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-5.0, 5.0)] + [(-20.0, 20.0)] * (classes if biases else 0),
    )
    bias = found.x[1:] - found.x[1:].mean() if biases else np.zeros(0)
    return Calibration(float(np.exp(-found.x[0])), tuple(bias.tolist()))


def fit_pneumonia_calibration(logit: NDArray[np.floating], positive: NDArray[np.bool_], weight: Floats) -> Calibration:
    """Fit the calibration with the lowest cross-entropy of normal against pneumonia, for labels without etiology.

    The bias of normal is fitted against an equal one of all etiologies, so that only the temperature changes their ratio.

    Args:
        logit: (n, classes) float, normal first.
        positive: (n,) bool, with at least one image of each class.
        weight: (n,) weight of each image.
    """
    from scipy.optimize import minimize

    logits = np.asarray(logit, dtype=np.float64)
    fraction = weight / weight.sum()

    def calibration(parameters: Floats) -> Calibration:
        bias = np.full(logits.shape[1], float(parameters[1]) / logits.shape[1])
        bias[0] -= float(parameters[1])
        return Calibration(float(np.exp(-parameters[0])), tuple(bias.tolist()))

    def loss(parameters: Floats) -> float:
        normal = calibration(parameters).probabilities(logits)[:, 0]
        right = np.where(positive, 1 - normal, normal)
        return float(-(fraction * np.log(np.maximum(right, 1e-12))).sum())

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-5.0, 5.0), (-20.0, 20.0)])
    return calibration(found.x)


def calibration_line(
    probability: Floats, positive: NDArray[np.bool_], weight: Floats | None = None
) -> tuple[float, float]:
    """Calibration slope and intercept: logistic regression of the label on the logit of the probability.

    Perfect calibration gives (1, 0). A slope below 1 means too extreme probabilities, an intercept below 0 too high ones.

    Args:
        probability: (n,) float in [0, 1].
        positive: (n,) bool, with at least one image of each class.
        weight: (n,) weight of each image; equal where None.

    Returns:
        Slope and intercept; NaN where a threshold separates the two classes, since the slope then grows without bound.
    Source: Cox, Biometrika 1958; required by TRIPOD+AI.
    """
    check_binary_probabilities(probability)
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    logits, is_positive = logit(np.clip(probability, 1e-6, 1 - 1e-6)), positive.astype(bool)
    if logits[~is_positive].max() < logits[is_positive].min() or logits[is_positive].max() < logits[~is_positive].min():
        return float("nan"), float("nan")

    counts = np.ones(len(logits)) if weight is None else weight / weight.mean()

    def loss_and_gradient(line: Floats) -> tuple[float, Floats]:
        predicted = line[0] * logits + line[1]
        error = counts * (expit(predicted) - is_positive)
        loss = counts * (np.logaddexp(0, predicted) - predicted * is_positive)
        return float(loss.mean()), np.array([(error * logits).mean(), error.mean()])

    found = minimize(loss_and_gradient, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(found.x[0]), float(found.x[1])


def calibration_curve(
    probability: Floats, positive: NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Calibration curve over bins of equal counts.

    Args:
        probability: (n,) float in [0, 1].
        positive: (n,) bool.
        bins: Largest number of bins.

    Returns:
        Mean probability, observed rate and number of images of each bin, by increasing probability.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(probability[p].mean()), float(positive[p].mean()), len(p)) for p in parts]


def ece_under_perfect_calibration(probability: Floats, draws: int = 1000) -> Floats:
    """Expected calibration errors of labels drawn from the probabilities, as perfect calibration would give them.

    An observed error within their range is no evidence of miscalibration; on few images the error is above 0 by chance.

    Args:
        probability: (n,) float in [0, 1].
        draws: Number of random label vectors.

    Returns:
        (draws,) expected calibration errors in [0, 1].
    """
    rng = np.random.default_rng(0)
    one = np.ones((1, len(probability)))
    drawn = (rng.random(len(probability)) < probability for _ in range(draws))
    return np.array([expected_calibration_error(probability, positive, one)[0] for positive in drawn])

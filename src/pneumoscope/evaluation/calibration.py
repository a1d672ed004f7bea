"""Whether a probability means what it says, and the calibration that makes it so. Fit on validation images only."""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import Calibration, softmax
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats, Ints, check_chances, expected_calibration_error


def fit_calibration(
    logit: NDArray[np.floating], label: Ints, biases: bool = True, weight: Floats | None = None
) -> Calibration:
    """The calibration with the lowest cross-entropy.

    Args:
        logit: (n, classes) float.
        label: (n,) int in 0 to classes - 1.
        biases: Fit a bias per class too (their mean is 0); else the temperature alone.
        weight: (n,) how much each image counts; all alike where None.

    Raises:
        InputError: A class has no image.
    """
    from scipy.optimize import minimize

    count, classes = logit.shape
    missing = sorted(set(range(classes)) - set(np.unique(label).tolist()))
    if missing or len(label) != count:
        raise InputError(f"expected a label per film and films of every class, found none of {missing}: add films")
    share = np.ones(count) if weight is None else weight
    share = share / share.sum()
    logits = np.asarray(logit, dtype=np.float64)
    target = np.eye(classes)[label]

    def loss_and_gradient(values: Floats) -> tuple[float, Floats]:
        steepness, bias = np.exp(values[0]), values[1:] - values[1:].mean() if biases else 0.0
        probability = softmax(logits * steepness + bias)
        loss = -(share * np.log(np.maximum(probability[np.arange(count), label], 1e-300))).sum()
        error = share[:, None] * (probability - target)
        gradient = [(error * logits).sum() * steepness]
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
    """The calibration with the lowest cross-entropy of normal against pneumonia, for labels that do not say which kind.

    How the kinds share the pneumonia changes by the temperature alone.

    Args:
        logit: (n, classes) float, normal first.
        positive: (n,) bool, of both kinds.
        weight: (n,) how much each image counts.
    """
    from scipy.optimize import minimize

    logits = np.asarray(logit, dtype=np.float64)
    share = weight / weight.sum()

    def calibration(values: Floats) -> Calibration:
        bias = np.full(logits.shape[1], float(values[1]) / logits.shape[1])
        bias[0] -= float(values[1])
        return Calibration(float(np.exp(-values[0])), tuple(bias.tolist()))

    def loss(values: Floats) -> float:
        normal = calibration(values).probabilities(logits)[:, 0]
        right = np.where(positive, 1 - normal, normal)
        return float(-(share * np.log(np.maximum(right, 1e-12))).sum())

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-5.0, 5.0), (-20.0, 20.0)])
    return calibration(found.x)


def calibration_line(probability: Floats, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of what is so on the logit of what is logits; (1, 0) is perfect.

    A slope below 1 says that the probabilities are too extreme, an intercept below 0 that they are too high. Both are NaN
    where a threshold tells the two kinds apart without a mistake: no slope is steep enough then.

    Args:
        probability: (n,) float in [0, 1].
        positive: (n,) bool, of both kinds.
    Source: Cox, Biometrika 1958; as TRIPOD+AI asks for.
    """
    check_chances(probability)
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    logits, is_positive = logit(np.clip(probability, 1e-6, 1 - 1e-6)), positive.astype(bool)
    if logits[~is_positive].max() < logits[is_positive].min() or logits[is_positive].max() < logits[~is_positive].min():
        return float("nan"), float("nan")

    def loss_and_gradient(line: Floats) -> tuple[float, Floats]:
        raised = line[0] * logits + line[1]
        error = expit(raised) - is_positive
        loss = np.logaddexp(0, raised) - raised * is_positive
        return float(loss.mean()), np.array([(error * logits).mean(), error.mean()])

    found = minimize(loss_and_gradient, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(found.x[0]), float(found.x[1])


def calibration_curve(
    probability: Floats, positive: NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Mean of what is said, share of what is so, and number of images, in bins of equal counts.

    Args:
        probability: (n,) float in [0, 1].
        positive: (n,) bool.
        bins: At most this many.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(probability[p].mean()), float(positive[p].mean()), len(p)) for p in parts]


def ece_under_perfect_calibration(probability: Floats, draws: int = 1000) -> Floats:
    """Expected calibration error that chance alone shows on as many images, were every probability right.

    A measured error within their range is no sign of a wrong calibration; few images never show an error of 0.

    Args:
        probability: (n,) float in [0, 1].
        draws: Of what the images might have been.

    Returns:
        (draws,) in [0, 1].
    """
    rng = np.random.default_rng(0)
    one = np.ones((1, len(probability)))
    drawn = (rng.random(len(probability)) < probability for _ in range(draws))
    return np.array([expected_calibration_error(probability, positive, one)[0] for positive in drawn])

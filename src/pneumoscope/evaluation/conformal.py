"""Prediction sets that hold the true class as often as promised, for each class on its own.

Source: split conformal prediction, Vovk et al., Algorithmic Learning in a Random World, 2005; per class (Mondrian), chapter 4.5.
The promise holds for images like the validation images; how far it holds on others is to be measured, not assumed.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats, Ints, check_probabilities


def fit_conformal(probability: Floats, label: Ints, coverage: float) -> tuple[float, ...]:
    """Per class the lowest probability at which it belongs to the set.

    Args:
        probability: (n, classes) of validation images.
        label: (n,) int.
        coverage: Share of the images of each class whose set shall hold it, in (0, 1).

    Returns:
        A threshold per class; 0, so that the class is in every set, where there are too few images for the promise.

    Raises:
        InputError: A value outside its range.
    """
    check_probabilities(probability, label)
    if not 0 < coverage < 1:
        raise InputError(f"expected a coverage between 0 and 1, found {coverage:g}: change it")
    found = []
    for name in range(probability.shape[1]):
        own = np.sort(probability[label == name, name])[::-1]
        rank = int(np.ceil((len(own) + 1) * coverage))
        found.append(float(own[rank - 1]) if 1 <= rank <= len(own) else 0.0)
    return tuple(found)


def prediction_sets(probability: Floats, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
    """(n, classes) bool: which classes are in the set of each image; a set may be empty."""
    return np.asarray(probability >= np.asarray(thresholds))


def coverage_per_class(sets: NDArray[np.bool_], label: Ints) -> Floats:
    """(classes,) share of the images of each class whose set holds it; NaN for a class without images."""
    return np.array(
        [sets[label == name, name].mean() if (label == name).any() else np.nan for name in range(sets.shape[1])]
    )

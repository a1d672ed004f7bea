"""Class-conditional conformal prediction: sets of classes with a guaranteed coverage of each class.

A class belongs to the set of an image where its probability reaches the threshold of that class: the quantile of the
probabilities that validation images of the class got for it, with the finite-sample correction. The guarantee holds for images
exchangeable with the validation images; on other images the coverage is measured.

Source: split conformal prediction, Vovk et al., Algorithmic Learning in a Random World, 2005; per class (Mondrian), chapter 4.5.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import Floats, Ints, check_probabilities


def fit_conformal(probability: Floats, label: Ints, coverage: float) -> tuple[float, ...]:
    """Fit the lowest probability of each class that belongs to the prediction set.

    Args:
        probability: (n, classes) probabilities of validation images.
        label: (n,) int, reference class.
        coverage: Fraction of the images of each class whose set contains that class, in (0, 1).

    Returns:
        (classes,) thresholds; 0, so that the class is in every set, where there are too few images for the guarantee.

    Raises:
        InputError: Value outside its range.
    """
    check_probabilities(probability, label)
    if not 0 < coverage < 1:
        raise InputError(f"expected a coverage between 0 and 1, found {coverage:g}: change it")
    thresholds = []
    for index in range(probability.shape[1]):
        descending = np.sort(probability[label == index, index])[::-1]
        rank = int(np.ceil((len(descending) + 1) * coverage))
        thresholds.append(float(descending[rank - 1]) if 1 <= rank <= len(descending) else 0.0)
    return tuple(thresholds)


def prediction_sets(probability: Floats, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
    """(n, classes) bool, membership of each class in the prediction set of each image; a set may be empty."""
    return np.asarray(probability >= np.asarray(thresholds))


def coverage_per_class(sets: NDArray[np.bool_], label: Ints) -> Floats:
    """(classes,) fraction of the images of each class whose set contains it, in [0, 1]; NaN for a class without images."""
    return np.array(
        [sets[label == index, index].mean() if (label == index).any() else np.nan for index in range(sets.shape[1])]
    )

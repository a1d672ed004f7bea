"""Agreement of two readers on the same images, beyond what chance gives."""

from collections.abc import Sequence

import numpy as np

from pneumoscope.errors import InputError
from pneumoscope.evaluation.intervals import Estimate, interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats


def cohen_kappa(first: Sequence[str], second: Sequence[str], patients: Sequence[str]) -> Estimate:
    """Cohen's kappa, (observed - expected agreement) / (1 - expected), with its 95 % interval by bootstrap over patients.

    Args:
        first: (n,) finding of the first reader.
        second: (n,) finding of the second reader.
        patients: (n,) patient of each image.

    Returns:
        Estimate in [-1, 1]; NaN where both readers give all images one finding, without an interval where the resamples do not differ.

    Raises:
        InputError: No image, or other lengths.
    Source: Cohen, Educational and Psychological Measurement 1960, doi 10.1177/001316446002000104.
    """
    if not len(first) == len(second) == len(patients) or not first:
        raise InputError(
            f"expected a finding of each reader and a patient for each image, found {len(first)}, {len(second)} and {len(patients)}"
        )
    rows = np.vstack([np.ones((1, len(first))), patient_weights(patients, np.random.default_rng(0))])
    values = _kappa(np.asarray(first), np.asarray(second), rows)
    estimate = interval_of(float(values[0]), values[1:])
    if estimate.low < estimate.high:
        return estimate
    return Estimate(estimate.value, float("nan"), float("nan"))


def _kappa(
    first: "np.ndarray[tuple[int], np.dtype[np.str_]]",
    second: "np.ndarray[tuple[int], np.dtype[np.str_]]",
    weight: Floats,
) -> Floats:
    """(rows,) kappa for each row of (rows, n) multiplicities of the images."""
    total = weight.sum(axis=1)
    observed = weight @ (first == second) / total
    expected = (
        sum(
            (weight @ (first == name)) * (weight @ (second == name))
            for name in np.unique(np.concatenate([first, second]))
        )
        / total**2
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Floats = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa

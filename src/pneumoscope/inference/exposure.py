"""Limits of exposure: how bright, how rich in contrast and how noisy the radiographs are that a bundle was validated on.

The population's distance is made to let a radiograph pass however it is toned, and cannot tell the strength from which a network errs.
These three numbers (`data/exposure.py`) can: between the limits lie the radiographs and their export variants, all but a small
fraction at each end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import Floats

# Fraction of the images that may lie beyond each limit.
_BEYOND = 0.002
# Headroom of the highest noise: the networks stand somewhat more of it than the export variants have (lab log).
_NOISE_HEADROOM = 1.25
# What an image beyond the lower and beyond the upper limit is; little noise is no fault.
_WORDS = (("darker", "brighter"), ("of less contrast", "of more contrast"), ("", "noisier"))
_ARRAY = "exposure"


@dataclass(frozen=True)
class ExposureLimits:
    """Exposures that a bundle was validated on.

    Attributes:
        low: (3,) lowest brightness, contrast and noise.
        high: (3,) highest ones.
    """

    low: Floats
    high: Floats

    def outside(self, exposures: Floats) -> NDArray[np.bool_]:
        """(n,) bool, whether (n, 3) exposures lie beyond a limit."""
        return np.asarray(((exposures < self.low) | (exposures > self.high)).any(axis=1))

    def describe(self, exposure: Floats) -> str:
        """Description in words of how an exposure, (3,), lies outside; empty for one inside."""
        found = [
            _WORDS[i][side]
            for i in range(len(_WORDS))
            for side, beyond in enumerate((exposure[i] < self.low[i], exposure[i] > self.high[i]))
            if beyond
        ]
        return " and ".join(found)

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Arrays for a bundle."""
        return {_ARRAY: np.stack([self.low, self.high]).astype(np.float32)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> "ExposureLimits":
        """Limits from the arrays of a bundle.

        Raises:
            KeyError: The array is missing.
            ValueError: An array that is no limits.
        """
        found = arrays[_ARRAY]
        if found.shape != (2, len(_WORDS)) or found.dtype.kind != "f" or not (found[0] <= found[1]).all():
            raise ValueError("an exposure without limits")
        return ExposureLimits(*found.astype(np.float64))


def fit_exposure_limits(exposures: Floats) -> ExposureLimits:
    """Fit limits to the (n, 3) exposures of radiographs and their export variants."""
    low, high = np.quantile(exposures, [_BEYOND, 1 - _BEYOND], axis=0)
    low[-1], high[-1] = 0.0, _NOISE_HEADROOM * high[-1]
    # Rounded as a bundle stores them.
    return ExposureLimits(*np.stack([low, high]).astype(np.float32).astype(np.float64))

"""Input guard: what an image is, before its probability counts.

    pixels      size, aspect ratio, contrast                                         `screen_pixels`
    population  distance from the radiographs that the bundle was validated on       `Population.distance`
    exposure    brightness, contrast and noise beside theirs                         `ExposureLimits`
    position    correlation with the mean chest, as it is, inverted and upside down  `Guard.screen`

One distance, three limits: up to 1 the image belongs to the population; beyond, it is referred; farther than any altered radiograph
of the population it is rejected as no frontal chest radiograph, and still farther as no radiograph at all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import FEATURES, Bundle, GuardLimits
from pneumoscope.data.alignment import LAYOUT_LENGTH, load_atlas
from pneumoscope.data.preprocessing import chest_square
from pneumoscope.decision import Floats
from pneumoscope.errors import BundleError
from pneumoscope.inference.exposure import ExposureLimits
from pneumoscope.inference.population import Descriptions, NeighbourDistance, Population
from pneumoscope.types import Reason

Image = NDArray[np.uint8] | NDArray[np.uint16]

# Prefixes of the two distances' arrays in a bundle.
_PARTS = ("features", "layout")
# Fraction of altered radiographs that may be rejected.
_REJECTED_FRACTION = 0.005
# Pixels of the shorter edge below which lung markings cannot be distinguished from noise.
MIN_EDGE = 64
# Ratio of the longer to the shorter edge; no chest radiograph is longer.
_MAX_ASPECT_RATIO = 4.0
# Range between two percentiles of the grey levels, as a fraction of the full range, below which nothing can be seen.
_MIN_CONTRAST = 0.06
_CONTRAST_QUANTILES = np.array([0.05, 0.95])
# Rows and columns that are sampled to measure the contrast, about.
_CONTRAST_SAMPLES = 200
# Gain in correlation with the mean chest, and correlation, from which an inverted or turned image is taken for a chest.
_MIN_GAIN, _MIN_TURNED_SIMILARITY = 0.1, 0.65
# Distance of an image that is no radiograph, in units of the distance from which it is no frontal chest radiograph.
_NO_RADIOGRAPH = 1.7


@dataclass(frozen=True)
class Guard:
    """Population of a bundle, with limits of acceptance.

    Attributes:
        limits: Limits of acceptance.
        population: Radiographs that the bundle was validated on.
    """

    limits: GuardLimits
    population: Population

    @staticmethod
    def from_bundle(bundle: Bundle) -> "Guard":
        """Guard of a bundle.

        Raises:
            BundleError: An array is missing, or its shape does not fit the others.
        """
        limits = bundle.manifest.guard
        try:
            features, layout = (NeighbourDistance.from_arrays(bundle.guard, name) for name in _PARTS)
            if layout.channels != LAYOUT_LENGTH:
                raise ValueError(f"layouts of {layout.channels} cells")
            features_length = (
                bundle.golden[FEATURES].shape[1] if not bundle.guard_model and FEATURES in bundle.golden else None
            )
            if features_length not in (None, features.channels):
                raise ValueError(f"features of {features.channels} channels, {features_length} of the network")
            exposure = ExposureLimits.from_arrays(bundle.guard)
            return Guard(limits, Population(features, layout, exposure, limits.feature_weight, limits.outside))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise BundleError(
                f"expected the arrays of an input guard in the bundle, found {error}: get it again"
            ) from error

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Arrays for a bundle."""
        population = self.population
        distances = population.features.arrays(_PARTS[0]) | population.layout.arrays(_PARTS[1])
        return distances | population.exposure.arrays()

    def screen(self, image: Image, similarity: float, distance: float) -> Reason | None:
        """Reason to reject an image for what it shows; None for a frontal chest radiograph.

        Args:
            image: (height, width) uint8 or uint16 as read, accepted by `screen_pixels`.
            similarity: Correlation of the aligned chest with the mean chest, in [-1, 1].
            distance: Distance from the population, as `Population.distance` computes it.
        """
        rejected = distance > self.limits.not_frontal_chest
        if rejected or similarity < self.limits.suspicious_similarity:
            inverted, upside_down = _turned_similarities(image)
            needed = max(similarity + _MIN_GAIN, _MIN_TURNED_SIMILARITY)
            if inverted > max(needed, upside_down):
                return Reason.INVERTED
            rejected = rejected or upside_down > needed
        if rejected:
            far = distance > self.limits.not_a_radiograph
            return Reason.NOT_A_RADIOGRAPH if far else Reason.NOT_FRONTAL_CHEST
        return None


def screen_pixels(image: Image) -> Reason | None:
    """Reason to reject an image (height, width), as read, for its pixels alone; None for a usable one."""
    height, width = image.shape
    if min(height, width) < MIN_EDGE:
        return Reason.TOO_SMALL
    if max(height, width) > _MAX_ASPECT_RATIO * min(height, width):
        return Reason.NOT_A_RADIOGRAPH
    sample = image[:: max(1, height // _CONTRAST_SAMPLES), :: max(1, width // _CONTRAST_SAMPLES)]
    # Counted, not sorted: a fifth of the time of numpy's percentiles.
    dark, bright = np.searchsorted(np.bincount(sample.ravel()).cumsum(), _CONTRAST_QUANTILES * sample.size)
    if bright - dark < _MIN_CONTRAST * np.iinfo(image.dtype).max:
        return Reason.POOR_EXPOSURE
    return None


def _turned_similarities(image: Image) -> tuple[float, float]:
    """Correlations with the mean chest of the inverted image and of the image upside down, in [-1, 1]."""
    square = chest_square(image)
    inverted, upside_down = 255 - square, np.ascontiguousarray(square[::-1, ::-1])
    return load_atlas().locate_chest(inverted).similarity, load_atlas().locate_chest(upside_down).similarity


def fit_guard(population: Population, altered: Descriptions, similarity: Floats) -> Guard:
    """Fit the limits of rejection to a population.

    Args:
        population: Population of the bundle.
        altered: Frontal chest radiographs of held-out patients, altered more than stations differ; they are to be referred, not
            rejected.
        similarity: (k,) correlations of unchanged held-out images with the mean chest, in [-1, 1].
    """
    farthest = max(1.0, float(np.quantile(population.distance(altered), 1 - _REJECTED_FRACTION)))
    suspicious = float(np.quantile(similarity, 0.1))
    limits = GuardLimits(population.feature_weight, population.limit, farthest, _NO_RADIOGRAPH * farthest, suspicious)
    return Guard(limits, population)

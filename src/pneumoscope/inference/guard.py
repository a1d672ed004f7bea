"""Is this a frontal chest radiograph of usable quality? Asked before any probability is shown.

First the image by itself: large enough, not blank. Then the image as the network sees it: its features may lie no farther
from those of the chest images that it learnt from than these lie from each other. Last, where the chest agrees badly with the
mean chest, whether it agrees better turned over (black for white) or upside down.

The distance has two parts, both of them in standard deviations of real images: outside of the principal components of the
features of real images, and inside of them (Mahalanobis). What is no chest image excites features that no chest image does, so
that the first part finds it, whatever it is; no image of anything else was needed to fit the guard.

Source: residual of principal components, Jackson and Mudholkar, Technometrics 1979, doi 10.1080/00401706.1979.10489779;
Mahalanobis distance of a network's features, Lee et al., NeurIPS 2018, arXiv 1807.03888.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import Bundle, GuardLimits
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.preprocessing import chest_square
from pneumoscope.decision import Floats
from pneumoscope.errors import BundleError
from pneumoscope.types import Reason

Image = NDArray[np.uint8] | NDArray[np.uint16]

# Below this many pixels on the shorter side the lung's markings cannot be told from noise.
SMALLEST_SIDE = 64
# No chest image is this many times as long as it is wide.
_LONGEST = 4.0
# Share of the grey levels' full range between the darkest and the brightest twentieth, below which nothing can be seen.
_LEAST_CONTRAST = 0.06
_DARKEST, _BRIGHTEST = 5, 95
# About this many pixels to a side are enough to judge the exposure.
_EXPOSURE_SIDE = 200
# By how much an image must agree better with the mean chest when turned, and how well, to be taken as a chest turned.
_CLEARLY, _LIKE_A_CHEST = 0.02, 0.65
# From so many times the limit on an image has nothing of a radiograph.
_NOTHING_LIKE = 1.8
_SHARE_OF_VARIANCE = 0.98
_SMALLEST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Guard:
    """What is known of the images that a network learnt from.

    Attributes:
        limits: Where acceptance ends.
        mean: (channels,) of the features.
        scale: (channels,) their standard deviations.
        components: (channels, k) principal components of the standardised features.
        deviation: (k,) standard deviations along these.
    """

    limits: GuardLimits
    mean: Floats
    scale: Floats
    components: Floats
    deviation: Floats

    @staticmethod
    def of(bundle: Bundle) -> "Guard":
        """The guard of a bundle.

        Raises:
            BundleError: An array is missing or of another shape than the others.
        """
        try:
            arrays = {
                name: bundle.guard[name].astype(np.float64) for name in ("mean", "scale", "components", "deviation")
            }
            channels, kept = arrays["components"].shape
            if arrays["mean"].shape == arrays["scale"].shape == (channels,) and arrays["deviation"].shape == (kept,):
                return Guard(bundle.manifest.guard, **arrays)
            found = "arrays of different shapes"
        except (KeyError, ValueError, TypeError) as error:
            found = str(error)
        raise BundleError(f"expected the arrays of an input guard in the bundle, found {found}: get it anew")

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """For the bundle; half precision changes the distance by less than a thousandth."""
        return {
            "mean": self.mean.astype(np.float32),
            "scale": self.scale.astype(np.float32),
            "components": self.components.astype(np.float16),
            "deviation": self.deviation.astype(np.float32),
        }

    def distance(self, features: NDArray[np.floating]) -> Floats:
        """(n,) how far features (n, channels) lie from those of chest images; up to 1 is accepted."""
        parts = self._parts(features)
        beyond = (parts - self.limits.usual) / self.limits.spread
        return np.asarray(np.maximum(beyond, 0).sum(axis=1) / self.limits.farthest)

    def _parts(self, features: NDArray[np.floating]) -> Floats:
        """(n, 2) logarithms of the distance outside of the components and inside of them."""
        standard = (features - self.mean) / self.scale
        inside = standard @ self.components
        outside = np.sqrt(np.maximum((standard**2).sum(axis=1) - (inside**2).sum(axis=1), 1e-12))
        along = np.sqrt(((inside / self.deviation) ** 2).mean(axis=1) + 1e-12)
        return np.asarray(np.log(np.stack([outside, along], axis=1)))

    def screen(self, image: Image, similarity: float, distance: float) -> Reason | None:
        """Why an image is no chest image to answer for; None where it is one.

        Args:
            image: (height, width), as read, passed by `screen_pixels`.
            similarity: Of the placed chest with the mean chest, in [-1, 1].
            distance: As `distance` gives it.
        """
        strange = distance > 1
        if strange or similarity < self.limits.suspicious_similarity:
            turned, upside_down = _similarity_of_turned(image)
            enough = max(similarity + _CLEARLY, _LIKE_A_CHEST)
            if turned > max(enough, upside_down):
                return Reason.INVERTED
            if upside_down > enough:
                return Reason.NOT_A_RADIOGRAPH if distance > _NOTHING_LIKE else Reason.NOT_FRONTAL_CHEST
        if strange:
            return Reason.NOT_A_RADIOGRAPH if distance > _NOTHING_LIKE else Reason.NOT_FRONTAL_CHEST
        return None


def screen_pixels(image: Image) -> Reason | None:
    """Why an image (height, width) as read cannot be a usable image, whatever it shows; None where it can."""
    height, width = image.shape
    if min(height, width) < SMALLEST_SIDE:
        return Reason.TOO_SMALL
    if max(height, width) > _LONGEST * min(height, width):
        return Reason.NOT_A_RADIOGRAPH
    few = image[:: max(1, height // _EXPOSURE_SIDE), :: max(1, width // _EXPOSURE_SIDE)]
    dark, bright = np.percentile(few, (_DARKEST, _BRIGHTEST))
    if bright - dark < _LEAST_CONTRAST * np.iinfo(image.dtype).max:
        return Reason.POOR_EXPOSURE
    return None


def _similarity_of_turned(image: Image) -> tuple[float, float]:
    """Best agreement with the mean chest of the image black for white, and of the image upside down."""
    square = chest_square(image)
    turned, upside_down = 255 - square, np.ascontiguousarray(square[::-1, ::-1])
    return load_atlas().place(turned).similarity, load_atlas().place(upside_down).similarity


def fit_guard(
    features: NDArray[np.floating], held_out: NDArray[np.floating], similarity: Floats, rejected: float
) -> Guard:
    """A guard for a network.

    Args:
        features: (n, channels) of images that it learnt from, as they are and changed as real images differ.
        held_out: (m, channels) of images that it did not learn from, likewise; the limits come from them.
        similarity: (m,) of held-out images as they are, with the mean chest.
        rejected: Share of the held-out images that may be rejected.
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + _SMALLEST_DEVIATION
    standard = (features - mean) / scale
    variance, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    share = np.cumsum(variance[::-1]) / variance.sum()
    kept = int(np.searchsorted(share, _SHARE_OF_VARIANCE)) + 1
    components, deviation = vectors[:, ::-1][:, :kept], np.sqrt(np.maximum(variance[::-1][:kept], 1e-12))
    suspicious = float(np.quantile(similarity, 0.1))
    unscaled = Guard(GuardLimits((0.0, 0.0), (1.0, 1.0), 1.0, suspicious), mean, scale, components, deviation)
    parts = unscaled._parts(held_out)
    usual, spread = parts.mean(axis=0), parts.std(axis=0)
    beyond = np.maximum((parts - usual) / spread, 0).sum(axis=1)
    limits = GuardLimits(
        tuple(usual.tolist()), tuple(spread.tolist()), float(np.quantile(beyond, 1 - rejected)), suspicious
    )
    return Guard(limits, mean, scale, components, deviation)

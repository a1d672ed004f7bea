"""Input guard: rejects images that are no frontal chest radiograph of usable quality, before any probability is shown.

    pixels     size, aspect ratio, contrast                                          `screen_pixels`
    features   distance of the network's features from those of training images     `Guard.distance`
    position   correlation with the mean chest, as it is, inverted and upside down   `Guard.screen`

Distance of features x, with mean m and standard deviation s of the training images, z = (x - m) / s, principal components V of
z (98 % of the variance) and their standard deviations d:

    outside = |z - V V'z|          residual, from the norms: |z|^2 - |V'z|^2
    inside  = rms(V'z / d)         Mahalanobis distance within the components
    distance = sum over both of max(0, (ln part - usual) / spread) / farthest

`usual` and `spread` are mean and standard deviation of ln part over held-out images, `farthest` the quantile of the sum that
rejects the wanted fraction of them. Images of other subjects excite features that no chest image does: the residual finds
them, and none were needed to fit the guard.

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

# Pixels of the shorter edge below which lung markings cannot be distinguished from noise.
MIN_EDGE = 64
# Ratio of the longer to the shorter edge; no chest radiograph is longer.
_MAX_ASPECT_RATIO = 4.0
# Range between two percentiles of the grey levels, as a fraction of the full range, below which nothing can be seen.
_MIN_CONTRAST = 0.06
_CONTRAST_PERCENTILES = (5, 95)
# Rows and columns that are sampled to measure the contrast, about.
_CONTRAST_SAMPLES = 200
# Gain in correlation with the mean chest, and correlation, from which an inverted or turned image is taken for a chest.
_MIN_GAIN, _MIN_TURNED_SIMILARITY = 0.02, 0.65
# Distance from which an image is called no radiograph, rather than no frontal chest radiograph.
_NO_RADIOGRAPH_DISTANCE = 1.8
_EXPLAINED_VARIANCE = 0.98
_MIN_DEVIATION = 1e-3


@dataclass(frozen=True)
class Guard:
    """Distribution of a network's features over its training images, with limits of acceptance.

    Attributes:
        limits: Limits of acceptance.
        mean: (channels,) float64 mean of the features.
        scale: (channels,) float64 standard deviation of the features.
        components: (channels, k) float64 principal components of the standardised features.
        deviation: (k,) float64 standard deviation along each component.
    """

    limits: GuardLimits
    mean: Floats
    scale: Floats
    components: Floats
    deviation: Floats

    @staticmethod
    def from_bundle(bundle: Bundle) -> "Guard":
        """Guard of a bundle.

        Raises:
            BundleError: An array is missing, or its shape does not fit the others.
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
        raise BundleError(f"expected the arrays of an input guard in the bundle, found {found}: get it again")

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Arrays for a bundle; half precision of the components changes the distance by less than a thousandth."""
        return {
            "mean": self.mean.astype(np.float32),
            "scale": self.scale.astype(np.float32),
            "components": self.components.astype(np.float16),
            "deviation": self.deviation.astype(np.float32),
        }

    def distance(self, features: NDArray[np.floating]) -> Floats:
        """(n,) float64 distances from 0, accepted up to 1, of features (n, channels) from those of chest radiographs."""
        parts = self._log_parts(features)
        excess = (parts - self.limits.usual) / self.limits.spread
        return np.asarray(np.maximum(excess, 0).sum(axis=1) / self.limits.farthest)

    def _log_parts(self, features: NDArray[np.floating]) -> Floats:
        """(n, 2) logarithms of the distances outside and inside the components."""
        standard = (features - self.mean) / self.scale
        inside = standard @ self.components
        outside = np.sqrt(np.maximum((standard**2).sum(axis=1) - (inside**2).sum(axis=1), 1e-12))
        along = np.sqrt(((inside / self.deviation) ** 2).mean(axis=1) + 1e-12)
        return np.asarray(np.log(np.stack([outside, along], axis=1)))

    def screen(self, image: Image, similarity: float, distance: float) -> Reason | None:
        """Reason to reject an image for what it shows; None for a frontal chest radiograph.

        Args:
            image: (height, width) uint8 or uint16 as read, accepted by `screen_pixels`.
            similarity: Correlation of the aligned chest with the mean chest, in [-1, 1].
            distance: Distance of the image's features, as `distance` computes it.
        """
        rejected = distance > 1
        if rejected or similarity < self.limits.suspicious_similarity:
            inverted, upside_down = _turned_similarities(image)
            needed = max(similarity + _MIN_GAIN, _MIN_TURNED_SIMILARITY)
            if inverted > max(needed, upside_down):
                return Reason.INVERTED
            rejected = rejected or upside_down > needed
        if rejected:
            return Reason.NOT_A_RADIOGRAPH if distance > _NO_RADIOGRAPH_DISTANCE else Reason.NOT_FRONTAL_CHEST
        return None


def screen_pixels(image: Image) -> Reason | None:
    """Reason to reject an image (height, width), as read, for its pixels alone; None for a usable one."""
    height, width = image.shape
    if min(height, width) < MIN_EDGE:
        return Reason.TOO_SMALL
    if max(height, width) > _MAX_ASPECT_RATIO * min(height, width):
        return Reason.NOT_A_RADIOGRAPH
    sample = image[:: max(1, height // _CONTRAST_SAMPLES), :: max(1, width // _CONTRAST_SAMPLES)]
    dark, bright = np.percentile(sample, _CONTRAST_PERCENTILES)
    if bright - dark < _MIN_CONTRAST * np.iinfo(image.dtype).max:
        return Reason.POOR_EXPOSURE
    return None


def _turned_similarities(image: Image) -> tuple[float, float]:
    """Correlations with the mean chest of the inverted image and of the image upside down, in [-1, 1]."""
    square = chest_square(image)
    inverted, upside_down = 255 - square, np.ascontiguousarray(square[::-1, ::-1])
    return load_atlas().locate_chest(inverted).similarity, load_atlas().locate_chest(upside_down).similarity


def fit_guard(
    features: NDArray[np.floating], held_out: NDArray[np.floating], similarity: Floats, rejected: float
) -> Guard:
    """Fits the guard of a network.

    Args:
        features: (n, channels) features of training images, unchanged and altered as real images differ.
        held_out: (m, channels) features of held-out images, unchanged and altered; the limits are fitted to these.
        similarity: (k,) correlations of unchanged held-out images with the mean chest, in [-1, 1].
        rejected: Fraction of the held-out images that may be rejected, in [0, 1].
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + _MIN_DEVIATION
    standard = (features - mean) / scale
    variance, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    explained = np.cumsum(variance[::-1]) / variance.sum()
    kept = int(np.searchsorted(explained, _EXPLAINED_VARIANCE)) + 1
    components, deviation = vectors[:, ::-1][:, :kept], np.sqrt(np.maximum(variance[::-1][:kept], 1e-12))
    suspicious = float(np.quantile(similarity, 0.1))
    unscaled = Guard(GuardLimits((0.0, 0.0), (1.0, 1.0), 1.0, suspicious), mean, scale, components, deviation)
    parts = unscaled._log_parts(held_out)
    usual, spread = parts.mean(axis=0), parts.std(axis=0)
    excess = np.maximum((parts - usual) / spread, 0).sum(axis=1)
    farthest = float(np.quantile(excess, 1 - rejected))
    limits = GuardLimits(tuple(usual.tolist()), tuple(spread.tolist()), farthest, suspicious)
    return Guard(limits, mean, scale, components, deviation)

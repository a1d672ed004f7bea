"""Acquisition clusters: images of one device and room, found by k-means over properties that a device leaves on an image.

Features of an image: log power in 16 rings of spatial frequency (resolution, noise, compression), 9 quantiles of the grey
levels (exposure, tone curve), bright fraction and contrast of the 4 corners (burnt-in markers). In the public training images
the fraction of normals in a cluster ranges from nearly 0 to nearly 1, and it differs in the test images: a network that
recognises the cluster does well on validation images and badly on test images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pneumoscope.errors import InputError

CLUSTER_COUNT = 12
_BANDS = 16
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
# Size of the corners, as a fraction of the image's size, and grey level from which a pixel counts as part of a marker.
_CORNER_FRACTION = 0.18
_BRIGHT_LEVEL = 200
_BATCH = 256

Features = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterModel:
    """Cluster centres fitted to some images, to assign others to.

    Attributes:
        mean: (features,) float64, mean of the features of the fitted images.
        scale: (features,) float64, standard deviation of these features.
        centres: (clusters, features) float64, in units of `scale` about `mean`, the largest cluster first.
    """

    mean: Features
    scale: Features
    centres: Features

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(n,) int, nearest cluster of each image of (n, height, width) uint8; 0 is the largest cluster."""
        return self.nearest(acquisition_features(images))

    def nearest(self, features: Features) -> NDArray[np.int64]:
        """(n,) int, nearest cluster of each image by its (n, features) acquisition features."""
        offset = (features - self.mean) / self.scale
        distance = ((offset[:, None, :] - self.centres[None, :, :]) ** 2).sum(axis=2)
        nearest: NDArray[np.int64] = distance.argmin(axis=1)
        return nearest


def fit_clusters(images: NDArray[np.uint8], count: int = CLUSTER_COUNT, seed: int = 0) -> ClusterModel:
    """Cluster images by k-means over their standardised `acquisition_features`.

    Args:
        images: (n, height, width) uint8.
        count: Number of clusters.
        seed: Seed of the initial centres.

    Raises:
        InputError: Fewer images than clusters.
    """
    if len(images) < count:
        raise InputError(
            f"expected at least {count} films for {count} acquisition clusters, found {len(images)}: add films"
        )
    return fit_feature_clusters(acquisition_features(images), count, seed)


def fit_feature_clusters(features: Features, count: int, seed: int = 0) -> ClusterModel:
    """Cluster images by k-means over their (n, features) acquisition features, standardised; `count` is at most n."""
    from sklearn.cluster import KMeans

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1
    fitted = KMeans(count, n_init=10, random_state=seed).fit((features - mean) / scale)
    largest_first = np.argsort(-np.bincount(fitted.labels_, minlength=count), kind="stable")
    return ClusterModel(mean, scale, fitted.cluster_centers_[largest_first])


def acquisition_features(images: NDArray[np.uint8]) -> Features:
    """(n, 16 + 9 + 8) float64 features of (n, height, width) uint8 images: spectrum, grey levels, corner markers."""
    parts = [_features(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, _BANDS + len(_QUANTILES) + 8))


def _features(images: NDArray[np.uint8]) -> Features:
    return np.concatenate([_spectrum(images), _grey_level_quantiles(images), _corner_markers(images)], axis=1)


def _spectrum(images: NDArray[np.uint8]) -> Features:
    """(n, 16) log of the fraction of the power in each ring of spatial frequency, under a Hann window."""
    height, width = images.shape[1:]
    taper = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    centred = images.astype(np.float32)
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    power = np.abs(fft.rfft2(centred * taper)) ** 2
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :])
    edges = np.linspace(1 / min(height, width), 0.5, _BANDS + 1)
    inside = np.digitize(radius, edges)[:, :, None] == 1 + np.arange(_BANDS)
    flat = power.reshape(len(images), -1)
    rings = flat @ inside.reshape(-1, _BANDS).astype(np.float32)
    total = flat.sum(axis=1, keepdims=True) + 1e-9
    return np.asarray(np.log(rings / total + 1e-9), dtype=np.float64)


def _grey_level_quantiles(images: NDArray[np.uint8]) -> Features:
    """(n, 9) quantiles of the grey levels, from histograms: sorting the pixels takes a hundred times as long."""
    counts = np.stack([np.bincount(image.ravel(), minlength=256) for image in images])
    cumulative = np.cumsum(counts, axis=1) / images[0].size
    return np.stack([(cumulative < quantile).sum(axis=1) for quantile in _QUANTILES], axis=1).astype(np.float64)


def _corner_markers(images: NDArray[np.uint8]) -> Features:
    """(n, 8) fraction of bright pixels and contrast of each corner."""
    size = max(1, round(_CORNER_FRACTION * min(images.shape[1:])))
    first, last = slice(0, size), slice(-size, None)
    corners = [images[:, rows, columns] for rows in (first, last) for columns in (first, last)]
    measures = [((c >= _BRIGHT_LEVEL).mean(axis=(1, 2)), c.std(axis=(1, 2)) / 255) for c in corners]
    return np.stack([value for pair in measures for value in pair], axis=1)

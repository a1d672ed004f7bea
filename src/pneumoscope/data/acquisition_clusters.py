"""Image styles: which images look as if they came from the same device and room, whatever they show.

What a device, its room and its image scanner leave behind (how fine the picture is, how its grey levels lie, what is burnt
into its corners) is measured on each image; images whose measures lie together are called a style. A style is no class: in
the public training images the share of normals within a style runs from nearly none to nearly all, and it is other in the
test images, so that a network which learns the style reads validation well and the test badly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pneumoscope.errors import InputError

CLUSTERS = 12
_BANDS = 16
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
# A corner mark is bright on a dark ground; these shares of an image's side hold the corners and the margins between.
_CORNER = 0.18
_BRIGHT = 200
_BATCH = 256

Features = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterModel:
    """Styles found in some images, to be recognised in others.

    Attributes:
        mean: (features,) of the images the styles were found in.
        scale: (features,) standard deviation, likewise.
        centres: (styles, features) in units of `scale` about `mean`, the largest style first.
    """

    mean: Features
    scale: Features
    centres: Features

    def of(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(n,) int, the nearest style of each image (n, height, width) uint8, 0 for the largest."""
        offset = (acquisition_features(images) - self.mean) / self.scale
        distance = ((offset[:, None, :] - self.centres[None, :, :]) ** 2).sum(axis=2)
        nearest: NDArray[np.int64] = distance.argmin(axis=1)
        return nearest


def fit_clusters(images: NDArray[np.uint8], count: int = CLUSTERS, seed: int = 0) -> ClusterModel:
    """Gathers images into styles by k-means over `acquisition_features`.

    Args:
        images: (n, height, width) uint8.
        count: Of styles.
        seed: Of k-means' starts.

    Raises:
        InputError: Fewer images than styles.
    """
    from sklearn.cluster import KMeans

    if len(images) < count:
        raise InputError(f"expected at least {count} films to find {count} styles in, found {len(images)}: add films")
    features = acquisition_features(images)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1
    found = KMeans(count, n_init=10, random_state=seed).fit((features - mean) / scale)
    largest_first = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
    return ClusterModel(mean, scale, found.cluster_centers_[largest_first])


def acquisition_features(images: NDArray[np.uint8]) -> Features:
    """(n, 16 + 9 + 8) float64 of images (n, height, width) uint8: spectrum, grey levels, corner marks."""
    parts = [_features(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, _BANDS + len(_QUANTILES) + 8))


def _features(images: NDArray[np.uint8]) -> Features:
    return np.concatenate([_spectrum(images), _grey_levels(images), _corner_marks(images)], axis=1)


def _spectrum(images: NDArray[np.uint8]) -> Features:
    """Logarithm of the power in 16 rings of spatial frequency, each relative to all of it; tapered against the edges."""
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


def _grey_levels(images: NDArray[np.uint8]) -> Features:
    """Grey levels below which a share of the pixels lies; by counting, since sorting takes a hundred times as long."""
    counts = np.stack([np.bincount(image.ravel(), minlength=256) for image in images])
    reached = np.cumsum(counts, axis=1) / images[0].size
    return np.stack([(reached < share).sum(axis=1) for share in _QUANTILES], axis=1).astype(np.float64)


def _corner_marks(images: NDArray[np.uint8]) -> Features:
    """Share of bright pixels and contrast in each corner."""
    split = max(1, round(_CORNER * min(images.shape[1:])))
    near, far = slice(0, split), slice(-split, None)
    corners = [images[:, rows, columns] for rows in (near, far) for columns in (near, far)]
    measures = [((c >= _BRIGHT).mean(axis=(1, 2)), c.std(axis=(1, 2)) / 255) for c in corners]
    return np.stack([value for pair in measures for value in pair], axis=1)

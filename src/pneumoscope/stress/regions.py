"""Regions of a radiograph: the lungs, the corners, what surrounds the chest; as opacities with soft edges, so that no edge is made."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pneumoscope.data.alignment import ChestFrame

Opacity = NDArray[np.float32]

# Lungs as ellipses in the chest frame, from the mean chest: centre and half sides, as fractions of the frame.
_LUNGS_X, _LUNGS_Y = (0.25, 0.75), 0.46
_LUNG_HALF_WIDTH, _LUNG_HALF_HEIGHT = 0.25, 0.43
# Side of a corner as a fraction of the image's, as in `data/acquisition_clusters.py`, and width of a soft edge.
_CORNER, _SOFT = 0.18, 0.02
# The chest, ribs and skin included, beyond the frame on each side, as a fraction of it.
_CHEST_MARGIN = 0.06


def lungs(frame: ChestFrame, side: int) -> Opacity:
    """(side, side) float32 in [0, 1], opacity of the lungs of a radiograph whose chest lies in a frame."""
    top, left, bottom, right = frame.edges
    y, x = np.mgrid[0:side, 0:side] / side + 0.5 / side
    y, x = (y - top) / (bottom - top), (x - left) / (right - left)
    inside = np.zeros((side, side), dtype=np.float32)
    for centre in _LUNGS_X:
        inside[np.hypot((x - centre) / _LUNG_HALF_WIDTH, (y - _LUNGS_Y) / _LUNG_HALF_HEIGHT) <= 1] = 1
    return _soft(inside)


@lru_cache(maxsize=4)
def corners(side: int) -> Opacity:
    """(side, side) float32 in [0, 1], opacity of the four corners."""
    size = round(_CORNER * side)
    edge = np.zeros(side, dtype=np.float32)
    edge[:size] = edge[-size:] = 1
    return _soft(np.outer(edge, edge))


def surroundings(frame: ChestFrame, side: int) -> Opacity:
    """(side, side) float32 in [0, 1], opacity of what lies around the chest."""
    top, left, bottom, right = frame.edges
    margin_y, margin_x = _CHEST_MARGIN * (bottom - top), _CHEST_MARGIN * (right - left)
    rows = _within(top - margin_y, bottom + margin_y, side)
    columns = _within(left - margin_x, right + margin_x, side)
    return _soft(1 - np.outer(rows, columns))


def blend(
    image: NDArray[np.uint8], other: NDArray[np.floating] | NDArray[np.uint8], opacity: Opacity
) -> NDArray[np.uint8]:
    """(height, width) uint8, `other` over `image` with an opacity."""
    mixed = image + opacity * (np.asarray(other, dtype=np.float32) - image)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def _within(first: float, last: float, side: int) -> Opacity:
    at = (np.arange(side) + 0.5) / side
    return ((at >= first) & (at <= last)).astype(np.float32)


def _soft(opacity: Opacity) -> Opacity:
    return np.asarray(gaussian_filter(opacity, _SOFT * opacity.shape[0], truncate=3.0))

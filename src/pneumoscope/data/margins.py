"""Margins of one grey level: what a collimator, a letterbox or a mask leaves around the radiograph in an image.

They shift the chest's alignment, for the mean chest has none, and a network that saw none in training answers them.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# A row or column belongs to a margin where this fraction of its pixels, markers left aside, is within so many grey levels of its
# median: compression spreads the edge of the radiograph over its neighbours.
_SAME_FRACTION, _SAME_LEVELS = 0.95, 6
# Widest margin on a side, as a fraction of it: beyond, the rest would be no radiograph to repeat.
_WIDEST = 0.35


def radiograph_edges(image: Pixels) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the part of an image, (height, width) uint8, within its margins of one grey level."""
    height, width = image.shape
    top, left, bottom, right = 0, 0, height, width
    top, bottom = _shrink(image, top, bottom)
    left, right = _shrink(image[top:bottom].T, left, right)
    if right - left < width:
        # Where margins of columns differ in grey level, those of rows are seen only within them.
        top, bottom = _shrink(image[:, left:right], top, bottom)
        left, right = _shrink(image[top:bottom].T, left, right)
    return top, left, bottom, right


def fill_margins(image: Pixels) -> Pixels:
    """Image, (height, width) uint8, with its margins of one grey level replaced by the nearest pixels of the radiograph."""
    top, left, bottom, right = radiograph_edges(image)
    if (bottom - top, right - left) == image.shape:
        return image
    around = ((top, image.shape[0] - bottom), (left, image.shape[1] - right))
    return np.pad(image[top:bottom, left:right], around, mode="edge")


def _shrink(rows: Pixels, first: int, last: int) -> tuple[int, int]:
    """First row and end of the rows within the margins above and below; as they were where hardly anything would be left."""
    least, most = int(len(rows) * _WIDEST), len(rows) - int(len(rows) * _WIDEST)
    start, end = first, last
    while start <= least and _is_uniform(rows[start]):
        start += 1
    while end >= most and _is_uniform(rows[end - 1]):
        end -= 1
    return (start, end) if start <= least and end >= most else (first, last)


def _is_uniform(line: Pixels) -> bool:
    levels = line.astype(np.int16)
    # The upper of the two middle levels does as well as their mean, at a fraction of the time of numpy's median.
    middle = np.partition(levels, len(levels) // 2)[len(levels) // 2]
    return int((np.abs(levels - middle) <= _SAME_LEVELS).sum()) >= _SAME_FRACTION * len(levels)

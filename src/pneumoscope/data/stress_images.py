"""Stress images: normal images with the aspect ratio, sharpness and compression of pneumonia files.

In the public training images the normals are stored larger, less compressed and less wide than the pneumonias; in the test
images they are stored like the pneumonias (see the data card). A network that uses the file instead of the lung errs on them.
A normal of the validation set is therefore (1) cropped in height to the aspect ratio of pneumonia images and squashed again,
(2) recompressed as JPEG, and (3) reduced and enlarged until its sharpness is that of a randomly drawn pneumonia image.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.data.index import sharpness
from pneumoscope.errors import InputError

Pixels = NDArray[np.uint8]

# Factor by which the height of a normal is cut to reach the aspect ratio of a pneumonia, measured on the 2,323 training
# originals: median aspect ratio 1.23 against 1.45-1.50, standard deviation about 0.2 in both.
_ASPECT_RATIO, _ASPECT_SPREAD = 1.2, 0.12
_WIDEST = 1.6
_JPEG_QUALITY = (60, 90)
_REDUCTIONS = np.linspace(1.0, 0.25, 31)


def store_like_pneumonias(
    normals: NDArray[np.uint8], pneumonias: NDArray[np.uint8], rng: np.random.Generator
) -> Pixels:
    """Give normal images the aspect ratio, sharpness and compression of pneumonia images.

    Args:
        normals: (n, height, width) uint8, squashed to a square.
        pneumonias: (m, height, width) uint8, squashed to a square; each normal takes the sharpness of one of them.
        rng: Random generator for the pneumonia image, the aspect ratio, the crop and the JPEG quality.

    Returns:
        (n, height, width) uint8.

    Raises:
        InputError: No pneumonia image.
    """
    if len(pneumonias) == 0:
        raise InputError("expected pneumonia films to take the sharpness from, found none: add them")
    targets = np.array([_sharpness(image) for image in pneumonias])
    altered = [_alter(image, float(rng.choice(targets)), rng) for image in normals]
    return np.stack(altered) if altered else normals.copy()


def _alter(image: Pixels, target_sharpness: float, rng: np.random.Generator) -> Pixels:
    ratio = float(np.clip(rng.normal(_ASPECT_RATIO, _ASPECT_SPREAD), 1.0, _WIDEST))
    wide = _crop_height(image, ratio, rng.random())
    compressed = recompress_jpeg(wide, int(rng.integers(*_JPEG_QUALITY)))
    return _soften(compressed, target_sharpness)


def _sharpness(image: Pixels) -> float:
    return sharpness(image.astype(np.float32))


def _crop_height(image: Pixels, ratio: float, offset: float) -> Pixels:
    """Cut the height to 1 / ratio and squash to the old size, as a wider file would be.

    Args:
        image: (height, width) uint8.
        ratio: Old over new height, 1 or more.
        offset: Position of the crop, in [0, 1]: 0 cuts at the bottom only, 1 at the top only.
    """
    height, width = image.shape
    spare = height * (1 - 1 / ratio)
    box = (0.0, offset * spare, float(width), offset * spare + height / ratio)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _soften(image: Pixels, target: float) -> Pixels:
    """Lower the sharpness to a target by reducing and enlarging, the factor found by bisection; less sharp images are kept."""
    low, high = 0, len(_REDUCTIONS) - 1
    if _sharpness(image) <= target:
        return image
    while low < high:
        middle = (low + high) // 2
        if _sharpness(_reduce_and_enlarge(image, _REDUCTIONS[middle])) > target:
            low = middle + 1
        else:
            high = middle
    return _reduce_and_enlarge(image, _REDUCTIONS[low])


def _reduce_and_enlarge(image: Pixels, fraction: float) -> Pixels:
    height, width = image.shape
    small = Image.fromarray(image).resize((max(8, round(width * fraction)), max(8, round(height * fraction))))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))

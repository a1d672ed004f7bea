"""Validation normals made to look like files of pneumonia images: what the test set does to a network that reads the file.

In the public training images the normals are stored larger, less compressed and less wide than the pneumonias; in the test
images they are stored like the pneumonias (see the data card). A normal of the validation set is therefore cropped to the
aspect of a pneumonia image, reduced to its sharpness and compressed anew. A network that reads the lung should not mind.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.augmentation import recompressed
from pneumoscope.data.index import sharpness
from pneumoscope.errors import InputError

Pixels = NDArray[np.uint8]

# Height over which a normal must be cropped to become as wide as a pneumonia, measured on the 2,323 training originals:
# median aspect 1.23 against 1.45-1.50, both spread by about 0.2.
_ASPECT_RATIO, _ASPECT_SPREAD = 1.2, 0.12
_WIDEST = 1.6
_JPEG_QUALITY = (60, 90)
_REDUCTIONS = np.linspace(1.0, 0.25, 31)


def as_pneumonia_files(normals: NDArray[np.uint8], pneumonias: NDArray[np.uint8], rng: np.random.Generator) -> Pixels:
    """Normal images with the stretch, sharpness and compression of pneumonia images.

    Args:
        normals: (n, height, width) uint8, squashed to a square.
        pneumonias: (m, height, width) uint8, likewise; each normal takes the sharpness of one of them.
        rng: Draws the partner, the stretch and the quality.

    Returns:
        (n, height, width) uint8.

    Raises:
        InputError: There is no pneumonia image.
    """
    if len(pneumonias) == 0:
        raise InputError("expected pneumonia films to take the sharpness from, found none: add them")
    wanted = np.array([_sharpness(image) for image in pneumonias])
    shifted = [_shifted(image, float(rng.choice(wanted)), rng) for image in normals]
    return np.stack(shifted) if shifted else normals.copy()


def _shifted(image: Pixels, wanted_sharpness: float, rng: np.random.Generator) -> Pixels:
    ratio = float(np.clip(rng.normal(_ASPECT_RATIO, _ASPECT_SPREAD), 1.0, _WIDEST))
    wide = _cropped(image, ratio, rng.random())
    compressed = recompressed(wide, int(rng.integers(*_JPEG_QUALITY)))
    return _softened(compressed, wanted_sharpness)


def _sharpness(image: Pixels) -> float:
    return sharpness(image.astype(np.float32))


def _cropped(image: Pixels, ratio: float, place: float) -> Pixels:
    """Height cut to 1 / ratio, then squashed to the old size: the image of a wider file."""
    height, width = image.shape
    spare = height * (1 - 1 / ratio)
    box = (0.0, place * spare, float(width), place * spare + height / ratio)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _softened(image: Pixels, wanted: float) -> Pixels:
    """Reduced and enlarged by as much as brings its sharpness down to the wanted one; left alone where it is below."""
    low, high = 0, len(_REDUCTIONS) - 1
    if _sharpness(image) <= wanted:
        return image
    while low < high:
        middle = (low + high) // 2
        if _sharpness(_reduced(image, _REDUCTIONS[middle])) > wanted:
            low = middle + 1
        else:
            high = middle
    return _reduced(image, _REDUCTIONS[low])


def _reduced(image: Pixels, share: float) -> Pixels:
    height, width = image.shape
    small = Image.fromarray(image).resize((max(8, round(width * share)), max(8, round(height * share))))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))

"""Validation normals made to look like files of pneumonia films: what the test set does to a network that reads the file.

In the public training films the normals are stored larger, less compressed and less wide than the pneumonias; in the test
films they are stored like the pneumonias (see the data card). A normal of the validation set is therefore cropped to the
aspect of a pneumonia film, reduced to its sharpness and compressed anew. A network that reads the lung should not mind.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.augmentation import recompressed
from pneumoscope.data.index import sharpness
from pneumoscope.errors import InputError

Film = NDArray[np.uint8]

# Height over which a normal must be cropped to become as wide as a pneumonia, measured on the 2,323 training originals:
# median aspect 1.23 against 1.45-1.50, both spread by about 0.2.
_ASPECT_RATIO, _ASPECT_SPREAD = 1.2, 0.12
_WIDEST = 1.6
_JPEG_QUALITY = (60, 90)
_REDUCTIONS = np.linspace(1.0, 0.25, 31)


def as_pneumonia_files(normals: NDArray[np.uint8], pneumonias: NDArray[np.uint8], rng: np.random.Generator) -> Film:
    """Normal films with the stretch, sharpness and compression of pneumonia films.

    Args:
        normals: (n, height, width) uint8, squashed to a square.
        pneumonias: (m, height, width) uint8, likewise; each normal takes the sharpness of one of them.
        rng: Draws the partner, the stretch and the quality.

    Returns:
        (n, height, width) uint8.

    Raises:
        InputError: There is no pneumonia film.
    """
    if len(pneumonias) == 0:
        raise InputError("expected pneumonia films to take the sharpness from, found none: add them")
    wanted = np.array([_sharpness(film) for film in pneumonias])
    shifted = [_shifted(film, float(rng.choice(wanted)), rng) for film in normals]
    return np.stack(shifted) if shifted else normals.copy()


def _shifted(film: Film, wanted_sharpness: float, rng: np.random.Generator) -> Film:
    ratio = float(np.clip(rng.normal(_ASPECT_RATIO, _ASPECT_SPREAD), 1.0, _WIDEST))
    wide = _cropped(film, ratio, rng.random())
    compressed = recompressed(wide, int(rng.integers(*_JPEG_QUALITY)))
    return _softened(compressed, wanted_sharpness)


def _sharpness(film: Film) -> float:
    return sharpness(film.astype(np.float32))


def _cropped(film: Film, ratio: float, place: float) -> Film:
    """Height cut to 1 / ratio, then squashed to the old size: the film of a wider file."""
    height, width = film.shape
    spare = height * (1 - 1 / ratio)
    box = (0.0, place * spare, float(width), place * spare + height / ratio)
    return np.asarray(Image.fromarray(film).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _softened(film: Film, wanted: float) -> Film:
    """Reduced and enlarged by as much as brings its sharpness down to the wanted one; left alone where it is below."""
    low, high = 0, len(_REDUCTIONS) - 1
    if _sharpness(film) <= wanted:
        return film
    while low < high:
        middle = (low + high) // 2
        if _sharpness(_reduced(film, _REDUCTIONS[middle])) > wanted:
            low = middle + 1
        else:
            high = middle
    return _reduced(film, _REDUCTIONS[low])


def _reduced(film: Film, share: float) -> Film:
    height, width = film.shape
    small = Image.fromarray(film).resize((max(8, round(width * share)), max(8, round(height * share))))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))

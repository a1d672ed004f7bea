"""Grey levels of any size become the array that a network sees: one path for training, evaluation and detection."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.alignment import aligned, load_atlas
from pneumoscope.errors import InputError

# Raised whenever the same settings give other pixels than before, the atlas included, so that no cache outlives its meaning.
PREPROCESSING_VERSION = 1
# The chest is looked for in a square of this side, whatever the size of the film.
_SQUARE = 224

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing) -> NDArray[np.uint8]:
    """The film at the network's size.

    Args:
        image: (height, width) uint8, or uint16 with its full range in use; 65535 becomes 255.
        settings: Size, fit and filter.

    Returns:
        (settings.height, settings.width) uint8.

    Raises:
        InputError: Not a two-dimensional uint8 or uint16 array, or an empty one.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise InputError(
            f"expected a (height, width) array of uint8 or uint16, found {image.shape} {image.dtype}: convert it first"
        )
    deep = image.dtype == np.uint16
    film = Image.fromarray(image.astype(np.float32) / 257.0 if deep else np.ascontiguousarray(image))
    if settings.fit == "chest":
        square = _as_bytes(film.resize((_SQUARE, _SQUARE), _FILTERS[settings.resampling]))
        return aligned(square, load_atlas().place(square), settings.height, settings.width)
    return _as_bytes(_fit(film, settings))


def _as_bytes(film: Image.Image) -> NDArray[np.uint8]:
    return np.rint(np.asarray(film, dtype=np.float32)).clip(0, 255).astype(np.uint8)


def _fit(film: Image.Image, settings: Preprocessing) -> Image.Image:
    target = (settings.width, settings.height)
    resampling = _FILTERS[settings.resampling]
    if settings.fit == "squash":
        return film.resize(target, resampling)
    ratios = (settings.width / film.width, settings.height / film.height)
    if settings.fit == "crop":
        scale = max(ratios)
        # Rounding may put a side that fits exactly a hair outside of the film.
        spare = (max(0.0, film.width - settings.width / scale), max(0.0, film.height - settings.height / scale))
        box = (spare[0] / 2, spare[1] / 2, film.width - spare[0] / 2, film.height - spare[1] / 2)
        return film.resize(target, resampling, box=box)
    scale = min(ratios)
    inner = (max(1, round(film.width * scale)), max(1, round(film.height * scale)))
    canvas = Image.new(film.mode, target)
    canvas.paste(film.resize(inner, resampling), ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2))
    return canvas


def to_unit_range(films: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels 0-255 as float32 in [0, 1], same shape."""
    return films.astype(np.float32) / np.float32(255.0)

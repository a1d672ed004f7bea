"""Preprocessing: grey levels of any size to the network's input, one code path for training, evaluation and prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.alignment import chest_layout, load_atlas, resample_frame
from pneumoscope.data.exposure import measure_exposure
from pneumoscope.data.margins import fill_margins
from pneumoscope.errors import InputError

# Increased whenever the same settings give other pixels than before (a new atlas included): it is part of the cache key.
PREPROCESSING_VERSION = 2
# Height and width of the square in which the chest is located, whatever the size of the image.
_SQUARE_SIZE = 224

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class PreparedImage:
    """Input of a network, with the frame of the original image that it shows.

    Attributes:
        image: (height, width) uint8, the network's input.
        frame: Top, left, bottom and right of the input, as fractions of the original image's height and width; below 0 or
            above 1 where the frame extends beyond the image.
        similarity: Correlation of the aligned chest with the mean chest, in [-1, 1].
        layout: (256,) float32, layout of the aligned chest (`data/alignment.py`).
        exposure: (3,) brightness, contrast and noise of the whole image, its margins filled, in [0, 1] (`data/exposure.py`).
    """

    image: NDArray[np.uint8]
    frame: tuple[float, float, float, float]
    similarity: float
    layout: NDArray[np.float32]
    exposure: NDArray[np.float64]


def prepare(image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing) -> NDArray[np.uint8]:
    """Bring an image to the network's size.

    Args:
        image: (height, width) uint8, or uint16 with its full range in use; 65535 becomes 255.
        settings: Size, fit and resampling filter.

    Returns:
        (settings.height, settings.width) uint8.

    Raises:
        InputError: Array of another shape or dtype, or an empty one.
    """
    if settings.fit == "chest":
        square = chest_square(image, settings)
        return resample_frame(square, load_atlas().locate_chest(square), settings.height, settings.width)
    return _to_uint8(_fit(_to_pillow(image), settings)[0])


def prepare_with_frame(image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing) -> PreparedImage:
    """Bring an image to the network's size, and report the frame that it shows; the chest is located whatever the fit.

    Args:
        image: (height, width) uint8 or uint16, as for `prepare`.
        settings: Size, fit and resampling filter.

    Raises:
        InputError: Array of another shape or dtype, or an empty one.
    """
    square = chest_square(image, settings)
    chest, content = load_atlas().align(square)
    layout, exposure = chest_layout(content), measure_exposure(square)
    if settings.fit == "chest":
        prepared = resample_frame(square, chest, settings.height, settings.width)
        return PreparedImage(prepared, chest.edges, chest.similarity, layout, exposure)
    fitted, frame = _fit(_to_pillow(image), settings)
    return PreparedImage(_to_uint8(fitted), frame, chest.similarity, layout, exposure)


def chest_square(
    image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing | None = None
) -> NDArray[np.uint8]:
    """(224, 224) uint8, the image squashed to the square in which the chest is located, its margins of one grey level filled."""
    resampling = _FILTERS[(settings or Preprocessing()).resampling]
    return fill_margins(_to_uint8(_to_pillow(image).resize((_SQUARE_SIZE, _SQUARE_SIZE), resampling)))


def check_image(image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Check that an array can be an image.

    Raises:
        InputError: Array of another shape or dtype than (height, width) uint8 or uint16, or an empty one.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise InputError(
            f"expected a (height, width) array of uint8 or uint16, found {image.shape} {image.dtype}: convert it first"
        )


def _to_pillow(image: NDArray[np.uint8] | NDArray[np.uint16]) -> Image.Image:
    """Pillow image of 8-bit grey levels; of float32 in 0-255 for a uint16 array."""
    check_image(image)
    deep = image.dtype == np.uint16
    return Image.fromarray(image.astype(np.float32) / 257.0 if deep else np.ascontiguousarray(image))


def _to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "L":
        return np.array(image)
    return np.rint(np.asarray(image, dtype=np.float32)).clip(0, 255).astype(np.uint8)


def _fit(image: Image.Image, settings: Preprocessing) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Image at the configured size, and the frame of the original that it shows, as fractions: top, left, bottom, right."""
    target = (settings.width, settings.height)
    resampling = _FILTERS[settings.resampling]
    if settings.fit == "squash":
        return image.resize(target, resampling), (0.0, 0.0, 1.0, 1.0)
    ratios = (settings.width / image.width, settings.height / image.height)
    if settings.fit == "crop":
        scale = max(ratios)
        # Rounding can put an edge that fits exactly slightly outside of the image.
        spare = (max(0.0, image.width - settings.width / scale), max(0.0, image.height - settings.height / scale))
        box = (spare[0] / 2, spare[1] / 2, image.width - spare[0] / 2, image.height - spare[1] / 2)
        left, top = spare[0] / 2 / image.width, spare[1] / 2 / image.height
        return image.resize(target, resampling, box=box), (top, left, 1 - top, 1 - left)
    scale = min(ratios)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    corner = ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2)
    canvas = Image.new(image.mode, target)
    canvas.paste(image.resize(inner, resampling), corner)
    left, top = -corner[0] / inner[0], -corner[1] / inner[1]
    return canvas, (top, left, top + target[1] / inner[1], left + target[0] / inner[0])


def to_unit_range(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale grey levels 0-255 to float32 in [0, 1], same shape."""
    return images.astype(np.float32) / np.float32(255.0)

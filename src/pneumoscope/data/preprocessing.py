"""Grey levels of any size become the array that a network sees: one path for training, evaluation and detection."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.alignment import aligned, load_atlas
from pneumoscope.errors import InputError

# Raised whenever the same settings give other pixels than before, the atlas included, so that no cache outlives its meaning.
PREPROCESSING_VERSION = 1
# The chest is looked for in a square of this side, whatever the size of the image.
_SQUARE = 224

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class PreparedImage:
    """An image at the network's size, and where that frame lies in it.

    Attributes:
        image: (height, width) uint8.
        frame: Top, left, bottom and right of what the network sees, as shares of the image's height and width; beyond 0 and
            1 where the frame juts out.
        similarity: Correlation of the placed chest with the mean chest, in [-1, 1].
    """

    image: NDArray[np.uint8]
    frame: tuple[float, float, float, float]
    similarity: float


def prepare(image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing) -> NDArray[np.uint8]:
    """The image at the network's size.

    Args:
        image: (height, width) uint8, or uint16 with its full range in use; 65535 becomes 255.
        settings: Size, fit and filter.

    Returns:
        (settings.height, settings.width) uint8.

    Raises:
        InputError: Not a two-dimensional uint8 or uint16 array, or an empty one.
    """
    if settings.fit == "chest":
        square = chest_square(image, settings)
        return aligned(square, load_atlas().place(square), settings.height, settings.width)
    return _as_bytes(_fit(_picture(image), settings)[0])


def prepare_placed(image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing) -> PreparedImage:
    """Like `prepare`, and tells where the network looks; the chest is placed whatever the fit.

    Args:
        image: As for `prepare`.
        settings: Size, fit and filter.

    Raises:
        InputError: As for `prepare`.
    """
    square = chest_square(image, settings)
    place = load_atlas().place(square)
    if settings.fit == "chest":
        prepared = aligned(square, place, settings.height, settings.width)
        return PreparedImage(prepared, place.frame, place.similarity)
    fitted, frame = _fit(_picture(image), settings)
    return PreparedImage(_as_bytes(fitted), frame, place.similarity)


def chest_square(
    image: NDArray[np.uint8] | NDArray[np.uint16], settings: Preprocessing | None = None
) -> NDArray[np.uint8]:
    """(224, 224) uint8, the image squashed to the square in which the chest is looked for."""
    resampling = _FILTERS[(settings or Preprocessing()).resampling]
    return _as_bytes(_picture(image).resize((_SQUARE, _SQUARE), resampling))


def check_image(image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Whether an array can be an image.

    Raises:
        InputError: Not a two-dimensional uint8 or uint16 array, or an empty one.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise InputError(
            f"expected a (height, width) array of uint8 or uint16, found {image.shape} {image.dtype}: convert it first"
        )


def _picture(image: NDArray[np.uint8] | NDArray[np.uint16]) -> Image.Image:
    check_image(image)
    deep = image.dtype == np.uint16
    return Image.fromarray(image.astype(np.float32) / 257.0 if deep else np.ascontiguousarray(image))


def _as_bytes(image: Image.Image) -> NDArray[np.uint8]:
    return np.rint(np.asarray(image, dtype=np.float32)).clip(0, 255).astype(np.uint8)


def _fit(image: Image.Image, settings: Preprocessing) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The image at its size, and where that frame lies in the image."""
    target = (settings.width, settings.height)
    resampling = _FILTERS[settings.resampling]
    if settings.fit == "squash":
        return image.resize(target, resampling), (0.0, 0.0, 1.0, 1.0)
    ratios = (settings.width / image.width, settings.height / image.height)
    if settings.fit == "crop":
        scale = max(ratios)
        # Rounding may put a side that fits exactly a hair outside of the image.
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
    """Grey levels 0-255 as float32 in [0, 1], same shape."""
    return images.astype(np.float32) / np.float32(255.0)

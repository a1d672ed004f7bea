"""The evidence map drawn over the image, at the image's own size: warm where it speaks for pneumonia, cool where for normal."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

FOR_PNEUMONIA, FOR_NORMAL = (255, 96, 0), (0, 128, 255)
# Evidence, in units of the logit, that is drawn with the full strength: the same for every image, so that images compare.
_FULL = 28.0
# Below this share of the full strength nothing is drawn: the image stays as it is.
_LEAST = 0.08
_STRENGTH = 0.5


def overlay(image: Pixels, evidence: NDArray[np.float32], frame: tuple[float, float, float, float]) -> Image.Image:
    """The image with its evidence, RGB.

    Args:
        image: (height, width) uint8, or uint16 with its full range in use.
        evidence: (rows, columns) for pneumonia against normal, units of the logit.
        frame: Top, left, bottom and right of what the evidence covers, as shares of the image's height and width.
    """
    picture = Image.fromarray(as_shown(image)).convert("RGB")
    for colour, cover in _covers(place_on_image(evidence, frame, *image.shape)):
        picture.paste(colour, mask=Image.fromarray((cover * (255 * _STRENGTH)).astype(np.uint8)))
    return picture


def layer(
    evidence: NDArray[np.float32], frame: tuple[float, float, float, float], height: int, width: int
) -> Image.Image:
    """The evidence alone, RGBA of an image's size, to be laid over it; opaque where it is strongest."""
    picture = Image.new("RGBA", (width, height))
    for colour, cover in _covers(place_on_image(evidence, frame, height, width)):
        picture.paste((*colour, 255), mask=Image.fromarray((cover > 0).astype(np.uint8) * 255))
        alpha = np.maximum(np.asarray(picture.getchannel("A")) * (cover <= 0), cover * 255)
        picture.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return picture


def _covers(placed: NDArray[np.float32]) -> list[tuple[tuple[int, int, int], NDArray[np.float32]]]:
    """Each colour with how strongly, in [0, 1], it is drawn where."""
    return [
        (colour, np.clip((strength / _FULL - _LEAST) / (1 - _LEAST), 0, 1))
        for colour, strength in ((FOR_PNEUMONIA, placed), (FOR_NORMAL, -placed))
    ]


def as_shown(image: Pixels) -> NDArray[np.uint8]:
    """(height, width) uint8, an image as a screen shows it."""
    return np.ascontiguousarray(image if image.dtype == np.uint8 else (image // 257).astype(np.uint8))


def place_on_image(
    evidence: NDArray[np.float32], frame: tuple[float, float, float, float], height: int, width: int
) -> NDArray[np.float32]:
    """(height, width) float32, the evidence where it belongs on the image; 0 where the network did not look."""
    top, left, bottom, right = frame
    top, bottom, left, right = round(top * height), round(bottom * height), round(left * width), round(right * width)
    inner = (max(1, right - left), max(1, bottom - top))
    enlarged = Image.fromarray(evidence.astype(np.float32)).resize(inner, Image.Resampling.BICUBIC)
    canvas = Image.new("F", (width, height))
    canvas.paste(enlarged, (left, top))
    return np.asarray(canvas)


def overlay_png(image: Pixels, evidence: NDArray[np.float32], frame: tuple[float, float, float, float]) -> bytes:
    """The same as a PNG file."""
    return as_png(overlay(image, evidence, frame))


def as_png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    with io.BytesIO() as buffer:
        # The first level of compression: nine times as fast as the sixth, and a tenth larger.
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

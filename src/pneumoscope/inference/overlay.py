"""Evidence map drawn over the image at the image's own size: orange for pneumonia, blue for normal.

The map of contributions to the logit, (rows, columns) within a frame, is enlarged to the frame (bicubic) and drawn with
opacity proportional to its absolute value: 0 below 15 % of full strength, the maximum at full strength and above.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

FOR_PNEUMONIA, FOR_NORMAL = (255, 96, 0), (0, 128, 255)
# Evidence, in units of the logit, that is drawn at full strength: one value for all images, so that overlays compare. One cell of a
# hundred has more in radiographs of the validation.
FULL_STRENGTH = 60.0
# Fraction of the full strength below which nothing is drawn.
_MIN_STRENGTH = 0.15
# Opacity at full strength.
_OPACITY = 0.5


def overlay(image: Pixels, evidence: NDArray[np.float32], frame: tuple[float, float, float, float]) -> Image.Image:
    """Draws an image with its evidence, RGB.

    Args:
        image: (height, width) uint8, or uint16 with its full range in use.
        evidence: (rows, columns) float32 for pneumonia against normal, units of the logit.
        frame: Top, left, bottom and right of the evidence map, as fractions of the image's height and width.
    """
    drawing = Image.fromarray(to_uint8(image)).convert("RGB")
    for colour, strength in _strengths(resample_evidence(evidence, frame, *image.shape)):
        drawing.paste(colour, mask=Image.fromarray((strength * (255 * _OPACITY)).astype(np.uint8)))
    return drawing


def evidence_layer(
    evidence: NDArray[np.float32], frame: tuple[float, float, float, float], height: int, width: int
) -> Image.Image:
    """Draws the evidence alone, RGBA of the image's size, as a layer above the image; opaque at full strength.

    Args:
        evidence: (rows, columns) float32 for pneumonia against normal, units of the logit.
        frame: Top, left, bottom and right of the evidence map, as fractions of the image's height and width.
        height: Height of the image, pixels.
        width: Width of the image, pixels.
    """
    drawing = Image.new("RGBA", (width, height))
    for colour, strength in _strengths(resample_evidence(evidence, frame, height, width)):
        drawing.paste((*colour, 255), mask=Image.fromarray((strength > 0).astype(np.uint8) * 255))
        alpha = np.maximum(np.asarray(drawing.getchannel("A")) * (strength <= 0), strength * 255)
        drawing.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return drawing


def _strengths(evidence: NDArray[np.float32]) -> list[tuple[tuple[int, int, int], NDArray[np.float32]]]:
    """Each colour with its strength at each pixel, (height, width) float32 in [0, 1]."""
    return [
        (colour, np.clip((signed / FULL_STRENGTH - _MIN_STRENGTH) / (1 - _MIN_STRENGTH), 0, 1))
        for colour, signed in ((FOR_PNEUMONIA, evidence), (FOR_NORMAL, -evidence))
    ]


def to_uint8(image: Pixels) -> NDArray[np.uint8]:
    """(height, width) uint8, contiguous: the upper eight bits of a uint16 image, a uint8 image unchanged."""
    return np.ascontiguousarray(image if image.dtype == np.uint8 else (image // 257).astype(np.uint8))


def resample_evidence(
    evidence: NDArray[np.float32], frame: tuple[float, float, float, float], height: int, width: int
) -> NDArray[np.float32]:
    """(height, width) float32 evidence at the pixels of the image, in units of the logit; 0 outside the frame."""
    top, left, bottom, right = frame
    top, bottom, left, right = round(top * height), round(bottom * height), round(left * width), round(right * width)
    inner = (max(1, right - left), max(1, bottom - top))
    enlarged = Image.fromarray(evidence.astype(np.float32)).resize(inner, Image.Resampling.BICUBIC)
    canvas = Image.new("F", (width, height))
    canvas.paste(enlarged, (left, top))
    return np.asarray(canvas)


def overlay_png(image: Pixels, evidence: NDArray[np.float32], frame: tuple[float, float, float, float]) -> bytes:
    """Draws an image with its evidence as a PNG file; arguments as for `overlay`."""
    return as_png(overlay(image, evidence, frame))


def as_png(drawing: Image.Image) -> bytes:
    """Encodes a drawing as a PNG file."""
    with io.BytesIO() as buffer:
        # Compression level 1: nine times as fast as level 6, and a tenth larger.
        drawing.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

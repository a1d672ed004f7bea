"""Random changes of training images: of the patient's position, and of everything that the file rather than the lung tells.

Every change is drawn without regard to the class. What differs between the classes for reasons outside the chest (stretch,
resolution, compression, burnt-in letters; see the data card) is so varied within each class as well.
"""

from functools import lru_cache
from math import cos, radians, sin

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pneumoscope.config import AugmentationConfig

Pixels = NDArray[np.uint8]

_BEST_JPEG_QUALITY = 95
_FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def augment(image: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """One image, changed at random.

    Args:
        image: (height, width) uint8.
        settings: Which changes, and how far they go.
        rng: Decides; the same generator state gives the same image.

    Returns:
        (height, width) uint8, a new array.
    """
    changed = _moved(image, settings, rng)
    if settings.margins:
        changed = _collimated(changed, settings.margins, rng)
    if rng.random() < settings.letters:
        changed = _lettered(changed, rng)
    changed = _restored_from_less(changed, settings, rng)
    return _retoned(changed, settings, rng)


def _moved(pixels: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """Rotated, stretched in width and height independently, and shifted, in one resampling; what is uncovered is black."""
    height, width = pixels.shape
    angle = radians(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    reach = np.log(settings.stretch)
    across, down = np.exp(rng.uniform(-reach, reach, 2))
    shift = rng.uniform(-settings.shift, settings.shift, 2) * (width, height)
    if angle == 0 and reach == 0 and settings.shift == 0:
        return pixels.copy()
    # Pillow wants the way back: where in the pixels each pixel of the result lies, about the centre.
    a, b = cos(angle) / across, sin(angle) / across
    d, e = -sin(angle) / down, cos(angle) / down
    centre = (width / 2, height / 2)
    c = centre[0] - a * (centre[0] + shift[0]) - b * (centre[1] + shift[1])
    f = centre[1] - d * (centre[0] + shift[0]) - e * (centre[1] + shift[1])
    picture = Image.fromarray(pixels)
    moved = picture.transform(picture.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    return np.asarray(moved)


def _collimated(image: Pixels, widest: float, rng: np.random.Generator) -> Pixels:
    """With black margins of their own width on each side; half of the images stay as they are."""
    if rng.random() < 0.5:
        return image
    height, width = image.shape
    top, bottom, left, right = (rng.uniform(0, widest, 4) * (height, height, width, width)).astype(int)
    framed = np.zeros_like(image)
    framed[top : height - bottom, left : width - right] = image[top : height - bottom, left : width - right]
    return framed


def _lettered(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """With one to three marks as pixels rooms burn them in: a side, a time, an exposure; near the margins."""
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    height, width = pixels.shape
    for _ in range(rng.integers(1, 4)):
        text = _mark(rng)
        font = _font(int(rng.integers(max(6, height // 28), max(8, height // 8))))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        spare = (max(1, width - (right - left)), max(1, height - (bottom - top)))
        # At a margin of its own: how far along it is free, how far from it is not.
        depth = rng.uniform(0, 0.12)
        along = rng.random()
        x, y = [(along, depth), (along, 1 - depth), (depth, along), (1 - depth, along)][rng.integers(4)]
        draw.text((x * spare[0] - left, y * spare[1] - top), text, fill=int(rng.integers(120, 256)), font=font)
    return np.asarray(picture)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _mark(rng: np.random.Generator) -> str:
    kind = rng.integers(4)
    if kind == 0:
        return "RL"[rng.integers(2)]
    if kind == 1:
        return f"{rng.integers(24):02d}:{rng.integers(60):02d}"
    if kind == 2:
        return f"{rng.integers(45, 90)} KV"
    return "".join("ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789"[i] for i in rng.integers(0, 35, rng.integers(1, 6)))


def _restored_from_less(image: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """As if the file had been stored smaller and more compressed than it was."""
    height, width = image.shape
    reduced = image
    smallest = settings.smallest_resolution
    if 0 < smallest < min(height, width):
        share = np.exp(rng.uniform(np.log(smallest / min(height, width)), 0))
        size = (max(1, round(width * share)), max(1, round(height * share)))
        reduced = np.asarray(Image.fromarray(image).resize(size, _FILTERS[rng.integers(len(_FILTERS))]))
    if settings.noise:
        noise = rng.standard_normal(reduced.shape, dtype=np.float32) * rng.uniform(0, settings.noise)
        reduced = np.rint(reduced + noise).clip(0, 255).astype(np.uint8)
    if settings.jpeg_quality:
        quality = int(rng.integers(settings.jpeg_quality, _BEST_JPEG_QUALITY + 1))
        reduced = recompressed(reduced, quality)
    if reduced.shape == image.shape:
        return reduced
    enlarged = Image.fromarray(reduced).resize((width, height), _FILTERS[rng.integers(1, len(_FILTERS))])
    return np.asarray(enlarged)


def recompressed(image: Pixels, quality: int) -> Pixels:
    """The image after a round through a JPEG file of this quality, 1 to 100."""
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(image)[:, :, None], quality, colorspace="GRAY")
    decoded: Pixels = simplejpeg.decode_jpeg(content, colorspace="GRAY")[:, :, 0]
    return decoded


def _retoned(image: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """With another gamma, contrast and brightness."""
    if settings.tone == 0:
        return image
    reach = np.log1p(settings.tone)
    gamma, contrast = np.exp(rng.uniform(-reach, reach, 2))
    brightness = rng.uniform(-settings.tone, settings.tone) / 2
    level = np.linspace(0, 1, 256) ** gamma
    table = np.rint(255 * ((level - 0.5) * contrast + 0.5 + brightness).clip(0, 1)).astype(np.uint8)
    return np.asarray(table[image])


def with_lines(image: Pixels, rng: np.random.Generator) -> Pixels:
    """One image with one to four tubes, lines or leads laid over it, bright and partly transparent, some with an electrode.

    Args:
        image: (height, width) uint8.
        rng: Decides.

    Returns:
        (height, width) uint8, a new array.
    """
    levels = image.astype(np.float32)
    for _ in range(rng.integers(1, 5)):
        cover = _line(image.shape[0], image.shape[1], rng) * rng.uniform(0.3, 1)
        levels += cover * (rng.uniform(150, 255) - levels)
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def _line(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width) in [0, 1], where a line that bends at random lies; drawn twice as large, for smooth edges."""
    layer = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(layer)
    unit = max(height, width) / 112
    place = rng.uniform(0, 1, 2) * layer.size
    heading, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15)
    path = [tuple(place.tolist())]
    for _ in range(rng.integers(3, 16)):
        heading += bend + rng.normal(0, 0.25)
        place = place + 18 * unit * np.array([cos(heading), sin(heading)])
        path.append(tuple(place.tolist()))
    draw.line(path, fill=255, width=max(1, round(rng.uniform(0.5, 4) * unit)), joint="curve")
    if rng.random() < 0.2:
        draw.circle(path[-1], rng.uniform(2, 7) * unit, fill=255)
    cover = np.asarray(layer.resize((width, height), Image.Resampling.BILINEAR))
    return np.asarray(cover / 255, dtype=np.float32)

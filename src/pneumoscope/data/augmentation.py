"""Augmentation: random changes of training images in surroundings, geometry, resolution, noise, compression, markers and tone.

Changes are drawn independently of the class. Properties of the files that differ between the classes for reasons outside the
chest (stretch, resolution, compression, burnt-in letters; see the data card) thereby vary within each class too.
"""

from collections.abc import Callable
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


def augment(
    image: Pixels,
    settings: AugmentationConfig,
    rng: np.random.Generator,
    draw_other: Callable[[np.random.Generator], Pixels] | None = None,
) -> Pixels:
    """Apply random changes to an image.

    Args:
        image: (height, width) uint8.
        settings: Changes and their ranges.
        rng: Random generator; the same state gives the same result.
        draw_other: Function that draws another image of the same size, whose surroundings the image may get; None where there
            is none.

    Returns:
        (height, width) uint8, a new array.
    """
    changed = image
    if settings.surroundings and rng.random() < settings.surroundings:
        changed = _replace_surroundings(changed, draw_other, rng)
    if settings.crop < 1:
        changed = _crop(changed, settings.crop, rng)
    changed = _transform(changed, settings, rng)
    if settings.margins:
        changed = _collimate(changed, settings.margins, rng)
    if rng.random() < settings.letters:
        changed = _add_markers(changed, rng)
    changed = _degrade(changed, settings, rng)
    return _change_tone(changed, settings, rng)


def _replace_surroundings(
    image: Pixels, draw_other: Callable[[np.random.Generator], Pixels] | None, rng: np.random.Generator
) -> Pixels:
    """Replace what lies outside a random rectangle around the centre, with a soft edge; what remains there is independent of the class."""
    height, width = image.shape
    inside = np.outer(_soft_interval(height, rng), _soft_interval(width, rng))
    choice = rng.integers(4)
    outside: NDArray[np.floating] | float
    if choice < 2 and draw_other is not None:
        outside = draw_other(rng).astype(np.float32)
        outside = outside[:, ::-1] if rng.random() < 0.5 else outside
    elif choice < 3:
        outside = 0.0 if rng.random() < 0.5 else float(rng.integers(256))
    else:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        outside = (noise * rng.uniform(5, 50) + rng.uniform(20, 200)).clip(0, 255)
    return np.asarray(np.rint(outside + (image - outside) * inside), dtype=np.uint8)


def _soft_interval(length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(length,) float32 in [0, 1], 1 within a random interval of 55 to 95 % of a line, with edges of 1 to 10 %."""
    size, edge = rng.uniform(0.55, 0.95), rng.uniform(0.01, 0.1)
    centre = 0.5 + rng.uniform(-1, 1) * (1 - size) / 2
    distance = np.abs((np.arange(length, dtype=np.float32) + 0.5) / length - centre)
    return np.asarray(((size / 2 - distance) / edge + 0.5).clip(0, 1), dtype=np.float32)


def _crop(image: Pixels, smallest: float, rng: np.random.Generator) -> Pixels:
    """Cut out a random part of at least a fraction of the area, of aspect ratio 3/4 to 4/3 at most, and enlarge it to the old size.

    Source: Szegedy et al., CVPR 2015, arXiv 1409.4842.
    """
    height, width = image.shape
    area = rng.uniform(smallest, 1)
    # A large part has room for small changes of the aspect ratio only.
    widest = min(np.log(4 / 3), -np.log(area))
    ratio = np.exp(rng.uniform(-widest, widest))
    down, across = np.sqrt(area / ratio), np.sqrt(area * ratio)
    top, left = rng.random(2) * (1 - down, 1 - across)
    box = (left * width, top * height, (left + across) * width, (top + down) * height)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box))


def _transform(pixels: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """Rotate, stretch width and height independently, and shift, in one resampling; uncovered pixels are black."""
    height, width = pixels.shape
    angle = radians(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    log_stretch = np.log(settings.stretch)
    stretch_x, stretch_y = np.exp(rng.uniform(-log_stretch, log_stretch, 2))
    shift = rng.uniform(-settings.shift, settings.shift, 2) * (width, height)
    if angle == 0 and log_stretch == 0 and settings.shift == 0:
        return pixels.copy()
    # Pillow expects the inverse map, from coordinates of the result to those of the image: x' = a x + b y + c, y' = d x + e y + f.
    a, b = cos(angle) / stretch_x, sin(angle) / stretch_x
    d, e = -sin(angle) / stretch_y, cos(angle) / stretch_y
    centre = (width / 2, height / 2)
    c = centre[0] - a * (centre[0] + shift[0]) - b * (centre[1] + shift[1])
    f = centre[1] - d * (centre[0] + shift[0]) - e * (centre[1] + shift[1])
    source = Image.fromarray(pixels)
    result = source.transform(source.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    return np.asarray(result)


def _collimate(image: Pixels, widest: float, rng: np.random.Generator) -> Pixels:
    """Blacken four margins, each of a random width up to `widest`, a fraction of the size; half of the images are kept."""
    if rng.random() < 0.5:
        return image
    height, width = image.shape
    top, bottom, left, right = (rng.uniform(0, widest, 4) * (height, height, width, width)).astype(int)
    result = np.zeros_like(image)
    result[top : height - bottom, left : width - right] = image[top : height - bottom, left : width - right]
    return result


def _add_markers(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Burn in one to three markers near the margins: laterality (R or L), time, tube voltage or letters."""
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    height, width = pixels.shape
    for _ in range(rng.integers(1, 4)):
        text = _marker_text(rng)
        font = _font(int(rng.integers(max(6, height // 28), max(8, height // 8))))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        spare = (max(1, width - (right - left)), max(1, height - (bottom - top)))
        # Position along one of the four margins is uniform; depth is within 12 % of the margin.
        depth = rng.uniform(0, 0.12)
        along = rng.random()
        x, y = [(along, depth), (along, 1 - depth), (depth, along), (1 - depth, along)][rng.integers(4)]
        draw.text((x * spare[0] - left, y * spare[1] - top), text, fill=int(rng.integers(120, 256)), font=font)
    return np.asarray(canvas)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _marker_text(rng: np.random.Generator) -> str:
    choice = rng.integers(4)
    if choice == 0:
        return "RL"[rng.integers(2)]
    if choice == 1:
        return f"{rng.integers(24):02d}:{rng.integers(60):02d}"
    if choice == 2:
        return f"{rng.integers(45, 90)} KV"
    return "".join("ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789"[i] for i in rng.integers(0, 35, rng.integers(1, 6)))


def _degrade(image: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """Reduce resolution, add noise and compress, then enlarge to the original size, as a smaller file would give it."""
    height, width = image.shape
    reduced = image
    smallest = settings.smallest_resolution
    if 0 < smallest < min(height, width):
        fraction = np.exp(rng.uniform(np.log(smallest / min(height, width)), 0))
        size = (max(1, round(width * fraction)), max(1, round(height * fraction)))
        reduced = np.asarray(Image.fromarray(image).resize(size, _FILTERS[rng.integers(len(_FILTERS))]))
    if settings.noise:
        noise = rng.standard_normal(reduced.shape, dtype=np.float32) * rng.uniform(0, settings.noise)
        reduced = np.rint(reduced + noise).clip(0, 255).astype(np.uint8)
    if settings.jpeg_quality:
        quality = int(rng.integers(settings.jpeg_quality, _BEST_JPEG_QUALITY + 1))
        reduced = recompress_jpeg(reduced, quality)
    if reduced.shape == image.shape:
        return reduced
    enlarged = Image.fromarray(reduced).resize((width, height), _FILTERS[rng.integers(1, len(_FILTERS))])
    return np.asarray(enlarged)


def recompress_jpeg(image: Pixels, quality: int) -> Pixels:
    """Encode an image as JPEG of a quality, 1 to 100, and decode it again."""
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(image)[:, :, None], quality, colorspace="GRAY")
    decoded: Pixels = simplejpeg.decode_jpeg(content, colorspace="GRAY")[:, :, 0]
    return decoded


def _change_tone(image: Pixels, settings: AugmentationConfig, rng: np.random.Generator) -> Pixels:
    """Change gamma, contrast and brightness."""
    if settings.tone == 0:
        return image
    log_range = np.log1p(settings.tone)
    gamma, contrast = np.exp(rng.uniform(-log_range, log_range, 2))
    brightness = rng.uniform(-settings.tone, settings.tone) / 2
    level = np.linspace(0, 1, 256) ** gamma
    table = np.rint(255 * ((level - 0.5) * contrast + 0.5 + brightness).clip(0, 1)).astype(np.uint8)
    return np.asarray(table[image])


def add_lines(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw one to four tubes, lines or leads over an image, bright and partly transparent, some with an electrode.

    Args:
        image: (height, width) uint8.
        rng: Random generator.

    Returns:
        (height, width) uint8, a new array.
    """
    levels = image.astype(np.float32)
    for _ in range(rng.integers(1, 5)):
        opacity = _line_mask(image.shape[0], image.shape[1], rng) * rng.uniform(0.3, 1)
        levels += opacity * (rng.uniform(150, 255) - levels)
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def _line_mask(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width) float32 in [0, 1], coverage by a randomly bending line; drawn at twice the size for smooth edges."""
    layer = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(layer)
    unit = max(height, width) / 112
    point = rng.uniform(0, 1, 2) * layer.size
    heading, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.15)
    path = [tuple(point.tolist())]
    for _ in range(rng.integers(3, 16)):
        heading += bend + rng.normal(0, 0.25)
        point = point + 18 * unit * np.array([cos(heading), sin(heading)])
        path.append(tuple(point.tolist()))
    draw.line(path, fill=255, width=max(1, round(rng.uniform(0.5, 4) * unit)), joint="curve")
    if rng.random() < 0.2:
        draw.circle(path[-1], rng.uniform(2, 7) * unit, fill=255)
    coverage = np.asarray(layer.resize((width, height), Image.Resampling.BILINEAR))
    return np.asarray(coverage / 255, dtype=np.float32)

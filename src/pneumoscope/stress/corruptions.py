"""Corruptions: what scanners, exporting programs and people do to a radiograph, each at five strengths.

The first thirteen are those that MedMNIST-C gives for chest radiographs, at its strengths (Di Salvo et al. 2024, arXiv 2406.17536);
Gaussian blur without its sixth. The others follow ImageNet-C (Hendrycks and Dietterich, ICLR 2019) and what stations do.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import correlate1d, gaussian_filter

from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.data.export_variants import equalise_adaptively
from pneumoscope.stress.radiographs import Pixels

# Radiograph, strength and generator to the altered radiograph.
Corruption = Callable[[Pixels, float, np.random.Generator], Pixels]

_WHITE = 255
# Numbers of the strengths of a corruption.
STRENGTHS = (1, 2, 3, 4, 5)


def _to_uint8(levels: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(levels, 0, 1) * _WHITE).astype(np.uint8)


def _pixelate(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape
    small = Image.fromarray(image).resize((int(width * fraction), int(height * fraction)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def _compress(image: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    return recompress_jpeg(image, int(quality))


def _gaussian_noise(image: Pixels, spread: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image / _WHITE + rng.normal(0, spread, image.shape))


def _speckle_noise(image: Pixels, spread: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image / _WHITE * (1 + rng.normal(0, spread, image.shape)))


def _impulse_noise(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    drawn = rng.random(image.shape)
    return np.where(drawn < fraction / 2, 0, np.where(drawn > 1 - fraction / 2, _WHITE, image)).astype(np.uint8)


def _shot_noise(image: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8(rng.poisson(image / _WHITE * photons) / photons)


def _gaussian_blur(image: Pixels, kernel: float, rng: np.random.Generator) -> Pixels:
    # The standard deviation that torchvision derives from the size of the kernel.
    sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8
    return _to_uint8(gaussian_filter(image / _WHITE, sigma, radius=int(kernel - 1) // 2))


def _motion_blur(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    length = max(2, round(fraction * image.shape[0]))
    weights = np.full(length, 1 / length)
    return _to_uint8(correlate1d(image / _WHITE, weights, axis=int(rng.integers(2)), mode="nearest"))


def _brightness(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


def _contrast(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))


def _gamma(image: Pixels, exponent: float, rng: np.random.Generator) -> Pixels:
    return _to_uint8((image / _WHITE) ** exponent)


def _equalise(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.blend(Image.fromarray(image), ImageOps.equalize(Image.fromarray(image)), fraction))


def _equalise_adaptively(image: Pixels, limit: float, rng: np.random.Generator) -> Pixels:
    return equalise_adaptively(image, limit)


def _rotate(image: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).rotate(float(rng.choice([-degrees, degrees])), Image.Resampling.BILINEAR))


def _resized(image: Pixels, box: tuple[float, float, float, float]) -> Pixels:
    height, width = image.shape
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _shift(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    """Image moved towards a corner, black where nothing comes from."""
    shift = [round(float(side * rng.choice([-fraction, fraction]))) for side in image.shape]
    (height, width), (down, right) = image.shape, shift
    moved = np.zeros_like(image)
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    from_rows, from_columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    moved[rows, columns] = image[from_rows, from_columns]
    return moved


def _crop(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    height, width = image.shape
    cut_y, cut_x = height * fraction / 2, width * fraction / 2
    return _resized(image, (cut_x, cut_y, width - cut_x, height - cut_y))


def _stretch(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Image with its height or its width cut by a factor and stretched to the old size, as a file of another aspect ratio is."""
    height, width = image.shape
    spare = (1 - 1 / factor) / 2
    if rng.random() < 0.5:
        return _resized(image, (0, height * spare, width, height * (1 - spare)))
    return _resized(image, (width * spare, 0, width * (1 - spare), height))


def _occlude(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    """Image with a square of its mean grey level, of a fraction of its area, anywhere."""
    side = round(np.sqrt(fraction) * image.shape[0])
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape)
    occluded = image.copy()
    occluded[top : top + side, left : left + side] = round(float(image.mean()))
    return occluded


def _black_borders(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    """Image made smaller within black borders on two sides."""
    height, width = image.shape
    bordered = np.zeros_like(image)
    if rng.random() < 0.5:
        inner = round(width * (1 - 2 * fraction))
        left = (width - inner) // 2
        bordered[:, left : left + inner] = np.asarray(Image.fromarray(image).resize((inner, height)))
    else:
        inner = round(height * (1 - 2 * fraction))
        top = (height - inner) // 2
        bordered[top : top + inner] = np.asarray(Image.fromarray(image).resize((width, inner)))
    return bordered


def _invert(image: Pixels, fraction: float, rng: np.random.Generator) -> Pixels:
    """Image with black and white exchanged, mixed with itself below a fraction of 1; at a half there is no contrast."""
    return _to_uint8(image / _WHITE * (1 - fraction) + (1 - image / _WHITE) * fraction)


# Name to function and strengths, the mildest first.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "pixelation": (_pixelate, (0.8, 0.7, 0.6, 0.5, 0.4)),
    "JPEG": (_compress, (50, 30, 15, 10, 7)),
    "Gaussian noise": (_gaussian_noise, (0.04, 0.05, 0.06, 0.07, 0.08)),
    "speckle noise": (_speckle_noise, (0.05, 0.07, 0.1, 0.15, 0.2)),
    "impulse noise": (_impulse_noise, (0.005, 0.01, 0.013, 0.017, 0.02)),
    "shot noise": (_shot_noise, (300, 200, 150, 100, 80)),
    "Gaussian blur": (_gaussian_blur, (3, 5, 7, 9, 11)),
    "brightness up": (_brightness, (1.1, 1.2, 1.3, 1.4, 1.5)),
    "brightness down": (_brightness, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "contrast up": (_contrast, (1.1, 1.2, 1.3, 1.4, 1.6)),
    "contrast down": (_contrast, (0.9, 0.8, 0.7, 0.6, 0.4)),
    "gamma up": (_gamma, (1.1, 1.2, 1.3, 1.4, 1.6)),
    "gamma down": (_gamma, (0.9, 0.8, 0.7, 0.6, 0.4)),
    "motion blur": (_motion_blur, (0.015, 0.025, 0.035, 0.05, 0.07)),
    "CLAHE": (_equalise_adaptively, (1, 2, 3, 4, 6)),
    "histogram equalisation": (_equalise, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "rotation": (_rotate, (3, 6, 10, 15, 20)),
    "shift": (_shift, (0.03, 0.06, 0.1, 0.15, 0.2)),
    "crop": (_crop, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "stretch": (_stretch, (1.05, 1.1, 1.2, 1.3, 1.4)),
    "occlusion": (_occlude, (0.02, 0.04, 0.08, 0.12, 0.2)),
    "black borders": (_black_borders, (0.03, 0.06, 0.1, 0.15, 0.2)),
    "inversion": (_invert, (0.1, 0.2, 0.3, 0.4, 1.0)),
}
# Names of those that MedMNIST-C gives for chest radiographs.
MEDMNIST_C = tuple(CORRUPTIONS)[:13]

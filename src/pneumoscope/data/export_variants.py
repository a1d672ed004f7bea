"""Export variants: a radiograph as other stations tone, sharpen, compress and scale it; patient and projection stay the same.

An input guard fitted to them accepts the population of its training images however it is stored. Strengths are those at which the
shipped detectors' predictions hold on validation images (lab log); what is altered more is not among them, so that it is referred.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from pneumoscope.data.augmentation import recompress_jpeg

Pixels = NDArray[np.uint8]
Variant = Callable[[Pixels, np.random.Generator], Pixels]
_WHITE = 255
# Tiles per side and bins of adaptive equalisation, as in OpenCV's CLAHE.
_TILES, _BINS = 8, 256


def _equalise(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def _equalise_adaptively(image: Pixels, rng: np.random.Generator) -> Pixels:
    return equalise_adaptively(image, rng.uniform(0.8, 2))


def equalise_adaptively(image: Pixels, clip_limit: float) -> Pixels:
    """Contrast-limited adaptive histogram equalisation over 8 x 8 tiles.

    Args:
        image: (height, width) uint8.
        clip_limit: Limit of a histogram bin in units of the mean bin, as in OpenCV's CLAHE.

    Source: Zuiderveld, Graphics Gems IV, 1994.
    """
    from skimage.exposure import equalize_adapthist

    if image.min() == image.max():
        return image.copy()
    size = [max(1, side // _TILES) for side in image.shape]
    equalised = equalize_adapthist(image, kernel_size=size, clip_limit=clip_limit / _BINS, nbins=_BINS)
    return _to_uint8(_WHITE * equalised)


def _change_gamma(image: Pixels, rng: np.random.Generator) -> Pixels:
    gamma = np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    return _to_uint8(_WHITE * (image / _WHITE) ** gamma)


def _change_contrast(image: Pixels, rng: np.random.Generator) -> Pixels:
    mean = image.mean()
    return _to_uint8((image - mean) * np.exp(rng.uniform(np.log(0.5), np.log(1.5))) + mean)


def _change_brightness(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image * np.exp(rng.uniform(np.log(0.6), np.log(1.25))))


def _offset(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image + rng.uniform(-40, 40))


def _window(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageOps.autocontrast(Image.fromarray(image), cutoff=float(rng.uniform(0, 2))))


def _sharpen(image: Pixels, rng: np.random.Generator) -> Pixels:
    filtered = ImageFilter.UnsharpMask(rng.uniform(1, 4), int(rng.integers(30, 90)), 0)
    return np.asarray(Image.fromarray(image).filter(filtered))


def _blur(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5))))


def _add_noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _to_uint8(image + rng.normal(0, rng.uniform(3, 11), image.shape))


def _add_quantum_noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    quanta = np.exp(rng.uniform(np.log(250), np.log(700)))
    return _to_uint8(rng.poisson(image / _WHITE * quanta) / quanta * _WHITE)


def _add_dead_pixels(image: Pixels, rng: np.random.Generator) -> Pixels:
    draw, fraction = rng.random(image.shape), rng.uniform(0.002, 0.012)
    return np.where(draw < fraction / 2, 0, np.where(draw > 1 - fraction / 2, _WHITE, image)).astype(np.uint8)


def _compress(image: Pixels, rng: np.random.Generator) -> Pixels:
    return recompress_jpeg(image, int(rng.integers(12, 50)))


def _reduce(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _resize(image, rng.uniform(0.4, 0.9), Image.Resampling.BOX)


def _enlarge(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _resize(image, rng.uniform(1.2, 2.5), Image.Resampling.BICUBIC)


def _add_margins(image: Pixels, rng: np.random.Generator) -> Pixels:
    sides = (rng.uniform(0, 0.12, 4) * np.repeat(image.shape, 2)).astype(int)
    return np.pad(image, ((sides[0], sides[1]), (sides[2], sides[3])))


def _rotate(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).rotate(float(rng.uniform(-6, 6)), Image.Resampling.BILINEAR))


def _stretch(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape
    size = (round(width * np.exp(rng.uniform(np.log(0.7), np.log(1.4)))), height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _resize(image: Pixels, factor: float, resampling: Image.Resampling) -> Pixels:
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(Image.fromarray(image).resize(size, resampling))


def _to_uint8(levels: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.rint(levels).clip(0, _WHITE), dtype=np.uint8)


# Name to variant; each takes (height, width) uint8 and a random generator that draws its strength.
EXPORT_VARIANTS: dict[str, Variant] = {
    "histogram equalised": _equalise,
    "adaptively equalised": _equalise_adaptively,
    "other gamma": _change_gamma,
    "other contrast": _change_contrast,
    "other brightness": _change_brightness,
    "other black level": _offset,
    "narrower window": _window,
    "sharpened": _sharpen,
    "blurred": _blur,
    "noisy": _add_noise,
    "fewer quanta": _add_quantum_noise,
    "dead pixels": _add_dead_pixels,
    "compressed": _compress,
    "smaller": _reduce,
    "larger": _enlarge,
    "black margins": _add_margins,
    "rotated": _rotate,
    "stretched": _stretch,
}

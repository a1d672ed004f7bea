"""Transplants: a radiograph with one property of another radiograph.

Where that radiograph is of the other class, and the model then decides as for that class, the model reads this property:

    storage        distribution of each coefficient of the 8 x 8 cosine transform: compression, sharpness and noise
    geometry       place and stretch of the chest in the image: aspect ratio, distance, crop
    corners        the four corners: letters, markers, collimator
    surroundings   all around the chest: arms, neck, abdomen, background, markers
    exposure       distribution of the grey levels
    lungs          the lungs, at the grey levels of the radiograph around them
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn

from pneumoscope.data.alignment import ChestFrame
from pneumoscope.stress.radiographs import Pixels, Radiograph
from pneumoscope.stress.regions import Opacity, blend, corners, lungs, surroundings

Transplant = Callable[[Radiograph, Radiograph], Pixels]

_BLOCK = 8
# Coefficients of lower orders, means and slopes of blocks, are of the anatomy, and stay.
_LOWEST_ORDER = 2
_MATCHED = np.flatnonzero(np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)) >= _LOWEST_ORDER)
# Fraction of the coefficients at either end of a distribution that are edges of the anatomy, which storage does not make.
_EDGES = 0.1
# Borders fill whole rows of blocks, so that coefficients of their edges are left when a tenth is cut off. Chosen on pictures of exchanges among
# radiographs of the NIH and of Guangzhou, without regard to what a model makes of them.
_FARTHEST = 4.0  # distance from the median from which such an edge is assumed, in interquartile ranges
_NOISE = 8.0  # added to that range, which is 0 in smooth images
_STEP = 16.0  # difference of mean grey levels between neighbouring rows or columns of a block on an edge
# Largest change of contrast by which lungs are fitted in; black borders around one of the images would ask for more.
_MOST_GAIN = 2.0
# Grey levels of blocks in which storage leaves nothing to see, and number of blocks that tell a distribution.
_BLACK, _WHITE, _FEWEST_BLOCKS = 24, 232, 16
# Mean opacity of the lungs in a block below which it lies around them.
_AROUND = 0.1


def storage(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph stored as the donor: a curve for each cosine coefficient, that matches what lies around the lungs, is applied to all."""
    return _stored_as(
        radiograph.image,
        donor.image,
        lungs(radiograph.frame, len(radiograph.image)),
        lungs(donor.frame, len(donor.image)),
    )


def geometry(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph stretched and shifted until its chest lies where the donor's lies; beyond its edge the radiograph is mirrored."""
    return move_chest(radiograph.image, radiograph.frame, donor.frame)


def corners_of(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph with the donor's corners."""
    return blend(radiograph.image, donor.image, corners(len(radiograph.image)))


def surroundings_of(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph with what surrounds the donor's chest, which is brought to where the radiograph's chest lies."""
    placed = move_chest(donor.image, donor.frame, radiograph.frame)
    return blend(radiograph.image, placed, surroundings(radiograph.frame, len(radiograph.image)))


def exposure(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph with the donor's distribution of grey levels, by a monotone curve."""
    return _levels_matched(radiograph.image, donor.image)


def lungs_of(radiograph: Radiograph, donor: Radiograph) -> Pixels:
    """Radiograph with the donor's lungs, in the storage and at the grey levels of the radiograph: both are matched around the lungs."""
    opacity = lungs(radiograph.frame, len(radiograph.image))
    placed = _stored_as(move_chest(donor.image, donor.frame, radiograph.frame), radiograph.image, opacity, opacity)
    around = opacity < 0.5
    return blend(radiograph.image, _levels_shifted(placed, placed[around], radiograph.image[around]), opacity)


TRANSPLANTS: dict[str, Transplant] = {
    "storage": storage,
    "geometry": geometry,
    "corners": corners_of,
    "surroundings": surroundings_of,
    "exposure": exposure,
    "lungs": lungs_of,
}


def move_chest(image: Pixels, frame: ChestFrame, wanted: ChestFrame) -> Pixels:
    """Image stretched and shifted so that what lies in one frame lies in another; beyond the edge it is mirrored."""
    side_y, side_x = image.shape
    (top, left, bottom, right), (to_top, to_left, to_bottom, to_right) = frame.edges, wanted.edges
    scale_y, scale_x = (bottom - top) / (to_bottom - to_top), (right - left) / (to_right - to_left)
    first_y, first_x = top - to_top * scale_y, left - to_left * scale_x
    # Mirrored where the part that is wanted reaches beyond the image; a crop of it is then enlarged or reduced with a filter as
    # wide as the step, as a scanner or an exporting program does.
    before_y, before_x = max(0.0, -first_y), max(0.0, -first_x)
    after_y, after_x = max(0.0, first_y + scale_y - 1), max(0.0, first_x + scale_x - 1)
    widths = [
        (int(np.ceil(a * side)), int(np.ceil(b * side)))
        for a, b, side in ((before_y, after_y, side_y), (before_x, after_x, side_x))
    ]
    padded = np.pad(image, widths, mode="symmetric")
    at_y, at_x = first_y * side_y + widths[0][0], first_x * side_x + widths[1][0]
    box = (
        max(0.0, at_x),
        max(0.0, at_y),
        min(float(padded.shape[1]), at_x + scale_x * side_x),
        min(float(padded.shape[0]), at_y + scale_y * side_y),
    )
    return np.asarray(Image.fromarray(padded).resize((side_x, side_y), Image.Resampling.BICUBIC, box=box))


def _stored_as(image: Pixels, wanted: Pixels, own_lungs: Opacity, wanted_lungs: Opacity) -> Pixels:
    """Image whose cosine coefficients follow, around the lungs, the distributions of another image's."""
    own = _coefficients(image)
    references, targets = (
        _distributions(image, own, own_lungs),
        _distributions(wanted, _coefficients(wanted), wanted_lungs),
    )
    if references is None or targets is None:
        return image.copy()
    # Equal coefficients, such as the zeros of a compressed image, become as many different ones as the other image has.
    tie = np.random.default_rng(0).random(own.shape)
    for each, reference, target in zip(_MATCHED, references, targets, strict=True):
        values = own[:, each]
        below, to = (np.searchsorted(reference, values, side) for side in ("left", "right"))
        rank = (below + tie[:, each] * (to - below)) / len(reference)
        matched = target[np.minimum((rank * len(target)).astype(np.int64), len(target) - 1)]
        # An edge of the anatomy is larger than what storage leaves: what it has more, it keeps.
        own[:, each] = matched + values - values.clip(reference[0], reference[-1])
    return _from_coefficients(own, image)


def _distributions(image: Pixels, coefficients: NDArray[np.float32], own_lungs: Opacity) -> NDArray[np.float32] | None:
    """(matched, blocks) coefficients, each row sorted, of blocks around the lungs, on no border, neither black nor white: there storage shows.

    None where too few blocks are left.
    """
    outside = _blocks(own_lungs).mean(axis=(2, 3)).ravel() < _AROUND
    level = _blocks(image).mean(axis=(2, 3)).ravel()
    around = outside & (level > _BLACK) & (level < _WHITE)
    if around.sum() < _FEWEST_BLOCKS:
        return None
    found = _usual(coefficients[around])
    if not _has_border(found):
        return found
    around &= ~_on_edge(image)
    return _usual(coefficients[around]) if around.sum() >= _FEWEST_BLOCKS else None


def _usual(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of each matched order sorted, without the largest and the smallest, which are edges."""
    ordered = np.sort(coefficients.T[_MATCHED], axis=1)
    cut = int(_EDGES * ordered.shape[1])
    return ordered[:, cut : ordered.shape[1] - cut]


def _has_border(usual: NDArray[np.float32]) -> bool:
    """Whether coefficients are far from the others in more blocks than edges of the anatomy fill."""
    lower, median, upper = np.quantile(usual, (0.25, 0.5, 0.75), axis=1)
    farthest = np.maximum(usual[:, -1] - median, median - usual[:, 0])
    return bool((farthest > _FARTHEST * (upper - lower + _NOISE)).any())


def _on_edge(image: Pixels) -> NDArray[np.bool_]:
    """(blocks,) whether the mean grey level of a block makes a step from a row or column to the next one."""
    blocks = _blocks(image).astype(np.float32)
    steps = [np.abs(np.diff(blocks.mean(axis=axis), axis=2)).max(axis=2).ravel() for axis in (2, 3)]
    return np.asarray(np.maximum(*steps) > _STEP)


def _blocks(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """(rows, columns, 8, 8) whole blocks of an image."""
    rows, columns = (side // _BLOCK for side in image.shape)
    return image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)


def _coefficients(image: Pixels) -> NDArray[np.float32]:
    """(blocks, 64) float32 cosine coefficients of the whole blocks of an image."""
    found = dctn(_blocks(image).astype(np.float32), axes=(2, 3), norm="ortho")
    return np.asarray(found.reshape(-1, _BLOCK * _BLOCK), dtype=np.float32)


def _from_coefficients(coefficients: NDArray[np.float32], image: Pixels) -> Pixels:
    """Image of these coefficients; beyond the whole blocks that of `image`."""
    rows, columns = (side // _BLOCK for side in image.shape)
    blocks = idctn(coefficients.reshape(rows, columns, _BLOCK, _BLOCK), axes=(2, 3), norm="ortho")
    result = image.copy()
    whole = blocks.swapaxes(1, 2).reshape(rows * _BLOCK, columns * _BLOCK)
    result[: rows * _BLOCK, : columns * _BLOCK] = np.rint(whole).clip(0, 255).astype(np.uint8)
    return result


def _levels_matched(image: Pixels, wanted: Pixels) -> Pixels:
    """Image by the monotone curve that gives it the distribution of grey levels of another."""
    counts, wanted_counts = (np.bincount(each.ravel(), minlength=256) for each in (image, wanted))
    below, wanted_below = (np.cumsum(each) / each.sum() for each in (counts, wanted_counts))
    table = np.interp(below - counts / image.size / 2, wanted_below - wanted_counts / wanted.size / 2, np.arange(256))
    return np.asarray(np.rint(table).clip(0, 255).astype(np.uint8)[image])


def _levels_shifted(image: Pixels, own: Pixels, wanted: Pixels) -> NDArray[np.float32]:
    """Image with mean and spread such that those of the pixels `own` become those of `wanted`."""
    gain = np.clip((wanted.std() + 1.0) / (own.std() + 1.0), 1 / _MOST_GAIN, _MOST_GAIN)
    return np.asarray((image.astype(np.float32) - own.mean()) * gain + wanted.mean(), dtype=np.float32)

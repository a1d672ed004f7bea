"""Alterations: radiographs without the lungs, or without all but the lungs, or with what tells nothing of the lung taken away or added."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from pneumoscope.data.alignment import ChestFrame
from pneumoscope.stress.radiographs import Pixels, Radiograph, Radiographs
from pneumoscope.stress.regions import blend, corners, lungs
from pneumoscope.stress.transplants import exposure, geometry, move_chest, storage

# Alteration of the radiograph at a position, with a generator of its own.
Alteration = Callable[[Radiographs, int, np.random.Generator], Pixels]

# Blur that leaves the mean grey level of a region and no detail, as a fraction of the side.
_HIDDEN = 0.08
# Blocks per side of a shuffled radiograph: large enough for a patch of pneumonia, too small for the shape of a chest.
_BLOCKS = 7
# Frame in which every chest is put by `one_frame`: the usual place of a chest.
_USUAL = ChestFrame(0.84, 0.0, 0.84, 0.0, 1.0)
_LETTERS = ("R", "L", "AP", "PA", "SUP")


def lungs_only(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Lungs of a radiograph, all else one grey level."""
    radiograph = radiographs[position]
    opacity = lungs(radiograph.frame, len(radiograph.image))
    level = np.full(radiograph.image.shape, radiograph.image[opacity < 0.5].mean())
    return blend(radiograph.image, level, 1 - opacity)


def lungs_hidden(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph with each lung one grey level, the same for all radiographs."""
    radiograph = radiographs[position]
    return blend(
        radiograph.image, np.full(radiograph.image.shape, 96.0), lungs(radiograph.frame, len(radiograph.image))
    )


def corners_only(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Corners of a radiograph, all else one grey level."""
    image = radiographs.images[position]
    return blend(image, np.full(image.shape, 96.0), 1 - corners(len(image)))


def markers_hidden(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph whose corners are smoothed, so that no letter is left in them."""
    image = radiographs.images[position]
    return blend(image, gaussian_filter(image.astype(np.float32), _HIDDEN * len(image)), corners(len(image)))


def markers_added(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph with a bright letter in a random corner."""
    image = Image.fromarray(radiographs.images[position])
    side = image.width
    draw, size = ImageDraw.Draw(image), int(side * rng.uniform(0.07, 0.11))
    at = [float(rng.choice([rng.uniform(0.02, 0.05), rng.uniform(0.83, 0.88)])) * side for _ in range(2)]
    text = _LETTERS[rng.integers(len(_LETTERS))]
    draw.text((at[0], at[1]), text, fill=int(rng.integers(200, 256)), font=ImageFont.load_default(size))
    return np.asarray(image)


def blocks_shuffled(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph cut into blocks, each in another place: what is left are texture and storage."""
    image = radiographs.images[position]
    size = len(image) // _BLOCKS
    whole = size * _BLOCKS
    blocks = image[:whole, :whole].reshape(_BLOCKS, size, _BLOCKS, size).swapaxes(1, 2).reshape(-1, size, size)
    mixed = blocks[rng.permutation(len(blocks))].reshape(_BLOCKS, _BLOCKS, size, size).swapaxes(1, 2)
    result = image.copy()
    result[:whole, :whole] = mixed.reshape(whole, whole)
    return np.asarray(result)


def one_exposure(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph with the distribution of grey levels of the first one."""
    return exposure(radiographs[position], radiographs[0])


def one_frame(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Radiograph with its chest stretched and shifted to the usual place."""
    radiograph = radiographs[position]
    return move_chest(radiograph.image, radiograph.frame, _USUAL)


def stored_alike(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    """Negative image with the geometry and the storage of a positive one; a positive image as it is."""
    if radiographs.positive[position]:
        return np.asarray(radiographs.images[position])
    own, donor = radiographs[position], radiographs[int(radiographs.donors[False][position])]
    return storage(Radiograph(geometry(own, donor), donor.frame), donor)


# Alteration after which validation agrees best with test images of another origin.
STORED_ALIKE = "stored alike"
ALTERATIONS: dict[str, Alteration] = {
    "lungs only": lungs_only,
    "lungs hidden": lungs_hidden,
    "corners only": corners_only,
    "markers hidden": markers_hidden,
    "markers added": markers_added,
    "blocks shuffled": blocks_shuffled,
    "one exposure": one_exposure,
    "one frame": one_frame,
    STORED_ALIKE: stored_alike,
}

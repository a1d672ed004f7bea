import numpy as np
import pytest
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.alignment import ChestFrame, fit_atlas, resample_frame
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import InputError


def chest(height=224, width=224, scale=(1.0, 1.0), shift=(0.0, 0.0)):
    """Two dark lungs in a bright body; scale and shift are (y, x), in half sizes."""
    y = (np.linspace(-1, 1, height)[:, None] - shift[0]) / scale[0]
    x = (np.linspace(-1, 1, width)[None, :] - shift[1]) / scale[1]
    body = 180.0 * (np.abs(x) < 0.75) + 0 * y
    for centre in (-0.35, 0.35):
        body -= 110 * (((x - centre) / 0.25) ** 2 + ((y + 0.05) / 0.6) ** 2 < 1)
    return body.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def atlas():
    return fit_atlas(np.stack([chest()] * 3))


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.85, 1.0), (1.0, 0.8), (1.1, 0.9), (0.9, 0.8)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.12, -0.1)])
def test_a_moved_chest_comes_back_into_the_frame(atlas, scale, shift):
    home = resample_frame(chest(), atlas.locate_chest(chest()), 64, 64).astype(float)
    image = chest(scale=scale, shift=shift)
    back = resample_frame(image, atlas.locate_chest(image), 64, 64).astype(float)
    # The remaining difference is half a step of the grid, at the hard edges of these lungs.
    assert np.abs(back - home).mean() < 12


def test_frame_is_given_in_fractions_of_the_image(atlas):
    usual = atlas.locate_chest(chest())
    wide = atlas.locate_chest(chest(scale=(1.0, 0.8)))
    assert wide.scale_x / usual.scale_x == pytest.approx(0.8, rel=0.08)
    assert wide.scale_y == pytest.approx(usual.scale_y, rel=0.08)
    right = atlas.locate_chest(chest(shift=(0.0, 0.2)))
    assert right.shift_x - usual.shift_x == pytest.approx(0.2, abs=0.06)
    assert usual.similarity > 0.97


def test_similarity_separates_chests_from_other_images(atlas, rng):
    noise = rng.integers(0, 256, (224, 224), dtype=np.uint8)
    assert atlas.locate_chest(noise).similarity < 0.5
    assert atlas.locate_chest(255 - chest()).similarity < 0.5
    assert atlas.locate_chest(np.zeros((64, 64), np.uint8)).similarity == 0


def test_a_frame_is_cut_out_to_the_pixel():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    whole = resample_frame(image, ChestFrame(1, 0, 1, 0, 1), 10, 10)
    np.testing.assert_array_equal(whole, image)
    right_half = resample_frame(image, ChestFrame(1, 0, 0.5, 0.5, 1), 10, 5)
    np.testing.assert_array_equal(right_half, image[:, 5:])
    beyond = resample_frame(image, ChestFrame(1, 1, 1, 0, 1), 10, 10)
    np.testing.assert_array_equal(beyond[5:], np.tile(image[-1], (5, 1)))


def test_the_shipped_atlas_undoes_the_files_stretch(real_images):
    """Images cut to other aspect ratios and squashed again: the chest hardly moves."""
    before, after = [], []
    for file in sorted((real_images / "train/NORMAL").iterdir())[::60]:
        image = read_grey(file)
        narrow = np.asarray(Image.fromarray(image).crop((14, 0, 210, 224)).resize((224, 224)))
        one, two = (prepare(each, Preprocessing(64, 64, fit="chest")).astype(float) for each in (image, narrow))
        after.append(np.abs(one - two).mean())
        squashed = [np.asarray(Image.fromarray(each).resize((64, 64)), dtype=float) for each in (image, narrow)]
        before.append(np.abs(squashed[0] - squashed[1]).mean())
    assert np.median(after) < 0.5 * np.median(before)


def test_sixteen_bits_give_the_same_frame():
    image = chest()
    deep = image.astype(np.uint16) * 257
    setting = Preprocessing(96, 96, fit="chest")
    difference = np.abs(prepare(image, setting).astype(int) - prepare(deep, setting).astype(int))
    assert difference.max() <= 1


def test_no_images_are_refused():
    with pytest.raises(InputError, match="expected films to learn the atlas from, found none"):
        fit_atlas(np.zeros((0, 8, 8), np.uint8))

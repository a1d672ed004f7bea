import numpy as np
import pytest
from simple_models import SIDE, phantom

from pneumoscope.data.alignment import ChestFrame, load_atlas
from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.stress.radiographs import Radiograph
from pneumoscope.stress.regions import corners, lungs, surroundings
from pneumoscope.stress.transplants import TRANSPLANTS, move_chest, storage

FRAME = ChestFrame(0.8, 0.0, 0.8, 0.0, 1.0)


def of(image, frame=None):
    return Radiograph(image, frame or load_atlas().locate_chest(image))


@pytest.fixture(scope="module")
def pair():
    return of(phantom("normal", 1)), of(phantom("bacteria", 2))


@pytest.mark.parametrize("name", TRANSPLANTS)
def test_a_property_of_its_own_changes_hardly_anything(pair, name):
    own, _ = pair
    changed = TRANSPLANTS[name](own, own)
    assert changed.shape == own.image.shape
    assert changed.dtype == np.uint8
    assert np.abs(changed.astype(int) - own.image).mean() < 2


@pytest.mark.parametrize("name", TRANSPLANTS)
def test_a_property_of_another_changes_something_and_always_the_same(pair, name):
    changed = TRANSPLANTS[name](*pair)
    assert np.abs(changed.astype(int) - pair[0].image).mean() > 0.5
    assert np.array_equal(changed, TRANSPLANTS[name](*pair))


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("corners", lambda frame: corners(SIDE)),
        ("surroundings", lambda frame: surroundings(frame, SIDE)),
        ("lungs", lambda frame: lungs(frame, SIDE)),
    ],
)
def test_a_region_is_exchanged_and_nothing_else(pair, name, region):
    own, donor = pair
    opacity = region(own.frame)
    changed = TRANSPLANTS[name](own, donor).astype(int)
    assert np.abs(changed - own.image)[opacity == 0].max() <= 1
    assert np.abs(changed - own.image)[opacity > 0.5].mean() > 3


def test_the_place_of_the_chest_becomes_that_of_the_donor():
    image = phantom("normal", 3)
    wide = np.asarray(np.repeat(image, 2, axis=1)[:, SIDE // 2 : SIDE // 2 + SIDE])
    own, donor = of(image), of(wide)
    moved = load_atlas().locate_chest(TRANSPLANTS["geometry"](own, donor))
    assert abs(moved.scale_x - donor.frame.scale_x) < abs(own.frame.scale_x - donor.frame.scale_x) / 3


def test_what_is_placed_beyond_the_edge_is_mirrored():
    image = np.tile(np.arange(40, dtype=np.uint8), (40, 1))
    moved = move_chest(image, FRAME, ChestFrame(0.8, 0.0, 0.8, 0.5, 1.0))
    assert np.abs(moved[20].astype(int) - np.abs(np.arange(40) - 9.5)).max() <= 1.5


def spectrum_of_blocks(image):
    """Fraction of the coefficients of the cosine transform that compression has set to zero."""
    from pneumoscope.stress.transplants import _coefficients

    return (np.abs(_coefficients(image)[:, 1:]) < 0.5).mean()


def test_a_sharp_image_is_stored_like_a_compressed_one_and_the_other_way_round():
    sharp, compressed = of(phantom("normal", 4)), of(recompress_jpeg(phantom("normal", 5), 20))
    before = [spectrum_of_blocks(each.image) for each in (sharp, compressed)]
    after = [spectrum_of_blocks(storage(*each)) for each in ((sharp, compressed), (compressed, sharp))]
    assert before[0] < 0.4 < 0.7 < before[1]
    assert after[0] > 0.6
    assert after[1] < 0.4


def test_lungs_come_without_the_storage_of_their_image():
    sharp, compressed = of(phantom("normal", 4)), of(recompress_jpeg(phantom("normal", 5), 20))
    assert spectrum_of_blocks(TRANSPLANTS["lungs"](sharp, compressed)) < 0.45


def test_grey_levels_become_those_of_the_donor(pair):
    own, donor = pair
    changed = TRANSPLANTS["exposure"](own, donor)
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    assert np.abs(np.quantile(changed, quantiles) - np.quantile(donor.image, quantiles)).max() < 6


def test_an_image_with_nothing_to_tell_its_storage_stays_as_it_is(pair):
    black = Radiograph(np.zeros((SIDE, SIDE), dtype=np.uint8), pair[0].frame)
    assert np.array_equal(storage(pair[0], black), pair[0].image)
    assert np.array_equal(storage(black, pair[0]), black.image)


@pytest.mark.parametrize("name", TRANSPLANTS)
def test_sides_that_are_no_multiple_of_a_block(name):
    own, donor = (of(phantom(word, number, 101)) for number, word in enumerate(("normal", "virus")))
    assert TRANSPLANTS[name](own, donor).shape == (101, 101)


@pytest.mark.parametrize("width", [3, 12])
def test_black_borders_of_the_donor_draw_no_streaks(width):
    own, donor = (phantom(word, number, 224) for word, number in (("normal", 4), ("bacteria", 12)))
    framed = np.zeros_like(donor)
    framed[width:-width, width:-width] = donor[width:-width, width:-width]
    frame = load_atlas().locate_chest(donor)
    plain, bordered = (storage(of(own), of(each, frame)) for each in (donor, framed))
    # An edge at which whole rows of blocks differ would make steps of more than ten grey levels all over the image.
    assert 0 < np.abs(plain.astype(int) - own).mean() < 2
    assert 0 < np.abs(bordered.astype(int) - own).mean() < 2

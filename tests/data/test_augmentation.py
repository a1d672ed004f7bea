from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.config import AugmentationConfig
from pneumoscope.data.augmentation import augment
from pneumoscope.data.index import sharpness

EVERYTHING = AugmentationConfig(
    rotation_degrees=15,
    stretch=1.4,
    shift=0.1,
    tone=0.3,
    smallest_resolution=48,
    jpeg_quality=15,
    letters=0.7,
    noise=8,
    margins=0.15,
    surroundings=1.0,
    crop=0.3,
)


@pytest.fixture
def image(phantoms):
    with Image.open(next(phantoms.rglob("*.jpeg"))) as image:
        return np.asarray(image.convert("L").resize((224, 224)))


def changed(image, settings, seed=0):
    return augment(image, settings, np.random.default_rng(seed))


def test_default_settings_change_nothing(image):
    np.testing.assert_array_equal(changed(image, AugmentationConfig()), image)


def test_every_change_keeps_shape_type_and_original_and_follows_from_the_generator(image):
    before = image.copy()
    for seed in range(20):
        one, two = changed(image, EVERYTHING, seed), changed(image, EVERYTHING, seed)
        assert one.shape == image.shape
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(changed(image, EVERYTHING, 1), changed(image, EVERYTHING, 2))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "name",
    [
        "rotation_degrees",
        "margins",
        "shift",
        "tone",
        "smallest_resolution",
        "jpeg_quality",
        "noise",
        "surroundings",
        "crop",
    ],
)
def test_every_setting_has_its_own_effect(image, name):
    only = replace(AugmentationConfig(), **{name: getattr(EVERYTHING, name)})
    assert not np.array_equal(changed(image, only), image)


def test_width_and_height_are_stretched_independently_and_within_their_range():
    disc = np.zeros((200, 200), np.uint8)
    yy, xx = np.mgrid[:200, :200]
    disc[(yy - 99.5) ** 2 + (xx - 99.5) ** 2 < 40**2] = 255
    ratios = []
    for seed in range(60):
        mask = changed(disc, AugmentationConfig(stretch=1.4), seed) > 127
        height, width = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert min(height, width) >= 80 / 1.4 - 2
        assert max(height, width) <= 80 * 1.4 + 2
        ratios.append(width / height)
    assert min(ratios) < 0.75
    assert max(ratios) > 1.33


def test_lower_resolution_reduces_sharpness(image):
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 20, image.shape), 0, 255).astype(np.uint8)
    settings = AugmentationConfig(smallest_resolution=48)
    found = [sharpness(changed(noisy, settings, seed).astype(np.float32)) for seed in range(30)]
    assert max(found) <= 1.2 * sharpness(noisy.astype(np.float32))
    assert min(found) < 0.2 * sharpness(noisy.astype(np.float32))


def test_markers_are_near_the_margins():
    black = np.zeros((224, 224), np.uint8)
    drawn = np.max([changed(black, AugmentationConfig(letters=1), seed) for seed in range(40)], axis=0)
    assert drawn.max() > 200
    assert drawn[80:144, 80:144].max() == 0
    marked = [changed(black, AugmentationConfig(letters=0.5), seed).any() for seed in range(200)]
    assert 0.4 < np.mean(marked) < 0.6


def test_surroundings_are_those_of_another_image_and_the_centre_is_kept():
    grey, white = np.full((200, 200), 90, np.uint8), np.full((200, 200), 250, np.uint8)
    settings = AugmentationConfig(surroundings=1)
    corners, drawn = [], []
    for seed in range(80):
        found = augment(grey, settings, np.random.default_rng(seed), lambda rng: drawn.append(rng) or white)
        assert abs(int(found[100, 100]) - 90) <= 5, "the smallest rectangle holds the centre, wherever it lies"
        corners.append(found[0, 0])
    assert 0.35 < np.mean(np.array(corners) == 250) < 0.65, "half of them are another image's"
    assert len(drawn) > 20
    alone = [changed(grey, settings, seed)[0, 0] for seed in range(80)]
    assert 250 not in alone
    some = [changed(grey, replace(settings, surroundings=0.3), seed)[0, 0] != 90 for seed in range(200)]
    assert 0.2 < np.mean(some) < 0.4


@pytest.mark.parametrize(("smallest", "widest"), [(0.3, 4 / 3), (0.9, 1 / 0.9)])
def test_crops_keep_at_least_the_smallest_area_and_their_aspect(smallest, widest):
    yy, xx = np.mgrid[:200, :200].astype(np.float32)
    areas, ratios = [], []
    for seed in range(100):
        rows, columns = (changed(each.astype(np.uint8), AugmentationConfig(crop=smallest), seed) for each in (yy, xx))
        height, width = (np.ptp(each.astype(float)) / 199 for each in (rows, columns))
        areas.append(height * width)
        ratios.append(width / height)
    assert smallest - 0.03 < min(areas) < smallest + 0.05
    assert max(areas) > 0.95
    assert 1 / widest - 0.02 < min(ratios) < 1 < max(ratios) < widest + 0.02

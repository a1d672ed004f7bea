"""Margins of one grey level around a radiograph."""

import io

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.margins import fill_margins, radiograph_edges
from pneumoscope.data.phantom import phantom_image


@pytest.fixture
def film():
    image = Image.fromarray(phantom_image("NORMAL", np.random.default_rng(5))).resize((224, 224))
    return np.asarray(image)


def within_rim(film, level, top=20, left=31, bottom=200, right=215):
    image = np.full_like(film, level)
    image[top:bottom, left:right] = film[top:bottom, left:right]
    return image, (top, left, bottom, right)


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("quality", [None, 50])
def test_the_radiograph_is_found_within_a_rim(film, level, quality):
    image, expected = within_rim(film, level)
    if quality:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        image = np.asarray(Image.open(stream))
    found = radiograph_edges(image)
    # Compression blurs the edge within its blocks of 8 pixels; the rim that is left is narrower than that.
    assert np.abs(np.subtract(found, expected)).max() <= (8 if quality else 1)


def test_a_marker_in_the_rim_is_no_part_of_the_radiograph(film):
    image, expected = within_rim(film, 0)
    image[4:12, 40:48] = 255
    assert np.abs(np.subtract(radiograph_edges(image), expected)).max() <= 1


def test_bands_of_different_levels_are_all_found(film):
    image, expected = within_rim(film, 0)
    image[:, :31], image[:, 215:] = 255, 120
    assert np.abs(np.subtract(radiograph_edges(image), expected)).max() <= 1


def test_a_margin_repeats_the_nearest_pixels_of_the_radiograph(film):
    image, _ = within_rim(film, 0)
    top, left, bottom, right = radiograph_edges(image)
    filled = fill_margins(image)
    rows, columns = np.arange(224).clip(top, bottom - 1), np.arange(224).clip(left, right - 1)
    assert np.array_equal(filled, image[np.ix_(rows, columns)])
    assert (filled.shape, filled.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((224, 224), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.pad(np.full((4, 4), 9, np.uint8), 110),
        np.pad(np.random.default_rng(0).integers(0, 256, (40, 224), dtype=np.uint8), ((92, 92), (0, 0))),
    ],
    ids=["blank", "one pixel", "a dot", "a strip"],
)
def test_an_image_that_hardly_has_anything_else_is_kept(image):
    assert fill_margins(image) is image


def test_a_radiograph_without_margins_is_kept(film):
    image = film.copy()
    image[0] = np.arange(224)
    image[-1] = np.arange(224)
    image[:, 0] = image[:, -1] = np.arange(224)
    assert fill_margins(image) is image

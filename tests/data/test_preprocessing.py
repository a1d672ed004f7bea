import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.preprocessing import prepare, to_unit_range
from pneumoscope.errors import ConfigError, InputError


def test_the_studys_preprocessing_is_pillows_antialiased_bilinear_squash(rng):
    image = rng.integers(0, 256, (500, 700), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.array_equal(prepare(image, Preprocessing()), expected)


def test_golden_values_of_a_small_image():
    """Stored values: another version of the image library must not change a network's input unnoticed."""
    image = (np.add.outer(np.arange(24) ** 2, np.arange(32) * 5) % 256).astype(np.uint8)
    result = prepare(image, Preprocessing(height=8, width=8))
    assert result[0].tolist() == GOLDEN_FIRST_ROW
    assert int(result.sum()) == GOLDEN_SUM


GOLDEN_FIRST_ROW = [12, 31, 51, 71, 91, 111, 131, 149]
GOLDEN_SUM = 7701


def test_image_of_the_right_size_is_left_alone(rng):
    image = rng.integers(0, 256, (224, 224), dtype=np.uint8)
    assert np.array_equal(prepare(image, Preprocessing()), image)


def test_pad_keeps_the_aspect_and_adds_black():
    image = np.full((50, 100), 200, dtype=np.uint8)
    result = prepare(image, Preprocessing(height=80, width=80, fit="pad"))
    assert (result[20:60] == 200).all()
    assert not result[:20].any()
    assert not result[60:].any()


def test_crop_keeps_the_aspect_and_the_middle():
    image = np.zeros((50, 100), dtype=np.uint8)
    image[:, 25:75] = 255
    assert (prepare(image, Preprocessing(height=40, width=40, fit="crop"))[:, 2:-2] == 255).all()


def test_sixteen_bits_become_eight(rng):
    image = rng.integers(0, 256, (40, 40), dtype=np.uint8)
    deep = image.astype(np.uint16) * 257
    settings_ = Preprocessing(height=40, width=40)
    assert np.array_equal(prepare(deep, settings_), image)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 255),
    st.sampled_from(["squash", "crop"]),
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
@example(49, 37, 0, "crop", "bilinear")
def test_constant_image_stays_constant(height, width, level, fit, resampling):
    image = np.full((height, width), level, dtype=np.uint8)
    result = prepare(image, Preprocessing(height=32, width=24, fit=fit, resampling=resampling))
    assert result.shape == (32, 24)
    assert result.dtype == np.uint8
    assert (result == level).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(InputError, match=r"expected a \(height, width\) array"):
        prepare(image, Preprocessing())


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"preprocessing\.width in 8-4096, found 2"):
        Preprocessing(width=2)


def test_unit_range():
    assert to_unit_range(np.array([[0, 51, 255]], dtype=np.uint8)).tolist() == [[0.0, np.float32(0.2), 1.0]]

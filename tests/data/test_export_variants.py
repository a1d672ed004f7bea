import numpy as np
import pytest

from pneumoscope.data.export_variants import EXPORT_VARIANTS, equalise_adaptively


@pytest.fixture
def image():
    yy, xx = np.mgrid[:120, :100]
    grain = np.random.default_rng(0).normal(0, 3, yy.shape)
    return np.clip(40 + yy + 30 * np.sin(xx / 9) + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", EXPORT_VARIANTS)
def test_a_variant_is_another_image_of_the_same_radiograph(name, image):
    vary = EXPORT_VARIANTS[name]
    found = vary(image, np.random.default_rng(2))
    assert found.dtype == np.uint8
    assert min(found.shape) >= 40
    assert found.shape != image.shape or (found != image).any()
    np.testing.assert_array_equal(found, vary(image, np.random.default_rng(2)))
    assert image.max() > 150  # the image itself is not changed


def test_adaptive_equalisation_raises_local_contrast_up_to_its_limit():
    yy, xx = np.mgrid[:224, :224]
    broad = (60 + yy / 2 + 6 * np.sin(xx / 3) + np.random.default_rng(0).normal(0, 2, yy.shape)).astype(np.uint8)

    def local_contrast(image):
        return image.reshape(28, 8, 28, 8).std(axis=(1, 3)).mean()

    assert local_contrast(broad) < local_contrast(equalise_adaptively(broad, 1.5))
    assert local_contrast(equalise_adaptively(broad, 1.5)) < local_contrast(equalise_adaptively(broad, 4))
    flat = np.full((50, 50), 7, np.uint8)
    np.testing.assert_array_equal(equalise_adaptively(flat, 2), flat)

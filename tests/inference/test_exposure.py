import numpy as np
import pytest
from PIL import Image

from pneumoscope.bundle import SHIPPED
from pneumoscope.data.exposure import measure_exposure
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.exposure import ExposureLimits, fit_exposure_limits
from pneumoscope.types import Decision, Reason


@pytest.fixture
def radiograph():
    """(120, 121) uint8: smooth, as radiographs are."""
    rows, columns = np.mgrid[:120, :121]
    return (120 + 60 * np.sin(rows / 20) * np.cos(columns / 15)).astype(np.uint8)


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_is_its_standard_deviation(radiograph, rng, sigma):
    noisy = np.clip(radiograph + rng.normal(0, sigma, radiograph.shape), 0, 255).astype(np.uint8)
    brightness, contrast, noise = 255 * measure_exposure(noisy)
    assert noise == pytest.approx(sigma, rel=0.05)
    assert (brightness, contrast) == (pytest.approx(noisy.mean()), pytest.approx(noisy.std()))
    assert 255 * measure_exposure(radiograph)[2] < 1


def test_limits_leave_a_small_fraction_outside_and_say_how(rng):
    exposures = rng.uniform([0.3, 0.1, 0.0], [0.6, 0.3, 0.04], (5000, 3))
    limits = fit_exposure_limits(exposures)
    assert 0.004 < limits.outside(exposures).mean() < 0.012
    again = ExposureLimits.from_arrays(limits.arrays())
    np.testing.assert_array_equal(again.outside(exposures), limits.outside(exposures))
    middle = np.array([0.45, 0.2, 0.02])
    assert limits.describe(middle) == ""
    for change, words in (
        ([-0.3, 0, 0], "darker"),
        ([0.3, 0, 0], "brighter"),
        ([0, -0.15, 0], "of less contrast"),
        ([0, 0.15, 0.1], "of more contrast and noisier"),
        ([0, 0, -0.02], ""),
    ):
        assert limits.describe(middle + change) == words
        assert limits.outside((middle + change)[None])[0] == bool(words)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, rng: 0.25 * image, "darker"),
        (lambda image, rng: 0.12 * (image - image.mean()) + image.mean(), "of less contrast"),
        (lambda image, rng: image + rng.normal(0, 30, image.shape), "noisier"),
    ],
)
def test_a_radiograph_that_is_exposed_otherwise_gets_no_decision(drawn_radiographs, rng, name, change, words):
    detector = load_detector(name)
    image = np.asarray(Image.open(drawn_radiographs / "normal-1.png").convert("L").resize((224, 224)), dtype=np.float64)
    altered = np.clip(change(image, rng), 0, 255).astype(np.uint8)
    found = detector.predict(altered)
    assert found.decision is Decision.REFER
    assert Reason.OUTSIDE_POPULATION in found.reasons
    assert words in found.detail
    assert "than the radiographs that the detector was validated on" in found.detail
    assert words not in detector.predict(image.astype(np.uint8)).detail

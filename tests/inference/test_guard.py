import numpy as np
import pytest
from PIL import Image

from pneumoscope.bundle import SHIPPED
from pneumoscope.data.export_variants import EXPORT_VARIANTS
from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.guard import MIN_EDGE, screen_pixels
from pneumoscope.types import Reason


@pytest.fixture(scope="module", params=SHIPPED)
def detector(request):
    return load_detector(request.param)


@pytest.fixture(scope="module")
def images(real_images):
    """Training images: the official test images are not to be looked at by every run of the tests."""
    return [read_grey(file) for file in sorted((real_images / "train").rglob("*.jpeg"))[::109]]


def reasons(detector, images):
    return [
        answer.reasons[0].value if answer.decision == "rejected" else "" for answer in detector.predict_many(images)
    ]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((MIN_EDGE - 1, 500), np.uint8), "too_small"),
        (np.tile(np.arange(256, dtype=np.uint8), (64, 2)), "not_a_radiograph"),
        (np.full((300, 300), 200, np.uint8), "poor_exposure"),
        (np.full((300, 300), 30_000, np.uint16), "poor_exposure"),
        (np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1)), None),
        (np.tile(np.linspace(0, 65535, 200).astype(np.uint16), (200, 1)), None),
    ],
)
def test_what_an_image_tells_by_itself(image, reason):
    assert screen_pixels(image) == reason


def test_what_is_no_image_is_rejected_by_both_detectors(detector, rng):
    stripes = np.tile(np.where(np.arange(224) // 8 % 2, 220, 30).astype(np.uint8), (224, 1))
    yy, xx = np.mgrid[:224, :224]
    disc = np.where((yy - 112) ** 2 + (xx - 112) ** 2 < 80**2, 200, 20).astype(np.uint8)
    images = [
        rng.integers(0, 256, (224, 224), dtype=np.uint8),
        np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).resize((224, 224), 3)),
        stripes,
        stripes.T.copy(),
        disc,
        255 - disc,
        (xx.astype(np.uint8)),
    ]
    assert all(reasons(detector, images))


def test_real_images_pass_also_dark_bright_turned_and_small(detector, images):
    changed = {
        "as they are": images,
        "dark": [(image * 0.5).astype(np.uint8) for image in images],
        "bright": [(image * 0.6 + 90).astype(np.uint8) for image in images],
        "turned": [np.asarray(Image.fromarray(image).rotate(10, Image.Resampling.BILINEAR)) for image in images],
        "small": [np.asarray(Image.fromarray(image).resize((96, 96), Image.Resampling.BILINEAR)) for image in images],
        "deep": [image.astype(np.uint16) * 257 for image in images],
    }
    rejected = {name: sum(map(bool, reasons(detector, changed))) for name, changed in changed.items()}
    assert max(rejected.values()) <= 1 + len(images) // 30, rejected


def test_most_radiographs_belong_to_the_population_however_a_station_exports_them(detector, images):
    rng = np.random.default_rng(0)
    exports = {name: [vary(image, rng) for image in images] for name, vary in EXPORT_VARIANTS.items()}
    validated = {
        name: np.mean([p.validated for p in detector.predict_many(some)])
        for name, some in ({"as they are": images} | exports).items()
    }
    assert validated["as they are"] > 0.9
    assert min(validated.values()) > 0.8, validated


def test_what_is_altered_beyond_that_is_referred_and_not_rejected(detector, images):
    noise = np.random.default_rng(0).normal(0, 35, images[0].shape)
    for change in (lambda image: image + noise, lambda image: (image - 128.0) * 3.5 + 128):
        changed = [np.clip(change(image), 0, 255).astype(np.uint8) for image in images]
        predictions = list(detector.predict_many(changed))
        outside = [Reason.OUTSIDE_POPULATION in p.reasons for p in predictions]
        assert np.mean(outside) > 0.5
        assert np.mean([p.decision == "rejected" for p in predictions]) < 0.2
        for p, is_outside in zip(predictions, outside, strict=True):
            assert not is_outside or (
                p.decision == "refer"
                and not p.validated
                and "the radiographs that the detector was validated on" in p.detail
            )


def test_turned_over_images_get_no_decision_and_most_are_rejected(detector, images):
    inverted = reasons(detector, [255 - image for image in images])
    assert inverted.count("inverted") >= len(images) - 1
    for turn in (lambda image: image[::-1, ::-1], np.rot90):
        predictions = list(detector.predict_many([turn(image).copy() for image in images]))
        assert {p.decision for p in predictions} <= {"rejected", "refer"}
        assert not any(p.validated for p in predictions)
        assert np.mean([p.decision == "rejected" for p in predictions]) > 0.75

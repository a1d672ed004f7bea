import io

import numpy as np
from PIL import Image

from pneumoscope.inference.overlay import overlay, overlay_png, resample_evidence


def test_evidence_lies_within_its_frame():
    evidence = np.ones((5, 5), np.float32)
    placed = resample_evidence(evidence, (0.25, 0.5, 0.75, 1.5), 80, 40)
    expected = np.zeros((80, 40), np.float32)
    expected[20:60, 20:] = 1
    np.testing.assert_allclose(placed, expected, atol=1e-6)
    assert resample_evidence(evidence, (-0.5, -0.5, 1.5, 1.5), 80, 40).min() == 1


def test_what_speaks_for_pneumonia_is_warm_and_for_normal_cool_and_the_rest_the_image(rng):
    image = rng.integers(60, 200, (90, 120), dtype=np.uint8)
    evidence = np.zeros((6, 8), np.float32)
    evidence[1, 1], evidence[4, 6] = 60, -60
    drawn = np.asarray(overlay(image, evidence, (0, 0, 1, 1))).astype(int)
    assert drawn.shape == (90, 120, 3)
    warm, cool, still = drawn[22, 22], drawn[67, 97], drawn[80, 10]
    assert warm[0] > warm[2] + 30
    assert cool[2] > cool[0] + 30
    assert still.tolist() == [image[80, 10]] * 3


def test_a_deep_image_is_drawn_as_its_bytes(rng):
    image = rng.integers(0, 256, (64, 70), dtype=np.uint8)
    none = np.zeros((5, 5), np.float32)
    deep = overlay_png(image.astype(np.uint16) * 257, none, (0, 0, 1, 1))
    assert deep == overlay_png(image, none, (0, 0, 1, 1))
    with Image.open(io.BytesIO(deep)) as picture:
        assert picture.size == (70, 64)

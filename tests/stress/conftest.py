"""Phantoms for stress tests."""

import numpy as np
import pytest
from simple_models import phantom

from pneumoscope.stress import Radiographs


@pytest.fixture(scope="session")
def radiographs():
    """Twelve negatives without and twelve positives with streaks in both lungs, two images to a patient."""
    words = ["normal", "virus"] * 12
    images = np.stack([phantom(word, number) for number, word in enumerate(words)])
    positive = np.array([word != "normal" for word in words])
    patients = [f"{word}{number // 4}" for number, word in enumerate(words)]
    return Radiographs(images, positive, patients, [f"{number}.png" for number in range(24)])

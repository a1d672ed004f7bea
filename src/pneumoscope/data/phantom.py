"""Phantom chest images: synthetic images on which every stage runs without radiographs, no evidence on accuracy.

An image is a sum of soft-edged ellipses (thorax, two lungs, heart, spine, diaphragm) and ribs, with noise and a random
exposure. Bacterial phantoms have a dense opacity in one lobe, viral ones faint streaks and patches in both lungs.
"""

import io
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from pneumoscope.errors import DataError
from pneumoscope.files import write_json
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

_MANIFEST = "phantoms.json"
_GENERATOR_VERSION = 2
# Path of an image in the folder.
_NAME = re.compile(r"(train|test)/(NORMAL/IM-\d+-\d+|PNEUMONIA/person\d+_(bacteria|virus)_\d+)\.jpeg")
# Word of each class in file names, and its number in patients and seeds.
_CLASS_NUMBERS = {"normal": 0, "bacteria": 1, "virus": 2}


@dataclass(frozen=True)
class PhantomPlan:
    """Numbers of phantoms.

    Attributes:
        train: Number of images of each class in train.
        test: Number of images of each class in test.
        films_per_patient: Largest number of images of a patient.
        seed: Seed of all random draws.
    """

    train: int = 45
    test: int = 12
    films_per_patient: int = 2
    seed: int = 0


def is_phantom_folder(folder: Path) -> bool:
    """Whether `write_phantoms` wrote a folder."""
    return (folder / _MANIFEST).is_file()


def write_phantoms(folder: Path, plan: PhantomPlan | None = None) -> Path:
    """Write a phantom data set in Kaggle's layout and names; a complete one of the same plan is left unchanged.

    Args:
        folder: Folder to create; phantoms of another plan in it are replaced.
        plan: Numbers and seed; the defaults where None.

    Returns:
        `folder`.

    Raises:
        DataError: The folder has other files than phantoms.
    """
    plan = plan or PhantomPlan()
    manifest = {"generator": _GENERATOR_VERSION, **asdict(plan), "notice": f"{SYNTHETIC_NOTICE} {NOTICE}"}
    try:
        if json.loads((folder / _MANIFEST).read_text(encoding="utf-8")) == manifest:
            return folder
    except (OSError, ValueError):
        pass
    _check_replaceable(folder)
    shutil.rmtree(folder, ignore_errors=True)
    # From the start, so that what an interruption leaves is known for phantoms.
    write_json(folder / _MANIFEST, {"whole": False})
    for split, count in (("train", plan.train), ("test", plan.test)):
        for word in _CLASS_NUMBERS:
            _write_class(folder / split, word, count, plan)
    write_json(folder / _MANIFEST, manifest)
    return folder


def _check_replaceable(folder: Path) -> None:
    """Check that a folder is absent or empty, or has phantoms and nothing else.

    Raises:
        DataError: It has other files.
    """
    others = {file for file in folder.rglob("*") if not file.is_dir()} - {folder / _MANIFEST}
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        own = {file for file in others if _NAME.fullmatch(file.relative_to(folder).as_posix())}
        whole = len(_CLASS_NUMBERS) * (int(manifest.get("train", 0)) + int(manifest.get("test", 0)))
        others = others - own if not whole or len(own) <= whole else others
    except (OSError, ValueError, AttributeError):
        pass
    if others or folder.is_file():
        raise DataError(
            f"expected no folder at {folder}, or one of phantoms alone, found {len(others) or 1} other files: name another folder"
        )


def _write_class(folder: Path, word: str, count: int, plan: PhantomPlan) -> None:
    number = _CLASS_NUMBERS[word]
    split_number = 1 if folder.name == "test" else 0
    target = folder / ("NORMAL" if word == "normal" else "PNEUMONIA")
    target.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        patient = number * 1000 + i // plan.films_per_patient + 1
        name = f"IM-{patient:04d}-{i + 1:04d}" if word == "normal" else f"person{patient}_{word}_{i + 1}"
        rng = np.random.default_rng([plan.seed, split_number, number, i])
        buffer = io.BytesIO()
        Image.fromarray(phantom_image(word, rng)).save(buffer, "JPEG", quality=90)
        (target / f"{name}.jpeg").write_bytes(buffer.getvalue())


def phantom_image(word: str, rng: np.random.Generator, height: int = 256) -> NDArray[np.uint8]:
    """Draw a phantom.

    Args:
        word: Class, as in file names: `normal`, `bacteria` or `virus`.
        rng: Random generator.
        height: Height in pixels; the width is 1.0 to 1.4 times as much.

    Returns:
        (height, width) uint8.
    """
    width = round(height * rng.uniform(1.0, 1.4))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lean = rng.uniform(-0.05, 0.05)
    image = 0.12 + 0.55 * _ellipse(x - lean, y, 0.0, 0.15, 0.88, 1.25, 0.05)
    lungs = np.zeros_like(image)
    for sign in (-1, 1):
        half_height = rng.uniform(0.60, 0.70)
        lungs = np.maximum(lungs, _ellipse(x, y, sign * 0.42 + lean, -0.08, 0.33, half_height, 0.06))
    image -= 0.42 * lungs
    image += 0.16 * _ribs(x - lean, y, rng) * np.maximum(lungs, 0.25)
    image += 0.35 * _ellipse(x, y, 0.10 + lean, 0.22, rng.uniform(0.24, 0.32), 0.34, 0.08)
    image += 0.22 * _ellipse(x, y, lean, 0.0, 0.09, 1.2, 0.05)
    for sign in (-1, 1):
        image += 0.40 * _ellipse(x, y, sign * 0.45 + lean, 0.78, 0.52, 0.26, 0.06)
    if word == "bacteria":
        image += _consolidation(x - lean, y, rng) * lungs
    elif word == "virus":
        image += _interstitial(image.shape, rng) * lungs
    # Soft tissue differs between children; without it the audit reports the phantoms as near duplicates.
    image += 0.035 * _smooth_noise(image.shape, height / 20, rng)
    image = image * rng.uniform(0.85, 1.15) + rng.uniform(-0.04, 0.04) + rng.normal(0, 0.02, image.shape)
    return np.asarray(np.rint(image.clip(0, 1) * 255), dtype=np.uint8)


Field = NDArray[np.float64]


def _ellipse(x: Field, y: Field, at_x: float, at_y: float, half_x: float, half_y: float, soft: float) -> Field:
    """Mask of an ellipse: 1 inside, 0 outside, with a logistic edge."""
    radius = np.hypot((x - at_x) / half_x, (y - at_y) / half_y)
    return np.asarray(1 / (1 + np.exp((radius - 1) / soft)))


def _ribs(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """Bright bands in [0, 1] that descend towards the sides of the image."""
    phase = 2 * np.pi * (y - 0.35 * x**2) * rng.uniform(4.2, 5.2) + rng.uniform(0, 2 * np.pi)
    return np.asarray(np.clip(np.cos(phase), 0, 1) ** 2)


def _consolidation(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """One dense patch in one lobe of a random lung."""
    sign = rng.choice([-1, 1])
    at_x, at_y = sign * rng.uniform(0.32, 0.52), rng.uniform(-0.35, 0.35)
    return rng.uniform(0.30, 0.42) * _ellipse(x, y, at_x, at_y, rng.uniform(0.14, 0.24), rng.uniform(0.14, 0.26), 0.12)


def _interstitial(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Faint streaks and patches over the whole image: noise at two scales."""
    total = 0.6 * _smooth_noise(shape, 2, rng) + _smooth_noise(shape, 7, rng)
    return np.asarray(0.10 + 0.07 * np.clip(total, -1.5, 2.5))


def _smooth_noise(shape: tuple[int, ...], radius: float, rng: np.random.Generator) -> Field:
    """Gaussian noise blurred with a standard deviation of `radius` pixels, normalised to mean 0 and standard deviation 1."""
    smooth = gaussian_filter(rng.standard_normal(shape), radius)
    return np.asarray((smooth - smooth.mean()) / smooth.std())

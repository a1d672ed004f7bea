"""Fixtures that the tests share: phantom and drawn radiographs, a clean environment, real radiographs where they are.

Tests on real data run where the environment names it, and are skipped elsewhere:

    PNEUMOSCOPE_DATA                the 5,856 radiographs at 224 x 224 in Kaggle's layout
    PNEUMOSCOPE_TEST_ORIGINALS      a sample of them at their published size, in the same layout
    PNEUMOSCOPE_INCEPTION_WEIGHTS   Keras' Inception V3 notop weights (HDF5)

Slow tests of Keras make an environment for it, unless there is one:

    PNEUMOSCOPE_TEST_KERAS          Python of an environment with TensorFlow, Keras and this package
"""

import io
import os
import sys
from pathlib import Path

# One thread to a process, also to those that the tests start: tests run beside each other, and threads that wait for a core
# take longer than the small networks here. Read when torch and numpy are loaded, so set before.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings

from bundles import bundle_of, lively_nano
from keras_environment import make_keras_environment
from pneumoscope.bundle import GuardLimits, Manifest
from pneumoscope.cli import main
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.phantom import PhantomPlan, write_phantoms
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.decision import Calibration
from pneumoscope.types import OperatingPoint
from radiographs import write_radiographs

# The same examples in every run: a failure in one run is a failure in the next.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

# Read before any test cleans the environment.
_REAL = {
    name: os.environ.get(name, "")
    for name in (
        "PNEUMOSCOPE_DATA",
        "PNEUMOSCOPE_TEST_ORIGINALS",
        "PNEUMOSCOPE_INCEPTION_WEIGHTS",
        "PNEUMOSCOPE_TEST_KERAS",
    )
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with integration tests come first: of several processes, none is left with a long file at the end."""
    long = {item.path for item in items if item.get_closest_marker("integration")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the user's data, cache or network."""
    for name in (*_REAL, "PNEUMOSCOPE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PNEUMOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 phantom images in Kaggle's layout: 20 of each class in train, 4 in test, two to a patient."""
    return write_phantoms(tmp_path_factory.mktemp("data") / "phantoms", PhantomPlan(train=20, test=4))


@pytest.fixture(scope="session")
def phantom_dataset(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(phantoms, Preprocessing(), SplitConfig(), tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """Of a bundle for phantom images."""
    return Manifest(
        name="test",
        version="1",
        architecture="nano",
        classes=("normal", "bacterial", "viral"),
        preprocessing=Preprocessing(),
        calibration=Calibration(2.0, (0.1, 0.2, -0.3)),
        prevalence=0.5,
        operating_points={"balanced": OperatingPoint(0.5, 0.4, 0.6, 0.95, 0.9)},
        fitted_on="nothing",
        guard=GuardLimits(0.5, 1e6, 2.0, 3.0, -1.0),
        intended_use="tests",
        licence="Apache-2.0",
        citation="none",
        conformal={"0.9": (0.2, 0.1, 0.3)},
        preprocessing_version=PREPROCESSING_VERSION,
    )


@pytest.fixture(scope="session")
def phantom_bundle(phantom_dataset: Dataset, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network is not trained but answers variously, and whose guard lets everything pass."""
    images = np.array(phantom_dataset.images[:8])
    path = tmp_path_factory.mktemp("bundle") / "phantom.zip"
    bundle_of(lively_nano(images, input_side=64, mirrored=False), images, path, manifest)
    return path


@pytest.fixture(scope="session")
def drawn_radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn radiographs, `normal-1.png` to `viral-2.png`, that the shipped detectors read as what they show."""
    return write_radiographs(tmp_path_factory.mktemp("drawn"))


def _real(name: str, what: str) -> Path:
    if not _REAL[name]:
        pytest.skip(f"{what} are named by {name}, which is not set")
    return Path(_REAL[name]).resolve(strict=True)


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The 5,856 radiographs at 224 x 224 in Kaggle's layout."""
    return _real("PNEUMOSCOPE_DATA", "the radiographs")


@pytest.fixture(scope="session")
def original_sample() -> Path:
    """96 radiographs as published."""
    return _real("PNEUMOSCOPE_TEST_ORIGINALS", "radiographs of the published size")


@pytest.fixture(scope="session")
def inception_file() -> Path:
    """A notop HDF5 file as Keras publishes it."""
    return _real("PNEUMOSCOPE_INCEPTION_WEIGHTS", "Keras' Inception V3 weights")


@pytest.fixture(scope="session")
def keras_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with Keras and this package."""
    if _REAL["PNEUMOSCOPE_TEST_KERAS"]:
        return Path(_REAL["PNEUMOSCOPE_TEST_KERAS"]).absolute()
    try:
        return make_keras_environment(tmp_path_factory.mktemp("keras"))
    except OSError as error:
        pytest.skip(f"an environment with Keras cannot be made: {error}")


@pytest.fixture
def pneumoscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    """Runs a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words, stdin=""):
        monkeypatch.setattr(sys, "argv", ["pneumoscope", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run

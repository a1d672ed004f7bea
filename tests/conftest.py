"""Fixtures that the tests share: phantom films, a clean environment, the real films where they are."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from bundles import bundle_of, lively_nano
from pneumoscope.bundle import GuardLimits, Manifest
from pneumoscope.cli import main
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.phantom import PhantomPlan, write_phantoms
from pneumoscope.decision import Calibration
from pneumoscope.types import OperatingPoint

# The same examples in every run: a failure in one run is a failure in the next.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

# Read before any test cleans the environment.
_REAL_DATA = os.environ.get("PNEUMOSCOPE_DATA", "")
_REAL_WEIGHTS = os.environ.get("PNEUMOSCOPE_INCEPTION_WEIGHTS", "")
_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the user's data, cache or network."""
    for name in ("PNEUMOSCOPE_DATA", "PNEUMOSCOPE_INCEPTION_WEIGHTS", "PNEUMOSCOPE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PNEUMOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True, scope="session")
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 phantom films in Kaggle's layout: 20 of each class in train, 4 in test, two to a patient."""
    return write_phantoms(tmp_path_factory.mktemp("data") / "phantoms", PhantomPlan(train=20, test=4))


@pytest.fixture(scope="session")
def phantom_dataset(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(phantoms, Preprocessing(), SplitConfig(), tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """Of a bundle for phantom films."""
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
        guard=GuardLimits((0.0, 0.0), (1.0, 1.0), 1e6, -1.0),
        intended_use="tests",
        licence="Apache-2.0",
        citation="none",
        conformal={"0.9": (0.2, 0.1, 0.3)},
    )


@pytest.fixture(scope="session")
def phantom_bundle(phantom_dataset: Dataset, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network is not trained but answers variously, and whose guard lets everything pass."""
    films = np.array(phantom_dataset.films[:8])
    path = tmp_path_factory.mktemp("bundle") / "phantom.zip"
    bundle_of(lively_nano(films, input_side=64, mirrored=False), films, path, manifest)
    return path


@pytest.fixture(scope="session")
def figure_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real films, cut out of a figure of the documentation: two normal, two bacterial, two viral, as seen there."""
    folder = tmp_path_factory.mktemp("figure")
    with Image.open(Path(__file__).resolve().parents[1] / "docs" / "figures" / "chest-frames.png") as figure:
        for place, name in enumerate(("normal-1", "normal-2", "bacterial-1", "bacterial-2", "viral-1", "viral-2")):
            left = 5 + 220 * place
            figure.convert("L").crop((left, 268, left + 210, 478)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def real_films() -> Path:
    """The 5,856 radiographs at 224 x 224 in Kaggle's layout."""
    folder = Path(_REAL_DATA) if _REAL_DATA else _BESIDE / "data" / "chest_xray_224"
    if not folder.is_dir():
        pytest.skip("the radiographs are not on this machine (PNEUMOSCOPE_DATA)")
    return folder


@pytest.fixture(scope="session")
def original_sample() -> Path:
    """96 radiographs as published."""
    folder = _BESIDE / "data" / "chest_xray_original_sample"
    if not folder.is_dir():
        pytest.skip("the sample of original radiographs is not on this machine")
    return folder


@pytest.fixture(scope="session")
def inception_file() -> Path:
    """A notop HDF5 file as Keras publishes it."""
    files = [Path(_REAL_WEIGHTS)] if _REAL_WEIGHTS else sorted(_BESIDE.glob("weights/inception_v3_*notop.h5"))
    if not files or not files[0].is_file():
        pytest.skip("no Inception V3 weight file is on this machine (PNEUMOSCOPE_INCEPTION_WEIGHTS)")
    return files[0]


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

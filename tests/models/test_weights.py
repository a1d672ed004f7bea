"""Inception V3 against tf.keras: the same weights and images give the same maps (golden/make_keras_golden.py)."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pneumoscope.downloading import Download
from pneumoscope.errors import DownloadError, WeightsError
from pneumoscope.files import sha256_of_file
from pneumoscope.models import weights
from pneumoscope.models.weights import find_inception_weights, load_inception_weights
from pneumoscope.training.batches import as_network_input

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN_FOLDER))
import seeded_values  # noqa: E402

GOLDEN = json.loads((GOLDEN_FOLDER / "keras_golden.json").read_text())
# The issue of exactness: single precision in another order of summation.
TOLERANCE = 1e-3


def maps_of(base):
    images, _ = seeded_values.images()
    with torch.inference_mode():
        return base.eval()(as_network_input(images[:2])).permute(0, 2, 3, 1).contiguous().numpy()


def assert_golden(maps, golden):
    assert list(maps.shape) == golden["shape"]
    assert np.abs(maps.ravel()[:: seeded_values.INCEPTION_STRIDE] - golden["values"]).max() < TOLERANCE
    assert maps.mean() == pytest.approx(golden["mean"], rel=1e-3)


def write_keras_file(path, names):
    """A notop file in Keras' layout with seeded weights; `names` gives the path of an array in its layer's group."""
    shapes = GOLDEN["inception_seeded"]["kernel_shapes"]
    with h5py.File(path, "w") as file:
        for number, arrays in enumerate(seeded_values.inception_weights(shapes)):
            suffix = f"_{number}" if number else ""
            for name, values in arrays.items():
                layer = ("conv2d" if name == "kernel" else "batch_normalization") + suffix
                file[names(layer, name)] = values


@pytest.fixture(scope="module")
def seeded_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded_notop.h5"
    write_keras_file(path, lambda layer, name: f"{layer}/{layer}/{name}:0")
    return path


def test_seeded_weights_give_the_maps_of_keras(seeded_file):
    assert_golden(maps_of(load_inception_weights(seeded_file)), GOLDEN["inception_seeded"])


def test_folding_the_normalisation_changes_nothing(seeded_file):
    base = load_inception_weights(seeded_file)
    before = maps_of(base)
    base.fold()
    base.fold()
    assert np.abs(maps_of(base) - before).max() < TOLERANCE


def test_published_layout_gives_the_maps_of_keras(inception_file):
    golden = GOLDEN["inception_file"]
    if sha256_of_file(inception_file) != golden["sha256"]:
        pytest.skip("the golden values are of another weight file")
    assert_golden(maps_of(load_inception_weights(inception_file)), golden)


def test_other_files_are_refused(tmp_path, seeded_file):
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(WeightsError, match="name the right file"):
        load_inception_weights(tmp_path / "text.h5")
    with h5py.File(tmp_path / "few.h5", "w") as file:
        file["conv2d/kernel"] = np.zeros((3, 3, 3, 32))
    with pytest.raises(WeightsError, match=r"expected 94 convolutions .* found 1 and 0"):
        load_inception_weights(tmp_path / "few.h5")
    (tmp_path / "cut.h5").write_bytes(seeded_file.read_bytes()[:500_000])
    with pytest.raises(WeightsError, match="name the right file"):
        load_inception_weights(tmp_path / "cut.h5")


def test_weights_of_another_shape_are_refused(tmp_path, seeded_file):
    (tmp_path / "odd.h5").write_bytes(seeded_file.read_bytes())
    with h5py.File(tmp_path / "odd.h5", "a") as file:
        del file["conv2d/conv2d/kernel:0"]
        file["conv2d/conv2d/kernel:0"] = np.zeros((5, 5, 3, 32), dtype=np.float32)
    with pytest.raises(WeightsError, match=r"expected a weight of shape \(32, 3, 3, 3\) .* found \(32, 3, 5, 5\)"):
        load_inception_weights(tmp_path / "odd.h5")


def test_named_file_comes_first_and_must_be_there(tmp_path, monkeypatch, seeded_file):
    monkeypatch.setenv("PNEUMOSCOPE_INCEPTION_WEIGHTS", str(tmp_path / "none.h5"))
    found = find_inception_weights(seeded_file)
    assert found.origin == {
        "file": "seeded_notop.h5",
        "sha256": sha256_of_file(seeded_file),
        "description": "not Keras' file: seeded_notop.h5",
    }
    with pytest.raises(WeightsError, match=r"none\.h5, found no file: check --inception-weights"):
        find_inception_weights(None)


def test_cached_file_is_taken_and_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMOSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "KERAS_FILE", Download("http://127.0.0.1:9/notop.h5", "md5", "0" * 32))
    with pytest.raises(DownloadError, match="check the network"):
        find_inception_weights(None)
    (tmp_path / "notop.h5").write_bytes(b"weights")
    assert find_inception_weights(None).description == "Keras' own ImageNet weights"

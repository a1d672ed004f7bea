"""The same weights as Keras, PyTorch and ONNX files and as a function: the same figures through the whole battery."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from simple_models import phantom

from keras_environment import run_with_keras
from pneumoscope.stress.battery import battery
from pneumoscope.stress.model_files import ModelSettings

SCRIPT = Path(__file__).with_name("battery_side.py")
FILES = ("network.onnx", "network.pt", "network.pt2", "numpy_network:predict", "network.keras", "network.h5")
TOLERANCE = 1e-4
SETTINGS = """
height = 48
width = 64
channels = 3
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
classes = ["pneumonia"]
threshold = 0.5
"""
# The network again, by NumPy alone.
FUNCTION = """
from pathlib import Path

import numpy as np
from PIL import Image

weights = np.load(Path(__file__).with_name("weights.npz"))


def convolution(maps, number):
    windows = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    found = np.einsum("nchwij,ocij->nohw", windows, weights[f"{number}.weight"], optimize=True)
    return np.maximum(found + weights[f"{number}.bias"][None, :, None, None], 0)


def predict(images):
    sized = np.stack([np.asarray(Image.fromarray(each).resize((64, 48), Image.Resampling.BILINEAR)) for each in images])
    channels = [(sized / 255 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    maps = convolution(convolution(np.stack(channels, axis=1), 0), 2)
    logit = maps.mean(axis=(2, 3)) @ weights["6.weight"][0] + weights["6.bias"][0]
    return 1 / (1 + np.exp(-logit))
"""


def write_models(folder):
    """A network with random weights, whose probabilities spread, in every format but Keras'."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Sigmoid()),
    ).eval()
    with torch.no_grad():
        network[6].weight *= -150  # so that positives get the higher probabilities
        saved = np.load(folder / "radiographs.npz")
        settings = ModelSettings(48, 64, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        logits = network[:7](torch.from_numpy(settings.inputs(saved["images"])))
        # Half of the images below a probability of one half, half above, and none at it.
        network[6].bias -= logits.quantile(0.5)
    np.savez(folder / "weights.npz", **{name: value.numpy() for name, value in network.state_dict().items()})
    example = torch.zeros(2, 3, 48, 64)
    batch = ({0: torch.export.Dim("batch", min=1)},)
    with warnings.catch_warnings():
        # PyTorch's exporters call what PyTorch has deprecated.
        warnings.simplefilter("ignore")
        torch.jit.trace(network, example).save(str(folder / "network.pt"))
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), folder / "network.pt2")
        program = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=batch, verbose=False)
    (folder / "network.onnx").write_bytes(program.model_proto.SerializeToString())
    (folder / "network.toml").write_text(SETTINGS)
    (folder / "numpy_network.py").write_text(FUNCTION)


def numbers(record, path=""):
    """Every number of a record by its path."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from numbers(value, f"{path}/{key}")
    elif isinstance(record, float):
        yield path, record


@pytest.fixture(scope="module")
def results(tmp_path_factory, keras_python):
    """Predictions and figures of each format."""
    folder = tmp_path_factory.mktemp("formats")
    images = np.stack([phantom(["normal", "virus"][i % 2], i) for i in range(40)])
    names = [f"{i}.png" for i in range(40)]
    patients = [f"{i % 2}-{i // 4}" for i in range(40)]
    np.savez(folder / "radiographs.npz", images=images, positive=np.arange(40) % 2 == 1, patients=patients, names=names)
    write_models(folder)
    found = {}
    for file in FILES:
        if file.endswith((".keras", ".h5")):
            (folder / "network.toml").write_text(f"{SETTINGS}channels_last = true\n")
            done = run_with_keras(keras_python, SCRIPT, folder, file, folder=folder)
        else:
            done = subprocess.run(
                [sys.executable, SCRIPT, folder, file], cwd=folder, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        name = file.replace(":", "-")
        with np.load(folder / f"{name}.npz") as predictions:
            found[file] = (dict(predictions), dict(numbers(json.loads((folder / f"{name}.json").read_text()))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES[1:])
def test_every_format_gives_the_same_through_the_whole_battery(results, file):
    (expected, figures), (found, own_figures) = results[FILES[0]], results[file]
    assert list(found) == list(expected) == [trial.name for trial in battery(1)]
    for trial, probability in expected.items():
        assert np.abs(found[trial] - probability).max() < TOLERANCE, trial
    # The weights are such that the images differ.
    assert np.ptp(expected["unaltered"]) > 0.2
    assert own_figures.keys() == figures.keys()
    for path, value in figures.items():
        assert own_figures[path] == pytest.approx(value, abs=TOLERANCE, nan_ok=True), path

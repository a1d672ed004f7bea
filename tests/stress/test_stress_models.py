"""One network as a bundle, an ONNX file, a TorchScript file, an exported file, a run and a function gives the same probabilities."""

import http.server
import io
import json
import re
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pneumoscope.errors import ConfigError, InputError, RunError
from pneumoscope.inference.detector import load_detector
from pneumoscope.stress.model_files import ModelSettings
from pneumoscope.stress.models import open_model
from pneumoscope.stress.running import predict_checked

SETTINGS = """
height = 32
width = 48
channels = 3
low = -1.0
high = 1.0
mean = [0.1, 0.2, 0.3]
std = [0.5, 0.6, 0.7]
output = "logit"
classes = ["normal", "bacterial", "viral"]
threshold = 0.4
"""


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 5, stride=3)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, images):
        return self.head(torch.relu(self.convolution(images)).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (5, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    example = torch.zeros(2, 3, 32, 48)
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    with warnings.catch_warnings():
        # PyTorch's exporters call what PyTorch has deprecated.
        warnings.simplefilter("ignore")
        torch.jit.trace(network, example).save(str(folder / "traced.pt"))
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), folder / "exported.pt2")
        program = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=batch, verbose=False)
    (folder / "network.onnx").write_bytes(program.model_proto.SerializeToString())
    for name in ("traced", "exported", "network"):
        (folder / f"{name}.toml").write_text(SETTINGS)
    return folder


def expected(network, images):
    """Probabilities by PyTorch and Pillow alone."""
    sized = np.stack(
        [np.asarray(Image.fromarray(image).resize((48, 32), Image.Resampling.BILINEAR)) for image in images]
    )
    scaled = sized / 127.5 - 1
    channels = [(scaled - mean) / std for mean, std in ((0.1, 0.5), (0.2, 0.6), (0.3, 0.7))]
    with torch.no_grad():
        logits = network(torch.tensor(np.stack(channels, axis=1), dtype=torch.float32))
    return 1 - torch.softmax(logits, dim=1)[:, 0].numpy()


@pytest.mark.parametrize("file", ["network.onnx", "traced.pt", "exported.pt2"])
def test_one_network_in_several_formats_gives_the_same(folder, network, images, file):
    with open_model(str(folder / file), trust=not file.endswith("onnx")) as model:
        assert model.name == file
        assert model.threshold == 0.4
        assert np.abs(model.predict(images) - expected(network, images)).max() < 1e-6
        assert model.count_seen(["a"]) == 0


def test_a_function_of_a_module_in_the_working_directory(folder, monkeypatch, images):
    monkeypatch.chdir(folder)
    (folder / "mean_model.py").write_text(
        "def grey(images):\n    import its_own\n    return images.mean(axis=(1, 2)) / its_own.white\n\nlevel = 3\n"
    )
    (folder / "its_own.py").write_text("white = 255")
    with open_model("mean_model:grey", trust=True) as model:
        assert np.allclose(model.predict(images), images.mean(axis=(1, 2)) / 255)
    assert str(folder) not in sys.path
    with pytest.raises(ConfigError, match="found none"), open_model("mean_model:level", trust=True):
        pass
    with pytest.raises(RunError, match="ModuleNotFoundError"), open_model("no_such_module:x", trust=True):
        pass


@pytest.mark.parametrize("model", ["os:getcwd", "network.pt", "network.pt2", "network.keras", "network.h5"])
def test_code_runs_only_where_it_is_trusted(model):
    with pytest.raises(ConfigError, match="--trust"), open_model(model):
        pass


def test_a_bundle_gives_a_probability_also_for_what_its_guard_refers(phantom_bundle, images):
    shown = np.concatenate([images, np.zeros((1, 64, 64), dtype=np.uint8)])
    with open_model(str(phantom_bundle)) as model:
        found = model.predict(shown)
    scores = list(load_detector(phantom_bundle).score_many(shown, rejected_too=True))
    assert any(score.rejection for score in scores)
    np.testing.assert_allclose(found, [score.statistics.probability for score in scores], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "write height, width"),
        ("height = ", "expected TOML"),
        ("height = 32", "a height and a width of at least 1"),
        ("height = 32\nwidth = 32\nhight = 3", "hight"),
        ("height = 32\nwidth = 32\nchannels = 2", "1 or 3 channels"),
        ("height = 32\nwidth = 32\noutput = 'sigmoid'", "probability, logit"),
        ("height = 32\nwidth = 32\nmean = [0.1, 0.2]", "mean and std"),
        ("height = 32\nwidth = 32\npositive = ['ill']", "found ill"),
        ("height = 32\nwidth = 32\nthreshold = 1.5", "threshold"),
    ],
)
def test_settings_that_do_not_do_get_one_line(folder, tmp_path, text, words):
    file = tmp_path / "network.onnx"
    file.write_bytes((folder / "network.onnx").read_bytes())
    if text is not None:
        file.with_suffix(".toml").write_text(text)
    with pytest.raises(ConfigError) as raised, open_model(str(file)):
        pass
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("file", ["damaged.onnx", "damaged.pt", "damaged.pt2"])
def test_a_damaged_file_gets_one_line(tmp_path, file):
    (tmp_path / file).write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / file).with_suffix(".toml").write_text(SETTINGS)
    with pytest.raises(RunError, match="cannot be loaded") as raised, open_model(str(tmp_path / file), trust=True):
        pass
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["weights", "network"])
def test_what_torch_save_writes_is_no_network_and_the_error_says_how_to_save_one(tmp_path, network, content):
    torch.save(network.state_dict() if content == "weights" else network, tmp_path / "saved.pt")
    (tmp_path / "saved.toml").write_text(SETTINGS)
    with (
        pytest.raises(RunError, match=r"torch\.jit\.trace") as raised,
        open_model(str(tmp_path / "saved.pt"), trust=True),
    ):
        pass
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_not_there_and_a_kind_that_is_not_known(tmp_path):
    with pytest.raises(ConfigError, match="check the path"), open_model(str(tmp_path / "no.pt"), trust=True):
        pass
    with (
        pytest.raises(ConfigError, match=r"model file at .*no\.onnx, found none"),
        open_model(str(tmp_path / "no.onnx")),
    ):
        pass
    with pytest.raises(ConfigError, match="name one of these"), open_model("network.tflite"):
        pass


def test_outputs_become_the_probability_of_the_positive_classes():
    settings = ModelSettings(8, 8, classes=("a", "b", "c"), positive=("a", "c"))
    shares = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    assert np.allclose(settings.probability(shares), [0.5, 0])
    assert np.allclose(ModelSettings(8, 8, output="logit").probability(np.array([[0.0], [2.0]])), [0.5, 0.8807970779])
    assert np.allclose(ModelSettings(8, 8).probability(np.array([0.25, 0.75])), [0.25, 0.75])
    with pytest.raises(InputError, match="correct classes"):
        settings.probability(np.zeros((2, 4)))


def test_probabilities_of_32_bits_that_sum_to_a_little_more_than_1_are_probabilities():
    shares = np.random.default_rng(0).random((500, 3)).astype(np.float32)
    shares[:, 0] *= 1e-6
    shares /= shares.sum(axis=1, keepdims=True)
    found = ModelSettings(8, 8, classes=("normal", "bacterial", "viral")).probability(shares)
    assert shares[:, 1:].astype(float).sum(axis=1).max() > 1
    assert 0.999 < found.max() <= 1
    assert ModelSettings(8, 8).probability(np.array([[0.1, 1.2]]))[0] == 1.2


def test_a_file_for_one_image_at_a_time(folder, network, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (torch.zeros(2, 3, 32, 48),), dynamo=True, verbose=False)
    (folder / "two.onnx").write_bytes(program.model_proto.SerializeToString())
    (folder / "two.toml").write_text(SETTINGS)
    with open_model(str(folder / "two.onnx")) as model:
        assert np.abs(model.predict(images) - expected(network, images)).max() < 1e-6
    (folder / "two.toml").write_text(SETTINGS + 'input = "pixels"')
    with pytest.raises(ConfigError, match="correct input"), open_model(str(folder / "two.onnx")):
        pass


def test_channels_come_first_or_last():
    image = np.full((1, 8, 8), 255, dtype=np.uint8)
    first = ModelSettings(4, 6, channels=3, high=2.0).inputs(image)
    last = ModelSettings(4, 6, channels=3, high=2.0, channels_last=True).inputs(image)
    assert first.shape == (1, 3, 4, 6)
    assert last.shape == (1, 4, 6, 3)
    assert (first == 2).all()
    assert first.dtype == np.float32


def test_a_library_that_is_missing_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    (folder / "network.keras").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="pip install keras"), open_model(str(folder / "network.keras"), trust=True):
        pass


def test_a_keras_file_is_asked_through_its_library(folder, images, monkeypatch):
    """A stand-in for `load_model` and `predict`, for the fast tests; Keras itself: test_keras_battery.py."""

    class Loaded:
        def predict(self, inputs, verbose):
            return inputs.mean(axis=(1, 2, 3))[:, None]

    library = types.ModuleType("keras")
    library.models = types.SimpleNamespace(load_model=lambda path, compile: Loaded())
    monkeypatch.setitem(sys.modules, "keras", library)
    (folder / "grey.h5").write_bytes(b"HDF")
    (folder / "grey.toml").write_text("height = 64\nwidth = 64\nchannels_last = true")
    with open_model(str(folder / "grey.h5"), trust=True) as model:
        assert np.allclose(model.predict(images), images.mean(axis=(1, 2)) / 255, atol=1e-6)


def test_a_model_behind_http_is_the_function_of_the_page(images):
    """The block of docs/how-to/stress.md, with a server that answers the brightness of what it is sent."""

    class Brightness(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            sent = np.asarray(Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = json.dumps({"probability": float(sent.mean() / 255)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words):
            pass

    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "stress.md").read_text(encoding="utf-8")
    [block] = re.findall(r'```python title="remote_model.py"\n(.*?)```', page, re.DOTALL)
    names = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Brightness) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        exec(block.replace("127.0.0.1:9000", f"127.0.0.1:{server.server_port}"), names)
        assert np.allclose(predict_checked(names["predict"], images), images.mean(axis=(1, 2)) / 255)
        server.shutdown()

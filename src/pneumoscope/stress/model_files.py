"""Model files of a stress test: ONNX, Keras, TorchScript and torch.export, each with a TOML beside it that says what it takes and gives."""

import hashlib
import importlib
import importlib.util
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.config import from_table
from pneumoscope.decision import softmax
from pneumoscope.errors import ConfigError, InputError, RunError
from pneumoscope.files import sha256_of_file
from pneumoscope.stress.radiographs import Pixels
from pneumoscope.stress.running import in_words
from pneumoscope.stress.stressed_model import USUAL_THRESHOLD, StressedModel

_ROUNDING = 1e-5
# Endings of files that can run code of their own when they are loaded.
TRUSTED_SUFFIXES = (".keras", ".h5", ".pt", ".pt2")
# Libraries that Keras computes with, in the order in which they are taken.
_KERAS_BACKENDS = ("tensorflow", "jax", "torch")

Network = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Network inputs to outputs."""


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a model file: what its network takes and gives; the TOML beside it.

    Attributes:
        height: Height of its images, pixels.
        width: Width of its images, pixels.
        channels: 1 for grey, 3 for three equal channels.
        channels_last: Whether channels are the last dimension, as in Keras, or the second, as in PyTorch.
        low: Value of black.
        high: Value of white.
        mean: Mean that is then taken off each channel; one for all, or one for each.
        std: Standard deviation that each channel is then divided by.
        output: `probability`, or `logit` for what a sigmoid or softmax is still to be applied to.
        classes: Classes in the order of the output; one name where it is a single number, of the positive class.
        positive: Classes that count as positive; all but the first where empty.
        threshold: Probability from which on an image counts as positive.
        input: Name of the input; the only one where empty.
        result: Name of the output; the first where empty.
    """

    height: int = 0
    width: int = 0
    channels: int = 1
    channels_last: bool = False
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    output: Literal["probability", "logit"] = "probability"
    classes: tuple[str, ...] = ("normal", "pneumonia")
    positive: tuple[str, ...] = ()
    threshold: float = USUAL_THRESHOLD
    input: str = ""
    result: str = ""

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or self.channels not in (1, 3):
            raise ConfigError(
                f"expected a height and a width of at least 1 and 1 or 3 channels, found {self.height}, {self.width} and {self.channels}"
            )
        if any(len(each) not in (1, self.channels) for each in (self.mean, self.std)) or 0 in self.std:
            raise ConfigError(f"expected mean and std for 1 or {self.channels} channels and no std of 0, found others")
        if unknown := set(self.positive) - set(self.classes):
            raise ConfigError(
                f"expected positive classes out of {', '.join(self.classes)}, found {', '.join(sorted(unknown))}"
            )
        if not 0 < self.threshold < 1:
            raise ConfigError(f"expected a threshold between 0 and 1, found {self.threshold}")

    def inputs(self, images: Pixels) -> NDArray[np.float32]:
        """(n, channels, height, width) or (n, height, width, channels) float32 network inputs of (n, side, side) uint8 images."""
        sized = np.stack([_resized(image, self.height, self.width) for image in images])
        levels = self.low + sized.astype(np.float32) / 255 * (self.high - self.low)
        mean, std = (np.asarray(each, dtype=np.float32) for each in (self.mean, self.std))
        last = (levels[..., None] - mean) / std
        last = np.broadcast_to(last, (*last.shape[:3], self.channels))
        return np.ascontiguousarray(last if self.channels_last else last.transpose(0, 3, 1, 2), dtype=np.float32)

    def probability(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """(n,) probability of the positive classes from a network's (n,), (n, 1) or (n, classes) outputs.

        Raises:
            InputError: Another shape.
        """
        found = np.asarray(outputs, dtype=np.float64)
        single = found.reshape(len(found), -1)
        if single.shape[1] == 1:
            return 1 / (1 + np.exp(-single[:, 0])) if self.output == "logit" else single[:, 0]
        if single.shape[1] != len(self.classes):
            raise InputError(
                f"expected outputs for {len(self.classes)} classes ({', '.join(self.classes)}), found {found.shape}: correct classes"
            )
        fractions = softmax(single) if self.output == "logit" else single
        positive = set(self.positive or self.classes[1:])
        total = fractions[:, [name in positive for name in self.classes]].sum(axis=1)
        # Fractions of 32 bits sum to 1 but for rounding.
        rounded = total.clip(0, 1)
        return np.asarray(np.where(np.abs(total - rounded) < _ROUNDING, rounded, total))


def _resized(image: Pixels, height: int, width: int) -> Pixels:
    if image.shape == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def open_model_file(path: Path, settings: Path | None) -> StressedModel:
    """Model of a file by its ending.

    Args:
        path: File with the ending .onnx or one of `TRUSTED_SUFFIXES`.
        settings: TOML file; the one of its name beside it where None.

    Raises:
        ConfigError: No file, no settings, or a library that is not installed.
        RunError: The model cannot be loaded.
    """
    _check_exists(path)
    suffix, found = path.suffix.lower(), _settings(path, settings)
    if suffix == ".onnx":
        return _onnx(path, found)
    return _of_file(path, {".pt": _torchscript, ".pt2": _exported}.get(suffix, _keras)(path), found)


def _settings(path: Path, named: Path | None) -> ModelSettings:
    """Settings of a model file, out of its TOML.

    Raises:
        ConfigError: No such file, or a value that is not as expected.
    """
    source = named or path.with_suffix(".toml")
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"expected the settings of {path.name} in {source}, found {error.strerror}: write height, width, channels, low, high, "
            "output and classes into it (docs/how-to/stress.md)"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected TOML in {source}, found {error}: correct it") from error
    return from_table(ModelSettings, table, str(source))


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"expected a model file at {path}, found none: check the path")


def _of_file(path: Path, network: Network, settings: ModelSettings) -> StressedModel:
    return StressedModel(
        path.name,
        sha256_of_file(path) + hashlib.sha256(repr(settings).encode()).hexdigest(),
        lambda images: settings.probability(network(settings.inputs(images))),
        settings.threshold,
    )


def _onnx(path: Path, settings: ModelSettings) -> StressedModel:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own
        raise RunError(
            f"expected an ONNX network in {path}, found that it cannot be loaded ({in_words(error)}): export it again"
        ) from error
    entries = {each.name: each for each in session.get_inputs()}
    name = settings.input or next(iter(entries))
    results = [settings.result] if settings.result else [session.get_outputs()[0].name]
    if name not in entries:
        raise ConfigError(f"expected an input of {path.name} out of {', '.join(entries)}, found {name}: correct input")
    batch = entries[name].shape[0]

    def run(inputs: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(session.run(results, {name: inputs})[0])

    return _of_file(path, _by_batches(run, batch) if isinstance(batch, int) else run, settings)


def _by_batches(network: Network, batch: int) -> Network:
    """Network that takes so many images at a time, as one that takes any number; the last batch is filled up."""

    def run(inputs: NDArray[np.float32]) -> NDArray[Any]:
        filled = np.concatenate([inputs, np.repeat(inputs[-1:], -len(inputs) % batch, axis=0)])
        parts = [network(filled[start : start + batch]) for start in range(0, len(filled), batch)]
        return np.concatenate(parts)[: len(inputs)]

    return run


def _keras(path: Path) -> Network:
    if "KERAS_BACKEND" not in os.environ and importlib.util.find_spec(_KERAS_BACKENDS[0]) is None:
        # Keras takes TensorFlow unless it is named another, and fails where that is missing.
        installed = [name for name in _KERAS_BACKENDS if importlib.util.find_spec(name)]
        os.environ["KERAS_BACKEND"] = next(iter(installed), _KERAS_BACKENDS[0])
    keras = _library("keras", path)
    network = _loaded(lambda: keras.models.load_model(path, compile=False), path)
    return lambda inputs: np.asarray(network.predict(inputs, verbose=0))


def _torchscript(path: Path) -> Network:
    torch = _library("torch", path)
    if _is_pickled(path):
        raise RunError(
            f"expected a TorchScript network in {path}, found weights or a pickled network, as torch.save writes them: "
            "save it by torch.jit.trace(network.eval(), images).save(...), or by torch.export as .pt2"
        )
    network = _loaded(lambda: torch.jit.load(str(path), map_location="cpu").eval(), path)
    return _with_torch(torch, network)


def _is_pickled(path: Path) -> bool:
    """Whether `torch.save` wrote a file: no program lies in it, and it may run code when it is unpickled."""
    try:
        with ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
    except (OSError, BadZipFile):
        return False
    return "data.pkl" in names and "constants.pkl" not in names


def _exported(path: Path) -> Network:
    torch = _library("torch", path)
    network = _loaded(lambda: torch.export.load(str(path)).module(), path)
    return _with_torch(torch, network)


def _with_torch(torch: Any, network: Any) -> Network:
    def run(inputs: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(inputs)).float().numpy())

    return run


def _library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        also = " with tensorflow, jax or torch" if name == "keras" else ""
        raise ConfigError(
            f"expected {name}{also} for {path.name}, found it missing ({in_words(error)}): pip install {name}{also}"
        ) from error


def _loaded(load: Callable[[], Any], path: Path) -> Any:
    try:
        return load()
    except Exception as error:  # a library raises whatever it likes on a damaged file
        raise RunError(
            f"expected a model in {path}, found that it cannot be loaded ({in_words(error)}): save it again"
        ) from error

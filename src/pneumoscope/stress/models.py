"""Models of a stress test, each as one function: images of 8 bits in, probabilities of the positive class out.

    default, nano, best, BUNDLE.zip      a bundle, as in `predict`, whatever its guard says of an image
    RUN                                  folder of a training run
    MODEL.onnx with MODEL.toml           ONNX file, whose settings say what it takes and gives
    MODEL.keras, .h5, .pt, .pt2          Keras, TorchScript and torch.export files with their TOML, where that library is installed
    module:function                      function of (n, side, side) uint8 images

What can run code of its own is loaded only where the caller trusts it.
"""

import hashlib
import importlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.bundle import SHIPPED, Bundle, find_bundle
from pneumoscope.config import from_table
from pneumoscope.decision import softmax
from pneumoscope.errors import ConfigError, InputError, RunError
from pneumoscope.files import sha256_of_file
from pneumoscope.stress.radiographs import Pixels
from pneumoscope.stress.running import Predict, in_words

# Probability from which on an image counts as positive where the model says nothing of it.
USUAL_THRESHOLD = 0.5
_TASK = 16
_ROUNDING = 1e-5
_LIBRARIES = {".keras": "keras", ".h5": "keras", ".pt": "torch", ".pt2": "torch"}


Network = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Network inputs to outputs."""


@dataclass(frozen=True)
class StressedModel:
    """Model of a stress test.

    Attributes:
        name: Name for reports.
        identity: Hash of the model, as far as it has one.
        predict: Function of (n, side, side) uint8 images to (n,) probabilities of the positive class.
        threshold: Probability from which on the model calls an image positive.
        count_seen: Function of SHA-256 of files to the number of those that the model is known to be trained on.
        recipe: Hash of what trainings of other seeds share; empty where it is no run.
    """

    name: str
    identity: str
    predict: Predict
    threshold: float = USUAL_THRESHOLD
    count_seen: Callable[[Sequence[str]], int] = lambda sha256: 0
    recipe: str = ""

    def check_unseen(self, sha256: Sequence[str]) -> None:
        """Check that the model was not trained on the images, as far as it says what it was trained on.

        Raises:
            RunError: It was trained on some.
        """
        if count := self.count_seen(sha256):
            raise RunError(
                f"expected radiographs that {self.name} was not trained on, found {count} that it was: test it on others (--split, --data)"
            )


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


@contextmanager
def open_model(
    model: str, settings: Path | None = None, trust: bool = False, workers: int = 1
) -> Iterator[StressedModel]:
    """Model by what a user calls it; see the head of this module.

    Args:
        model: Name, path, or module:function.
        settings: TOML file of a model file; the one of its name beside it where None.
        trust: Whether code of the model may run.
        workers: Number of processes for a bundle.

    Raises:
        ConfigError: Unknown kind, no settings, or code that is not trusted.
        RunError: The model cannot be loaded.
    """
    path = Path(model)
    suffix = path.suffix.lower()
    if model in SHIPPED or suffix == ".zip" or (path / "manifest.json").is_file():
        with _bundle(find_bundle(model), workers) as opened:
            yield opened
    elif path.is_dir():
        yield _run(path)
    elif suffix == ".onnx":
        yield _onnx(path, _settings(path, settings))
    elif suffix in _LIBRARIES:
        _check_trusted(model, trust)
        loaded = {".pt": _torchscript, ".pt2": _exported}.get(suffix, _keras)(_existing(path))
        yield _of_file(path, loaded, _settings(path, settings))
    elif ":" in model:
        _check_trusted(model, trust)
        with _function(model) as opened:
            yield opened
    else:
        raise ConfigError(
            f"expected a bundle ({', '.join(SHIPPED)} or .zip), a run folder, .onnx, .keras, .h5, .pt, .pt2 or module:function, "
            f"found {model}: name one of these"
        )


def _check_trusted(model: str, trust: bool) -> None:
    if not trust:
        raise ConfigError(
            f"expected a model that is data, found {model}, which runs code of its own: say --trust if you trust who made it"
        )


@contextmanager
def _bundle(bundle: Bundle, workers: int) -> Iterator[StressedModel]:
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.tasks import ScoreImages

    manifest = bundle.manifest

    with WorkerPool(bundle, workers) as pool:

        def predict(images: Pixels) -> NDArray[np.float64]:
            tasks = (ScoreImages(list(images[start : start + _TASK])) for start in range(0, len(images), _TASK))
            scores = [score for batch in pool.run(tasks) for score in batch]
            if failed := [score.detail for score in scores if score.class_probability is None]:
                raise RunError(f"expected a probability for every image, found none for {len(failed)} ({failed[0]})")
            return np.array([1 - float(score.class_probability[0]) for score in scores])  # type: ignore[index]

        point = manifest.operating_point("balanced")
        name = f"{manifest.name} {manifest.version}"
        yield StressedModel(name, bundle.sha256, predict, point.threshold, bundle.count_training_images)


def _run(folder: Path) -> StressedModel:
    from pneumoscope.assessment.runs import training_hashes
    from pneumoscope.data.labelled import LabelledImages
    from pneumoscope.data.preprocessing import prepare
    from pneumoscope.training.networks import load_network
    from pneumoscope.training.precision import resolve_precision
    from pneumoscope.training.predict import class_probabilities
    from pneumoscope.training.run_folder import RunFolder

    run = RunFolder(folder)
    run.check_finished()
    config = run.config()
    network, precision = load_network(run), resolve_precision(config.training.precision)

    def predict(images: Pixels) -> NDArray[np.float64]:
        prepared = np.stack([prepare(image, config.preprocessing) for image in images])
        data = LabelledImages(prepared, np.arange(len(prepared)), np.zeros(len(prepared), dtype=np.int64))
        return 1 - class_probabilities(network, data, precision)[:, 0]

    seen = training_hashes(run)
    return StressedModel(
        config.name,
        sha256_of_file(run.weights),
        predict,
        count_seen=lambda sha256: len(seen.intersection(sha256)),
        recipe=replace(config, training=replace(config.training, seed=0)).hash,
    )


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


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"expected a model file at {path}, found none: check the path")
    return path


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
        session = onnxruntime.InferenceSession(str(_existing(path)), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own
        raise RunError(
            f"expected an ONNX network in {path}, found that it cannot be loaded ({in_words(error)})"
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
    keras = _library("keras", path)
    network = _loaded(lambda: keras.models.load_model(path, compile=False), path)
    return lambda inputs: np.asarray(network.predict(inputs, verbose=0))


def _torchscript(path: Path) -> Network:
    torch = _library("torch", path)
    network = _loaded(lambda: torch.jit.load(str(path), map_location="cpu").eval(), path)
    return _with_torch(torch, network)


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
        raise ConfigError(f"expected {name} for {path.name}, found it missing: pip install {name}") from error


def _loaded(load: Callable[[], Any], path: Path) -> Any:
    try:
        return load()
    except Exception as error:  # a library raises whatever it likes on a damaged file
        raise RunError(f"expected a model in {path}, found that it cannot be loaded ({in_words(error)})") from error


@contextmanager
def _function(model: str) -> Iterator[StressedModel]:
    module_name, _, function_name = model.partition(":")
    # Modules in the working directory are found, as by `python -m`, also those that the function imports when it is called.
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise RunError(
                f"expected a module {module_name}, found that it cannot be imported ({in_words(error)})"
            ) from error
        function = getattr(module, function_name, None)
        if not callable(function):
            raise ConfigError(f"expected a function {function_name} in {module_name}, found none: name one that it has")
        source = getattr(module, "__file__", None)
        identity = sha256_of_file(Path(source)) if source else module_name
        yield StressedModel(model, f"{identity}:{function_name}", function)
    finally:
        if folder in sys.path:
            sys.path.remove(folder)

"""Models of a stress test, each as one function: images of 8 bits in, probabilities of the positive class out.

    default, nano, best, BUNDLE.zip      a bundle, as in `predict`, whatever its guard says of an image
    RUN                                  folder of a training run
    MODEL.onnx with MODEL.toml           ONNX file, whose settings say what it takes and gives
    MODEL.keras, .h5, .pt, .pt2          Keras, TorchScript and torch.export files with their TOML, where that library is installed
    http://127.0.0.1:8000                service that `pneumoscope serve` runs
    module:function                      function of (n, side, side) uint8 images

What can run code of its own is loaded only where the caller trusts it.
"""

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import SHIPPED, Bundle, find_bundle
from pneumoscope.errors import ConfigError, RunError
from pneumoscope.files import sha256_of_file
from pneumoscope.stress.model_files import TRUSTED_SUFFIXES, open_model_file
from pneumoscope.stress.radiographs import Pixels
from pneumoscope.stress.running import in_words
from pneumoscope.stress.stressed_model import StressedModel

if TYPE_CHECKING:
    from pneumoscope.client import Client

_TASK = 16
_ADDRESSES = ("http://", "https://")
# Environment variable with the API key of a service: an option would be seen in the list of processes.
_KEY = "PNEUMOSCOPE_SERVICE_KEY"
# Probability of an image that a service rejects: for neither class.
_UNDECIDED = 0.5


@contextmanager
def open_model(
    model: str, settings: Path | None = None, trust: bool = False, workers: int = 1
) -> Iterator[StressedModel]:
    """Model by what a user calls it; see the head of this module.

    Args:
        model: Name, path, address of a service, or module:function.
        settings: TOML file of a model file; the one of its name beside it where None.
        trust: Whether code of the model may run.
        workers: Number of processes for a bundle.

    Raises:
        ConfigError: Unknown kind, no settings, or code that is not trusted.
        RunError: The model cannot be loaded.
        ServiceError: The service does not answer.
    """
    path = Path(model)
    suffix = path.suffix.lower()
    if model in SHIPPED or suffix == ".zip" or (path / "manifest.json").is_file():
        with _bundle(find_bundle(model), workers) as opened:
            yield opened
    elif path.is_dir():
        yield _run(path)
    elif model.startswith(_ADDRESSES):
        with _service(model) as opened:
            yield opened
    elif suffix == ".onnx" or suffix in TRUSTED_SUFFIXES:
        if suffix in TRUSTED_SUFFIXES:
            _check_trusted(model, trust)
        yield open_model_file(path, settings)
    elif ":" in model:
        _check_trusted(model, trust)
        with _function(model) as opened:
            yield opened
    else:
        raise ConfigError(
            f"expected a bundle ({', '.join(SHIPPED)} or .zip), a run folder, .onnx, .keras, .h5, .pt, .pt2, the address "
            f"of a service or module:function, found {model}: name one of these"
        )


def _check_trusted(model: str, trust: bool) -> None:
    if not trust:
        raise ConfigError(
            f"expected a model that is data, found {model}, which runs code of its own: say --trust if you trust who made it"
        )


@contextmanager
def _bundle(bundle: Bundle, workers: int) -> Iterator[StressedModel]:
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.tasks import ProbabilitiesOfImages

    manifest = bundle.manifest

    with WorkerPool(bundle, workers) as pool:

        def predict(images: Pixels) -> NDArray[np.float64]:
            starts = range(0, len(images), _TASK)
            tasks = (ProbabilitiesOfImages(list(images[start : start + _TASK])) for start in starts)
            found = [each for batch in pool.run(tasks) for each in batch]
            known = [each for each in found if not isinstance(each, str)]
            if causes := [each for each in found if isinstance(each, str)]:
                raise RunError(
                    f"expected a probability for every image, found none for {len(causes)} of {len(found)} ({causes[0]}): "
                    "take fewer workers, or smaller images"
                )
            return 1 - np.array(known)[:, 0]

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


class _Service:
    """Service that `pneumoscope serve` runs, as a model; it rejects images, which a bundle does not when it is tested."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.shown, self.rejected = 0, 0

    def predict(self, images: Pixels) -> NDArray[np.float64]:
        """(n,) probability of the positive class of (n, side, side) uint8 images; one half for those that are rejected."""
        found = [each.pneumonia_probability for each in self._client.predict_many(list(images))]
        self.shown += len(found)
        self.rejected += sum(each is None for each in found)
        return np.array([_UNDECIDED if each is None else each for each in found])

    def remark(self) -> str:
        """Number of rejected images, in words; empty where there is none."""
        if not self.rejected:
            return ""
        return (
            f"the service rejected {self.rejected:,} of {self.shown:,} images of this run, for which it gives no probability: "
            f"{_UNDECIDED} is counted instead"
        )


@contextmanager
def _service(url: str) -> Iterator[StressedModel]:
    from pneumoscope.client import Client

    with Client(url, os.environ.get(_KEY) or None) as client:
        manifest = client.bundle()
        service = _Service(client)
        identity = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        threshold = float(manifest["operating_points"]["balanced"]["threshold"])
        name = f"{manifest['name']} {manifest['version']} at {url}"
        yield StressedModel(name, identity, service.predict, threshold, remark=service.remark)


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
                f"expected a module {module_name}, found that it cannot be imported ({in_words(error)}): "
                f"run where {module_name.partition('.')[0]} can be imported, or correct the module"
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

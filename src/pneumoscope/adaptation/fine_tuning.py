"""Fine-tuning of all weights of a bundle's network on a site's images. Needs PyTorch.

The network is built as its configuration says, its weights are read back from the bundle's graph, and the head is new where the classes are.
Each fold, and the final network, is a run folder of its own: after a kill the training goes on with the next epoch.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from pneumoscope.adaptation.methods import FittedNetwork, Method
from pneumoscope.adaptation.site import SiteImages
from pneumoscope.bundle import INPUT, LOGITS, Bundle
from pneumoscope.config import RunConfig, config_from_table
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import Source
from pneumoscope.decision import logits_of
from pneumoscope.errors import BundleError
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.files import sha256_of_lines
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.evidence import ExplainedClassifier, set_reference
from pneumoscope.models.registry import build_model
from pneumoscope.progress import Progress
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.callbacks import Observer
from pneumoscope.training.export import export_onnx
from pneumoscope.training.loop import train
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder

# As many epochs as the detectors' own training has, at half of its learning rate; not tuned further.
_EPOCHS, _LEARNING_RATE = 8, 3e-4
# Largest relative difference of logits between the bundle's graph and the network that is rebuilt from it.
_TOLERANCE = 1e-3
# Images by which statistics of the first layer are estimated.
_SOME = 64
# Prefix of the names of weights in the graph.
_PREFIX = "model."


@dataclass(frozen=True, eq=False)
class FineTune(Method):
    """Fine-tuning of all weights.

    Attributes:
        parent: Bundle whose network is fine-tuned.
        pixels: (n, height, width) uint8, the site's images as the network takes them.
        folder: Folder of the trainings.
        observer: Receiver of the progress of the trainings.
    """

    name: ClassVar[str] = "fine-tune"
    is_fast: ClassVar[bool] = False
    parent: Bundle
    pixels: NDArray[np.uint8]
    folder: Path
    observer: Observer

    @property
    def candidates(self) -> tuple[str, ...]:
        """One candidate."""
        return (f"all weights fine-tuned for {_EPOCHS} epochs",)

    def only(self, number: int) -> "FineTune":
        """The method itself."""
        return self

    def logits(self, images: SiteImages, train: Ints, test: Ints) -> list[Floats]:
        """Logits of a network that is trained on the images `train`."""
        model, config = self._trained(images, train)
        unlabelled = LabelledImages(self.pixels, test, np.zeros(len(test), dtype=np.int64))
        return [logits_of(class_probabilities(model, unlabelled, resolve_precision(config.training.precision)))]

    def fitted(self, images: SiteImages) -> FittedNetwork:
        """Network trained on all images, exported."""
        model, config = self._trained(images, np.arange(len(images)))
        normals = np.flatnonzero(self.labels(images) == 0)[:_SOME]
        set_reference(model, [as_network_input(self.pixels[normals])])
        exported = export_onnx(model, config.preprocessing.height, config.preprocessing.width)
        return FittedNetwork(exported, None, config.to_dict())

    def _trained(self, images: SiteImages, rows: Ints) -> tuple[ImageClassifier, RunConfig]:
        """Network trained on some images, or read back where that was done before."""
        config = self._config()
        label = self.labels(images)
        lines = [f"{images.sha256[i]} {label[i]}" for i in rows]
        run = RunFolder(self.folder / sha256_of_lines([self.parent.sha256, config.hash, *lines])[:16])
        model = _with_weights_of(self.parent, config, self.pixels[rows[:_SOME]])
        if run.is_finished:
            model.load_own_state(run.load_weights())
            return model, config
        data = LabelledImages(self.pixels, rows, label[rows])
        if not run.is_begun:  # a kill may have left a folder without its configuration
            shutil.rmtree(run.path, ignore_errors=True)
        run.start(config, {}, resume=run.is_begun)
        # Nothing is chosen by the validation loss: every epoch is trained, and the running mean of the weights is used.
        some = LabelledImages(self.pixels, rows[:_SOME], label[rows[:_SOME]])
        train(model, data, some, config, run, run.path / "features", self.observer)
        return model, config

    def _config(self) -> RunConfig:
        config = _config_of(self.parent)
        training = replace(
            config.training,
            epochs=_EPOCHS,
            patience=_EPOCHS,
            learning_rate=_LEARNING_RATE,
            odd_repeats=1,
            balance=True,
            restore_best=False,
        )
        return replace(
            config, model=replace(config.model, classes=len(self.scheme), freeze_base=False), training=training
        )


def fine_tune(
    parent: Bundle,
    images: SiteImages,
    source: Source,
    method: Method,
    folder: Path,
    observer: Observer,
    progress: Progress,
) -> FineTune:
    """Method that fine-tunes the network of a bundle.

    Args:
        parent: Bundle whose network is fine-tuned.
        images: Images of the site.
        source: Source of these images.
        method: Another method for the same labels, whose classes are taken.
        folder: Folder of the trainings, which survives a kill.
        observer: Receiver of the progress of the trainings.
        progress: Callback with the number of images prepared and their total.

    Raises:
        BundleError: The bundle does not say how its network is built, or the weights do not fit.
    """
    settings = parent.manifest.preprocessing
    pixels = np.zeros((len(images), settings.height, settings.width), dtype=np.uint8)
    for number, path in enumerate(images.paths):
        pixels[number] = prepare(source.read(path), settings)
        progress(number + 1, len(images))
    _check_parity(parent, _with_weights_of(parent, _config_of(parent), pixels[:_SOME]))
    return FineTune(method.scheme, method.etiologies, parent, pixels, folder, observer)


def _config_of(bundle: Bundle) -> RunConfig:
    """Configuration of the network of a bundle, its own or that of the first ancestor that says.

    Raises:
        BundleError: None says, or it is an ensemble.
    """
    table: Mapping[str, Any] = bundle.manifest.training
    while "config" not in table and "parent" in table:
        table = table["parent"]["training"]
    if "members" in table:
        raise BundleError(
            f"expected a bundle of one network for fine-tuning, found {bundle.manifest.name}, an ensemble of "
            f"{len(table['members'])}: use --method linear, or --bundle nano"
        )
    if "config" not in table:
        raise BundleError(
            f"expected the configuration of the network in the manifest of {bundle.manifest.name}, found none: use --method linear"
        )
    return config_from_table(table["config"], f"the manifest of {bundle.manifest.name}")


def _with_weights_of(bundle: Bundle, config: RunConfig, images: NDArray[np.uint8]) -> ImageClassifier:
    """Network of a configuration with the weights of a bundle's graph, a new last layer where the number of classes differs.

    Args:
        bundle: Bundle.
        config: Configuration of the network.
        images: (n, height, width) uint8, some images as the network takes them.

    Raises:
        BundleError: The graph lacks a weight.
    """
    settings = config.preprocessing
    model = build_model(config.model, config.training.seed, settings.height, settings.width)
    explained = ExplainedClassifier(model)
    graph = onnx.load_from_string(bundle.model).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    own = explained.state_dict()
    state = {
        name: torch.from_numpy(stored[_PREFIX + name].copy())
        for name, tensor in own.items()
        if _PREFIX + name in stored and stored[_PREFIX + name].shape == tuple(tensor.shape)
    }
    explained.load_state_dict(state, strict=False)
    pairs = _normalised_convolutions(explained)
    folded = _folded_convolutions(graph, stored, pairs)
    unfolded = tuple(f"{name}." for each in folded for name in (each, pairs[each][0]))
    known = {name for name in own if name in state or name.startswith(("rest.", *unfolded))}
    missing = {name for name in own if not name.endswith("num_batches_tracked")} - known
    if missing:
        raise BundleError(
            f"expected the weights of {config.model.architecture} in the bundle {bundle.manifest.name}, found none for "
            f"{sorted(missing)[0]}: use --method linear"
        )
    _unfold(model, explained, {name: (pairs[name][1], *values) for name, values in folded.items()}, images)
    return model


def _normalised_convolutions(network: nn.Module) -> dict[str, tuple[str, nn.BatchNorm2d]]:
    """Name of each convolution that a normalisation follows, with the name of that one and itself; in their order."""
    layers = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.BatchNorm2d)]
    return {
        name: (behind, following)
        for (name, each), (behind, following) in pairwise(layers)
        if isinstance(each, nn.Conv2d) and isinstance(following, nn.BatchNorm2d)
    }


def _folded_convolutions(
    graph: onnx.GraphProto, stored: dict[str, NDArray[np.float32]], pairs: Iterable[str]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weight and bias of each convolution into which the export has folded its normalisation, by the convolution's name.

    The first one has no name of its own in the graph, for it adds up its kernels for the grey image.
    """
    names, found = list(pairs), {}
    for position, node in enumerate(node for node in graph.node if node.op_type == "Conv"):
        name = node.input[1].removeprefix(_PREFIX).removesuffix(".weight")
        if name not in names and position == 0 and names:
            name = names[0]
        if name in names and len(node.input) == 3:
            found[name] = (stored[node.input[1]], stored[node.input[2]])
    return found


@torch.no_grad()
def _unfold(
    model: ImageClassifier,
    explained: nn.Module,
    folded: dict[str, tuple[nn.BatchNorm2d, NDArray[np.float32], NDArray[np.float32]]],
    images: NDArray[np.uint8],
) -> None:
    """Take normalisations out of the convolutions into which the export has folded them.

    Their statistics are those of some images, so that training, which normalises by its batches, begins at the same function. Where
    a convolution adds up its kernels for the grey image (`models/classifier.py`), each gets an equal part.
    """
    handles = []
    for name, (normalisation, weight, bias) in folded.items():
        convolution = cast(nn.Conv2d, explained.get_submodule(name))
        kernels = torch.from_numpy(weight.copy()).expand_as(convolution.weight)
        convolution.weight.copy_(kernels * (weight.shape[1] / convolution.weight.shape[1]))
        # One pass does for all: each takes its statistics from what arrives, and passes on what the folded layer would.
        take = partial(_take_statistics, bias=torch.from_numpy(bias.copy()))
        handles.append(normalisation.register_forward_pre_hook(take))
    model.eval()(as_network_input(images))
    for handle in handles:
        handle.remove()


def _take_statistics(normalisation: nn.Module, inputs: tuple[torch.Tensor], bias: torch.Tensor) -> None:
    """Set a normalisation to the statistics of its input, scale and shift such that it adds the bias alone."""
    normalisation = cast(nn.BatchNorm2d, normalisation)
    variance, mean = torch.var_mean(inputs[0].transpose(0, 1).flatten(1), dim=1, correction=0)
    normalisation.load_state_dict(
        {
            "running_mean": mean,
            "running_var": variance,
            "weight": torch.sqrt(variance + normalisation.eps),
            "bias": bias + mean,
        },
        strict=False,
    )


def _check_parity(bundle: Bundle, model: ImageClassifier) -> None:
    """Check that a network gives the golden logits of the bundle that its weights come from.

    Raises:
        BundleError: Other logits.
    """
    if bundle.head is not None:
        return
    with torch.no_grad():
        found = model.eval()(as_network_input(bundle.golden[INPUT])).numpy()
    expected = bundle.golden[LOGITS]
    difference = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not difference <= _TOLERANCE:
        raise BundleError(
            f"expected the golden logits of {bundle.manifest.name} from its weights, found a difference of {difference:g}: "
            "use --method linear"
        )

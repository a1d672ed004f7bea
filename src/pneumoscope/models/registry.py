"""Builders of the catalogue's architectures, and one way to build a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pneumoscope.config import ModelConfig
from pneumoscope.errors import ConfigError
from pneumoscope.models.catalogue import architecture
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.cnn import build_cnn
from pneumoscope.models.efficientnet_lite import LITE0, NANO, LiteTrunk, Stage, build_lite, initialise_convolutions
from pneumoscope.models.inception import build_inception_v3
from pneumoscope.models.lite_weights import load_lite_weights
from pneumoscope.models.stacked import build_stacked_cnn
from pneumoscope.models.weights import load_inception_weights


@dataclass(frozen=True)
class BuildRequest:
    """What a builder gets: the arguments of `build_model`."""

    model: ModelConfig
    seed: int
    height: int
    width: int
    pretrained: Path | None
    trained_cnn: ImageClassifier | None


Builder = Callable[[BuildRequest], ImageClassifier]
_BUILDERS: dict[str, Builder] = {}


def builds(name: str) -> Callable[[Builder], Builder]:
    """Decorator that makes a function the builder of an architecture of the catalogue.

    Raises:
        ConfigError: The catalogue has no such architecture.
        ValueError: It has a builder already.
    """
    architecture(name)

    def remember(build: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"the architecture {name} has a builder already")
        _BUILDERS[name] = build
        return build

    return remember


def build_model(
    model: ModelConfig,
    seed: int = 0,
    height: int = 224,
    width: int = 224,
    pretrained: Path | None = None,
    trained_cnn: ImageClassifier | None = None,
) -> ImageClassifier:
    """A network with its initial weights.

    Args:
        model: Which network.
        seed: Of the new weights.
        height: Of the images, pixels.
        width: Of the images, pixels.
        pretrained: File with the weights that the architecture starts from; new weights where None.
        trained_cnn: For the stacked cnn: the network whose convolutions it takes over.

    Raises:
        ConfigError: No such architecture, or it cannot be built for these images.
    """
    name = architecture(model.architecture).name
    return _BUILDERS[name](BuildRequest(model, seed, height, width, pretrained, trained_cnn))


@builds("cnn")
def _cnn(request: BuildRequest) -> ImageClassifier:
    return build_cnn(request.model.classes, request.seed, request.height, request.width)


@builds("inception_v3")
def _inception_v3(request: BuildRequest) -> ImageClassifier:
    if (request.height, request.width) != (224, 224):
        raise ConfigError(
            f"expected films of 224 x 224 for inception_v3, found {request.height} x {request.width}: change preprocessing"
        )
    base = load_inception_weights(request.pretrained) if request.pretrained else None
    return build_inception_v3(request.model.classes, request.seed, base, request.model.freeze_base)


@builds("stacked_cnn")
def _stacked_cnn(request: BuildRequest) -> ImageClassifier:
    model = request.model
    return build_stacked_cnn(
        model.classes, request.seed, request.trained_cnn, model.freeze_base, request.height, request.width
    )


@builds("lite0")
def _lite0(request: BuildRequest) -> ImageClassifier:
    return _lite(request, LITE0, wide_end=True)


@builds("nano")
def _nano(request: BuildRequest) -> ImageClassifier:
    return _lite(request, NANO, wide_end=False)


def _lite(request: BuildRequest, stages: tuple[Stage, ...], wide_end: bool) -> ImageClassifier:
    if request.height != request.width:
        raise ConfigError(
            f"expected square films for the detector, found {request.height} x {request.width}: change preprocessing"
        )
    model = request.model
    trunk = LiteTrunk(stages, wide_end, model.stochastic_depth, model.style_mixing)
    if request.pretrained:
        load_lite_weights(trunk, request.pretrained)
    else:
        initialise_convolutions(trunk, torch.Generator().manual_seed(request.seed))
    return build_lite(
        model.classes,
        request.seed,
        trunk,
        request.height,
        model.input_side or request.height,
        model.dropout,
        model.freeze_base,
        model.standardise,
        model.mirrored,
    )

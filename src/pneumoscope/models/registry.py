"""Registry of the functions that build the catalogue's architectures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pneumoscope.config import ModelConfig
from pneumoscope.errors import ConfigError
from pneumoscope.models.catalogue import architecture
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.cnn import build_cnn
from pneumoscope.models.efficientnet_lite import LITE0, MID, NANO, LiteTrunk, Stage, build_lite, initialise_convolutions
from pneumoscope.models.inception import build_inception_v3
from pneumoscope.models.lite_weights import load_lite_weights
from pneumoscope.models.stacked import build_stacked_cnn
from pneumoscope.models.weights import load_inception_weights


@dataclass(frozen=True)
class BuildRequest:
    """Arguments of `build_model`, as a builder gets them.

    Attributes:
        model: Model settings of the configuration.
        seed: Seed of the new weights.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        pretrained: Weight file that the network starts from; None for random weights.
        trained_cnn: Network whose convolutions a stacked cnn takes over; None for random weights.
    """

    model: ModelConfig
    seed: int
    height: int
    width: int
    pretrained: Path | None
    trained_cnn: ImageClassifier | None


Builder = Callable[[BuildRequest], ImageClassifier]
_BUILDERS: dict[str, Builder] = {}


def register_builder(name: str) -> Callable[[Builder], Builder]:
    """Register the decorated function as the builder of an architecture of the catalogue.

    Raises:
        ConfigError: The catalogue has no such architecture.
        ValueError: The architecture has a builder already.
    """
    architecture(name)

    def register(build: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"the architecture {name} has a builder already")
        _BUILDERS[name] = build
        return build

    return register


def build_model(
    model: ModelConfig,
    seed: int = 0,
    height: int = 224,
    width: int = 224,
    pretrained: Path | None = None,
    trained_cnn: ImageClassifier | None = None,
) -> ImageClassifier:
    """Build a network with its initial weights.

    Args:
        model: Model settings of the configuration.
        seed: Seed of the new weights.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        pretrained: Weight file that the network starts from; None for random weights.
        trained_cnn: Network whose convolutions a stacked cnn takes over; None for random weights.

    Raises:
        ConfigError: The architecture is unknown, or does not take images of this size.
    """
    name = architecture(model.architecture).name
    return _BUILDERS[name](BuildRequest(model, seed, height, width, pretrained, trained_cnn))


@register_builder("cnn")
def _cnn(request: BuildRequest) -> ImageClassifier:
    return build_cnn(request.model.classes, request.seed, request.height, request.width)


@register_builder("inception_v3")
def _inception_v3(request: BuildRequest) -> ImageClassifier:
    if (request.height, request.width) != (224, 224):
        raise ConfigError(
            f"expected images of 224 x 224 for inception_v3, found {request.height} x {request.width}: change preprocessing"
        )
    base = load_inception_weights(request.pretrained) if request.pretrained else None
    return build_inception_v3(request.model.classes, request.seed, base, request.model.freeze_base)


@register_builder("stacked_cnn")
def _stacked_cnn(request: BuildRequest) -> ImageClassifier:
    model = request.model
    return build_stacked_cnn(
        model.classes, request.seed, request.trained_cnn, model.freeze_base, request.height, request.width
    )


@register_builder("lite0")
def _lite0(request: BuildRequest) -> ImageClassifier:
    return _lite(request, LITE0, final_convolution=True)


@register_builder("mid")
def _mid(request: BuildRequest) -> ImageClassifier:
    return _lite(request, MID, final_convolution=False)


@register_builder("nano")
def _nano(request: BuildRequest) -> ImageClassifier:
    return _lite(request, NANO, final_convolution=False)


def _lite(request: BuildRequest, stages: tuple[Stage, ...], final_convolution: bool) -> ImageClassifier:
    if request.height != request.width:
        raise ConfigError(
            f"expected square images for the detector, found {request.height} x {request.width}: change preprocessing"
        )
    model = request.model
    trunk = LiteTrunk(stages, final_convolution, model.stochastic_depth, model.style_mixing)
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
        model.lung_fields,
    )

"""Every architecture by name, and one way to build it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from pneumoscope.config import ModelConfig
from pneumoscope.errors import ConfigError
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.models.cnn import build_cnn
from pneumoscope.models.efficientnet_lite import LITE0, NANO, LiteTrunk, Stage, build_lite, initialise_convolutions
from pneumoscope.models.inception import build_inception_v3
from pneumoscope.models.lite_weights import load_lite_weights
from pneumoscope.models.stacked import build_stacked_cnn
from pneumoscope.models.weights import load_inception_weights

Pretrained = Literal["", "inception_v3", "lite0"]


@dataclass(frozen=True)
class BuildRequest:
    """What a builder gets: the arguments of `build_model`."""

    model: ModelConfig
    seed: int
    height: int
    width: int
    pretrained: Path | None
    trained_cnn: FilmClassifier | None


@dataclass(frozen=True)
class Architecture:
    """A way to build a network.

    Attributes:
        name: In configurations.
        description: For people.
        build: Makes it.
        pretrained: Whose published weights it starts from, if any.
    """

    name: str
    description: str
    build: Callable[[BuildRequest], FilmClassifier]
    pretrained: Pretrained = ""


_ARCHITECTURES: dict[str, Architecture] = {}


def register(
    name: str, description: str, pretrained: Pretrained = ""
) -> Callable[[Callable[[BuildRequest], FilmClassifier]], None]:
    """Makes a builder known under a name.

    Raises:
        ValueError: The name is taken.
    """

    def remember(build: Callable[[BuildRequest], FilmClassifier]) -> None:
        if name in _ARCHITECTURES:
            raise ValueError(f"the architecture {name} is registered already")
        _ARCHITECTURES[name] = Architecture(name, description, build, pretrained)

    return remember


def architectures() -> list[Architecture]:
    """All of them, in the order of registration."""
    return list(_ARCHITECTURES.values())


def build_model(
    model: ModelConfig,
    seed: int = 0,
    height: int = 224,
    width: int = 224,
    pretrained: Path | None = None,
    trained_cnn: FilmClassifier | None = None,
) -> FilmClassifier:
    """A network with its initial weights.

    Args:
        model: Which network.
        seed: Of the new weights.
        height: Of the films, pixels.
        width: Of the films, pixels.
        pretrained: File with the weights that the architecture starts from; new weights where None.
        trained_cnn: For the stacked cnn: the network whose convolutions it takes over.

    Raises:
        ConfigError: No such architecture, or it cannot be built for these films.
    """
    return architecture(model.architecture).build(BuildRequest(model, seed, height, width, pretrained, trained_cnn))


def architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in _ARCHITECTURES:
        raise ConfigError(f"expected an architecture out of {', '.join(_ARCHITECTURES)}, found {name!r}: change it")
    return _ARCHITECTURES[name]


@register("cnn", "models 1 and 2 of the study: three convolutions, one dense layer")
def _cnn(request: BuildRequest) -> FilmClassifier:
    return build_cnn(request.model.classes, request.seed, request.height, request.width)


@register("inception_v3", "model 3 of the study: Keras' Inception V3, frozen, and three dense layers", "inception_v3")
def _inception_v3(request: BuildRequest) -> FilmClassifier:
    if (request.height, request.width) != (224, 224):
        raise ConfigError(
            f"expected films of 224 x 224 for inception_v3, found {request.height} x {request.width}: change preprocessing"
        )
    base = load_inception_weights(request.pretrained) if request.pretrained else None
    return build_inception_v3(request.model.classes, request.seed, base, request.model.freeze_base)


@register("stacked_cnn", "model 4 of the study: the convolutions of model 2, three more, one dense layer")
def _stacked_cnn(request: BuildRequest) -> FilmClassifier:
    model = request.model
    return build_stacked_cnn(
        model.classes, request.seed, request.trained_cnn, model.freeze_base, request.height, request.width
    )


@register("lite0", "the detector: EfficientNet-lite0, from ImageNet weights", "lite0")
def _lite0(request: BuildRequest) -> FilmClassifier:
    return _lite(request, LITE0, wide_end=True)


@register("nano", "the small detector: the first blocks of EfficientNet-lite0, from ImageNet weights", "lite0")
def _nano(request: BuildRequest) -> FilmClassifier:
    return _lite(request, NANO, wide_end=False)


def _lite(request: BuildRequest, stages: tuple[Stage, ...], wide_end: bool) -> FilmClassifier:
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

"""Every architecture by name, and one way to build it."""

from collections.abc import Callable
from dataclasses import dataclass

from pneumoscope.errors import ConfigError
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.models.cnn import build_cnn
from pneumoscope.models.inception import InceptionV3, build_inception_v3
from pneumoscope.models.stacked import build_stacked_cnn


@dataclass(frozen=True)
class BuildRequest:
    """What a network is built from.

    Attributes:
        classes: 2 or 3.
        seed: Of the new weights.
        height: Of the films, pixels.
        width: Of the films, pixels.
        freeze_base: Whether training leaves a pre-trained part alone.
        trained_cnn: For the stacked cnn: the network whose convolutions it takes over.
        inception: For Inception V3: the base with its pre-trained weights.
    """

    classes: int
    seed: int = 0
    height: int = 224
    width: int = 224
    freeze_base: bool = True
    trained_cnn: FilmClassifier | None = None
    inception: InceptionV3 | None = None


@dataclass(frozen=True)
class Architecture:
    """A way to build a network."""

    name: str
    description: str
    build: Callable[[BuildRequest], FilmClassifier]


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, description: str) -> Callable[[Callable[[BuildRequest], FilmClassifier]], None]:
    """Makes a builder known under a name.

    Raises:
        ValueError: The name is taken.
    """

    def remember(build: Callable[[BuildRequest], FilmClassifier]) -> None:
        if name in _ARCHITECTURES:
            raise ValueError(f"the architecture {name} is registered already")
        _ARCHITECTURES[name] = Architecture(name, description, build)

    return remember


def architectures() -> list[Architecture]:
    """All of them, in the order of registration."""
    return list(_ARCHITECTURES.values())


def build_model(name: str, request: BuildRequest) -> FilmClassifier:
    """A network with its initial weights.

    Raises:
        ConfigError: No such architecture, or it cannot be built for these films.
    """
    if name not in _ARCHITECTURES:
        raise ConfigError(f"expected an architecture out of {', '.join(_ARCHITECTURES)}, found {name!r}: change it")
    return _ARCHITECTURES[name].build(request)


@register("cnn", "models 1 and 2 of the study: three convolutions, one dense layer")
def _cnn(request: BuildRequest) -> FilmClassifier:
    return build_cnn(request.classes, request.seed, request.height, request.width)


@register("inception_v3", "model 3 of the study: Keras' Inception V3, frozen, and three dense layers")
def _inception_v3(request: BuildRequest) -> FilmClassifier:
    if (request.height, request.width) != (224, 224):
        raise ConfigError(
            f"expected films of 224 x 224 for inception_v3, found {request.height} x {request.width}: change preprocessing"
        )
    return build_inception_v3(request.classes, request.seed, request.inception, request.freeze_base)


@register("stacked_cnn", "model 4 of the study: the convolutions of model 2, three more, one dense layer")
def _stacked_cnn(request: BuildRequest) -> FilmClassifier:
    return build_stacked_cnn(
        request.classes, request.seed, request.trained_cnn, request.freeze_base, request.height, request.width
    )

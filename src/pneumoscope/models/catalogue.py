"""Catalogue of architectures, readable without PyTorch; `models/registry.py` builds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pneumoscope.errors import ConfigError

Pretrained = Literal["", "inception_v3", "lite0"]


@dataclass(frozen=True)
class ParameterCount:
    """Number of parameters of a network, counted as Keras counts them.

    Attributes:
        trainable: Parameters that training changes.
        frozen: Parameters that training does not change, moving statistics included.
    """

    trainable: int
    frozen: int


@dataclass(frozen=True)
class Architecture:
    """Entry of the catalogue: a network that a configuration can name.

    Attributes:
        name: Name in configurations.
        description: Description in one line.
        parameters: Number of classes to number of parameters, with the default settings.
        pretrained: Published weights that training starts from; empty for none.
    """

    name: str
    description: str
    parameters: Mapping[int, ParameterCount]
    pretrained: Pretrained = ""


_ARCHITECTURES = (
    Architecture(
        "cnn",
        "models 1 and 2 of the study: three convolutions, one dense layer",
        {2: ParameterCount(266_306, 0), 3: ParameterCount(352_835, 0)},
    ),
    Architecture(
        "inception_v3",
        "model 3 of the study: Keras' Inception V3, frozen, and three dense layers",
        {2: ParameterCount(13_140_610, 21_802_784), 3: ParameterCount(13_140_739, 21_802_784)},
        "inception_v3",
    ),
    Architecture(
        "stacked_cnn",
        "model 4 of the study: the convolutions of model 2, three more, one dense layer",
        {2: ParameterCount(129_506, 93_248), 3: ParameterCount(129_635, 93_248)},
    ),
    Architecture(
        "lite0",
        "EfficientNet-lite0, from ImageNet weights",
        {2: ParameterCount(2_562, 3_413_073), 3: ParameterCount(3_843, 3_413_073)},
        "lite0",
    ),
    Architecture(
        "mid",
        "the detector: the first five stages of EfficientNet-lite0, from ImageNet weights",
        {2: ParameterCount(226, 716_961), 3: ParameterCount(339, 716_961)},
        "lite0",
    ),
    Architecture(
        "nano",
        "the small detector: the first four stages and a block of EfficientNet-lite0, from ImageNet weights",
        {2: ParameterCount(226, 370_651), 3: ParameterCount(339, 370_651)},
        "lite0",
    ),
)


def architectures() -> tuple[Architecture, ...]:
    """All architectures, those of the study first."""
    return _ARCHITECTURES


def architecture(name: str) -> Architecture:
    """Architecture with a name.

    Raises:
        ConfigError: The name is unknown.
    """
    for each in _ARCHITECTURES:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in _ARCHITECTURES)
    raise ConfigError(f"expected an architecture out of {names}, found {name!r}: change it")

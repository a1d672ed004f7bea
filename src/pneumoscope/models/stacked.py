"""Model 4 of the study (its "CNN_1"): the trained convolutions of model 2, then three more and a dense layer."""

import torch
from torch import nn

from pneumoscope.errors import WeightsError
from pneumoscope.models.classifier import FlattenFeatures, ImageClassifier, initialise_as_keras
from pneumoscope.models.cnn import FEATURE_CHANNELS, build_cnn, convolution_block
from pneumoscope.types import SCHEMES


def build_stacked_cnn(
    classes: int,
    seed: int,
    trained: ImageClassifier | None = None,
    frozen: bool = True,
    height: int = 224,
    width: int = 224,
) -> ImageClassifier:
    """Build model 4.

    Args:
        classes: Number of classes, 2 or 3.
        seed: Seed of the new weights.
        trained: Network whose convolutions are copied; new ones where None.
        frozen: Whether training leaves the copied convolutions unchanged.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Raises:
        WeightsError: `trained` is not a network of `build_cnn`, or the images are too small.
    """
    source = trained if trained is not None else build_cnn(classes, seed, height, width)
    if not isinstance(source.head, nn.Sequential) or not isinstance(source.head[0], nn.Sequential):
        raise WeightsError("expected a trained cnn as the base of a stacked cnn, found another network: name a cnn run")
    base = nn.Sequential(*[_copy(layer) for layer in source.head[0]])
    for _ in range(6):
        height, width = (height - 2) // 2, (width - 2) // 2
    if height < 1 or width < 1:
        raise WeightsError(
            "expected images of at least 190 x 190 pixels for a stacked cnn, found smaller ones: enlarge them"
        )
    head = nn.Sequential(
        *convolution_block(FEATURE_CHANNELS, 32),
        *convolution_block(32, 64),
        *convolution_block(64, 128),
        FlattenFeatures(),
        nn.Linear(128 * height * width, classes),
    )
    initialise_as_keras(head, torch.Generator().manual_seed(seed))
    return ImageClassifier(SCHEMES[classes], head, base, frozen)


def _copy(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Conv2d):
        return layer
    copy = type(layer)(layer.in_channels, layer.out_channels, 3)
    copy.load_state_dict(layer.state_dict())
    return copy

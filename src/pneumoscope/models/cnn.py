"""Models 1 and 2 of the study: three convolutions, then one dense layer."""

import torch
from torch import nn

from pneumoscope.models.classifier import FlattenFeatures, GreyConv2d, ImageClassifier, initialise_as_keras
from pneumoscope.types import SCHEMES

FEATURE_CHANNELS = 128


def convolution_block(channels_in: int, channels_out: int, first: bool = False) -> list[nn.Module]:
    """Build the layers of a block: convolution 3 x 3 without padding, max-pooling 2 x 2, ReLU.

    The study has ReLU before the pooling. The maximum of a window commutes with ReLU, so the function is the same, with a
    quarter of the arithmetic of ReLU.
    """
    convolution = GreyConv2d if first else nn.Conv2d
    return [convolution(channels_in, channels_out, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)]


def convolutional_part() -> nn.Sequential:
    """Build the convolutions of models 1 and 2, from images (n, 1 or 3, 224, 224) to maps (n, 128, 26, 26)."""
    return nn.Sequential(
        *convolution_block(3, 32, first=True),
        *convolution_block(32, 64),
        *convolution_block(64, FEATURE_CHANNELS),
    )


def build_cnn(classes: int, seed: int, height: int = 224, width: int = 224) -> ImageClassifier:
    """Build model 1 (two classes) or model 2 (three), with Keras' initial weights.

    Args:
        classes: Number of classes, 2 or 3.
        seed: Seed of the initial weights.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
    """
    for _ in range(3):
        height, width = (height - 2) // 2, (width - 2) // 2
    head = nn.Sequential(convolutional_part(), FlattenFeatures(), nn.Linear(FEATURE_CHANNELS * height * width, classes))
    initialise_as_keras(head, torch.Generator().manual_seed(seed))
    return ImageClassifier(SCHEMES[classes], head)

"""Model 3 of the study: Keras' Inception V3 without its top, frozen, and three dense layers.

Szegedy et al., CVPR 2016, arXiv 1512.00567, as `keras.applications` builds it: no bias in the convolutions, batch
normalisation without a scale, epsilon 0.001, average pooling that leaves the padding out of the mean.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.models.classifier import FlattenFeatures, GreyConv2d, ImageClassifier, initialise_as_keras
from pneumoscope.types import SCHEMES

_EPSILON = 1e-3
Size = int | tuple[int, int]


class NormalisedConv(nn.Module):
    """Convolution, batch normalisation with fixed statistics, ReLU.

    The statistics are never updated: a frozen base must not change, and Keras' guide keeps them fixed in fine-tuning too.
    """

    def __init__(self, channels_in: int, channels_out: int, size: Size, stride: int, same: bool, first: bool) -> None:
        super().__init__()
        kernel = (size, size) if isinstance(size, int) else size
        padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
        convolution = GreyConv2d if first else nn.Conv2d
        self.convolution = convolution(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.beta = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("mean", torch.zeros(channels_out))
        self.register_buffer("variance", torch.ones(channels_out))
        self.mean: Tensor
        self.variance: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, channels out, height, width) of maps (n, channels in, height, width)."""
        out = self.convolution(maps)
        if self.convolution.bias is None:
            out = functional.batch_norm(out, self.mean, self.variance, None, self.beta, eps=_EPSILON)
        return functional.relu(out, inplace=not torch.is_grad_enabled())

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the normalisation into the convolution's kernels and a bias: one pass over the maps instead of two."""
        if self.convolution.bias is None:
            scale = torch.rsqrt(self.variance + _EPSILON)
            self.convolution.weight.mul_(scale[:, None, None, None])
            bias = self.beta - self.mean * scale
            self.convolution.bias = nn.Parameter(bias, requires_grad=self.beta.requires_grad)


class Branches(nn.Module):
    """Parallel paths over the same maps, concatenated along the channels."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, maps: Tensor) -> Tensor:
        """Concatenated maps (n, sum of the paths' channels, height, width)."""
        return torch.cat([path(maps) for path in self.paths], dim=1)


def _conv(
    channels_in: int, channels_out: int, size: Size, stride: int = 1, same: bool = True, first: bool = False
) -> NormalisedConv:
    return NormalisedConv(channels_in, channels_out, size, stride, same, first)


def _pooled(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), _conv(channels_in, channels_out, 1))


def _chain(channels_in: int, *steps: tuple[int, Size]) -> nn.Sequential:
    layers = []
    for channels_out, size in steps:
        layers.append(_conv(channels_in, channels_out, size))
        channels_in = channels_out
    return nn.Sequential(*layers)


def _block_35(channels_in: int, pooled: int) -> Branches:
    return Branches(
        _conv(channels_in, 64, 1),
        _chain(channels_in, (48, 1), (64, 5)),
        _chain(channels_in, (64, 1), (96, 3), (96, 3)),
        _pooled(channels_in, pooled),
    )


def _block_17(channels_in: int, inner: int) -> Branches:
    return Branches(
        _conv(channels_in, 192, 1),
        _chain(channels_in, (inner, 1), (inner, (1, 7)), (192, (7, 1))),
        _chain(channels_in, (inner, 1), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))),
        _pooled(channels_in, 192),
    )


def _block_8(channels_in: int) -> Branches:
    def fork() -> Branches:
        return Branches(_conv(384, 384, (1, 3)), _conv(384, 384, (3, 1)))

    return Branches(
        _conv(channels_in, 320, 1),
        nn.Sequential(_conv(channels_in, 384, 1), fork()),
        nn.Sequential(_chain(channels_in, (448, 1), (384, 3)), fork()),
        _pooled(channels_in, 192),
    )


class InceptionV3(nn.Sequential):
    """Inception V3 without its top: images (n, 1 or 3, 224, 224) to maps (n, 2048, 5, 5); 21,802,784 parameters.

    The modules are in the order in which Keras creates its layers, so that weights match by number.
    """

    def __init__(self) -> None:
        super().__init__(
            _conv(3, 32, 3, stride=2, same=False, first=True),
            _conv(32, 32, 3, same=False),
            _conv(32, 64, 3),
            nn.MaxPool2d(3, 2),
            _conv(64, 80, 1, same=False),
            _conv(80, 192, 3, same=False),
            nn.MaxPool2d(3, 2),
            _block_35(192, 32),
            _block_35(256, 64),
            _block_35(288, 64),
            Branches(
                _conv(288, 384, 3, stride=2, same=False),
                nn.Sequential(_chain(288, (64, 1), (96, 3)), _conv(96, 96, 3, stride=2, same=False)),
                nn.MaxPool2d(3, 2),
            ),
            _block_17(768, 128),
            _block_17(768, 160),
            _block_17(768, 160),
            _block_17(768, 192),
            Branches(
                nn.Sequential(_conv(768, 192, 1), _conv(192, 320, 3, stride=2, same=False)),
                nn.Sequential(
                    _chain(768, (192, 1), (192, (1, 7)), (192, (7, 1))),
                    _conv(192, 192, 3, stride=2, same=False),
                ),
                nn.MaxPool2d(3, 2),
            ),
            _block_8(1280),
            _block_8(2048),
        )

    def convolutions(self) -> Iterator[NormalisedConv]:
        """Normalised convolutions, 94, in Keras' order of creation."""
        return (module for module in self.modules() if isinstance(module, NormalisedConv))

    def fold(self) -> None:
        """Fold every normalisation into its convolution; for a frozen base."""
        for convolution in self.convolutions():
            convolution.fold()


def build_inception_v3(
    classes: int, seed: int, base: InceptionV3 | None = None, frozen: bool = True
) -> ImageClassifier:
    """Build model 3: the base, dense layers of 256 and 128 with ReLU, and a dense layer of the classes, for 224 x 224.

    Args:
        classes: Number of classes, 2 or 3.
        seed: Seed of the new weights.
        base: Base with pre-trained weights; one with Keras' initial weights where None.
        frozen: Whether training leaves the base unchanged.
    """
    generator = torch.Generator().manual_seed(seed)
    head = nn.Sequential(
        FlattenFeatures(),
        nn.Linear(5 * 5 * 2048, 256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, classes),
    )
    initialise_as_keras(head, generator)
    if base is None:
        base = InceptionV3()
        initialise_as_keras(base, generator)
    return ImageClassifier(SCHEMES[classes], head, base, frozen)

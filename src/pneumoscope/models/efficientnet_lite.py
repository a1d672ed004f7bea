"""EfficientNet-lite: inverted residuals with ReLU6, without squeeze-and-excitation; the detector's family.

Source: Tan and Le, ICML 2019, arXiv 1905.11946; the lite variants as published with TensorFlow's TPU models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.models.batch_shard import BatchNorm2d, Dropout, ShardAware
from pneumoscope.models.classifier import GreyConv2d, ImageClassifier
from pneumoscope.types import SCHEMES

# The lite networks were trained on (pixel - 127) / 128 of 0-255, for all three colours alike.
_MEAN, _SCALE = 127 / 255, 128 / 255
# TensorFlow's settings, kept so that the pre-trained statistics mean the same.
_NORM_EPSILON, _NORM_MOMENTUM = 1e-3, 0.01
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
# Style lies in the early maps; mixing later ones would mix findings.
_MIXED_STAGES = 2
# The block, counted from 0, whose maps tell what is no chest image: nano's last, and lite0's at the same depth.
_MIDDLE = 8


@dataclass(frozen=True)
class Stage:
    """A row of blocks: the first changes channels and stride, the others keep them."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

# lite0's first four stages and one block of the fifth: a tenth of its parameters, and its weights fit.
NANO = (*LITE0[:4], Stage(1, 5, 1, 6, 112))


def scaled_stages(width: float, depth: float) -> tuple[Stage, ...]:
    """lite0's stages with more channels and blocks, as lite1 to lite4 have them; first and last keep their blocks.

    Args:
        width: Factor of the channels; the result is a multiple of 8.
        depth: Factor of the blocks, rounded up.
    """
    last = len(LITE0) - 1
    return tuple(
        Stage(
            stage.blocks if place in (0, last) else ceil(depth * stage.blocks),
            stage.kernel,
            stage.stride,
            stage.expansion,
            _channels(width * stage.channels),
        )
        for place, stage in enumerate(LITE0)
    )


def _channels(wanted: float) -> int:
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


class Resize(nn.Module):
    """Brings square images to another size by two products with fixed matrices: the same everywhere it is exported to.

    Each output pixel is the mean of the input pixels under a triangle as wide as the reduction (antialiased bilinear).
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("matrix", torch.from_numpy(resize_matrix(source, target)), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, source, source) to (n, 1, target, target)."""
        matrix: Tensor = self.matrix  # type: ignore[assignment]
        # In float32 whatever the training computes in: rounding twice here would show as noise in the image.
        with torch.autocast(images.device.type, enabled=False):
            resized = matrix @ images[:, 0].float() @ matrix.t()
        # These strides say channels last; see `as_network_input`.
        return resized.unsqueeze(3).permute(0, 3, 1, 2)


def resize_matrix(source: int, target: int) -> NDArray[np.float32]:
    """(target, source) float32, rows summing to 1, of antialiased bilinear resizing as Pillow defines it."""
    scale = source / target
    support = max(scale, 1.0)
    centre = (np.arange(target)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centre) / support
    weight = np.clip(1 - distance, 0, None)
    matrix: NDArray[np.float32] = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


class Normalise(nn.Module):
    """Grey levels in [0, 1] to the range of the pre-training.

    Standardised, each image gets the same mean and deviation first, so that exposure and contrast tell nothing.
    """

    # Of grey levels in [0, 1]: about what images have; and so small that a blank image stays finite.
    _USUAL_DEVIATION, _LEAST_DEVIATION = 0.24, 0.02

    def __init__(self, standardise: bool = False) -> None:
        super().__init__()
        self.standardise = standardise

    def forward(self, images: Tensor) -> Tensor:
        """Same shape, (n, 1, height, width)."""
        if not self.standardise:
            return (images - _MEAN) / _SCALE
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        deviation = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
        return centred / deviation.clamp_min(self._LEAST_DEVIATION) * (self._USUAL_DEVIATION / _SCALE)


class _SameConvolution(nn.Conv2d):
    """Padded as TensorFlow's SAME: with a stride the odd pixel goes below and to the right."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(_pad_as_same(maps, self.kernel_size[0], self.stride[0]))


class _Stem(GreyConv2d):
    def __init__(self) -> None:
        super().__init__(3, _STEM_CHANNELS, 3, stride=2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(_pad_as_same(images, 3, 2))


def _pad_as_same(maps: Tensor, kernel: int, stride: int) -> Tensor:
    if stride == 1:
        return maps
    missing = [max((ceil(size / stride) - 1) * stride + kernel - size, 0) for size in maps.shape[2:]]
    (top, left) = (m // 2 for m in missing)
    return functional.pad(maps, (left, missing[1] - left, top, missing[0] - top))


def _norm(channels: int) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)


class InvertedResidual(ShardAware, nn.Module):
    """Widen by 1 x 1, convolve each channel, narrow by 1 x 1; added to its input where the shapes agree.

    Attributes:
        drop: Share of images for which training leaves the block out (stochastic depth, arXiv 1603.09382).
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [_SameConvolution(channels_in, wide, 1), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [_SameConvolution(wide, wide, kernel, stride, groups=wide), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [_SameConvolution(wide, channels_out, 1), _norm(channels_out)]
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels_out
        self.drop = 0.0

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels in, height, width) to (n, channels out, height / stride, width / stride)."""
        result: Tensor = self.layers(maps)
        if not self.has_shortcut:
            return result
        if self.training and self.drop > 0:
            kept = self.drawn(len(maps), lambda images: torch.rand(images, 1, 1, 1, device=maps.device)) >= self.drop
            result = result * (kept / (1 - self.drop)).to(result.dtype)
        return maps + result


class MixStyle(ShardAware, nn.Module):
    """Mixes, in training, the mean and deviation of each channel between the images of a batch; what a device does to them.

    Source: Zhou et al., ICLR 2021, arXiv 2104.02008.
    """

    # As in the paper.
    _ALPHA = 0.1

    def __init__(self, share: float) -> None:
        """Mixes this share of the batches, in [0, 1]."""
        super().__init__()
        self.share = share

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape; the maps themselves outside of training."""
        if not self.training or torch.rand(()).item() >= self.share:
            return maps
        wide = maps.float()
        mean = wide.mean(dim=(2, 3), keepdim=True).detach()
        deviation = (wide.var(dim=(2, 3), keepdim=True) + 1e-6).sqrt().detach()
        other = self.drawn(len(maps), lambda images: torch.randperm(images, device=maps.device))
        share = torch.distributions.Beta(self._ALPHA, self._ALPHA)
        own = self.drawn(len(maps), lambda images: share.sample((images, 1, 1, 1))).to(maps.device)
        mixed_mean = own * mean + (1 - own) * self.gathered(mean)[other]
        mixed_deviation = own * deviation + (1 - own) * self.gathered(deviation)[other]
        factor = mixed_deviation / deviation
        return maps * factor.to(maps.dtype) + (mixed_mean - mean * factor).to(maps.dtype)


class LiteTrunk(nn.Sequential):
    """Stem, blocks and, unless left out, the last 1 x 1 convolution: images to maps."""

    def __init__(
        self,
        stages: tuple[Stage, ...],
        wide_end: bool = True,
        stochastic_depth: float = 0.0,
        style_mixing: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = [_Stem(), _norm(_STEM_CHANNELS), nn.ReLU6(inplace=True)]
        channels, blocks = _STEM_CHANNELS, []
        for place, stage in enumerate(stages):
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                layers.append(blocks[-1])
                channels = stage.channels
            if style_mixing and place < _MIXED_STAGES:
                layers.append(MixStyle(style_mixing))
        for number, block in enumerate(blocks):
            block.drop = stochastic_depth * number / len(blocks)
        if wide_end:
            layers += [_SameConvolution(channels, _HEAD_CHANNELS, 1), _norm(_HEAD_CHANNELS), nn.ReLU6(inplace=True)]
            channels = _HEAD_CHANNELS
        super().__init__(*layers)
        self.channels = channels
        places = [place for place, layer in enumerate(layers) if isinstance(layer, InvertedResidual)]
        self._middle = places[min(_MIDDLE, len(places) - 1)]

    def with_middle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last maps, and those of a block half way."""
        maps = middle = images
        for place, layer in enumerate(self):
            maps = layer(maps)
            if place == self._middle:
                middle = maps
        return maps, middle

    def pretrained_parts(self) -> Iterator[nn.Module]:
        """Convolutions and normalisations in the order in which the published weight files hold them."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                yield layer


class PooledHead(nn.Module):
    """Mean over the maps, then one dense layer: what each place adds to the answer can be told (`models/evidence.py`)."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, channels, height, width) to logits (n, classes)."""
        logits: Tensor = self.dense(self.dropout(maps.mean(dim=(2, 3))))
        return logits


def build_lite(
    classes: int,
    seed: int,
    trunk: LiteTrunk,
    image_side: int,
    input_side: int,
    dropout: float = 0.0,
    frozen: bool = False,
    standardise: bool = False,
    mirrored: bool = False,
) -> ImageClassifier:
    """An image classifier around a trunk.

    Args:
        classes: 2 or 3.
        seed: Of the new weights of the head.
        trunk: With its weights.
        image_side: Pixels of the images given, height and width.
        input_side: Pixels that the trunk sees.
        dropout: Before the dense layer.
        frozen: Whether training leaves the trunk alone.
        standardise: Give each image the same mean and deviation of its grey levels.
        mirrored: Answer with the mean over the image and its mirror image; twice the arithmetic.
    """
    head = PooledHead(trunk.channels, classes, dropout)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(head.dense.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.dense.bias)
    resize = [Resize(image_side, input_side)] if image_side != input_side else []
    base = ImageMaps(mirrored, *resize, Normalise(standardise), trunk)
    return ImageClassifier(SCHEMES[classes], head, base, frozen)


class ImageMaps(nn.Sequential):
    """Images to maps; outside of training, where asked, to the mean of the image's maps and its mirror image's."""

    def __init__(self, mirrored: bool, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.mirrored = mirrored

    def forward(self, images: Tensor) -> Tensor:
        """The maps of images (n, 1, height, width)."""
        return self.with_middle(images)[0]

    def with_middle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps, and those half way, which tell better what is no chest image: they are less taken up with the task."""
        maps, middle = self._maps(images)
        if self.training or not self.mirrored:
            return maps, middle
        # Mirrored as (n, height, width, 1): the strides go on saying channels last; see `as_network_input`.
        mirrored = images.permute(0, 2, 3, 1).flip(2).permute(0, 3, 1, 2)
        other, other_middle = self._maps(mirrored)
        return (maps + other.flip(3)) / 2, (middle + other_middle.flip(3)) / 2

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *before, trunk = self
        prepared = images
        for layer in before:
            prepared = layer(prepared)
        maps: tuple[Tensor, Tensor] = trunk.with_middle(prepared)  # type: ignore[operator]
        return maps


def initialise_convolutions(trunk: nn.Module, generator: torch.Generator) -> None:
    """He-normal kernels by fan-out, for a trunk that starts from nothing.

    Source: He et al., ICCV 2015, arXiv 1502.01852; as EfficientNet was initialised.
    """
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=(2.0 / fan_out) ** 0.5, generator=generator)

"""EfficientNet-lite, the architecture of the detectors: inverted residuals with ReLU6, without squeeze-and-excitation.

Images are resized and normalised by fixed layers, then pass through the trunk (stem, inverted residuals, last convolution),
mean pooling and one dense layer. In inference a mirrored network averages the maps of an image and of its mirror image.

Source: Tan and Le, ICML 2019, arXiv 1905.11946; the lite variants as published with TensorFlow's TPU models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import cast

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
# TensorFlow's settings, which the pre-trained moving statistics were computed with.
_NORM_EPSILON, _NORM_MOMENTUM = 1e-3, 0.01
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
# Rows and columns of the chest frame that hold the lungs, as fractions of its side; symmetric to its axis.
LUNG_FIELDS = ((0.04, 0.87), (0.05, 0.95))
_WHOLE = ((0.0, 1.0), (0.0, 1.0))
# Number of stages followed by MixStyle: acquisition shows in the early maps, and mixing later maps would mix findings.
_MIXED_STAGES = 2
# Number of the block, from 0, whose maps the input guard uses: nano's last, and lite0's at the same depth.
_INTERMEDIATE_BLOCK = 8
# Pixels of the input a cell of the maps that the evidence divides among positions: those of the first block with so many.
_EXPLAINED_STRIDE = 8


# First and last row, and first and last column, as fractions of an image's side.
Part = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Stage:
    """Sequence of blocks: the first changes channels and resolution, the others keep them.

    Attributes:
        blocks: Number of blocks.
        kernel: Size of the depthwise kernel in pixels.
        stride: Stride of the first block.
        expansion: Factor of the channels inside a block.
        channels: Number of output channels.
    """

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

# First five stages of lite0: a fifth of the parameters, maps of half the stride, and lite0's weights fit.
MID = LITE0[:5]
# First four stages of lite0 and one block of the fifth: a tenth of the parameters.
NANO = (*LITE0[:4], Stage(1, 5, 1, 6, 112))


def scaled_stages(width: float, depth: float) -> tuple[Stage, ...]:
    """Scale lite0's stages to those of lite1 to lite4; the first and the last stage keep their number of blocks.

    Args:
        width: Factor of the number of channels; the result is a multiple of 8.
        depth: Factor of the number of blocks; the result is rounded up.
    """
    last = len(LITE0) - 1
    return tuple(
        Stage(
            stage.blocks if index in (0, last) else ceil(depth * stage.blocks),
            stage.kernel,
            stage.stride,
            stage.expansion,
            _channels(width * stage.channels),
        )
        for index, stage in enumerate(LITE0)
    )


def _channels(target: float) -> int:
    """Multiple of 8 nearest to a number of channels, and not below 90 % of it."""
    nearest = max(8, int(target + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * target else nearest


class Resize(nn.Module):
    """Antialiased bilinear resizing of square images, or of a part of them, M @ image @ N^T with fixed matrices M and N.

    Each output pixel is the mean of the input pixels under a triangle as wide as the reduction. Matrix products give the same
    result in every runtime that the network is exported to.
    """

    def __init__(self, source: int, target: int, part: Part = _WHOLE) -> None:
        """Create the layer.

        Args:
            source: Height and width of the images in pixels.
            target: Height and width of the result in pixels.
            part: First and last row, and first and last column, as fractions of the image's side.
        """
        super().__init__()
        self.target = target
        rows, columns = (torch.from_numpy(resize_matrix(source, target, *each)) for each in part)
        self.register_buffer("rows", rows, persistent=False)
        # One matrix for both where they are equal, so that a bundle stores it once.
        self.register_buffer("columns", None if part[0] == part[1] else columns, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Resize images (n, 1, source, source) to (n, 1, target, target)."""
        rows: Tensor = self.rows  # type: ignore[assignment]
        columns: Tensor = rows if self.columns is None else self.columns  # type: ignore[assignment]
        # In float32 for every precision of the training: bf16 products would add visible noise to the image.
        with torch.autocast(images.device.type, enabled=False):
            resized = rows @ images[:, 0].float() @ columns.t()
        # Strides of the channels-last format; see `as_network_input`.
        return resized.unsqueeze(3).permute(0, 3, 1, 2)


def resize_matrix(source: int, target: int, first: float = 0.0, last: float = 1.0) -> NDArray[np.float32]:
    """Matrix of antialiased bilinear resizing as Pillow defines it, (target, source) float32, rows summing to 1.

    Args:
        source: Number of pixels.
        target: Number of pixels of the result.
        first: Where the part begins that is kept, as a fraction of the pixels; those outside of it still enter at its edges.
        last: Where it ends.
    """
    scale = (last - first) * source / target
    support = max(scale, 1.0)
    centre = first * source + (np.arange(target)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centre) / support
    weight = np.clip(1 - distance, 0, None)
    matrix: NDArray[np.float32] = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


class Normalise(nn.Module):
    """Normalisation of grey levels in [0, 1] to the range of the pre-training.

    With `standardise` each image gets the same mean and standard deviation, which removes exposure and contrast.
    """

    # Standard deviations of grey levels in [0, 1]: of a typical radiograph, and the smallest divisor, for blank images.
    _TYPICAL_DEVIATION, _LEAST_DEVIATION = 0.24, 0.02

    def __init__(self, standardise: bool = False) -> None:
        super().__init__()
        self.standardise = standardise

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (n, 1, height, width), same shape."""
        if not self.standardise:
            return (images - _MEAN) / _SCALE
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        deviation = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
        return centred / deviation.clamp_min(self._LEAST_DEVIATION) * (self._TYPICAL_DEVIATION / _SCALE)


class _SameConvolution(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: with a stride, the larger padding is below and on the right."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(_pad_as_same(maps, self.kernel_size[0], self.stride[0]))


class _Stem(GreyConv2d):
    """First convolution, stride 2, with SAME padding."""

    def __init__(self) -> None:
        super().__init__(3, _STEM_CHANNELS, 3, stride=2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(_pad_as_same(images, 3, 2))


def _pad_as_same(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad maps for a strided convolution as TensorFlow's SAME does; unchanged with stride 1."""
    if stride == 1:
        return maps
    top, left, bottom, right = same_padding(maps.shape[2:], kernel, stride)
    return functional.pad(maps, (left, right, top, bottom))


def same_padding(size: Sequence[int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Pixels that a strided convolution adds above, on the left, below and on the right of maps of a height and width; 0 with stride 1."""
    if stride == 1:
        return 0, 0, 0, 0
    missing = [max((ceil(length / stride) - 1) * stride + kernel - length, 0) for length in size]
    (top, left) = (m // 2 for m in missing)
    return top, left, missing[0] - top, missing[1] - left


def _norm(channels: int) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)


class InvertedResidual(ShardAware, nn.Module):
    """Inverted residual: 1 x 1 expansion, depthwise convolution, 1 x 1 projection; added to the input of equal shape.

    Attributes:
        drop: Probability, in [0, 1), with which training skips the block for an image (stochastic depth, arXiv 1603.09382).
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
        """Maps (n, channels out, height / stride, width / stride) of maps (n, channels in, height, width)."""
        result: Tensor = self.layers(maps)
        if not self.has_shortcut:
            return result
        if self.training and self.drop > 0:
            uniform = self.draw_rows(len(maps), lambda images: torch.rand(images, 1, 1, 1, device=maps.device))
            kept = uniform >= self.drop
            result = result * (kept / (1 - self.drop)).to(result.dtype)
        return maps + result


class MixStyle(ShardAware, nn.Module):
    """MixStyle: in training, mixes mean and deviation of each channel between the images of a batch.

    With weight w ~ Beta(0.1, 0.1) and a random other image: (x - mean) / deviation * mixed deviation + mixed mean, where a
    mixed statistic is w * own + (1 - w) * other. Devices and exposures differ in these statistics.

    Source: Zhou et al., ICLR 2021, arXiv 2104.02008.
    """

    # As in the paper.
    _ALPHA = 0.1

    def __init__(self, probability: float) -> None:
        """Create the layer.

        Args:
            probability: Probability of mixing a batch, in [0, 1].
        """
        super().__init__()
        self.probability = probability

    def forward(self, maps: Tensor) -> Tensor:
        """Mixed maps, same shape; unchanged in inference."""
        if not self.training or torch.rand(()).item() >= self.probability:
            return maps
        wide = maps.float()
        mean = wide.mean(dim=(2, 3), keepdim=True).detach()
        deviation = (wide.var(dim=(2, 3), keepdim=True) + 1e-6).sqrt().detach()
        other = self.draw_rows(len(maps), lambda images: torch.randperm(images, device=maps.device))
        beta = torch.distributions.Beta(self._ALPHA, self._ALPHA)
        own = self.draw_rows(len(maps), lambda images: beta.sample((images, 1, 1, 1))).to(maps.device)
        mixed_mean = own * mean + (1 - own) * self.gather_rows(mean)[other]
        mixed_deviation = own * deviation + (1 - own) * self.gather_rows(deviation)[other]
        factor = mixed_deviation / deviation
        return maps * factor.to(maps.dtype) + (mixed_mean - mean * factor).to(maps.dtype)


class LiteTrunk(nn.Sequential):
    """Trunk: stem, blocks and, optionally, the final 1 x 1 convolution; images to maps.

    Attributes:
        channels: Number of channels of the last maps.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        final_convolution: bool = True,
        stochastic_depth: float = 0.0,
        style_mixing: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = [_Stem(), _norm(_STEM_CHANNELS), nn.ReLU6(inplace=True)]
        channels, blocks, pixels, explained = _STEM_CHANNELS, [], 2, 0
        for index, stage in enumerate(stages):
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                layers.append(blocks[-1])
                channels, pixels = stage.channels, pixels * stride
                if pixels <= _EXPLAINED_STRIDE and (stride > 1 or not explained):
                    explained = len(layers) - 1
            if style_mixing and index < _MIXED_STAGES:
                layers.append(MixStyle(style_mixing))
        for number, block in enumerate(blocks):
            block.drop = stochastic_depth * number / len(blocks)
        if final_convolution:
            layers += [_SameConvolution(channels, _HEAD_CHANNELS, 1), _norm(_HEAD_CHANNELS), nn.ReLU6(inplace=True)]
            channels = _HEAD_CHANNELS
        super().__init__(*layers)
        self.channels = channels
        block_indices = [index for index, layer in enumerate(layers) if isinstance(layer, InvertedResidual)]
        self._explained = explained
        self._intermediate = block_indices[min(_INTERMEDIATE_BLOCK, len(block_indices) - 1)]

    @property
    def explained_layers(self) -> list[nn.Module]:
        """Layers behind the maps that the evidence divides among positions."""
        return list(self)[self._explained + 1 :]

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last maps, the maps of an intermediate block, and those that the evidence divides, of images (n, 1, height, width)."""
        maps = intermediate = explained = images
        for index, layer in enumerate(self):
            maps = layer(maps)
            if index == self._intermediate:
                intermediate = maps
            if index == self._explained:
                explained = maps
        return maps, intermediate, explained

    def pretrained_layers(self) -> Iterator[nn.Module]:
        """Convolutions and normalisations in the order of the published weight files."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                yield layer


class PooledHead(nn.Module):
    """Mean over the maps, dropout, and one dense layer."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (n, classes) of maps (n, channels, height, width)."""
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
    lung_fields: bool = False,
) -> ImageClassifier:
    """Build an image classifier from a trunk.

    Args:
        classes: Number of classes, 2 or 3.
        seed: Seed of the new weights of the head.
        trunk: Trunk with its weights.
        image_side: Height and width of the images in pixels.
        input_side: Height and width of the trunk's input in pixels.
        dropout: Dropout probability before the dense layer, in [0, 1).
        frozen: Whether training leaves the trunk unchanged.
        standardise: Whether each image gets the same mean and standard deviation of grey levels.
        mirrored: Whether inference averages the maps of an image and its mirror image, with twice the arithmetic.
        lung_fields: Whether the trunk sees the lung fields of a chest frame alone.
    """
    head = PooledHead(trunk.channels, classes, dropout)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(head.dense.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.dense.bias)
    part = LUNG_FIELDS if lung_fields else None
    resize = [Resize(image_side, input_side, part or _WHOLE)] if image_side != input_side or part else []
    base = ImageMaps(mirrored, part, *resize, Normalise(standardise), trunk)
    return ImageClassifier(SCHEMES[classes], head, base, frozen)


class ImageMaps(nn.Sequential):
    """Maps of images; in inference, with `mirrored`, the mean of the maps of an image and of its mirror image.

    Attributes:
        mirrored: Whether inference averages over an image and its mirror image.
        part: Part of the image that the maps show; None for the whole of it.
        reference: (channels, rows, columns), mean over normal images of the maps that the evidence divides among positions;
            None where it is not known. It belongs to the evidence, not to the network: it is not saved with its weights.
    """

    reference: Tensor | None

    def __init__(self, mirrored: bool, part: Part | None, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.mirrored = mirrored
        self.part = part
        self.register_buffer("reference", None, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (n, channels, rows, columns) of images (n, 1, height, width)."""
        return self.forward_intermediates(images)[0]

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Last maps and intermediate maps of images, and the maps that the evidence divides among positions.

        Intermediate maps separate other images from chest radiographs better: they are less specific to the classes.

        Returns:
            Last maps and intermediate maps, means over the views; and the other maps of each view: the image and, in inference with
            `mirrored`, its mirror image.
        """
        # The fixed layers treat left and right alike, so that one pass through them serves both views.
        prepared = images
        for layer in list(self)[:-1]:
            prepared = layer(prepared)
        maps, intermediate, explained = self.trunk.forward_intermediates(prepared)
        if self.training or not self.mirrored:
            return maps, intermediate, [explained]
        # Flipped as (n, height, width, 1), which keeps channels-last strides; see `as_network_input`.
        mirrored = prepared.permute(0, 2, 3, 1).flip(2).permute(0, 3, 1, 2)
        other, other_intermediate, other_explained = self.trunk.forward_intermediates(mirrored)
        last, means = (maps + other.flip(3)) / 2, (intermediate + other_intermediate.flip(3)) / 2
        return last, means, [explained, other_explained]

    @property
    def trunk(self) -> LiteTrunk:
        """Trunk, behind the fixed layers."""
        return cast(LiteTrunk, self[-1])


def initialise_convolutions(trunk: nn.Module, generator: torch.Generator) -> None:
    """Draw He-normal kernels by fan-out, for a trunk without pre-trained weights.

    Source: He et al., ICCV 2015, arXiv 1502.01852; as EfficientNet was initialised.
    """
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=(2.0 / fan_out) ** 0.5, generator=generator)

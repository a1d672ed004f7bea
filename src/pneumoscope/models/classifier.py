"""Image classifier: a base, which may be frozen, and a head; images in, logits out."""

import torch
from torch import Tensor, nn

from pneumoscope.models.catalogue import ParameterCount
from pneumoscope.types import ClassScheme


class ImageClassifier(nn.Module):
    """Base followed by a head.

    Attributes:
        scheme: Classes in the order of the logits.
        base: Module from images to features; identity for a network without a separate base.
        head: Module from features to logits.
        base_is_frozen: Whether training leaves the base unchanged.
        base_origin: Name, SHA-256 and description of the weight file of a base that is not saved with the network; None
            where the base is saved.
    """

    def __init__(
        self, scheme: ClassScheme, head: nn.Module, base: nn.Module | None = None, frozen: bool = False
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.base = base if base is not None else nn.Identity()
        self.head = head
        self.base_is_frozen = frozen and base is not None
        self.base_origin: dict[str, str] | None = None
        self.base.requires_grad_(not self.base_is_frozen)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 1 or 3, height, width) in [0, 1]."""
        logits: Tensor = self.head(self.base(images))
        return logits

    def count_parameters(self) -> ParameterCount:
        """Count trainable and frozen parameters."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        total = sum(p.numel() for p in self.parameters()) + sum(b.numel() for b in self.buffers())
        return ParameterCount(trainable, total - trainable)

    def own_state(self) -> dict[str, Tensor]:
        """Tensors to save: all of them, without a frozen base that has a weight file of its own."""
        by_reference = self.base_is_frozen and self.base_origin is not None
        return {k: v for k, v in self.state_dict().items() if not (by_reference and k.startswith("base."))}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Load tensors that `own_state` returned."""
        self.load_state_dict({**self.state_dict(), **state})


class GreyConv2d(nn.Conv2d):
    """First convolution for grey images, with the kernels of a network for three colour channels.

    For an image with one channel the kernels of the three channels are summed and convolved once: the same sum in another
    order as for three equal channels, with a third of the arithmetic and of the memory. Each of the three kernels gets the
    gradient that it would get from three equal channels.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images (n, 1, height, width) or (n, channels, height, width)."""
        if images.shape[1] == self.in_channels:
            return super().forward(images)
        kernel = self.weight.sum(dim=1, keepdim=True)
        return nn.functional.conv2d(images, kernel, self.bias, self.stride, self.padding, self.dilation)


class FlattenFeatures(nn.Module):
    """Flattening of maps (n, channels, height, width) in Keras' order, without a copy of a channels-last map."""

    def forward(self, maps: Tensor) -> Tensor:
        """Flatten maps to (n, height * width * channels)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def initialise_as_keras(module: nn.Module, generator: torch.Generator) -> None:
    """Draw Glorot-uniform kernels and set biases to zero, for every convolution and dense layer in the order of the modules.

    Source: Glorot and Bengio, AISTATS 2010, equation 16; Keras' defaults.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

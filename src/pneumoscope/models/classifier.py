"""What every network of the study is: a base that may be frozen, and a head; images in, logits out."""

import torch
from torch import Tensor, nn

from pneumoscope.models.catalogue import ParameterCount
from pneumoscope.types import ClassScheme


class ImageClassifier(nn.Module):
    """A base followed by a head.

    Attributes:
        scheme: The classes, in the order of the logits.
        base: Images to features; an identity where there is nothing to freeze.
        head: Features to logits.
        base_is_frozen: Whether training leaves the base alone.
        base_origin: Where a base comes from that is not saved with the network: a weight file's name and SHA-256.
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
        """Trainable and frozen numbers."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        every = sum(p.numel() for p in self.parameters()) + sum(b.numel() for b in self.buffers())
        return ParameterCount(trainable, every - trainable)

    def own_state(self) -> dict[str, Tensor]:
        """The tensors to save: all of them, but for a frozen base that comes from a file of its own."""
        by_reference = self.base_is_frozen and self.base_origin is not None
        return {k: v for k, v in self.state_dict().items() if not (by_reference and k.startswith("base."))}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `own_state` gave."""
        self.load_state_dict({**self.state_dict(), **state})


class GreyConv2d(nn.Conv2d):
    """A first convolution for images whose three channels are the same grey.

    It has a kernel per channel, as a network for colour photographs. Given an image with one channel it adds up the
    kernels of the three and convolves once: the same sum in another order, a third of the arithmetic and of the
    memory. The gradient reaches each of the three kernels as it would through three equal channels.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Convolves (n, 1, height, width) grey images or (n, channels, height, width) ones."""
        if images.shape[1] == self.in_channels:
            return super().forward(images)
        kernel = self.weight.sum(dim=1, keepdim=True)
        return nn.functional.conv2d(images, kernel, self.bias, self.stride, self.padding, self.dilation)


class FlattenFeatures(nn.Module):
    """(n, channels, height, width) to (n, height * width * channels): Keras' order, and no copy of a channels-last map."""

    def forward(self, maps: Tensor) -> Tensor:
        """The maps as one vector per image."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def initialise_as_keras(module: nn.Module, generator: torch.Generator) -> None:
    """Glorot-uniform kernels and zero biases in every convolution and dense layer, in the order of the modules.

    Source: Glorot and Bengio, AISTATS 2010, equation 16; Keras' defaults.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

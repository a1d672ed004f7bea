"""Where a network's answer comes from: its maps' exact share in the logits, from the forward pass alone.

Every network here is, for a given image, linear from its last maps with places on: dense layers, ReLU, maximum and
convolution only choose which linear function it is. So the logits are the sum of what each place of those maps adds, and of
what the biases add. Nothing is approximated, and no second pass or automatic differentiation is needed, so that the maps
can be computed wherever the network runs.

For a head that pools its maps this is the class activation map (Zhou et al., CVPR 2016, arXiv 1512.04150).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.models.classifier import FlattenFeatures, ImageClassifier
from pneumoscope.models.efficientnet_lite import ImageMaps, PooledHead


class ExplainedClassifier(nn.Module):
    """An image classifier that tells what each place adds to its logits, and what its maps hold on average."""

    def __init__(self, model: ImageClassifier) -> None:
        """Shares the weights of a trained network; meant for evaluation mode."""
        super().__init__()
        maps, rest = _parts(model)
        self.maps = maps
        self.rest = nn.ModuleList(rest)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, evidence and features of images.

        Args:
            images: (n, 1 or 3, height, width) in [0, 1].

        Returns:
            Logits (n, classes); evidence (n, classes, rows, columns), whose mean over the places is the logits but for
            what the biases add; features (n, channels), the means of these maps, or of those half way where the network
            tells them.
        """
        maps, middle = self.maps.with_middle(images) if isinstance(self.maps, ImageMaps) else 2 * (self.maps(images),)
        passed = [maps]
        for layer in self.rest:
            passed.append(_forward(layer, passed[-1]))
        logits = passed[-1]
        classes = logits.shape[1]
        slope = torch.eye(classes, dtype=logits.dtype).expand(logits.shape[0], classes, classes)
        for layer, given, taken in zip(reversed(self.rest), reversed(passed[:-1]), reversed(passed[1:]), strict=True):
            slope = _backward(layer, slope, given, taken)
        evidence = (slope * maps.unsqueeze(1)).sum(dim=2) * (maps.shape[2] * maps.shape[3])
        return logits, evidence, middle.mean(dim=(2, 3))


def _parts(model: ImageClassifier) -> tuple[nn.Module, list[nn.Module]]:
    """The part up to the last maps that still have places, and the layers after it."""
    head = model.head
    if isinstance(head, PooledHead):
        return model.base, [_Pooled(), head.dense]
    layers = list(head.children())
    if isinstance(model.base, nn.Identity):
        return layers[0], layers[1:]
    return model.base, layers


class _Pooled(nn.Module):
    """(n, channels, height, width) to the means over the places, (n, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


def _forward(layer: nn.Module, given: Tensor) -> Tensor:
    # The layers' own ReLU works in place and would spoil what the way back needs.
    return functional.relu(given) if isinstance(layer, nn.ReLU) else layer(given)


def _backward(layer: nn.Module, slope: Tensor, given: Tensor, taken: Tensor) -> Tensor:
    """How the logits change with what a layer was given, (n, classes, ...), from how they change with what it gave."""
    if isinstance(layer, nn.Linear):
        through: Tensor = slope @ layer.weight
        return through
    if isinstance(layer, nn.ReLU):
        return slope * (taken > 0).unsqueeze(1)
    if isinstance(layer, _Pooled):
        height, width = given.shape[2:]
        return (slope / (height * width))[..., None, None].expand(*slope.shape, height, width)
    if isinstance(layer, FlattenFeatures):
        channels, height, width = given.shape[1:]
        return slope.reshape(*slope.shape[:2], height, width, channels).permute(0, 1, 4, 2, 3)
    if isinstance(layer, nn.MaxPool2d):
        return _unpooled(slope, given, taken)
    if isinstance(layer, nn.Conv2d):
        back = functional.conv_transpose2d(slope.flatten(0, 1), layer.weight)
        return back.reshape(*slope.shape[:2], *back.shape[1:])
    raise TypeError(f"no way back through {type(layer).__name__}")


def _unpooled(slope: Tensor, given: Tensor, taken: Tensor) -> Tensor:
    """Through a maximum over 2 x 2: to where the maximum stood, in equal parts where it stood several times."""
    height, width = given.shape[2] - given.shape[2] % 2, given.shape[3] - given.shape[3] % 2
    largest = (given[:, :, :height, :width] == _twofold(taken)).to(slope.dtype)
    share = largest / _twofold(functional.avg_pool2d(largest, 2) * 4)
    back = _twofold(slope.flatten(0, 1)).reshape(*slope.shape[:3], height, width) * share.unsqueeze(1)
    return functional.pad(back, (0, given.shape[3] - width, 0, given.shape[2] - height))


def _twofold(maps: Tensor) -> Tensor:
    return maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

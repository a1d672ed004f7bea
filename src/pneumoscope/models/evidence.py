"""Evidence maps: the exact contribution of each position of the feature maps to the logits.

For a given image, every network here is a linear function of its last feature maps: dense layers, ReLU, maximum and
convolution are piecewise linear. So each logit is the sum over positions of slope * maps, and of the contribution of the
biases. The slope is computed layer by layer from the logits back to the maps, by explicit formulas instead of automatic
differentiation, so that the exported network can compute it too. Nothing is approximated.

For a head that pools its maps this is the class activation map (Zhou et al., CVPR 2016, arXiv 1512.04150).

Evidence of a network that sees a part of the image is given for the whole of it, 0 outside of that part. The evidence of an ensemble is the weighted sum of its members' evidence, on the finest of their grids: a coarser map is
resampled to that grid by area, so that its mean stays the same.
"""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.models.classifier import FlattenFeatures, ImageClassifier
from pneumoscope.models.efficientnet_lite import ImageMaps, Part, PooledHead
from pneumoscope.models.ensemble import Ensemble

# Less than a cell, so that a division that is not exact adds none.
_ROUNDING = 1e-6
ExplainedOutputs = tuple[Tensor, Tensor, Tensor, Tensor]


def explain(model: ImageClassifier | Ensemble) -> "ExplainedClassifier | ExplainedEnsemble":
    """Network with evidence among its outputs, of an image classifier or an ensemble; its weights are shared."""
    return ExplainedEnsemble(model) if isinstance(model, Ensemble) else ExplainedClassifier(model)


class ExplainedEnsemble(nn.Module):
    """Ensemble with logits, evidence, features and their maps as outputs; features and maps are those of its first member."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Wrap an ensemble; use it in evaluation mode."""
        super().__init__()
        self.members = nn.ModuleList(ExplainedClassifier(member) for member in ensemble.members)  # type: ignore[arg-type]
        self.register_buffer("weights", ensemble.weights)

    def forward(self, images: Tensor) -> ExplainedOutputs:
        """Outputs for images, as those of `ExplainedClassifier.forward`."""
        outputs: list[ExplainedOutputs] = [member(images) for member in self.members]
        rows, columns = (max(each[1].shape[axis] for each in outputs) for axis in (2, 3))
        weighted = list(zip(self.weights, outputs, strict=True))  # type: ignore[arg-type]
        logits = torch.stack([weight * each[0] for weight, each in weighted]).sum(dim=0)
        evidence = torch.stack([weight * resample_by_area(each[1], rows, columns) for weight, each in weighted]).sum(
            dim=0
        )
        return logits, evidence, *outputs[0][2:]


def resample_by_area(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Resample maps (n, classes, height, width) to (rows, columns) cells, each the mean over its area; their mean is kept."""
    return _overlaps(maps.shape[2], rows) @ maps @ _overlaps(maps.shape[3], columns).t()


def _embed(maps: Tensor, part: Part) -> Tensor:
    """Maps (n, c, height, width) of a part of an image as maps of the whole, in cells of about the same size; their mean is kept."""
    across_rows, across_columns = (
        _overlaps(size, ceil(size / (last - first) - _ROUNDING), first, last)
        for size, (first, last) in zip(maps.shape[2:], part, strict=True)
    )
    return across_rows @ maps @ across_columns.t()


def _overlaps(source: int, target: int, first: float = 0.0, last: float = 1.0) -> Tensor:
    """(target, source) float32, by which means over the cells of a part of a line become means over the cells of the whole.

    Args:
        source: Number of cells of the part.
        target: Number of cells of the line.
        first: Where the part begins, as a fraction of the line.
        last: Where it ends.
    """
    low, high = (torch.arange(target + 1) / target)[:-1, None], (torch.arange(target + 1) / target)[1:, None]
    edges = first + (last - first) * torch.arange(source + 1) / source
    return (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp_min(0) * (target / (last - first))


class ExplainedClassifier(nn.Module):
    """Image classifier with logits, evidence, features and their maps as outputs.

    Attributes:
        maps: Module from images to the last feature maps.
        rest: Layers from these maps to the logits.
    """

    def __init__(self, model: ImageClassifier) -> None:
        """Wrap a network.

        Args:
            model: Trained network, whose weights are shared; use it in evaluation mode.
        """
        super().__init__()
        maps, rest = _parts(model)
        self.maps = maps
        self.rest = nn.ModuleList(rest)

    def forward(self, images: Tensor) -> ExplainedOutputs:
        """Logits, evidence, features and feature maps of images.

        Args:
            images: Images (n, 1 or 3, height, width) in [0, 1].

        Returns:
            Logits (n, classes); evidence (n, classes, rows, columns), whose mean over the positions is the logits without
            the contribution of the biases; features (n, channels), the means of the feature maps (n, channels, rows, columns),
            which are the intermediate maps, or the last maps where the network has none.
        """
        maps, intermediate = (
            self.maps.forward_intermediates(images) if isinstance(self.maps, ImageMaps) else 2 * (self.maps(images),)
        )
        values = [maps]
        for layer in self.rest:
            values.append(_forward(layer, values[-1]))
        logits = values[-1]
        classes = logits.shape[1]
        slope = torch.eye(classes, dtype=logits.dtype).expand(logits.shape[0], classes, classes)
        for layer, before, after in zip(reversed(self.rest), reversed(values[:-1]), reversed(values[1:]), strict=True):
            slope = _backward(layer, slope, before, after)
        evidence = (slope * maps.unsqueeze(1)).sum(dim=2) * (maps.shape[2] * maps.shape[3])
        features = intermediate.mean(dim=(2, 3))
        if isinstance(self.maps, ImageMaps) and self.maps.part:
            evidence, intermediate = (_embed(each, self.maps.part) for each in (evidence, intermediate))
        return logits, evidence, features, intermediate


def _parts(model: ImageClassifier) -> tuple[nn.Module, list[nn.Module]]:
    """Module up to the last feature maps, and the layers after it."""
    head = model.head
    if isinstance(head, PooledHead):
        return model.base, [_MeanPooling(), head.dense]
    layers = list(head.children())
    if isinstance(model.base, nn.Identity):
        return layers[0], layers[1:]
    return model.base, layers


class _MeanPooling(nn.Module):
    """Mean over the positions of maps (n, channels, height, width), (n, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


def _forward(layer: nn.Module, before: Tensor) -> Tensor:
    # The networks' own ReLU works in place and would overwrite values that the backward formulas need.
    return functional.relu(before) if isinstance(layer, nn.ReLU) else layer(before)


def _backward(layer: nn.Module, slope: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Derivative of the logits by a layer's input from that by its output.

    Args:
        layer: Layer.
        slope: (n, classes, ...), derivative by the output.
        before: Input of the layer.
        after: Output of the layer.

    Returns:
        (n, classes, ...), derivative by the input.
    """
    if isinstance(layer, nn.Linear):
        through: Tensor = slope @ layer.weight
        return through
    if isinstance(layer, nn.ReLU):
        return slope * (after > 0).unsqueeze(1)
    if isinstance(layer, _MeanPooling):
        height, width = before.shape[2:]
        return (slope / (height * width))[..., None, None].expand(*slope.shape, height, width)
    if isinstance(layer, FlattenFeatures):
        channels, height, width = before.shape[1:]
        return slope.reshape(*slope.shape[:2], height, width, channels).permute(0, 1, 4, 2, 3)
    if isinstance(layer, nn.MaxPool2d):
        return _through_maximum(slope, before, after)
    if isinstance(layer, nn.Conv2d):
        back = functional.conv_transpose2d(slope.flatten(0, 1), layer.weight)
        return back.reshape(*slope.shape[:2], *back.shape[1:])
    raise TypeError(f"no backward formula for {type(layer).__name__}")


def _through_maximum(slope: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Derivative by the input of a maximum over 2 x 2: at the maximum, in equal parts where several pixels reach it."""
    height, width = before.shape[2] - before.shape[2] % 2, before.shape[3] - before.shape[3] % 2
    largest = (before[:, :, :height, :width] == _upsampled(after)).to(slope.dtype)
    fraction = largest / _upsampled(functional.avg_pool2d(largest, 2) * 4)
    back = _upsampled(slope.flatten(0, 1)).reshape(*slope.shape[:3], height, width) * fraction.unsqueeze(1)
    return functional.pad(back, (0, before.shape[3] - width, 0, before.shape[2] - height))


def _upsampled(maps: Tensor) -> Tensor:
    """Maps with each pixel repeated to 2 x 2 pixels."""
    return maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

"""Evidence maps: how much each position of a network's maps contributes to the logits.

Behind its maps every network here is piecewise linear: dense layers, convolution, normalisation in inference, ReLU, maximum. Slopes are
computed layer by layer from the logits back to the maps, by explicit formulas instead of automatic differentiation, so that the
exported network can compute them too.

The detectors compare an image with normal ones. Their maps are those of the first block with a stride of eight pixels, and the
reference is the mean of these maps over normal training images, in whose chest frames the lungs lie alike. The contribution of
a position is its difference from the reference times the mean slope on the straight way between them: integrated gradients
(Sundararajan et al., ICML 2017, arXiv 1703.01365), whose sum is the difference of the logits from those of the reference, here but for the few
points on the way. Maps of the last layer times slope, which need no reference, say rather where lungs are than what is wrong with these
(docs/results/evidence.md).

Without a reference, as for the networks of the study, a contribution is slope times map of the last maps: with the biases they sum to
the logits exactly. For a head that pools its maps this is the class activation map (Zhou et al., CVPR 2016, arXiv 1512.04150).

Evidence of a network that sees a part of the image is given for the whole of it, 0 outside of that part. The evidence of an ensemble is
the weighted sum of its members' evidence, on the finest of their grids: a coarser map is resampled to that grid by area, so that its
mean stays the same.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pneumoscope.models.classifier import FlattenFeatures, ImageClassifier
from pneumoscope.models.efficientnet_lite import ImageMaps, InvertedResidual, MixStyle, Part, PooledHead, same_padding
from pneumoscope.models.ensemble import Ensemble

# Less than a cell, so that a division that is not exact adds none.
_ROUNDING = 1e-6
# Points on the way from the reference to the image: four make the maps hardly better (docs/lab-log.md).
_POINTS = 2
_RELU6_LIMIT = 6
ExplainedOutputs = tuple[Tensor, Tensor, Tensor, Tensor]
# Function from the derivative of the logits by a layer's output, (n, classes, ...), to that by its input.
_Pullback = Callable[[Tensor], Tensor]


@torch.no_grad()
def set_reference(model: ImageClassifier | Ensemble, normals: Iterable[Tensor]) -> None:
    """Set what the evidence of a detector compares images with; networks of the study have no reference.

    Args:
        model: Trained network, left in evaluation mode.
        normals: Batches (n, 1, height, width) in [0, 1] of normal training images; none leaves the model without a reference.
    """
    model.eval()
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    sums: list[Tensor | float] = [0.0] * len(members)
    count = 0
    for images in normals:
        count += len(images)
        for number, member in enumerate(members):
            if isinstance(member.base, ImageMaps):
                views = member.base.forward_intermediates(images)[2]
                sums[number] += torch.stack(views).mean(dim=0).sum(dim=0)
    for member, total in zip(members, sums, strict=True):
        if isinstance(member.base, ImageMaps):
            member.base.reference = total / count if isinstance(total, Tensor) else None


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

    def forward(self, images: Tensor, explained: Tensor | None = None) -> ExplainedOutputs:
        """Outputs for images, as those of `ExplainedClassifier.forward`."""
        outputs: list[ExplainedOutputs] = [member(images, explained) for member in self.members]
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
    # One product for all channels: two of a few rows each would take several times longer.
    whole = maps.flatten(2) @ torch.kron(across_rows, across_columns).t()
    return whole.reshape(*maps.shape[:2], len(across_rows), len(across_columns))


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

    def forward(self, images: Tensor, explained: Tensor | None = None) -> ExplainedOutputs:
        """Logits, evidence, features and feature maps of images.

        Args:
            images: Images (n, 1 or 3, height, width) in [0, 1].
            explained: (m,) int64, positions of the images whose evidence is wanted, which takes several times the arithmetic of the
                logits; all where None.

        Returns:
            Logits (n, classes); evidence (m, classes, rows, columns), whose mean over the positions is about the logits less those of
            the reference, or, without a reference, the logits less the contribution of the biases; features (n, channels), the means
            of the feature maps (n, channels, rows, columns), which are the intermediate maps, or the last maps where the network has none.
        """
        if isinstance(self.maps, ImageMaps):
            maps, intermediate, views = self.maps.forward_intermediates(images)
        else:
            maps = intermediate = self.maps(images)
            views = []
        logits = maps
        for layer in self.rest:
            logits = _linearise_layer(layer, logits)[0]
        classes = logits.shape[1]
        reference = self.maps.reference if isinstance(self.maps, ImageMaps) else None
        chosen, *views = (each if explained is None else each[explained] for each in (maps, *views))
        if isinstance(self.maps, ImageMaps) and reference is not None:
            evidence = _evidence_against(reference, views, [*self.maps.trunk.explained_layers, *self.rest], classes)
        else:
            evidence = _contributions(_slopes(_linearise(self.rest, chosen)[1], chosen.shape[0], classes), chosen)
        features = intermediate.mean(dim=(2, 3))
        if isinstance(self.maps, ImageMaps) and self.maps.part:
            evidence, intermediate = (_embed(each, self.maps.part) for each in (evidence, intermediate))
        return logits, evidence, features, intermediate


def _evidence_against(reference: Tensor, views: Sequence[Tensor], layers: Sequence[nn.Module], classes: int) -> Tensor:
    """Evidence (n, classes, rows, columns), the mean of that of an image and of that of its mirror image, turned back.

    Args:
        reference: (channels, rows, columns).
        views: Maps (n, channels, rows, columns) of the images and, of a mirrored network, of their mirror images.
        layers: Layers from these maps to the logits.
        classes: Number of classes.
    """
    differences = [maps - reference for maps in views]
    fractions = [(point + 0.5) / _POINTS for point in range(_POINTS)]
    # One batch for all points and views: the graph holds the layers, and their slopes, once.
    points = torch.cat([reference + fraction * each for each in differences for fraction in fractions])
    slopes = _slopes(_linearise(layers, points)[1], points.shape[0], classes)
    mean_slopes = slopes.reshape(len(views), _POINTS, -1, *slopes.shape[1:]).mean(dim=1)
    evidence = [_contributions(slope, each) for slope, each in zip(mean_slopes, differences, strict=True)]
    return evidence[0] if len(evidence) == 1 else (evidence[0] + evidence[1].flip(3)) / 2


def _slopes(pullback: _Pullback, images: int, classes: int) -> Tensor:
    """Derivative of each logit by the maps, (n, classes, channels, rows, columns)."""
    return pullback(torch.eye(classes).expand(images, classes, classes))


def _contributions(slopes: Tensor, maps: Tensor) -> Tensor:
    """Contributions (n, classes, rows, columns) of the positions of maps (n, channels, rows, columns); their mean is that of all maps."""
    return (slopes * maps.unsqueeze(1)).sum(dim=2) * (maps.shape[2] * maps.shape[3])


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


def _linearise(layers: Iterable[nn.Module], maps: Tensor) -> tuple[Tensor, _Pullback]:
    """Output of a sequence of layers, and its pullback at these maps."""
    pullbacks: list[_Pullback] = []
    for layer in layers:
        maps, pullback = _linearise_layer(layer, maps)
        pullbacks.append(pullback)
    return maps, partial(_pull_through, pullbacks)


def _pull_through(pullbacks: Sequence[_Pullback], slope: Tensor) -> Tensor:
    for pullback in reversed(pullbacks):
        slope = pullback(slope)
    return slope


def _linearise_layer(layer: nn.Module, before: Tensor) -> tuple[Tensor, _Pullback]:
    """Output of a layer for its input, and its pullback there."""
    if isinstance(layer, InvertedResidual):
        inside, pullback = _linearise(layer.layers, before)
        if not layer.has_shortcut:
            return inside, pullback
        return before + inside, lambda slope: slope + pullback(slope)
    if isinstance(layer, nn.ReLU | nn.ReLU6):
        # The networks' own work in place and would overwrite values that other pullbacks need.
        after = functional.relu(before) if isinstance(layer, nn.ReLU) else functional.relu6(before)
        passes = after > 0 if isinstance(layer, nn.ReLU) else (after > 0) & (after < _RELU6_LIMIT)
        return after, lambda slope: slope * passes.unsqueeze(1)
    after = layer(before)
    if isinstance(layer, nn.Linear):
        return after, lambda slope: slope @ layer.weight
    if isinstance(layer, nn.BatchNorm2d):
        scale = layer.weight * torch.rsqrt(cast(Tensor, layer.running_var) + layer.eps)
        return after, lambda slope: slope * scale[:, None, None]
    if isinstance(layer, nn.Conv2d):
        return after, partial(_through_convolution, layer, before.shape[2:])
    if isinstance(layer, _MeanPooling):
        height, width = before.shape[2:]
        return after, lambda slope: (slope / (height * width))[..., None, None].expand(*slope.shape, height, width)
    if isinstance(layer, FlattenFeatures):
        channels, height, width = before.shape[1:]
        return after, lambda slope: slope.reshape(*slope.shape[:2], height, width, channels).permute(0, 1, 4, 2, 3)
    if isinstance(layer, nn.MaxPool2d):
        return after, lambda slope: _through_maximum(slope, before, after)
    if isinstance(layer, MixStyle):  # changes nothing in inference
        return after, lambda slope: slope
    raise TypeError(f"no derivative for {type(layer).__name__}")


def _through_convolution(layer: nn.Conv2d, size: Sequence[int], slope: Tensor) -> Tensor:
    """Derivative by the input of a convolution, whose height and width are `size`."""
    flat = slope.flatten(0, 1)
    # Convolutions where there is one: ONNX Runtime transposes convolutions group by group, and several times slower.
    if layer.stride == (1, 1) and layer.groups == 1 and layer.kernel_size == (1, 1):
        back = functional.conv2d(flat, layer.weight.transpose(0, 1))
    elif layer.stride == (1, 1) and layer.groups == layer.in_channels == layer.out_channels:
        back = functional.conv2d(flat, layer.weight.flip(2, 3), padding=layer.padding, groups=layer.groups)
    else:
        back = functional.conv_transpose2d(
            flat, layer.weight, stride=layer.stride, padding=cast(tuple[int, int], layer.padding), groups=layer.groups
        )
        top, left = same_padding(size, layer.kernel_size[0], layer.stride[0])[:2]
        back = back[:, :, top : top + size[0], left : left + size[1]]
    return back.reshape(*slope.shape[:2], *back.shape[1:])


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

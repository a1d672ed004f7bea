"""Ensemble: several image classifiers as one network, whose logits are the weighted sum of theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.types import ClassScheme


class Ensemble(nn.Module):
    """Weighted sum of the logits of image classifiers for the same images.

    Attributes:
        members: Classifiers.
        weights: (members,) float32, weight of each one's logits.
        scheme: Classes in the order of the logits.
    """

    weights: Tensor

    def __init__(self, members: Sequence[ImageClassifier], weights: Sequence[float]) -> None:
        """Join classifiers, whose weights are shared.

        Args:
            members: Classifiers of the same classes, at least one.
            weights: Weight of each, 0 or more.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.tensor(list(weights), dtype=torch.float32))
        self.scheme: ClassScheme = members[0].scheme

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 1, height, width) in [0, 1]."""
        logits: Tensor = sum(weight * member(images) for weight, member in zip(self.weights, self.members, strict=True))
        return logits

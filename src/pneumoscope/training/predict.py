"""Class probabilities of images from a trained network."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumoscope.data.labelled import LabelledImages
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.training.batches import ImageInputs, Inputs, sequential_batches
from pneumoscope.training.frozen_features import ComputedFeatures, FrozenBase
from pneumoscope.training.precision import Precision, dtype_of

_BATCH = 32


@torch.no_grad()
def class_probabilities(model: ImageClassifier, data: LabelledImages, precision: Precision) -> NDArray[np.float64]:
    """Class probabilities of images, computed in the precision of the training.

    Args:
        model: Trained network.
        data: Images; their labels are not used.
        precision: `fp32` or `bf16`.

    Returns:
        (n, classes) float64 in [0, 1], rows summing to 1.
    """
    dtype = dtype_of(precision)
    model.cpu()
    inputs: Inputs = ComputedFeatures(FrozenBase(model, dtype), data) if model.base_is_frozen else ImageInputs(data)
    part: nn.Module = model.head if model.base_is_frozen else model
    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    part.eval()
    parts = []
    for images, _ in sequential_batches(inputs, _BATCH):
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = part(images)
        parts.append(torch.softmax(logits.double(), dim=1).numpy())
    return np.concatenate(parts)

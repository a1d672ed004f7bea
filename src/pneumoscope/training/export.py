"""A trained network becomes ONNX: whole images in, logits, evidence and features out."""

import logging
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumoscope.bundle import INPUT, OUTPUTS
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.evidence import ExplainedClassifier

_OPSET = 18
# The exporter names every torchvision operator that it goes without.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


class _Detecting(nn.Module):
    """What the bundle runs: from the bytes of images on, so that no caller can scale them otherwise."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = ExplainedClassifier(model)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, evidence, features = self.model(images.to(torch.float32).unsqueeze(1) / 255.0)
        return logits, evidence, features


def export_onnx(model: ImageClassifier, height: int, width: int) -> bytes:
    """The network as ONNX: `images` (n, height, width) uint8 to `logits` (n, classes) float32.

    Besides these it gives `evidence` (n, classes, rows, columns), what each place adds to the logits, and `features`
    (n, channels), the means of the maps that the evidence is about.

    Args:
        model: Trained; left in evaluation mode, on the CPU.
        height: Of the images, pixels.
        width: Of the images, pixels.
    """
    detecting = _Detecting(model.cpu()).eval()
    example = torch.zeros(2, height, width, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch's own exporter calls what torch has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            detecting,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={"films": {0: torch.export.Dim("n", min=1)}},
            opset_version=_OPSET,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx.export gave no program")
    model_proto = program.model_proto
    _forget_origin(model_proto)
    content: bytes = model_proto.SerializeToString()
    return content


def _forget_origin(message: Any) -> None:
    """Takes out what the exporter noted of the source code, with its paths: a fifth of a small network's file."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _forget_origin(part)


@torch.no_grad()
def golden_outputs(model: ImageClassifier, images: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    """A few images with the outputs that torch gives for them in float32, to be held against ONNX Runtime's."""
    outputs = _Detecting(model.cpu()).eval()(torch.from_numpy(images))
    return {INPUT: images} | {name: value.numpy() for name, value in zip(OUTPUTS, outputs, strict=True)}

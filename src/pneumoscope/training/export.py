"""Export of a trained network to ONNX: images in; logits, evidence, features and their maps out."""

import logging
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pneumoscope.bundle import EXPLAINED, FEATURE_MAPS, INPUT, OUTPUTS
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import ExplainedOutputs, explain

_OPSET = 18
# Smallest number of values of a kernel that is stored in half precision: below, the conversion takes more than it saves.
_SMALLEST_HALVED = 2048
# The exporter logs every torchvision operator that is not installed.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


class _BundledNetwork(nn.Module):
    """Network as the bundle holds it: its input are uint8 images, so that no caller can scale them differently."""

    def __init__(self, model: ImageClassifier | Ensemble) -> None:
        super().__init__()
        self.model = explain(model)

    def forward(self, images: Tensor, explained: Tensor | None = None) -> ExplainedOutputs:
        logits, evidence, features, maps = self.model(images.to(torch.float32).unsqueeze(1) / 255.0, explained)
        return logits, evidence, features, maps


def export_onnx(model: ImageClassifier | Ensemble, height: int, width: int) -> bytes:
    """Export a network to ONNX.

    The graph takes the images, `films` (n, height, width) uint8, and, unless none is to be explained, the positions `explained` (m,) int64 of
    those whose evidence is wanted. Its outputs are `logits` (n, classes) float32; `evidence` (m, classes, rows, columns), the
    contribution of each position of the maps to the logits; `features` (n, channels), the means of the `feature_maps`
    (n, channels, rows, columns), from which another head can be fitted.
    The weights of an ensemble are stored in half precision, which halves the file; it computes in single precision.

    Args:
        model: Trained network; left in evaluation mode, on the CPU.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        Serialised ONNX model.
    """
    bundled = _BundledNetwork(model.cpu()).eval()
    example = torch.zeros(2, height, width, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch's exporter calls functions that torch has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            bundled,
            (example, torch.arange(2)),
            dynamo=True,
            input_names=[INPUT, EXPLAINED],
            output_names=[*OUTPUTS, FEATURE_MAPS],
            dynamic_shapes={
                "images": {0: torch.export.Dim("n", min=1)},
                "explained": {0: torch.export.Dim("m", min=1)},
            },
            opset_version=_OPSET,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx.export gave no program")
    model_proto = program.model_proto
    _remove_source_locations(model_proto)
    # An input that is also an initializer may be left out, and then has this value: no image is explained.
    model_proto.graph.initializer.append(numpy_helper.from_array(np.zeros(0, dtype=np.int64), EXPLAINED))
    if isinstance(model, Ensemble):
        _store_in_half_precision(model_proto.graph)
    content: bytes = model_proto.SerializeToString()
    return content


def _store_in_half_precision(graph: GraphProto) -> None:
    """Replace large float32 weights by float16 ones and a conversion, which runs once, when the network is loaded."""
    conversions = []
    for weight in graph.initializer:
        # Kernels alone: rounded resize matrices, which are no weights, would change every pixel.
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 4 and np.prod(weight.dims) >= _SMALLEST_HALVED:
            name, halved = weight.name, numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
            conversions.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*conversions, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _remove_source_locations(message: Any) -> None:
    """Remove the source locations that the exporter records, with paths: a fifth of a small network's file."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _remove_source_locations(part)


@torch.no_grad()
def golden_outputs(model: ImageClassifier | Ensemble, images: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    """Images with the float32 outputs of torch, for comparison with the outputs of ONNX Runtime."""
    outputs = _BundledNetwork(model.cpu()).eval()(torch.from_numpy(images))
    return {INPUT: images} | {name: value.numpy() for name, value in zip(OUTPUTS, outputs, strict=False)}

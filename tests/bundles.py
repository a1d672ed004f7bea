"""Bundles for tests: of any network, with a guard that lets phantom images pass."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pneumoscope.bundle import Bundle, Manifest, save_bundle
from pneumoscope.config import ModelConfig
from pneumoscope.data.alignment import LAYOUT_LENGTH
from pneumoscope.decision import Calibration
from pneumoscope.inference.exposure import ExposureLimits
from pneumoscope.inference.population import NeighbourDistance
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.registry import build_model
from pneumoscope.training.export import export_onnx, golden_outputs


def permissive_guard(channels: int) -> dict[str, np.ndarray]:
    """Arrays of a guard that, with the manifest fixture's limits, lets everything pass."""
    plain = [_distance_from_zero(length) for length in (channels, LAYOUT_LENGTH)]
    exposure = ExposureLimits(np.zeros(3), np.ones(3))
    return plain[0].arrays("features") | plain[1].arrays("layout") | exposure.arrays()


def _distance_from_zero(channels: int) -> NeighbourDistance:
    """Distance whose references are all zero."""
    return NeighbourDistance(
        mean=np.zeros(channels),
        scale=np.ones(channels),
        components=np.eye(channels, 2),
        offset=np.zeros(3),
        projection=np.eye(3),
        references=np.zeros((5, 3)),
    )


def bundle_of(model: ImageClassifier, images: np.ndarray, path: Path, manifest: Manifest) -> Bundle:
    """A network as a bundle for phantom images."""
    golden = golden_outputs(model, images[:2])
    guard = permissive_guard(golden["features"].shape[1])
    return save_bundle(path, manifest, export_onnx(model, *images.shape[1:]), golden, guard)


def lively_nano(images: np.ndarray, input_side: int, mirrored: bool) -> ImageClassifier:
    """A network as after a training: batch statistics that are not 0 and 1, and a last layer that answers variously."""
    model = build_model(ModelConfig("nano", freeze_base=False, input_side=input_side, mirrored=mirrored), seed=1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(images).unsqueeze(1) / 255)
    torch.nn.init.normal_(model.head.dense.weight, generator=torch.Generator().manual_seed(0))
    return model


def own_classes_bundle(images: np.ndarray, path: Path, manifest: Manifest, **more: Any) -> Bundle:
    """A bundle whose two classes are a site's own, `clear` and `opacity`, which both occur; `more` changes the manifest."""
    model = lively_nano(images, input_side=64, mirrored=False)
    head = torch.nn.Linear(model.head.dense.in_features, 2)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(head.bias)
    model.head.dense = head
    with torch.no_grad():
        head.bias -= model.eval()(torch.from_numpy(images).unsqueeze(1) / 255).mean(dim=0)
    own = replace(manifest, classes=("clear", "opacity"), calibration=Calibration(1.0, ()), conformal={}, **more)
    return bundle_of(model, images, path, own)

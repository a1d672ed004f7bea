"""Bundles for tests: of any network, with a guard that lets phantom films pass."""

from pathlib import Path

import numpy as np

from pneumoscope.bundle import Bundle, Manifest, save_bundle
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.training.export import export_onnx, golden_outputs


def permissive_guard(channels: int) -> dict[str, np.ndarray]:
    """Arrays of a guard that, with the manifest fixture's limits, lets everything pass."""
    return {
        "mean": np.zeros(channels, np.float32),
        "scale": np.ones(channels, np.float32),
        "components": np.eye(channels, 2, dtype=np.float16),
        "deviation": np.ones(2, np.float32),
    }


def bundle_of(model: FilmClassifier, films: np.ndarray, path: Path, manifest: Manifest) -> Bundle:
    """A network as a bundle for phantom films."""
    golden = golden_outputs(model, films[:2])
    guard = permissive_guard(golden["features"].shape[1])
    return save_bundle(path, manifest, export_onnx(model, *films.shape[1:]), golden, guard)

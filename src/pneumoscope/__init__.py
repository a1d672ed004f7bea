"""pneumoscope: detects pneumonia in chest X-rays of children. Research use only, not a medical device."""

from typing import TYPE_CHECKING, Any

from pneumoscope.errors import PneumoscopeError
from pneumoscope.types import (
    BINARY,
    NOTICE,
    THREE_CLASS,
    ClassScheme,
    Decision,
    Etiology,
    Finding,
    IndexRow,
    Reason,
    Split,
)

if TYPE_CHECKING:
    from pneumoscope.config import Preprocessing, SplitConfig
    from pneumoscope.data.dataset import Dataset, load_dataset
    from pneumoscope.evaluation.intervals import estimate_metrics
    from pneumoscope.inference.detector import Detector, load_detector
    from pneumoscope.inference.prediction import Prediction
    from pneumoscope.training.radiographs import RadiographDataset

    __version__: str

__all__ = [
    "BINARY",
    "NOTICE",
    "THREE_CLASS",
    "ClassScheme",
    "Dataset",
    "Decision",
    "Detector",
    "Etiology",
    "Finding",
    "IndexRow",
    "PneumoscopeError",
    "Prediction",
    "Preprocessing",
    "RadiographDataset",
    "Reason",
    "Split",
    "SplitConfig",
    "__version__",
    "estimate_metrics",
    "load_dataset",
    "load_detector",
]


# Names whose modules take long to load, or load NumPy, and are imported on first access.
_LAZY = {
    "Dataset": "pneumoscope.data.dataset",
    "load_dataset": "pneumoscope.data.dataset",
    "Preprocessing": "pneumoscope.config",
    "SplitConfig": "pneumoscope.config",
    "RadiographDataset": "pneumoscope.training.radiographs",
    "estimate_metrics": "pneumoscope.evaluation.intervals",
    "Detector": "pneumoscope.inference.detector",
    "load_detector": "pneumoscope.inference.detector",
    "Prediction": "pneumoscope.inference.prediction",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pneumoscope")
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pneumoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

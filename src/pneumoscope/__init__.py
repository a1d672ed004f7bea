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
    Prediction,
    Reason,
    Split,
)

if TYPE_CHECKING:
    from pneumoscope.inference.detector import Detector, load_detector

    __version__: str

__all__ = [
    "BINARY",
    "NOTICE",
    "THREE_CLASS",
    "ClassScheme",
    "Decision",
    "Detector",
    "Etiology",
    "Finding",
    "IndexRow",
    "PneumoscopeError",
    "Prediction",
    "Reason",
    "Split",
    "__version__",
    "load_detector",
]


def __getattr__(name: str) -> Any:
    """Import attributes that take long to load on first access."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pneumoscope")
    if name in ("Detector", "load_detector"):
        from pneumoscope.inference import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'pneumoscope' has no attribute {name!r}")

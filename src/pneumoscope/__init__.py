"""pneumoscope: detects pneumonia in chest X-rays of children. Research use only, not a medical device."""

from importlib.metadata import version

from pneumoscope.errors import PneumoscopeError
from pneumoscope.types import BINARY, NOTICE, THREE_CLASS, ClassScheme, Etiology, Finding, IndexRow, Split

__all__ = [
    "BINARY",
    "NOTICE",
    "THREE_CLASS",
    "ClassScheme",
    "Etiology",
    "Finding",
    "IndexRow",
    "PneumoscopeError",
    "Split",
    "__version__",
]

__version__ = version("pneumoscope")

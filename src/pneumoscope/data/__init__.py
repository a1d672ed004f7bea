"""Data: image files to an index, an audit, a split and preprocessed arrays.

`load` gives the radiographs of a data set as arrays; the names below are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumoscope.data.cross_validation import ClusterFold, auc_within_clusters
    from pneumoscope.data.loading import LoadedRadiographs, load
    from pneumoscope.data.medmnist import save_medmnist

__all__ = ["ClusterFold", "LoadedRadiographs", "auc_within_clusters", "load", "save_medmnist"]

_LAZY = {
    "ClusterFold": "pneumoscope.data.cross_validation",
    "auc_within_clusters": "pneumoscope.data.cross_validation",
    "LoadedRadiographs": "pneumoscope.data.loading",
    "load": "pneumoscope.data.loading",
    "save_medmnist": "pneumoscope.data.medmnist",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pneumoscope.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

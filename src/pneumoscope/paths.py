"""Paths from environment variables, which are read here only, at each call.

PNEUMOSCOPE_DATA                data set: a folder, a table or an archive
PNEUMOSCOPE_CACHE               decoded images, downloads (default: the user's cache folder)
PNEUMOSCOPE_INCEPTION_WEIGHTS   Inception V3 `notop` HDF5 file
"""

import os
from pathlib import Path


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name, "")
    return Path(value).expanduser() if value else None


def data_from_environment() -> Path | None:
    """Path of the data set from `PNEUMOSCOPE_DATA`, or None."""
    return _from_environment("PNEUMOSCOPE_DATA")


def inception_weights_from_environment() -> Path | None:
    """Path of the weight file from `PNEUMOSCOPE_INCEPTION_WEIGHTS`, or None."""
    return _from_environment("PNEUMOSCOPE_INCEPTION_WEIGHTS")


def cache_directory() -> Path:
    """Folder of downloads and decoded images; may not exist yet."""
    path = _from_environment("PNEUMOSCOPE_CACHE")
    if path is not None:
        return path
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(user_cache) / "pneumoscope"


def images_directory() -> Path:
    """Folder of decoded images in the cache; may not exist yet."""
    return cache_directory() / "films"

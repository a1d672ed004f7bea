"""Where things lie: the environment variables, read lazily and nowhere else.

PNEUMOSCOPE_DATA                the data set: a folder, a table or an archive
PNEUMOSCOPE_CACHE               decoded images, downloads (default: the user's cache folder)
PNEUMOSCOPE_INCEPTION_WEIGHTS   an Inception V3 `notop` HDF5 file
"""

import os
from pathlib import Path


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name, "")
    return Path(value).expanduser() if value else None


def data_from_environment() -> Path | None:
    """The data set named by `PNEUMOSCOPE_DATA`, or None."""
    return _from_environment("PNEUMOSCOPE_DATA")


def inception_weights_from_environment() -> Path | None:
    """The weight file named by `PNEUMOSCOPE_INCEPTION_WEIGHTS`, or None."""
    return _from_environment("PNEUMOSCOPE_INCEPTION_WEIGHTS")


def cache_directory() -> Path:
    """The folder for downloads and decoded images; it need not exist yet."""
    named = _from_environment("PNEUMOSCOPE_CACHE")
    if named is not None:
        return named
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(user_cache) / "pneumoscope"


def images_directory() -> Path:
    """The folder for decoded images, in the cache; it need not exist yet."""
    return cache_directory() / "films"

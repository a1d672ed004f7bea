"""Check of an index.csv or split.csv that is to be replaced: one of another data set is replaced on demand alone."""

import csv
from hashlib import sha256
from math import ceil
from pathlib import Path

from pneumoscope.data.sources import Source
from pneumoscope.errors import DataError, counted, listed

# Images that are read to know a data set again.
_COMPARED = 8


def check_earlier_table(path: Path, source: Source, overwrite: bool = False) -> str:
    """Check that what lies at the path of an `index.csv` or `split.csv` is of the same data set.

    Two tables are of one data set if at least one of up to eight images listed in both has the same content. No other image is read.

    Args:
        path: Path of the table that is to be written.
        source: Source of the images that it will list.
        overwrite: Whether what is there may be replaced.

    Returns:
        Notice of what will be replaced; empty where there is nothing.

    Raises:
        DataError: No folder, or one that cannot be read; a table of other images or another file, and `overwrite` is False.
    """
    try:
        earlier = _earlier_images(path)
    except OSError as error:
        raise DataError(
            f"expected a folder for {path.name} at {path.parent}, found {error.strerror or error} ({path}): name another folder by --out"
        ) from error
    if earlier is None:
        return ""
    same = _names_the_images_of(source, earlier)
    found = f"one of {counted(len(earlier), 'image')} ({listed(earlier, 1)})" if earlier else "one of unknown data"
    if not same and not overwrite:
        raise DataError(
            f"expected no {path.name} of another data set in {path.parent}, found {found}: name another folder by --out, or add --overwrite"
        )
    return f"replaces {path}" + ("" if same else f", {found}")


def _earlier_images(path: Path) -> dict[str, str] | None:
    """Path of each image of an index or a split to its SHA-256; empty for another file, None where there is none.

    Raises:
        OSError: A file that cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            # The first line of a split holds its settings.
            rows = csv.DictReader(line for line in stream if not line.startswith("# "))
            return {row["path"]: row["sha256"] for row in rows}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, csv.Error):
        return {}


def _names_the_images_of(source: Source, earlier: dict[str, str]) -> bool:
    """Whether one of a few images of a source has the SHA-256 that an earlier table gives it."""
    common = [image.path for image in source.images if image.path in earlier]
    step = max(1, ceil(len(common) / _COMPARED))
    return any(_sha256(source, each) == earlier[each] for each in common[::step])


def _sha256(source: Source, path: str) -> str:
    """SHA-256 of an image, 64 hex digits; empty where it cannot be read."""
    try:
        return sha256(source.bytes_of(path)).hexdigest()
    except OSError:
        return ""

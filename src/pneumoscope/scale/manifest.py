"""Images to score as a stream of addresses, in an order that is the same at every walk while the files are."""

import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

from pneumoscope.data.image_files import walk_folder
from pneumoscope.errors import DataError
from pneumoscope.inference.inputs import TABLE_SUFFIXES, open_inputs, table_column
from pneumoscope.scale.storage import StoragePath, is_path
from pneumoscope.types import IMAGE_SUFFIXES

# Endings of archives, whose images are read in the order of the archive.
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def is_archive(address: str) -> bool:
    """Whether an address is that of a tar archive, by its ending."""
    return address.lower().endswith(ARCHIVE_SUFFIXES)


def open_manifest(address: str) -> Callable[[], Iterator[str]]:
    """Opens the files behind an address; each call of the result walks through them again, none are held in memory.

    A folder stands for the images and tar archives in it, found on this machine as `predict` finds them and in a store by
    their endings. A table is a CSV, TSV or Parquet file with one of the columns `path`, `file`, `filename`, `image`, which
    holds addresses, or paths relative to the folder of the table.

    Args:
        address: Folder, table, tar archive or pattern; a local path, or an address of a protocol that fsspec knows.

    Raises:
        ConfigError: The protocol is unknown or its package is missing.
        DataError: Nothing exists there, or the table has no such column.
        StorageError: The address cannot be reached.
    """
    path = StoragePath(address)
    if Path(posixpath.basename(address)).suffix.lower() in TABLE_SUFFIXES and path.exists():
        for _ in _table(path):  # a table without such a column is an error now, not at the first walk
            break
        return lambda: _table(path)
    if is_path(address):
        if Path(address).is_dir():
            return lambda: walk_folder(address, ARCHIVE_SUFFIXES)
        return open_inputs([address]).walk
    if any(mark in address for mark in "*?["):
        return lambda: iter(path.matching())
    if path.exists():
        return lambda: iter([address])
    if path.is_folder():
        return lambda: filter(_is_included, path.walk())
    raise DataError(
        f"expected a folder, a table, a tar archive or a pattern at {address}, found none: check the address"
    )


def _table(table: StoragePath) -> Iterator[str]:
    """Addresses in a table; relative paths are joined to its folder."""
    folder = table.parent.address
    with table.open() as stream:
        for value in table_column(stream, table.address):
            absolute = not is_path(value) or value.startswith("/")
            yield value if absolute else posixpath.join("" if folder == "." else folder, value)


def _is_included(address: str) -> bool:
    return is_archive(address) or posixpath.splitext(address)[1].lower() in IMAGE_SUFFIXES

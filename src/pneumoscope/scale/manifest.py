"""What is to be scored becomes a stream of addresses, in an order that does not change while the files do not."""

import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

from pneumoscope.errors import DataError
from pneumoscope.inference.inputs import TABLE_SUFFIXES, open_inputs, table_column, walk_folder
from pneumoscope.scale.storage import Place, is_path
from pneumoscope.types import IMAGE_SUFFIXES

# Of archives whose images are judged one after the other, as they come.
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def is_archive(address: str) -> bool:
    """Whether an address names a tar archive, by its ending."""
    return address.lower().endswith(ARCHIVE_SUFFIXES)


def open_manifest(address: str) -> Callable[[], Iterator[str]]:
    """The files behind an address: each call walks through them anew, without holding them in memory.

    A folder gives its images and tar archives; on this machine as `predict` finds them, elsewhere by their endings. A table
    is a CSV, TSV or Parquet file with one of the columns `path`, `file`, `filename`, `image`: addresses, or paths relative
    to where the table lies.

    Args:
        address: Folder, table, tar archive or pattern; a path, or behind a protocol that fsspec knows.

    Raises:
        ConfigError: A protocol that cannot be reached.
        DataError: Nothing is there, or a table without such a column.
        StorageError: It cannot be reached.
    """
    place = Place(address)
    if Path(posixpath.basename(address)).suffix.lower() in TABLE_SUFFIXES and place.exists():
        for _ in _table(place):  # a table without such a column is told now
            break
        return lambda: _table(place)
    if is_path(address):
        if Path(address).is_dir():
            return lambda: walk_folder(address, ARCHIVE_SUFFIXES)
        return open_inputs([address]).walk
    if any(mark in address for mark in "*?["):
        return lambda: iter(place.matching())
    if place.exists():
        return lambda: iter([address])
    if place.is_folder():
        return lambda: filter(_is_wanted, place.walk())
    raise DataError(
        f"expected a folder, a table, a tar archive or a pattern at {address}, found none: check the address"
    )


def _table(table: Place) -> Iterator[str]:
    here = table.parent.address
    with table.opened() as stream:
        for value in table_column(stream, table.address):
            outright = not is_path(value) or value.startswith("/")
            yield value if outright else posixpath.join("" if here == "." else here, value)


def _is_wanted(address: str) -> bool:
    return is_archive(address) or posixpath.splitext(address)[1].lower() in IMAGE_SUFFIXES

"""Input arguments of commands as a stream of image files: files, folders, patterns, tables, a list on standard input."""

import csv
import glob
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO

from pneumoscope.errors import DataError, listed
from pneumoscope.types import IMAGE_SUFFIXES

STANDARD_INPUT = "-"
# Names of the column of a table that holds the paths; the first that the table has counts.
COLUMNS = ("path", "file", "filename", "image")
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
# Offset, bytes, and content of the mark behind the preamble of a DICOM file (DICOM PS3.10, 7.1).
_DICOM_OFFSET, _DICOM_MARK = 128, b"DICM"


@dataclass(frozen=True)
class Inputs:
    """Paths of image files, in an order that is the same at every walk while the files are.

    Attributes:
        walk: Iterator over the paths, from the beginning at each call; standard input can be walked once.
        countable: Whether the paths can be walked more than once.
    """

    walk: Callable[[], Iterator[str]]
    countable: bool

    def count(self) -> int | None:
        """Number of paths; None for standard input."""
        return sum(1 for _ in self.walk()) if self.countable else None


def open_inputs(arguments: Sequence[str], standard_input: IO[str] | None = None) -> Inputs:
    """Opens the image files that the arguments of a command name, in the order of the arguments.

    A folder stands for the images in it and in its subfolders: files with an image's ending, and DICOM files without one.
    A table is a CSV, TSV or Parquet file with one of the columns `path`, `file`, `filename`, `image`; its paths are
    relative to the folder of the table.

    Args:
        arguments: Files, folders, patterns with `*`, `?` or `[...]`, tables, or `-` for one path a line on standard input.
        standard_input: Text stream that is read for `-`.

    Raises:
        DataError: A path does not exist, a pattern matches nothing, or a table has no such column.
    """
    parts = [_open(argument, standard_input) for argument in arguments]
    return Inputs(lambda: chain.from_iterable(walk() for walk in parts), STANDARD_INPUT not in arguments)


def _open(name: str, standard_input: IO[str] | None) -> Callable[[], Iterator[str]]:
    path = Path(name)
    if name == STANDARD_INPUT and standard_input is not None:
        return lambda: (stripped for line in standard_input if (stripped := line.strip("\r\n")))
    if path.is_dir():
        return lambda: walk_folder(name)
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        _check_column(path)
        return lambda: _table(path)
    if path.exists():
        return lambda: iter([name])
    found = sorted(glob.iglob(name, recursive=True)) if glob.has_magic(name) else []  # noqa: PTH207
    if not found:
        raise DataError(f"expected an image, a folder, a pattern or a table at {name}, found none: check the path")
    return lambda: chain.from_iterable(walk_folder(f) if Path(f).is_dir() else iter([f]) for f in found)


def walk_folder(folder: str, also: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the images in a folder and its subfolders, without hidden ones; every walk has the same order.

    Pipes, sockets and devices are left out, whatever their names: opening one may wait for ever.

    Args:
        folder: Path of the folder.
        also: Endings, lower case, of further files to include.
    """
    # Plain strings throughout: a million Path objects take seconds.
    for name in sorted(os.listdir(folder)):  # noqa: PTH208
        if name.startswith("."):
            continue
        path = os.path.join(folder, name)  # noqa: PTH118
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from walk_folder(path, also)
        elif (mode == 0 or stat.S_ISREG(mode)) and (_is_image(path) or path.lower().endswith(also)):
            yield path


def _mode(path: str) -> int:
    """File type and mode behind a path, symbolic links followed; 0 where there is no file, as behind a broken link."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return 0


def _is_image(path: str) -> bool:
    if (by_name := is_image_name(path)) is not None:
        return by_name
    try:
        with open(path, "rb") as stream:
            return is_dicom(stream.read(_DICOM_OFFSET + len(_DICOM_MARK)))
    except OSError:
        return False


def is_image_name(name: str) -> bool | None:
    """Whether a file is an image, by the ending of its name; None where its content decides: `is_dicom`."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in IMAGE_SUFFIXES:
        return True
    # DICOM files are often named by their identifiers: digits and dots.
    return None if not suffix or suffix[1:].isdigit() else False


def is_dicom(content: bytes) -> bool:
    """Whether the first bytes of a file are those of a DICOM file."""
    return content[_DICOM_OFFSET:].startswith(_DICOM_MARK)


def _check_column(table: Path) -> None:
    for _ in _table(table):
        return


def _table(table: Path) -> Iterator[str]:
    with table.open("rb") as stream:
        for value in table_column(stream, str(table)):
            yield str(table.parent / value)


def table_column(stream: BinaryIO, table: str) -> Iterator[str]:
    """Paths in a table, unchanged, without empty cells.

    Args:
        stream: Binary stream of the table.
        table: Name of the table; its ending decides the format.

    Raises:
        DataError: The table is of another format, or has no column named in `COLUMNS`.
    """
    suffix = Path(table).suffix.lower()
    values = _parquet_column(stream, table) if suffix == ".parquet" else _csv_column(stream, table, suffix == ".tsv")
    return (value for value in values if value)


def _csv_column(stream: BinaryIO, table: str, tabs: bool) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        reader = csv.DictReader(text, delimiter="\t" if tabs else ",")
        column = _column(reader.fieldnames or [], table)
        for row in reader:
            yield row[column] or ""
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"expected a table of UTF-8 text at {table}, found: {error}: save it again") from error
    finally:
        text.detach()  # the caller closes the stream


def _parquet_column(stream: BinaryIO, table: str) -> Iterator[str]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            column = _column(file.schema_arrow.names, table)
            for batch in file.iter_batches(columns=[column]):
                yield from (str(value or "") for value in batch.column(0).to_pylist())
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"expected a Parquet table at {table}, found: {error}: save it again") from error


def _column(names: Sequence[str], table: str) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise DataError(
        f"expected a column {', '.join(COLUMNS)} in {table}, found {listed(names) or 'none'}: rename one of them"
    )

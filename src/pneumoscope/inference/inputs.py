"""What `predict` is given becomes a stream of image files: files, folders, patterns, tables, a list on standard input."""

import csv
import glob
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO

from pneumoscope.errors import DataError, listed
from pneumoscope.types import IMAGE_SUFFIXES

STANDARD_INPUT = "-"
# Names for the column of a table that holds the files.
COLUMNS = ("path", "file", "filename", "image")
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
_DICOM_MARK_AT, _DICOM_MARK = 128, b"DICM"


@dataclass(frozen=True)
class Inputs:
    """Image files, named one after the other in an order that does not change while the files do not.

    Attributes:
        walk: Starts over at each call; standard input can be walked once.
        countable: Whether walking through all of them first does no harm.
    """

    walk: Callable[[], Iterator[str]]
    countable: bool

    def count(self) -> int | None:
        """How many there are; None where only reading them would tell."""
        return sum(1 for _ in self.walk()) if self.countable else None


def open_inputs(named: Sequence[str], standard_input: IO[str] | None = None) -> Inputs:
    """The files behind the arguments of a command, in the order of the arguments; folders by name, with what lies in them.

    A folder gives its images by their endings, and DICOM files without one. A table is a CSV, TSV or Parquet file with one
    of the columns `path`, `file`, `filename`, `image`, relative to where the table lies.

    Args:
        named: Files, folders, patterns with `*`, `?` or `[...]`, tables, or `-` for one path a line on standard input.
        standard_input: Read for `-`.

    Raises:
        DataError: One that is not there, a pattern that fits nothing, a table without such a column.
    """
    parts = [_open(name, standard_input) for name in named]
    return Inputs(lambda: chain.from_iterable(walk() for walk in parts), STANDARD_INPUT not in named)


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


def walk_folder(name: str, also: tuple[str, ...] = ()) -> Iterator[str]:
    """The images in a folder and in those in it, hidden ones left out; a second walk meets them in the same order.

    Args:
        name: Of the folder.
        also: Endings, small letters, of other files that are wanted.
    """
    # Plain strings throughout: a million Path objects take seconds.
    for entry in sorted(os.listdir(name)):  # noqa: PTH208
        if entry.startswith("."):
            continue
        inner = os.path.join(name, entry)  # noqa: PTH118
        if os.path.isdir(inner):  # noqa: PTH112
            yield from walk_folder(inner, also)
        elif _is_image(inner) or inner.lower().endswith(also):
            yield inner


def _is_image(name: str) -> bool:
    if (told := is_image_name(name)) is not None:
        return told
    try:
        with open(name, "rb") as stream:
            return is_dicom(stream.read(_DICOM_MARK_AT + len(_DICOM_MARK)))
    except OSError:
        return False


def is_image_name(name: str) -> bool | None:
    """Whether a file is an image, by its name's ending; None where only its bytes would tell: `is_dicom`."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in IMAGE_SUFFIXES:
        return True
    # DICOM files are often named by their identifiers: digits and dots.
    return None if not suffix or suffix[1:].isdigit() else False


def is_dicom(content: bytes) -> bool:
    """Whether a file's first bytes say that it is a DICOM object."""
    return content[_DICOM_MARK_AT:].startswith(_DICOM_MARK)


def _check_column(table: Path) -> None:
    for _ in _table(table):
        return


def _table(table: Path) -> Iterator[str]:
    with table.open("rb") as stream:
        for value in table_column(stream, str(table)):
            yield str(table.parent / value)


def table_column(stream: BinaryIO, table: str) -> Iterator[str]:
    """The files that a table names, as they stand there; empty cells are left out.

    Args:
        stream: Of the table's bytes.
        table: Its name; the ending says what it is.

    Raises:
        DataError: It is no such table, or has no column of the names in `COLUMNS`.
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
        raise DataError(f"expected a table of UTF-8 text at {table}, found: {error}: save it anew") from error
    finally:
        text.detach()  # the stream is closed by who opened it


def _parquet_column(stream: BinaryIO, table: str) -> Iterator[str]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            column = _column(file.schema_arrow.names, table)
            for batch in file.iter_batches(columns=[column]):
                yield from (str(value or "") for value in batch.column(0).to_pylist())
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"expected a Parquet table at {table}, found: {error}: save it anew") from error


def _column(names: Sequence[str], table: str) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise DataError(
        f"expected a column {', '.join(COLUMNS)} in {table}, found {listed(names) or 'none'}: rename one of them"
    )

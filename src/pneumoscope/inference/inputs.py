"""Input arguments of commands as a stream of image files: files, folders, patterns, tables, a list on standard input."""

import csv
import glob
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

from pneumoscope.data.image_files import walk_folder
from pneumoscope.data.tables import TEXT_TABLE_SUFFIXES, find_column, separator_of
from pneumoscope.errors import DataError, InputError, listed

STANDARD_INPUT = "-"
TABLE_SUFFIXES = TEXT_TABLE_SUFFIXES | {".parquet"}


@dataclass(frozen=True)
class Inputs:
    """Paths of image files, in an order that is the same at every walk while the files are.

    Attributes:
        walk: Iterator over the paths, from the beginning at each call; standard input can be walked once.
        countable: Whether the paths can be walked more than once.
        left_out: Files in folders that were left out at the last walk, by their endings: they are no images.
    """

    walk: Callable[[], Iterator[str]]
    countable: bool
    left_out: Counter[str] = field(default_factory=Counter)

    def count(self) -> int | None:
        """Number of paths; None for standard input."""
        return sum(1 for _ in self.walk()) if self.countable else None


def open_inputs(arguments: Sequence[str], standard_input: IO[str] | None = None, path_column: str = "") -> Inputs:
    """Opens the image files that the arguments of a command name, in the order of the arguments.

    A folder stands for the images in it and in its subfolders, by their endings or, with another ending or none, by their first
    bytes.
    A table is a Parquet file, or text separated by commas, semicolons or tabs, with a column `path`, or `file`, `filename`,
    `image`; its paths are relative to the folder of the table.

    Args:
        arguments: Files, folders, patterns with `*`, `?` or `[...]`, tables, or `-` for one path a line on standard input.
        standard_input: Text stream that is read for `-`.
        path_column: Column of tables with the paths; that with a plain name where empty.

    Raises:
        DataError: A path does not exist, a pattern matches nothing, or a table has no such column.
    """
    left_out: Counter[str] = Counter()
    parts = [_open(argument, standard_input, left_out, path_column) for argument in arguments]

    def walk() -> Iterator[str]:
        left_out.clear()
        return chain.from_iterable(part() for part in parts)

    return Inputs(walk, STANDARD_INPUT not in arguments, left_out)


def several_images(images: Iterable[Any] | Path | str) -> Iterable[Any]:
    """Images themselves, or the paths of the images at one path of a folder, a pattern, a table or an image.

    Raises:
        InputError: A single image.
        DataError: Nothing at the path.
    """
    if isinstance(images, str | Path):
        return open_inputs([str(images)]).walk()
    if isinstance(images, bytes) or getattr(images, "ndim", 3) < 3 or not isinstance(images, Iterable):
        raise InputError(f"expected several images, found one {type(images).__name__}: use predict")
    return images


def _open(
    name: str, standard_input: IO[str] | None, left_out: Counter[str], path_column: str
) -> Callable[[], Iterator[str]]:
    path = Path(name)
    if name == STANDARD_INPUT and standard_input is not None:
        return lambda: (stripped for line in standard_input if (stripped := line.strip("\r\n")))
    if path.is_dir():
        return lambda: walk_folder(name, left_out=left_out)
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        next(_table(path, path_column), None)  # an error is one at once
        return lambda: _table(path, path_column)
    if path.exists():
        return lambda: iter([name])
    found = sorted(glob.iglob(name, recursive=True)) if glob.has_magic(name) else []  # noqa: PTH207
    if not found:
        raise DataError(f"expected an image, a folder, a pattern or a table at {name}, found none: check the path")
    return lambda: chain.from_iterable(
        walk_folder(f, left_out=left_out) if Path(f).is_dir() else iter([f]) for f in found
    )


def _table(table: Path, path_column: str) -> Iterator[str]:
    with table.open("rb") as stream:
        for value in table_column(stream, str(table), path_column):
            yield str(table.parent / value)


def table_column(stream: BinaryIO, table: str, path_column: str = "") -> Iterator[str]:
    """Paths in a table, unchanged, without empty cells.

    Args:
        stream: Binary stream of the table.
        table: Name of the table; its ending decides the format.
        path_column: Column with the paths; that with a plain name where empty.

    Raises:
        DataError: The table is of another format, or has no column of paths.
    """
    suffix = Path(table).suffix.lower()
    read = _parquet_column if suffix == ".parquet" else _csv_column
    values = read(stream, table, path_column)
    return (value for value in values if value)


def _csv_column(stream: BinaryIO, table: str, path_column: str) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        header = text.readline()
        reader = csv.DictReader(chain([header], text), delimiter=separator_of(header))
        column = _column(reader.fieldnames or [], table, path_column)
        for row in reader:
            yield row[column] or ""
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"expected a table of UTF-8 text at {table}, found: {error}: save it as CSV UTF-8") from error
    finally:
        text.detach()  # the caller closes the stream


def _parquet_column(stream: BinaryIO, table: str, path_column: str) -> Iterator[str]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            column = _column(file.schema_arrow.names, table, path_column)
            for batch in file.iter_batches(columns=[column]):
                yield from (str(value or "") for value in batch.column(0).to_pylist())
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"expected a Parquet table at {table}, found: {error}: save it again") from error


def _column(names: Sequence[str], table: str, path_column: str) -> str:
    if (name := path_column or find_column(names, "path")) and name in names:
        return name
    expected = path_column or "path (or file, filename, image)"
    raise DataError(
        f"expected a column {expected} in {table}, found {listed(names) or 'none'}: rename one of them, or name it by --path-column"
    )

"""Tables of other people: what separates their cells, and which column is which."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from pneumoscope.errors import DataError, listed

TEXT_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
_LONGEST_HEADER = 100_000
_SEPARATORS = ",;\t|"
# Column to the names that it goes by, without regard to case, spaces and punctuation; the first that a table has counts.
COLUMNS: Mapping[str, Sequence[str]] = {
    "path": ("path", "file", "filename", "image", "filepath", "imagepath", "imagefile", "imagename", "imageindex"),
    "class": ("class", "label", "finding", "findinglabels", "diagnosis", "category", "target"),
    "etiology": ("etiology", "aetiology", "cause"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "split": ("split", "subset", "partition"),
    "age": ("age", "patientage", "ageyears"),
    "sex": ("sex", "patientsex", "gender", "patientgender"),
    "view": ("view", "viewposition", "projection"),
}


def separator_of(header: str) -> str:
    """Character that separates the cells of a table: the comma, semicolon, tab or bar that its first line has most of."""
    return max(_SEPARATORS, key=header.count)


def find_column(names: Iterable[str], column: str, known: Mapping[str, Sequence[str]] = COLUMNS) -> str | None:
    """Name that a table has for a column, such as `path` or `class`; None where it has none.

    Args:
        names: Names of the table's columns.
        column: One of `path`, `class`, `etiology`, `patient`, `split`, `age`, `sex` and `view`, or of the columns in `known`.
        known: Column to the names that it goes by, lower case, without spaces and punctuation.
    """
    named = list(names)
    if column in named:
        return column
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(named)}
    return next((plain[alias] for alias in known[column] if alias in plain), None)


def has_alias(name: str, columns: Iterable[str]) -> bool:
    """Whether a name is one of those that some of `COLUMNS` go by."""
    return re.sub(r"[^a-z0-9]", "", name.lower()) in {alias for column in columns for alias in COLUMNS[column]}


def columns_of(names: Sequence[str], known: Mapping[str, Sequence[str]] = COLUMNS) -> dict[str, str]:
    """Column to the name that a table has for it, for all columns that it has; `known` as in `find_column`."""
    return {column: name for column in known if (name := find_column(names, column, known)) is not None}


def has_labels(table: Path) -> bool:
    """Whether a file is a table with columns of paths and of classes, by its first line."""
    try:
        with _opened(table) as stream:
            header = stream.readline(_LONGEST_HEADER)
    except (OSError, UnicodeDecodeError):
        return False
    names = next(csv.reader([header], delimiter=separator_of(header)), [])
    return len(names) > 1 and {"path", "class"} <= columns_of(names).keys()


def read_rows(
    table: Path | bytes, named: Mapping[str, str], known: Mapping[str, Sequence[str]] = COLUMNS
) -> tuple[list[dict[str, str]], dict[str, str], list[str]]:
    """Rows of a table by column; the names that the table has for these columns; the names of all its columns.

    Columns that are not known are in the rows by the table's names for them.

    Args:
        table: File in CSV, or its content, whatever separates its cells.
        named: Column to the name of a table's column, for those whose names are not in `known`.
        known: Column to the names that it goes by, as in `find_column`.

    Raises:
        DataError: A table that cannot be read, or without a column in `named`.
    """
    name = name_of(table)
    try:
        with _opened(table) as stream:
            header = stream.readline()
            reader = csv.DictReader(chain([header], stream), delimiter=separator_of(header))
            names = list(reader.fieldnames or ())
            columns = columns_of(names, known) | dict(named)
            if absent := sorted(set(named.values()) - set(names)):
                raise DataError(
                    f"expected the columns {listed(absent)} in {name}, found {listed(names) or 'no header'}: name others"
                )
            further = {name: name for name in names if name and name not in {*columns, *columns.values()}}
            rows = [{column: row[own] for column, own in (columns | further).items()} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"expected a UTF-8 CSV table, found {error} in {name}: save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"expected a table at {name}, found {error.strerror or error}: name the file") from error
    return rows, columns, names


def name_of(table: Path | bytes) -> str:
    """Name of a table for a message: its path, where it is a file."""
    return str(table) if isinstance(table, Path) else "the table"


def _opened(table: Path | bytes) -> TextIO:
    if isinstance(table, Path):
        return table.open(newline="", encoding="utf-8-sig")
    return io.TextIOWrapper(io.BytesIO(table), encoding="utf-8-sig", newline="")

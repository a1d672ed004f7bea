"""Tables: a CSV file with a row per image, whatever its columns and classes are called."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pneumoscope.data.class_names import CLASS_WORDS, ClassWords, DataNames, main_names, suggested_class_map
from pneumoscope.data.source_images import GROUP_COLUMNS, Listing, SourceImage, Vocabulary, patient_of_path
from pneumoscope.data.tables import COLUMNS, TEXT_TABLE_SUFFIXES, has_alias, read_rows
from pneumoscope.errors import DataError, listed
from pneumoscope.types import Etiology, Finding


def is_table(path: Path) -> bool:
    """Whether a path is that of a table of text."""
    return path.suffix.lower() in TEXT_TABLE_SUFFIXES and path.is_file()


@dataclass(frozen=True)
class Table:
    """Table of images, as it was read.

    Attributes:
        path: File.
        rows: Cells of each row by column; columns that are not known are named as the table names them.
        columns: Column to the name that the table has for it.
    """

    path: Path
    rows: Sequence[Mapping[str, str]]
    columns: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, known: DataNames) -> Self:
        """Table that has the columns path and class, whatever it calls them.

        Raises:
            DataError: A table that cannot be read, without these columns, or without rows.
        """
        rows, columns, names = read_rows(path, known.columns)
        if missing := {"path", "class"} - columns.keys():
            raise DataError(
                f"expected the columns path and class in {path}, found {listed(names) or 'no header'}: "
                f"name them by {' and '.join(f'--{column}-column' for column in sorted(missing))}"
            )
        if not rows:
            raise DataError(f"expected a row per film in {path}, found none: fill the table")
        return cls(path, rows, columns)

    @property
    def classes(self) -> list[str]:
        """Classes as the table names them, in the order of their first rows."""
        return list(dict.fromkeys(word for row in self.rows if (word := (row["class"] or "").strip())))


def list_table(table: Table, known: Vocabulary, names: DataNames) -> Listing:
    """List the images of a table.

    Args:
        table: Table.
        known: Words for classes and splits.
        names: Class map.

    Raises:
        DataError: A class that is not known, or none of a class of the class map.
    """
    rows, path = table.rows, table.path
    mapped = [(i, row) for i, row in enumerate(rows, start=2) if not names.classes or class_word(row) in known.words]
    left_out = Counter(_shown_class(row) for row in rows) - Counter(_shown_class(row) for _, row in mapped)
    names.check_found({word for row in rows if (word := class_word(row))}, path)
    if not names.classes:
        _check_words(path, rows, known.words)
    images = [_image_of_row(path, number, row, known) for number, row in mapped]
    if not images:
        raise DataError(
            f"expected images of {listed(sorted(known.words))} in {path}, found {listed(sorted(left_out))}: check the class map"
        )
    return Listing("table", tuple(images), table.columns, left_out)


def _check_words(table: Path, rows: Sequence[Mapping[str, str]], words: ClassWords) -> None:
    """Check that every row of a table has a known class."""
    lines: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        lines.setdefault(class_word(row), line)
    unknown = [word for word in lines if word not in words]
    if "" in unknown:
        raise DataError(f"expected a class in line {lines['']} of {table}, found none: add it, or delete the line")
    if unknown:
        class_map = suggested_class_map((word for word in lines if word in words), unknown)
        advice = f", or say which they are by {class_map}, which leaves out others" if class_map else ""
        raise DataError(
            f"expected classes out of {', '.join(main_names(words))} in {table}, found {listed(unknown)}, first in line {lines[unknown[0]]}: "
            f"correct them{advice}"
        )


def class_word(row: Mapping[str, str]) -> str:
    """Class of a row of a table, lower case."""
    return (row["class"] or "").strip().lower()


def _shown_class(row: Mapping[str, str]) -> str:
    """Class of a row for a message."""
    return class_word(row) or "no class"


def _image_of_row(table: Path, line: int, row: Mapping[str, str], known: Vocabulary) -> SourceImage:
    cell = {column: (row.get(column) or "").strip() for column in ("path", "class", "etiology", "patient")}
    finding, etiology = _class_of_row(table, line, cell, known.words)
    split_word = (row.get("split") or "train").strip().lower()
    if split_word not in known.splits:
        raise DataError(f"expected train or test as split in line {line} of {table}, found {split_word!r}: correct it")
    split = known.splits[split_word]
    if not cell["path"]:
        raise DataError(f"expected a path in line {line} of {table}, found none: add it, or delete the line")
    named, is_known = patient_of_path(cell["path"], split)
    return SourceImage(
        path=cell["path"],
        finding=finding,
        etiology=etiology,
        # Patients named by a table are one name space; numbers taken from file names are two.
        patient=cell["patient"] or named,
        split=split,
        known_name=bool(cell["patient"]) or is_known,
        groups={column: (row.get(column) or "").strip() for column in GROUP_COLUMNS},
        class_name=cell["class"].lower(),
        further={
            name: (value or "").strip()
            for name, value in row.items()
            # Another column of the classes is no cue to them.
            if name not in COLUMNS and not has_alias(name, ("class", "etiology", "path", "split", "patient"))
        },
    )


def _class_of_row(table: Path, line: int, cell: dict[str, str], words: ClassWords) -> tuple[Finding, Etiology]:
    word = cell["class"].lower()
    finding, etiology = words[word]
    named_etiology = cell["etiology"].lower()
    if not named_etiology or finding is Finding.NORMAL or "bacterial" not in words:
        return finding, etiology
    if named_etiology not in [*CLASS_WORDS, "unknown"]:
        raise DataError(
            f"expected bacterial, viral or unknown as etiology in line {line} of {table}, "
            f"found {named_etiology!r}: correct it"
        )
    return finding, CLASS_WORDS.get(named_etiology, (finding, Etiology.UNKNOWN))[1]

"""Tables: a CSV file with a row per image, whatever its columns and classes are called."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pneumoscope.data.class_names import CLASS_WORDS, ClassWords, DataNames, main_names
from pneumoscope.data.source_images import GROUP_COLUMNS, Listing, SourceImage, Vocabulary, patient_of_path
from pneumoscope.data.tables import COLUMNS, TEXT_TABLE_SUFFIXES, has_alias, read_rows
from pneumoscope.errors import DataError, listed
from pneumoscope.types import Etiology, Finding


def is_table(path: Path) -> bool:
    """Whether a path is that of a table of text."""
    return path.suffix.lower() in TEXT_TABLE_SUFFIXES and path.is_file()


def list_table(table: Path, known: Vocabulary, names: DataNames) -> Listing:
    """List the images of a table.

    Args:
        table: File in CSV.
        known: Words for classes and splits.
        names: Names of the table's columns, and its class map.

    Raises:
        DataError: No such column, or a class that is not known.
    """
    rows, columns = table_rows(table, names)
    mapped = [(i, row) for i, row in enumerate(rows, start=2) if not names.classes or class_word(row) in known.words]
    left_out = Counter(class_word(row) for row in rows) - Counter(class_word(row) for _, row in mapped)
    names.check_found({class_word(row) for row in rows}, table)
    images = [_image_of_row(table, number, row, known) for number, row in mapped]
    if not images:
        raise DataError(
            f"expected images of {listed(sorted(known.words))} in {table}, found {listed(sorted(left_out))}: check the class map"
        )
    return Listing("table", tuple(images), columns, left_out)


def classes_of_table(table: Path, names: DataNames) -> list[str]:
    """Classes of a table, as it names them, in its order.

    Raises:
        DataError: No column of classes or paths.
    """
    return list(dict.fromkeys(word for row in table_rows(table, names)[0] if (word := (row["class"] or "").strip())))


def class_word(row: Mapping[str, str]) -> str:
    """Class of a row of a table, lower case."""
    return (row["class"] or "").strip().lower()


def table_rows(table: Path, known: DataNames) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Rows of a table that has the columns path and class, whatever it calls them; and the names that it has for its columns."""
    rows, columns, names = read_rows(table, known.columns)
    if missing := {"path", "class"} - columns.keys():
        raise DataError(
            f"expected the columns path and class in {table}, found {listed(names) or 'no header'}: "
            f"name them by {' and '.join(f'--{column}-column' for column in sorted(missing))}"
        )
    if not rows:
        raise DataError(f"expected a row per film in {table}, found none: fill the table")
    return rows, columns


def _image_of_row(table: Path, line: int, row: dict[str, str], known: Vocabulary) -> SourceImage:
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
    if word not in words:
        raise DataError(
            f"expected a class out of {', '.join(main_names(words))} in line {line} of {table}, found {word!r}: correct it, or say which "
            f"it is by --class-map {word}=CLASS,..."
        )
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

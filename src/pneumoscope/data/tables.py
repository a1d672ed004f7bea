"""Tables of other people: what separates their cells, and which column is which."""

import re
from collections.abc import Iterable, Sequence

TEXT_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
_SEPARATORS = ",;\t|"
# Column to the names that it goes by, without regard to case, spaces and punctuation; the first that a table has counts.
_COLUMNS = {
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


def find_column(names: Iterable[str], column: str) -> str | None:
    """Name that a table has for a column, such as `path` or `class`; None where it has none.

    Args:
        names: Names of the table's columns.
        column: One of `path`, `class`, `etiology`, `patient`, `split`, `age`, `sex` and `view`.
    """
    named = list(names)
    if column in named:
        return column
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(named)}
    return next((plain[alias] for alias in _COLUMNS[column] if alias in plain), None)


def columns_of(names: Sequence[str]) -> dict[str, str]:
    """Column to the name that a table has for it, for all columns that it has."""
    return {column: name for column in _COLUMNS if (name := find_column(names, column)) is not None}

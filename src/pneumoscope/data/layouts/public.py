"""Public sets as they are published: what each has of its own, and what all have in common."""

import csv
import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from pneumoscope.data.class_names import CLASS_WORDS, ClassWords, DataNames
from pneumoscope.data.groups import FRONTAL_VIEWS, normalised_view
from pneumoscope.data.image_files import PACKED_SUFFIXES, walk_folder
from pneumoscope.data.source_images import Listing, SourceImage, Vocabulary
from pneumoscope.data.tables import read_rows
from pneumoscope.errors import DataError, did_you_mean, listed
from pneumoscope.types import Etiology, Finding, Split

# Reasons for which images of public sets are left out, as users read them.
_OTHER_FINDINGS = "other findings"
_UNCERTAIN = "uncertain"
_OTHER_VIEWS = "lateral and other views"
_SEVERAL = "several of the classes"
_MOST_PACKED = 3


@dataclass(frozen=True)
class PublicImage:
    """Image as the tables of a public set describe it.

    Attributes:
        key: Last parts of its path, without the ending, by which its file is found wherever the set was unpacked.
        labels: Findings, lower case.
        patient: Identifier of the patient; empty where the set names none.
        split: Part of the set that its authors put it in.
        groups: Age, sex and view, as far as the tables have them.
        uncertain: Findings that the set states to be uncertain, lower case.
        unfit: Reason for which the authors exclude the image from use; empty where they do not.
    """

    key: str
    labels: tuple[str, ...]
    patient: str
    split: Split = Split.TRAIN
    groups: Mapping[str, str] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    unfit: str = ""


@dataclass(frozen=True)
class PublicSet:
    """Public set: how it is known, read and obtained.

    Attributes:
        names: Names by which people call it, lower case; the first names its layout.
        title: Name for messages.
        tables: Patterns of the names of its tables, lower case.
        columns: Columns that each of these tables has.
        positive: Findings that count as pneumonia, lower case.
        negative: Finding that counts as normal, lower case.
        read: Images that tables describe.
        obtain: Where to obtain it, and under which agreement.
        key_parts: Number of last parts of a path that make a key.
    """

    names: tuple[str, ...]
    title: str
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    positive: tuple[str, ...]
    negative: str
    read: Callable[[Sequence[Path]], Iterator[PublicImage]]
    obtain: str
    key_parts: int = 1

    @property
    def words(self) -> ClassWords:
        """Findings, lower case, to classes."""
        positive = dict.fromkeys(self.positive, CLASS_WORDS["pneumonia"])
        return positive | {self.negative: CLASS_WORDS["normal"]}

    def has_table(self, table: Path) -> bool:
        """Whether a file is a table of this set, by its name and its columns."""
        if not any(fnmatch(table.name.lower(), pattern) for pattern in self.tables):
            return False
        try:
            with gzip.open(table) if _is_gzip(table) else table.open("rb") as stream:
                header = next(csv.reader([stream.readline().decode("utf-8-sig")]), [])
        except (OSError, EOFError, UnicodeDecodeError, csv.Error):
            return False
        return set(self.columns) <= {name.strip() for name in header}


@dataclass(frozen=True)
class FoundSet:
    """Public set that was found.

    Attributes:
        layout: The set.
        root: Folder that was named, or that of the table that was named.
        tables: Its tables there.
    """

    layout: PublicSet
    root: Path
    tables: tuple[Path, ...]

    @property
    def names(self) -> str:
        """Names of the tables, for messages."""
        return ", ".join(table.name for table in self.tables)


def list_public_set(found: FoundSet, vocabulary: Vocabulary, names: DataNames) -> Listing:
    """List the images of a public set that have a class, are frontal, and are there.

    An image is positive where one of its findings is, otherwise negative where its finding is; views other than AP and PA are left
    out unless the filters name views. Rows of several readers are one image, which is uncertain where they give it other classes.
    Of classes of any names an image has one, or is left out.

    Args:
        found: Set and its tables.
        vocabulary: Findings, lower case, to classes.
        names: Class map, which must fit, and filters.

    Raises:
        DataError: A table of another form, no image of a class, or no listed image there.
    """
    files, packed = _files(found)
    words, images, left_out = vocabulary.words, [], Counter[str]()
    absent, labels = 0, set[str]()
    readings: dict[str, list[PublicImage]] = {}
    for row in found.layout.read(found.tables):
        readings.setdefault(row.key, []).append(row)
        labels.update(row.labels)
    for key, rows in readings.items():
        path = files.get(key)
        if path is None:
            absent += 1
        elif reason := _common_reason(rows, vocabulary, any_view=bool(names.filters.views)):
            left_out[reason] += 1
        else:
            images.append(_source_image(path, rows[0], words))
    if not images and not left_out:
        unpack = f"unpack {listed(packed[:_MOST_PACKED])}" if packed else "add the images, or name the folder with them"
        raise DataError(
            f"expected the {absent:,} images of {found.names} below {found.root}, found none of them: {unpack}"
        )
    _check_words(found, words, names, labels)
    if not images:
        raise DataError(
            f"expected images of {listed(sorted(words))} in {found.names}, found {listed(sorted(left_out))}: name others, "
            "or the whole set"
        )
    total = absent + len(images) + left_out.total()
    remarks = (f"{absent:,} of {total:,} listed images are not there",) if absent else ()
    return Listing(found.layout.names[0], tuple(images), {}, left_out, found.layout.title, remarks)


def _check_words(found: FoundSet, words: ClassWords, names: DataNames, labels: set[str]) -> None:
    """Check that a set has the findings of a class map, or those that are named as classes."""
    names.check_found(labels, found.root)
    absent = [] if names.classes or words == found.layout.words else sorted(set(words) - labels)
    if absent:
        raise DataError(
            f"expected images of {absent[0]} in {found.names}, found none{did_you_mean(absent[0], labels)}: check the name"
        )


def key_of(path: str, parts: int = 1) -> str:
    """Last parts of a path with forward slashes, without the ending."""
    # Plain strings: a hundred thousand Path objects take seconds.
    *folders, name = path.split("/")[-parts:]
    stem, dot, _ = name.rpartition(".")
    return "/".join([*folders, stem if dot else name])


def read_public_table(table: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of a table of a public set, by column; empty text where a row has no such cell.

    Args:
        table: File in CSV, whole or compressed by gzip.
        columns: Name of a column here to the one that the table has for it; columns that the table lacks are empty.

    Raises:
        DataError: A table that cannot be read.
    """
    known = {column: (_plain(name),) for column, name in columns.items()}
    try:
        content = gzip.decompress(table.read_bytes()) if _is_gzip(table) else table
    except (OSError, EOFError) as error:
        raise DataError(f"expected a whole table, found {table} ({error}): download it again") from error
    rows, _, _ = read_rows(content, {}, known)
    return [{column: (row.get(column) or "").strip() for column in columns} for row in rows]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())


def _is_gzip(table: Path) -> bool:
    return table.suffix.lower() == ".gz"


def _files(found: FoundSet) -> tuple[dict[str, str], list[str]]:
    """Key of each image file to its path relative to the root; and the archives there."""
    files: dict[str, str] = {}
    packed = []
    start = len(str(found.root)) + 1
    for name in walk_folder(str(found.root), also=PACKED_SUFFIXES):
        path = name[start:].replace(os.sep, "/")
        if path.lower().endswith(PACKED_SUFFIXES):
            packed.append(path)
        else:
            # Of copies of one image, as of other sizes, the first counts.
            files.setdefault(key_of(path, found.layout.key_parts), path)
    return files, [name for name in packed if not name.lower().endswith(".csv.gz")]


def _common_reason(rows: Sequence[PublicImage], vocabulary: Vocabulary, any_view: bool) -> str:
    """Reason to leave an image of one or several readings out; empty text where it is used."""
    reasons = [_reason(row, vocabulary, any_view) for row in rows]
    found = {"" if reason else _class_of(row, vocabulary) for row, reason in zip(rows, reasons, strict=True)}
    if len(found) == 1:
        return reasons[0]
    return next((reason for reason in reasons if reason not in ("", _OTHER_FINDINGS)), _UNCERTAIN)


def _class_of(image: PublicImage, vocabulary: Vocabulary) -> tuple[Finding, Etiology] | str:
    """Class of an image that has one: findings of one meaning are one class, those of a data set's own are each their own."""
    label = _label(image, vocabulary.words)
    return label if vocabulary.own else vocabulary.words[label]


def _reason(image: PublicImage, vocabulary: Vocabulary, any_view: bool) -> str:
    """Reason to leave an image out; empty text where it is used."""
    words = vocabulary.words
    view = normalised_view(image.groups.get("view", ""))
    if image.unfit:
        return image.unfit
    if not any_view and view and view not in FRONTAL_VIEWS:
        return _OTHER_VIEWS
    if vocabulary.own and len(set(image.labels) & words.keys()) > 1:
        return _SEVERAL
    label = _label(image, words)
    positive = bool(label) and words[label][0] is Finding.PNEUMONIA
    if not positive and any(name in words and words[name][0] is Finding.PNEUMONIA for name in image.uncertain):
        return _UNCERTAIN
    return "" if label else _OTHER_FINDINGS


def _label(image: PublicImage, words: ClassWords) -> str:
    """Finding that decides the class of an image, positive ones first; empty text where none does."""
    known = [name for name in image.labels if name in words]
    return min(known, key=lambda name: words[name][0] is Finding.NORMAL, default="")


def _source_image(path: str, image: PublicImage, words: ClassWords) -> SourceImage:
    label = _label(image, words)
    finding, etiology = words[label]
    return SourceImage(
        path=path,
        finding=finding,
        etiology=etiology,
        patient=image.patient or image.key,
        split=image.split,
        known_name=bool(image.patient),
        groups=image.groups,
        class_name=label,
    )

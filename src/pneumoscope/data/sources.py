"""Where images come from: folders in Kaggle's or Mendeley's layout, a folder per class, a CSV table, MedMNIST.

Every source gives the same thing, a list of `SourceImage`; nothing is decoded here.
"""

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.names import facts_of_name
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import DataError, listed
from pneumoscope.types import IMAGE_SUFFIXES, Etiology, Finding, Split

# Kaggle's `val` holds 16 of the 5,232 training images: too few to measure anything, so they go back.
_SPLIT_FOLDERS = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.TRAIN, "valid": Split.TRAIN,
                  "validation": Split.TRAIN, "test": Split.TEST}  # fmt: skip
_CLASS_WORDS = {
    "normal": (Finding.NORMAL, Etiology.NONE),
    "pneumonia": (Finding.PNEUMONIA, Etiology.UNKNOWN),
    "bacteria": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "bacterial": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "virus": (Finding.PNEUMONIA, Etiology.VIRAL),
    "viral": (Finding.PNEUMONIA, Etiology.VIRAL),
}
_LAYOUTS = (
    "train/NORMAL and train/PNEUMONIA (Kaggle, Mendeley), a folder per class (normal, pneumonia, bacterial, viral), "
    "a CSV table with the columns path and class, or MedMNIST's pneumoniamnist*.npz"
)


@dataclass(frozen=True)
class SourceImage:
    """One image as its source names it: where it lies and what is said of it."""

    path: str
    finding: Finding
    etiology: Etiology
    patient: str
    split: Split
    conflict: str = ""
    known_name: bool = True


class Source:
    """A data set before it is indexed: its images, and how to get the pixels of one.

    Attributes:
        root: The folder, table or archive that the paths are relative to.
        images: All images, sorted by path.
        kind: `folders`, `table` or `medmnist`.
    """

    def __init__(self, root: Path, kind: str, images: list[SourceImage]) -> None:
        self.root = root
        self.kind = kind
        self.images = sorted(images, key=lambda image: image.path)
        self._archive: dict[str, NDArray[np.uint8]] = {}

    def file_of(self, path: str) -> Path:
        """The file that holds the image named `path`."""
        if self.kind == "medmnist":
            return self.root
        return (self.root if self.root.is_dir() else self.root.parent) / path

    def bytes_of(self, path: str) -> bytes:
        """The image's file as it is on disk; the pixel bytes for an image in an archive."""
        return self._array_of(path).tobytes() if self.kind == "medmnist" else self.file_of(path).read_bytes()

    def read(self, path: str, content: bytes | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Grey levels of one image, (height, width), uint8 or uint16.

        Args:
            path: As in `images`.
            content: The file's bytes where they are at hand, so that it is read once only.

        Raises:
            UnreadableImage: The image is not a whole, supported image.
        """
        if self.kind == "medmnist":
            return self._array_of(path)
        return read_grey(self.file_of(path), content)

    def _array_of(self, path: str) -> NDArray[np.uint8]:
        part, index = path.partition("#")[2].split("/")
        if part not in self._archive:
            with np.load(self.root, allow_pickle=False) as archive:
                self._archive[part] = archive[f"{part}_images"]
        image: NDArray[np.uint8] = self._archive[part][int(index)]
        return image


def open_source(root: Path) -> Source:
    """The images of a folder, table or archive.

    Raises:
        DataError: Nothing is there, or its layout is not one of the known ones.
    """
    if not root.exists():
        raise DataError(f"expected a data set at {root}, found nothing there: check the path of --data")
    if root.suffix == ".npz":
        return Source(root, "medmnist", _medmnist_images(root))
    if root.suffix == ".csv":
        return Source(root, "table", _table_images(root))
    if not root.is_dir():
        raise DataError(f"expected {_LAYOUTS}, found the file {root}: name one of these with --data")
    return Source(root, "folders", _folder_images(root))


def _folder_images(root: Path) -> list[SourceImage]:
    images = []
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith("."):
            continue
        relative = PurePosixPath(file.relative_to(root).as_posix())
        # macOS archives carry a shadow `__MACOSX` tree, and Kaggle's zip holds the whole set a second time.
        if "__MACOSX" in relative.parts or relative.parts[:2] == ("chest_xray", "chest_xray"):
            continue
        if (image := _image_in_folders(relative)) is not None:
            images.append(image)
    if not images:
        raise DataError(f"expected {_LAYOUTS}, found no such image below {root}: name another folder with --data")
    return images


def _image_in_folders(relative: PurePosixPath) -> SourceImage | None:
    """The image at `[.../split/].../class/.../name`, or None where no folder of its path names a class."""
    folders = [part.lower() for part in relative.parts[:-1]]
    word = next((part for part in reversed(folders) if part in _CLASS_WORDS), None)
    if word is None:
        return None
    split = next((_SPLIT_FOLDERS[part] for part in folders if part in _SPLIT_FOLDERS), Split.TRAIN)
    finding, etiology = _CLASS_WORDS[word]
    facts = facts_of_name(relative.stem)
    conflict = ""
    if facts is not None:
        if facts.finding is not finding or (etiology not in (Etiology.UNKNOWN, facts.etiology)):
            conflict = f"the folder says {word}, the name says {facts.etiology.value}"
        elif etiology is Etiology.UNKNOWN:
            etiology = facts.etiology
    patient = facts.patient if facts is not None else relative.stem
    return SourceImage(
        path=str(relative),
        finding=finding,
        etiology=etiology,
        patient=f"{_name_space(split)}/{patient}",
        split=split,
        conflict=conflict,
        known_name=facts is not None,
    )


def _name_space(split: Split) -> str:
    """Patient numbers start anew in the test set: 170 of its 202 person numbers recur in train as other children."""
    return "test" if split is Split.TEST else "train"


def _table_images(table: Path) -> list[SourceImage]:
    """Images of a CSV table with the columns path, class and, where known, etiology, patient and split."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"expected a UTF-8 CSV table, found {error} in {table}: save it as CSV") from error
    if missing := {"path", "class"} - columns:
        raise DataError(
            f"expected the columns path and class in {table}, found {listed(sorted(columns)) or 'no header'}: "
            f"add {' and '.join(sorted(missing))}"
        )
    if not rows:
        raise DataError(f"expected a row per film in {table}, found none: fill the table")
    return [_image_of_row(table, number, row) for number, row in enumerate(rows, start=2)]


def _image_of_row(table: Path, line: int, row: dict[str, str]) -> SourceImage:
    word = (row["class"] or "").strip().lower()
    if word not in _CLASS_WORDS:
        raise DataError(
            f"expected a class out of {', '.join(_CLASS_WORDS)} in line {line} of {table}, found {word!r}: correct it"
        )
    finding, etiology = _CLASS_WORDS[word]
    named_etiology = (row.get("etiology") or "").strip().lower()
    if named_etiology and finding is Finding.PNEUMONIA:
        if named_etiology not in [*_CLASS_WORDS, "unknown"]:
            raise DataError(
                f"expected bacterial, viral or unknown as etiology in line {line} of {table}, "
                f"found {named_etiology!r}: correct it"
            )
        etiology = _CLASS_WORDS.get(named_etiology, (finding, Etiology.UNKNOWN))[1]
    split_word = (row.get("split") or "train").strip().lower()
    if split_word not in _SPLIT_FOLDERS:
        raise DataError(f"expected train or test as split in line {line} of {table}, found {split_word!r}: correct it")
    split = _SPLIT_FOLDERS[split_word]
    path = (row["path"] or "").strip()
    facts = facts_of_name(PurePosixPath(path).stem)
    patient = (row.get("patient") or "").strip() or (facts.patient if facts else PurePosixPath(path).stem)
    # A table that names its patients speaks of one name space; numbers read off file names do not.
    named = bool((row.get("patient") or "").strip())
    return SourceImage(
        path=path,
        finding=finding,
        etiology=etiology,
        patient=patient if named else f"{_name_space(split)}/{patient}",
        split=split,
        known_name=named or facts is not None,
    )


def _medmnist_images(archive: Path) -> list[SourceImage]:
    """Images of MedMNIST's PneumoniaMNIST: label 0 is normal, 1 pneumonia; no patients, no etiology."""
    images = []
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            names = set(arrays.files)
            labels = {part: arrays[f"{part}_labels"].ravel() for part in ("train", "val", "test")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected MedMNIST's pneumoniamnist*.npz with train, val and test images and labels, found {archive} "
            f"({error}): download it again"
        ) from error
    for part, values in labels.items():
        if f"{part}_images" not in names or not set(values.tolist()) <= {0, 1}:
            raise DataError(
                f"expected images and the labels 0 and 1 of pneumoniamnist in {archive}, found others: "
                "name pneumoniamnist*.npz with --data"
            )
        split = _SPLIT_FOLDERS[part]
        for index, value in enumerate(values.tolist()):
            finding, etiology = _CLASS_WORDS["pneumonia" if value else "normal"]
            name = f"{part}/{index}"
            images.append(SourceImage(f"{archive.name}#{name}", finding, etiology, f"{part}-{index}", split))
    return images

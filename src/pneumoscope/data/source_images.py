"""Images of a source before they are read, and the listing of all of them that a layout gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pneumoscope.data.class_names import ClassWords
from pneumoscope.data.names import parse_file_name
from pneumoscope.types import Etiology, Finding, Split

# Kaggle's `val` holds 16 of the 5,232 training images: too few to measure anything, so they count as training images.
SPLIT_FOLDERS = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.TRAIN, "valid": Split.TRAIN,
                 "validation": Split.TRAIN, "dev": Split.TRAIN, "test": Split.TEST, "testing": Split.TEST}  # fmt: skip
# In a data set of other classes nobody has said so.
_OWN_SPLIT_FOLDERS = SPLIT_FOLDERS | dict.fromkeys(("val", "valid", "validation", "dev"), Split.VALIDATION)
# Columns of a table that tell groups of images apart.
GROUP_COLUMNS = ("age", "sex", "view")


@dataclass(frozen=True)
class Vocabulary:
    """Words for classes and splits.

    Attributes:
        words: Name of a class in the data set, lower case, to what it means.
        own: Whether the classes are of any names, those of the data set.
    """

    words: ClassWords
    own: bool = False

    @property
    def splits(self) -> Mapping[str, Split]:
        """Name of a split, lower case, to the split."""
        return _OWN_SPLIT_FOLDERS if self.own else SPLIT_FOLDERS


@dataclass(frozen=True)
class SourceImage:
    """Image of a source, before it is read.

    Attributes:
        path: Path relative to the source's root, with forward slashes; `file.npz#part/i` in an archive.
        finding: Normal or pneumonia.
        etiology: Bacterial, viral, none or unknown.
        patient: Patient identifier, unique within the source.
        split: Train or test.
        conflict: Contradiction between folder and file name, in words; empty where there is none.
        known_name: Whether the patient is known, from a table or a file name of either publisher.
        groups: Age in years, sex and view, as far as a table has these columns; a DICOM header may say more.
        class_name: Class as the data set names it, lower case where it stands for another name; empty in an archive of the usual classes.
        folder: Folder of the patient below that of the class; empty where there is none.
        further: Columns of a table that are not known by name, to their cells.
    """

    path: str
    finding: Finding
    etiology: Etiology
    patient: str
    split: Split
    conflict: str = ""
    known_name: bool = True
    groups: Mapping[str, str] = field(default_factory=dict)
    class_name: str = ""
    folder: str = ""
    further: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Images of a data set as its layout lists them.

    Attributes:
        layout: `folders`, `table`, `medmnist`, or the name of a public set.
        images: Images in any order.
        columns: Column of a table to the name that the table has for it; empty for folders and archives.
        left_out: Number of images that are left out, by class or reason.
        title: Name of a public set; empty for images of one's own.
        remarks: Further remarks for the user, on images that are not there or not kept by filters.
    """

    layout: str
    images: tuple[SourceImage, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    title: str = ""
    remarks: tuple[str, ...] = ()


def name_space(split: Split) -> str:
    """Prefix of patient identifiers: 170 of the 202 person numbers of the test set recur in train as other children."""
    return "test" if split is Split.TEST else "train"


def patient_of_path(path: str, split: Split = Split.TRAIN) -> tuple[str, bool]:
    """Patient of an image of a table that names none, and whether the file name tells it; else each image is a patient of its own."""
    file = PurePosixPath(path)
    name = parse_file_name(file)
    return f"{name_space(split)}/{name.patient if name else file.parent / file.stem}", name is not None

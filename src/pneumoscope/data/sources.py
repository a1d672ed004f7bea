"""Sources of images: folders in Kaggle's or Mendeley's layout, a folder per class, a CSV table, MedMNIST.

Every layout becomes a list of `SourceImage`; images are decoded on request only. Folders and tables may name two classes of a
site's own instead of normal and pneumonia: `Finding.PNEUMONIA` is then the positive one. For an audit there may be any number of
classes of any names (`data/class_names.py`).
"""

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.image_files import walk_folder
from pneumoscope.data.names import parse_file_name
from pneumoscope.data.reading import read_image
from pneumoscope.data.tables import COLUMNS, TEXT_TABLE_SUFFIXES, has_alias, read_rows
from pneumoscope.errors import ConfigError, DataError, did_you_mean, listed
from pneumoscope.types import BINARY, ClassScheme, Etiology, Finding, ImageHeader, Split

# Kaggle's `val` holds 16 of the 5,232 training images: too few to measure anything, so they count as training images.
SPLIT_FOLDERS = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.TRAIN, "valid": Split.TRAIN,
                 "validation": Split.TRAIN, "dev": Split.TRAIN, "test": Split.TEST, "testing": Split.TEST}  # fmt: skip
# In a data set of other classes nobody has said so.
_OWN_SPLIT_FOLDERS = SPLIT_FOLDERS | dict.fromkeys(("val", "valid", "validation", "dev"), Split.VALIDATION)
# Folders below those of the classes, from which on they are taken for patients.
_FEWEST_FOLDERS = 10
# Columns of a table that tell groups of images apart.
GROUP_COLUMNS = ("age", "sex", "view")
_CLASS_WORDS = {
    "normal": (Finding.NORMAL, Etiology.NONE),
    "pneumonia": (Finding.PNEUMONIA, Etiology.UNKNOWN),
    "bacteria": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "bacterial": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "virus": (Finding.PNEUMONIA, Etiology.VIRAL),
    "viral": (Finding.PNEUMONIA, Etiology.VIRAL),
}
# Names of classes whose meaning is plain; what they are taken for is shown before anything runs.
_PLAIN_WORDS = {
    **dict.fromkeys(
        ("healthy", "no finding", "no_finding", "no findings", "no pneumonia", "control"), _CLASS_WORDS["normal"]
    ),
    **dict.fromkeys(("sick", "pneumonic", "lung opacity", "covid", "covid-19", "covid19"), _CLASS_WORDS["pneumonia"]),
    **dict.fromkeys(("bacterial pneumonia", "pneumonia bacterial", "bacterial_pneumonia"), _CLASS_WORDS["bacterial"]),
    **dict.fromkeys(("viral pneumonia", "pneumonia viral", "viral_pneumonia"), _CLASS_WORDS["viral"]),
}
ClassWords = Mapping[str, tuple[Finding, Etiology]]
USUAL_WORDS: ClassWords = _CLASS_WORDS | _PLAIN_WORDS
LAYOUTS = (
    "train/NORMAL and train/PNEUMONIA (Kaggle, Mendeley), a folder per class (normal, pneumonia, bacterial, viral), "
    "a CSV table with the columns path and class, or MedMNIST's pneumoniamnist*.npz"
)


@dataclass(frozen=True)
class DataNames:
    """Names that a data set has for its classes and columns, where these are not plain.

    Attributes:
        classes: Name of a class in the data set to the name of a class here, such as normal or pneumonia; images of all other
            classes are left out. The usual names where empty.
        columns: `path`, `class` or `patient` to the name of the column in the table.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, class_map: str, columns: Mapping[str, str] | None = None) -> Self:
        """Names of a class map such as `No Finding=normal,Pneumonia=pneumonia`, and of columns; an empty name counts for none.

        Raises:
            ConfigError: A class map of another form.
        """
        pairs = [pair.rpartition("=") for pair in class_map.split(",") if pair.strip()]
        if any(not name.strip() or not to.strip() for name, _, to in pairs):
            raise ConfigError(
                f"expected a class map NAME=CLASS,NAME=CLASS, found {class_map}: such as 'No Finding=normal,Pneumonia=pneumonia'"
            )
        return cls(
            {name.strip(): to.strip() for name, _, to in pairs},
            {column: name for column, name in (columns or {}).items() if name},
        )

    def words(self, known: ClassWords) -> ClassWords:
        """Names of the data set, lower case, to classes, out of the known ones.

        Raises:
            DataError: A class that is not known.
        """
        if unknown := sorted({name for name in self.classes.values() if name.lower() not in known}):
            raise DataError(
                f"expected classes out of {', '.join(_named(known))} in the class map, found {listed(unknown)}: name these"
            )
        return {name.lower(): known[to.lower()] for name, to in self.classes.items()} or known


@dataclass(frozen=True)
class _Vocabulary:
    """Words for classes and splits.

    Attributes:
        words: Name of a class in the data set, lower case, to what it means.
        splits: Name of a split, lower case, to the split.
        own: Whether the classes are of any names, those of the data set.
    """

    words: ClassWords
    splits: Mapping[str, Split]
    own: bool

    @classmethod
    def of(cls, words: ClassWords, own: bool) -> Self:
        """Vocabulary with the splits that go with the classes."""
        return cls(words, _OWN_SPLIT_FOLDERS if own else SPLIT_FOLDERS, own)


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
        groups: Age in years, sex and view, as far as a table has these columns.
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


class Source:
    """Data set before it is indexed: the list of its images, and access to their bytes and pixels.

    Attributes:
        root: Folder, table or archive that the paths are relative to.
        layout: `folders`, `table` or `medmnist`.
        images: All images, sorted by path.
        scheme: Names of the negative and of the positive class, or of all classes.
        columns: Column of a table to the name that the table has for it; empty for folders and archives.
        left_out: Number of images of other classes than those of a class map, by class.
        own_classes: Whether the classes are of any names, those of the data set.
    """

    def __init__(
        self,
        root: Path,
        layout: str,
        images: list[SourceImage],
        scheme: ClassScheme = BINARY,
        columns: Mapping[str, str] | None = None,
        left_out: Mapping[str, int] | None = None,
        own_classes: bool = False,
    ) -> None:
        self.root = root
        self.own_classes = own_classes
        self.columns = dict(columns or {})
        self.left_out = dict(left_out or {})
        self.layout = layout
        self.scheme = scheme
        self.images = sorted(images, key=lambda image: image.path)
        self._archive: dict[str, NDArray[np.uint8]] = {}

    @property
    def names_taken(self) -> str:
        """What other names of columns and classes were taken for, in words; empty where all have the usual names."""
        columns = [f"{column} from {listed([name])}" for column, name in self.columns.items() if name != column]
        counts = Counter((image.class_name, _usual_name(image, self.scheme)) for image in self.images)
        classes = [f"{listed([name])} is {usual} ({count:,})" for (name, usual), count in sorted(counts.items())]
        plain = any(name not in ("", usual.lower(), *_CLASS_WORDS) for name, usual in counts) or self.left_out
        if self.own_classes:
            found = Counter(image.class_name for image in self.images)
            classes, plain = [f"{listed([name])} ({found[name]:,})" for name in self.scheme.names], True
        left_out = [f"{listed([name])} ({count:,})" for name, count in sorted(self.left_out.items())]
        title = "classes " if self.own_classes else ""
        parts = {"columns ": columns, title: classes if plain else [], "left out: ": left_out}
        return "; ".join(f"{title}{', '.join(found)}" for title, found in parts.items() if found)

    def only(self, paths: Collection[str]) -> "Source":
        """Source of some of the images."""
        wanted = set(paths)
        images = [image for image in self.images if image.path in wanted]
        return Source(self.root, self.layout, images, self.scheme, self.columns, own_classes=self.own_classes)

    def file_of(self, path: str) -> Path:
        """Path of the file that contains an image."""
        if self.layout == "medmnist":
            return self.root
        return (self.root if self.root.is_dir() else self.root.parent) / path

    def bytes_of(self, path: str) -> bytes:
        """Bytes of an image's file; pixel bytes for an image in an archive."""
        return self._array_of(path).tobytes() if self.layout == "medmnist" else self.file_of(path).read_bytes()

    def read(self, path: str, content: bytes | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Read the grey levels of an image; see `read_image`."""
        return self.read_image(path, content)[0]

    def read_image(
        self, path: str, content: bytes | None = None
    ) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], ImageHeader | None]:
        """Read the grey levels of an image, (height, width) uint8 or uint16, and the header of a DICOM object.

        Args:
            path: Path of the image, as in `images`.
            content: Bytes of the file, if they have been read already.

        Raises:
            UnreadableImage: Damaged or unsupported image.
        """
        if self.layout == "medmnist":
            return _grey(self._array_of(path)), None
        return read_image(self.file_of(path), content)

    def _array_of(self, path: str) -> NDArray[np.uint8]:
        part, index = path.partition("#")[2].split("/")
        if part not in self._archive:
            with np.load(self.root, allow_pickle=False) as archive:
                self._archive[part] = archive[f"{part}_images"]
        image: NDArray[np.uint8] = self._archive[part][int(index)]
        return image


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of an array (height, width, 3); another one as it is."""
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def open_source(
    root: Path,
    positive: str = BINARY.positive,
    negative: str = "",
    names: DataNames | None = None,
    own_classes: Mapping[str, str] | None = None,
) -> Source:
    """List the images of a folder, table or archive.

    Args:
        root: Folder, table or archive.
        positive: Name of the positive class.
        negative: Name of the negative class, where `positive` is a site's own; the only other one that there is where empty.
        names: Names of classes and columns; those that are plain are known where None.
        own_classes: Words for classes, lower case, to the names of the data set's own classes, the negative one first; images of
            others are left out. The two classes where None.

    Raises:
        DataError: Missing file or folder, an unknown layout, or classes of other names.
    """
    if not root.exists():
        raise DataError(f"expected a data set at {root}, found nothing there: check the path of --data")
    names = names or DataNames()
    scheme, words = BINARY, USUAL_WORDS
    if positive.lower() != BINARY.positive:
        scheme = ClassScheme((negative or _other_class(root, positive, names), positive))
        words = {
            scheme.negative.lower(): (Finding.NORMAL, Etiology.NONE),
            positive.lower(): (Finding.PNEUMONIA, Etiology.UNKNOWN),
        }
    if own_classes:
        scheme = ClassScheme(tuple(dict.fromkeys(own_classes.values())))
        words = {word: _own_meaning(name == scheme.negative) for word, name in own_classes.items()}
    else:
        words = names.words(words)
    known = _Vocabulary.of(words, own=bool(own_classes))
    layout, images, columns, left_out = _listed_images(root, names, known, scheme)
    if own_classes:
        images = [replace(image, class_name=own_classes[image.class_name]) for image in images]
    return Source(root, layout, images, scheme, columns, left_out, bool(own_classes))


def _own_meaning(negative: bool) -> tuple[Finding, Etiology]:
    """Meaning of a class of any name: the negative one, or one of the others."""
    return (Finding.NORMAL, Etiology.NONE) if negative else (Finding.PNEUMONIA, Etiology.UNKNOWN)


def _listed_images(
    root: Path, names: DataNames, known: _Vocabulary, scheme: ClassScheme
) -> tuple[str, list[SourceImage], dict[str, str], dict[str, int]]:
    """Layout, images, names of columns, and number of images of each class that is left out."""
    if root.suffix == ".npz":
        return "medmnist", _medmnist_images(root, known), {}, {}
    if is_table(root):
        return "table", *_table_images(root, names, known)
    if not root.is_dir():
        raise DataError(f"expected {LAYOUTS}, found the file {root}: name one of these with --data")
    return "folders", _folder_images(root, known, scheme), {}, {}


def _table_images(
    root: Path, names: DataNames, known: _Vocabulary
) -> tuple[list[SourceImage], dict[str, str], dict[str, int]]:
    rows, columns = table_rows(root, names)
    mapped = [(i, row) for i, row in enumerate(rows, start=2) if not names.classes or class_word(row) in known.words]
    left_out = Counter(class_word(row) for row in rows) - Counter(class_word(row) for _, row in mapped)
    found = {class_word(row) for row in rows}
    if absent := sorted(name for name in names.classes if name.lower() not in found):
        raise DataError(
            f"expected the classes of the class map in {root}, found none named {listed(absent)}"
            f"{did_you_mean(absent[0].lower(), found)}: correct the class map"
        )
    images = [_image_of_row(root, number, row, known) for number, row in mapped]
    if not images:
        raise DataError(
            f"expected images of {listed(sorted(known.words))} in {root}, found {listed(sorted(left_out))}: check the class map"
        )
    return images, columns, left_out


def is_table(path: Path) -> bool:
    """Whether a path is that of a text table."""
    return path.suffix.lower() in TEXT_TABLE_SUFFIXES and path.is_file()


def subsample(source: Source, limit: int) -> Source:
    """Source with every k-th image of each class and split, in the order of the paths."""
    fraction = min(1.0, limit / len(source.images))
    kept = []
    groups: dict[tuple[str, ...], list[SourceImage]] = {}
    for image in source.images:
        groups.setdefault((image.split, image.finding, image.etiology), []).append(image)
    for images in groups.values():
        count = max(1, round(fraction * len(images)))
        kept += [images[i * len(images) // count] for i in range(count)]
    return source.only([image.path for image in kept])


def _other_class(root: Path, positive: str, names: DataNames) -> str:
    """Name of the one class beside the positive one, of folders beside its folder or of a table.

    Raises:
        DataError: No image of the positive class, or another number of other classes than one.
    """
    if names.classes:
        found = set(names.classes.values())
    elif is_table(root):
        found = {row["class"].strip() for row in table_rows(root, names)[0] if (row["class"] or "").strip()}
    else:
        paths = [file.relative_to(root).parts[:-1] for file in map(Path, walk_folder(str(root)))]
        # The other class has its folders where the positive one has them.
        depths = {depth for folders in paths for depth, name in enumerate(folders) if name.lower() == positive.lower()}
        found = {folders[depth] for folders in paths for depth in depths if depth < len(folders)}
        found = found or {folders[-1] for folders in paths if folders}
    others = sorted(name for name in found if name.lower() != positive.lower())
    if len(others) == len(found) or len({name.lower() for name in others}) != 1:
        raise DataError(
            f"expected images of {positive} and of one other class in {root}, found {listed(sorted(found)) or 'no class'}: "
            "check the name, and leave the two classes alone there"
        )
    return others[0]


def files_of(root: Path) -> list[PurePosixPath]:
    """Paths of the images in a folder, relative to it, without second copies."""
    relative = (PurePosixPath(Path(file).relative_to(root).as_posix()) for file in walk_folder(str(root)))
    # macOS archives contain a shadow `__MACOSX` tree, and Kaggle's zip contains the whole set a second time.
    return [
        path for path in relative if "__MACOSX" not in path.parts and path.parts[:2] != ("chest_xray", "chest_xray")
    ]


def _folder_images(root: Path, known: _Vocabulary, scheme: ClassScheme) -> list[SourceImage]:
    images, others = [], Counter[str]()
    for relative in files_of(root):
        if (image := _image_in_folders(relative, known)) is not None:
            images.append(image)
        else:
            others[relative.parent.name] += 1
    if len({(image.class_name, image.folder) for image in images if image.folder}) >= _FEWEST_FOLDERS:
        # Fewer folders below those of the classes may be of devices or views. One patient may have images of both classes.
        images = [
            replace(image, patient=image.folder if known.own else f"{_name_space(image.split)}/{image.folder}")
            if image.folder
            else image
            for image in images
        ]
    else:
        images = [replace(image, folder="") for image in images]
    if not images and scheme.is_own:
        raise DataError(
            f"expected the folders {scheme.negative} and {scheme.positive} in {root}, found {_found_folders(others)}: name another with --data"
        )
    if not images:
        raise DataError(
            f"expected {LAYOUTS}, found {_found_folders(others)} below {root}: name another folder with --data"
        )
    return images


def _found_folders(count: Mapping[str, int]) -> str:
    """Folders that name no class, in words."""
    named = {name: number for name, number in count.items() if name}
    if not named:
        return f"{sum(count.values())} images in no folder" if count else "no image"
    return f"images in {listed(sorted(named))}"


def _image_in_folders(relative: PurePosixPath, known: _Vocabulary) -> SourceImage | None:
    """Image at `[.../split/].../class/.../name`; None where no folder of its path names a class."""
    words = known.words
    folders = [part.lower() for part in relative.parts[:-1]]
    word = next((part for part in reversed(folders) if part in words), None)
    if word is None:
        return None
    split = next((known.splits[part] for part in folders if part in known.splits), Split.TRAIN)
    finding, etiology = words[word]
    below = len(folders) - 1 - folders[::-1].index(word)
    # In a folder below that of its class a file is named by its number, not by its patient.
    name = parse_file_name(relative) if below == len(folders) - 1 else None
    conflict = ""
    if name is not None and "bacterial" in words:
        if name.finding is not finding or (etiology not in (Etiology.UNKNOWN, name.etiology)):
            conflict = f"the folder says {word}, the name says {name.etiology.value}"
        elif etiology is Etiology.UNKNOWN:
            etiology = name.etiology
    # Files of one name in several folders are several patients, as far as anybody knows.
    patient = name.patient if name is not None else str(relative.with_suffix(""))
    return SourceImage(
        path=str(relative),
        finding=finding,
        etiology=etiology,
        patient=f"{_name_space(split)}/{patient}",
        split=split,
        conflict=conflict,
        known_name=name is not None,
        class_name=word,
        folder=relative.parts[below + 1] if below < len(folders) - 1 else "",
    )


def _usual_name(image: SourceImage, scheme: ClassScheme) -> str:
    """Class of an image by the names of pneumoscope, or of the site."""
    if scheme.is_own or image.finding is Finding.NORMAL or image.etiology is Etiology.UNKNOWN:
        return scheme.positive if image.finding is Finding.PNEUMONIA else scheme.negative
    return image.etiology.value


def _name_space(split: Split) -> str:
    """Prefix of patient identifiers: 170 of the 202 person numbers of the test set recur in train as other children."""
    return "test" if split is Split.TEST else "train"


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


def _image_of_row(table: Path, line: int, row: dict[str, str], known: _Vocabulary) -> SourceImage:
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


def patient_of_path(path: str, split: Split = Split.TRAIN) -> tuple[str, bool]:
    """Patient of an image of a table that names none, and whether the file name tells it; else each image is a patient of its own."""
    file = PurePosixPath(path)
    name = parse_file_name(file)
    return f"{_name_space(split)}/{name.patient if name else file.parent / file.stem}", name is not None


def _named(words: ClassWords) -> list[str]:
    """Class names for a message, without the further ones of the usual classes."""
    return [word for word in words if word not in _PLAIN_WORDS]


def _class_of_row(table: Path, line: int, cell: dict[str, str], words: ClassWords) -> tuple[Finding, Etiology]:
    word = cell["class"].lower()
    if word not in words:
        raise DataError(
            f"expected a class out of {', '.join(_named(words))} in line {line} of {table}, found {word!r}: correct it, or say which "
            f"it is by --class-map {word}=CLASS,..."
        )
    finding, etiology = words[word]
    named_etiology = cell["etiology"].lower()
    if not named_etiology or finding is Finding.NORMAL or "bacterial" not in words:
        return finding, etiology
    if named_etiology not in [*_CLASS_WORDS, "unknown"]:
        raise DataError(
            f"expected bacterial, viral or unknown as etiology in line {line} of {table}, "
            f"found {named_etiology!r}: correct it"
        )
    return finding, _CLASS_WORDS.get(named_etiology, (finding, Etiology.UNKNOWN))[1]


def _medmnist_images(archive: Path, known: _Vocabulary) -> list[SourceImage]:
    """Images of a MedMNIST archive; of PneumoniaMNIST label 0 is normal, 1 pneumonia. Patients and etiologies are unknown."""
    words = known.words if known.own else {"0": _CLASS_WORDS["normal"], "1": _CLASS_WORDS["pneumonia"]}
    images = []
    for part, labels in medmnist_labels(archive).items():
        if not known.own and not set(labels) <= words.keys():
            raise DataError(
                f"expected images and the labels 0 and 1 of pneumoniamnist in {archive}, found others: "
                "name pneumoniamnist*.npz with --data"
            )
        for position, label in enumerate(labels):
            if label in words:
                finding, etiology = words[label]
                path, patient = f"{archive.name}#{part}/{position}", f"{part}-{position}"
                name = label if known.own else ""
                images.append(SourceImage(path, finding, etiology, patient, known.splits[part], class_name=name))
    return images


def medmnist_labels(archive: Path) -> dict[str, list[str]]:
    """Labels of the images of each part, train, val and test, of a MedMNIST archive.

    Raises:
        DataError: No archive, another one, or one of several labels an image or of volumes.
    """
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            labels = {part: arrays[f"{part}_labels"] for part in ("train", "val", "test")}
            shapes = {part: arrays[f"{part}_images"].shape for part in labels}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected an archive of MedMNIST, such as pneumoniamnist*.npz, with train, val and test images and labels, found {archive} "
            f"({str(error).partition('.')[0]}): download it again"
        ) from error
    for part, values in labels.items():
        if values.size != len(values) or len(shapes[part]) not in (3, 4) or shapes[part][3:] not in ((), (3,)):
            raise DataError(
                f"expected one label for each image (height, width) in {archive}, found labels of shape {values.shape} and "
                f"images of shape {shapes[part]}: name an archive of images with one label each"
            )
    return {part: [str(int(value)) for value in values.ravel()] for part, values in labels.items()}

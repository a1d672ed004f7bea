"""Folders: Kaggle's and Mendeley's layout and names, or a folder per class."""

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

from pneumoscope.data.class_names import DataNames, suggested_class_map
from pneumoscope.data.image_files import PACKED_SUFFIXES, walk_folder
from pneumoscope.data.names import parse_file_name
from pneumoscope.data.source_images import SPLIT_FOLDERS, Listing, SourceImage, Vocabulary, name_space
from pneumoscope.data.tables import TEXT_TABLE_SUFFIXES, has_labels
from pneumoscope.errors import DataError, counted, listed
from pneumoscope.types import ClassScheme, Etiology, Split

# Folders below those of the classes, from which on they are taken for patients.
_FEWEST_FOLDERS = 10
# Tables that a message names.
_MOST_TABLES = 3
# Folders of images that show no patient.
_MASKS = frozenset({"mask", "masks", "segmentation", "segmentations", "annotation", "annotations"})


LAYOUTS = (
    "train/NORMAL and train/PNEUMONIA (Kaggle, Mendeley), a folder per class (normal, pneumonia, bacterial, viral), "
    "a CSV table with the columns path and class, MedMNIST's pneumoniamnist*.npz, or a public set as it is published"
)


@dataclass(frozen=True)
class FolderFiles:
    """Files in a folder and its subfolders, without second copies.

    Attributes:
        images: Paths of images, relative to the folder.
        tables: Paths of tables (.csv, .tsv) with a column of classes.
        packed: Number of archives and compressed files.
    """

    images: tuple[PurePosixPath, ...]
    tables: tuple[Path, ...]
    packed: int

    @classmethod
    def of(cls, root: Path) -> Self:
        """Files of a folder, from one walk."""
        others = Counter[str]()
        found = list(walk_folder(str(root), tuple(TEXT_TABLE_SUFFIXES), others))
        is_table = [file.lower().endswith(tuple(TEXT_TABLE_SUFFIXES)) for file in found]
        relative = (PurePosixPath(Path(file).relative_to(root).as_posix()) for file in found)
        # macOS archives contain a shadow `__MACOSX` tree, and Kaggle's zip contains the whole set a second time.
        known = [
            (path, of_table)
            for path, of_table in zip(relative, is_table, strict=True)
            if "__MACOSX" not in path.parts and path.parts[:2] != ("chest_xray", "chest_xray")
        ]
        return cls(
            tuple(path for path, of_table in known if not of_table),
            tuple(root / path for path, of_table in known if of_table and has_labels(root / path)),
            sum(others[suffix] for suffix in PACKED_SUFFIXES),
        )


def list_folders(root: Path, found: FolderFiles, known: Vocabulary, scheme: ClassScheme, names: DataNames) -> Listing:
    """List the images of a folder by the folders of their classes.

    Args:
        root: Folder.
        found: Its files.
        known: Words for folders of classes and splits.
        scheme: Names of the classes, for messages.
        names: Class map, whose classes must be there.

    Raises:
        DataError: No image in a folder of a class, or none of a class of the class map.
    """
    of_masks = Counter[str]()
    files = without_masks(found.images, known.words, of_masks)
    level = _class_level(files, known)
    folder_of = {path: _folder_at(path, _first_level(files) if level is None else level) for path in files}
    names.check_found(
        {part.lower() for path in files for part in path.parts[:-1]} if names.classes else (), root, folder_of.values()
    )
    own_level = level if known.own else None
    by_path = {path: image for path in files if (image := _image_in_folders(path, known, own_level)) is not None}
    others = Counter(folder_of[path] for path in files if path not in by_path)
    if not by_path:
        raise DataError(_no_class(root, found, others, scheme))
    images = _with_folder_patients(by_path, known, own_level)
    own_names = bool(names.classes) or known.own or scheme.is_own
    remarks = [] if own_names else _mapping_advice({image.class_name for image in images}, others)
    return Listing(
        "folders",
        tuple(images),
        left_out=of_masks + Counter({name or "images in no folder": number for name, number in others.items()}),
        remarks=tuple(filter(None, (*remarks, table_advice(found)))),
    )


def _with_folder_patients(
    by_path: Mapping[PurePosixPath, SourceImage], known: Vocabulary, level: int | None
) -> list[SourceImage]:
    """Images with the patients that folders below those of the classes, or above them, name."""
    above = {_folder_above(path, level) for path in by_path} if level else set()
    images = [
        replace(image, folder=_folder_above(path, level))
        if len(above) >= _FEWEST_FOLDERS and not image.folder
        else image
        for path, image in by_path.items()
    ]
    if len({(image.class_name, image.folder) for image in images if image.folder}) < _FEWEST_FOLDERS:
        return [replace(image, folder="") for image in images]
    # Fewer folders below those of the classes may be of devices or views. One patient may have images of both classes.
    are_numbered = all(image.folder.isdecimal() for image in images if image.folder)
    return [
        replace(image, patient=_folder_patient(image, known, are_numbered)) if image.folder else image
        for image in images
    ]


def _no_class(root: Path, found: FolderFiles, others: Mapping[str, int], scheme: ClassScheme) -> str:
    """Message for a folder without a folder of a class."""
    if not others and found.packed:
        return f"expected images in {root}, found {counted(found.packed, 'packed file')} and no image: unpack them"
    expected = f"the folders {scheme.negative} and {scheme.positive} in {root}" if scheme.is_own else LAYOUTS
    where = "" if scheme.is_own else f" below {root}"
    advice = table_advice(found) or "name another folder with --data"
    if not found.tables and not scheme.is_own and (class_map := _class_map_of((), others)):
        advice = f"say which class each is, {class_map}, or {advice}"
    return f"expected {expected}, found {_found_folders(others)}{where}: {advice}"


def _mapping_advice(classes: Collection[str], others: Mapping[str, int]) -> list[str]:
    """Class map that takes folders that are left out as well; nothing where none is."""
    class_map = _class_map_of(sorted(classes), others)
    return [f"to use them, {class_map}"] if class_map else []


def _class_map_of(classes: Iterable[str], others: Iterable[str]) -> str:
    """Option --class-map that names the others, but for folders of splits, which are no classes; empty where it can name none."""
    found = suggested_class_map(classes, (name for name in sorted(others) if name.lower() not in SPLIT_FOLDERS))
    return f"{found} with CLASS out of normal, pneumonia, bacterial, viral" if found else ""


def table_advice(found: FolderFiles) -> str:
    """How to use a table of labels that lies beside the images; empty where there is none."""
    if not found.tables:
        return ""
    shown = listed((table.name for table in found.tables), most=_MOST_TABLES)
    return f"labels lie in {shown}, to use those of a table: --data {shlex.quote(str(found.tables[0]))}"


def without_masks(
    files: Iterable[PurePosixPath], classes: Collection[str] = (), left_out: Counter[str] | None = None
) -> list[PurePosixPath]:
    """Files that are in no folder of masks, segmentations or annotations.

    Args:
        files: Paths of images.
        classes: Names of classes, lower case, which are kept even so.
        left_out: Counter of what is left out, by folder; not counted where None.
    """
    kept = []
    for path in files:
        folders = [part.lower() for part in path.parts[:-1]]
        if found := [part for part in folders if part in _MASKS and part not in classes]:
            if left_out is not None:
                left_out[found[-1]] += 1
        else:
            kept.append(path)
    return kept


def beside_splits(folders: Sequence[str]) -> list[str]:
    """Folders without those of splits."""
    return [part for part in folders if part.lower() not in SPLIT_FOLDERS]


def _class_level(files: Sequence[PurePosixPath], known: Vocabulary) -> int | None:
    """Level, without folders of splits, at which most files have a folder of a class, the outermost of several; None where none has one.

    One level for all files: a patient's folder below may have the name of a class, such as a number.
    """
    found = Counter[int]()
    for path in files:
        found.update(i for i, part in enumerate(beside_splits(path.parts[:-1])) if part.lower() in known.words)
    return min(found, key=lambda level: (-found[level], level), default=None)


def first_level(folders: Sequence[Sequence[str]]) -> int:
    """First level of folders, without those of splits, in which images differ; the last one that all have where none does."""
    level = 0
    while folders and len({path[level] for path in folders}) == 1 and all(len(path) > level + 1 for path in folders):
        level += 1
    return level


def _first_level(files: Iterable[PurePosixPath]) -> int:
    return first_level([inside for path in files if (inside := beside_splits(path.parts[:-1]))])


def _folder_at(path: PurePosixPath, level: int) -> str:
    """Folder of an image at a level, its last one where it has fewer; empty where it has none."""
    folders = beside_splits(path.parts[:-1]) or path.parts[-2:-1]
    return folders[min(level, len(folders) - 1)] if folders else ""


def _folder_above(path: PurePosixPath, level: int | None) -> str:
    """Folder above that of the class; empty where there is none."""
    folders = beside_splits(path.parts[:-1])
    return folders[level - 1] if level and level <= len(folders) else ""


def _folder_patient(image: SourceImage, known: Vocabulary, are_numbered: bool) -> str:
    """Patient by folder; folders that are numbered may be numbered afresh in each split."""
    if not known.own:
        return f"{name_space(image.split)}/{image.folder}"
    return f"{image.split.value}/{image.folder}" if are_numbered else image.folder


def _found_folders(count: Mapping[str, int]) -> str:
    """Folders that name no class, in words."""
    named = {name: number for name, number in count.items() if name}
    if not named:
        return f"{counted(sum(count.values()), 'image')} in no folder" if count else "no image"
    return f"images in {listed(sorted(named))}"


def _class_position(folders: Sequence[str], known: Vocabulary, level: int | None) -> int | None:
    """Position of the folder of the class: that at the level of classes, else the innermost with the name of one; None where none has."""
    own = [i for i, part in enumerate(folders) if part not in SPLIT_FOLDERS]
    if level is not None and level < len(own) and folders[own[level]] in known.words:
        return own[level]
    return max((i for i, part in enumerate(folders) if part in known.words), default=None)


def _image_in_folders(relative: PurePosixPath, known: Vocabulary, level: int | None) -> SourceImage | None:
    """Image at `[.../split/].../class/.../name`; None where no folder of its path names a class."""
    words = known.words
    folders = [part.lower() for part in relative.parts[:-1]]
    if (below := _class_position(folders, known, level)) is None:
        return None
    word = folders[below]
    split = next((known.splits[part] for part in folders if part in known.splits), Split.TRAIN)
    finding, etiology = words[word]
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
        patient=f"{name_space(split)}/{patient}",
        split=split,
        conflict=conflict,
        known_name=name is not None,
        class_name=word,
        folder=relative.parts[below + 1] if below < len(folders) - 1 else "",
    )

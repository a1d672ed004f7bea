"""Folders: Kaggle's and Mendeley's layout and names, or a folder per class."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pneumoscope.data.image_files import PACKED_SUFFIXES, walk_folder
from pneumoscope.data.names import parse_file_name
from pneumoscope.data.source_images import SPLIT_FOLDERS, Listing, SourceImage, Vocabulary, name_space
from pneumoscope.errors import DataError, listed
from pneumoscope.types import ClassScheme, Etiology, Split

# Folders below those of the classes, from which on they are taken for patients.
_FEWEST_FOLDERS = 10
# Folders of images that show no patient.
_MASKS = frozenset({"mask", "masks", "segmentation", "segmentations", "annotation", "annotations"})


LAYOUTS = (
    "train/NORMAL and train/PNEUMONIA (Kaggle, Mendeley), a folder per class (normal, pneumonia, bacterial, viral), "
    "a CSV table with the columns path and class, MedMNIST's pneumoniamnist*.npz, or a public set as it is published"
)


def files_of(root: Path, left_out: Counter[str] | None = None) -> list[PurePosixPath]:
    """Paths of the images in a folder, relative to it, without second copies.

    Args:
        root: Folder.
        left_out: Counter of the suffixes of files that are no images; not counted where None.
    """
    found = walk_folder(str(root), left_out=left_out)
    relative = (PurePosixPath(Path(file).relative_to(root).as_posix()) for file in found)
    # macOS archives contain a shadow `__MACOSX` tree, and Kaggle's zip contains the whole set a second time.
    return [
        path for path in relative if "__MACOSX" not in path.parts and path.parts[:2] != ("chest_xray", "chest_xray")
    ]


def list_folders(root: Path, known: Vocabulary, scheme: ClassScheme) -> Listing:
    """List the images of a folder by the folders of their classes.

    Args:
        root: Folder.
        known: Words for folders of classes and splits.
        scheme: Names of the classes, for messages.

    Raises:
        DataError: No image in a folder of a class.
    """
    images, others = [], Counter[str]()
    skipped, of_masks = Counter[str](), Counter[str]()
    files = without_masks(files_of(root, skipped), known.words, of_masks)
    level = _class_level(files, known) if known.own else None
    above = {_folder_above(path, level) for path in files} if level else set()
    for relative in files:
        if (image := _image_in_folders(relative, known, level)) is not None:
            if len(above) >= _FEWEST_FOLDERS and not image.folder:
                image = replace(image, folder=_folder_above(relative, level))
            images.append(image)
        else:
            others[relative.parent.name] += 1
    if len({(image.class_name, image.folder) for image in images if image.folder}) >= _FEWEST_FOLDERS:
        # Fewer folders below those of the classes may be of devices or views. One patient may have images of both classes.
        are_numbered = all(image.folder.isdecimal() for image in images if image.folder)
        images = [
            replace(image, patient=_folder_patient(image, known, are_numbered)) if image.folder else image
            for image in images
        ]
    else:
        images = [replace(image, folder="") for image in images]
    if not images and not others and (packed := sum(skipped[suffix] for suffix in PACKED_SUFFIXES)):
        raise DataError(f"expected images in {root}, found {packed} packed files and no image: unpack them")
    if not images and scheme.is_own:
        raise DataError(
            f"expected the folders {scheme.negative} and {scheme.positive} in {root}, found {_found_folders(others)}: name another with --data"
        )
    if not images:
        raise DataError(
            f"expected {LAYOUTS}, found {_found_folders(others)} below {root}: name another folder with --data"
        )
    return Listing("folders", tuple(images), left_out=of_masks)


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
        return f"{sum(count.values())} images in no folder" if count else "no image"
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

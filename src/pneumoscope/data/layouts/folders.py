"""Folders: Kaggle's and Mendeley's layout and names, or a folder per class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pneumoscope.data.image_files import PACKED_SUFFIXES, walk_folder
from pneumoscope.data.names import parse_file_name
from pneumoscope.data.source_images import Listing, SourceImage, Vocabulary, name_space
from pneumoscope.errors import DataError, listed
from pneumoscope.types import ClassScheme, Etiology, Split

# Folders below those of the classes, from which on they are taken for patients.
_FEWEST_FOLDERS = 10


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
    skipped = Counter[str]()
    for relative in files_of(root, skipped):
        if (image := _image_in_folders(relative, known)) is not None:
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
    return Listing("folders", tuple(images))


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


def _image_in_folders(relative: PurePosixPath, known: Vocabulary) -> SourceImage | None:
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
        patient=f"{name_space(split)}/{patient}",
        split=split,
        conflict=conflict,
        known_name=name is not None,
        class_name=word,
        folder=relative.parts[below + 1] if below < len(folders) - 1 else "",
    )

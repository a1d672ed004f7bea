"""Classes of any names: which cells, folders or labels of a data set are its classes.

Where all of them are usual names of normal and pneumonia, and their causes, the data set is opened as everywhere else.

    table      every word in the column of the classes
    folders    the folder below that of a split; the folder above it where there is none below; without splits the first folder in
               which images differ
    MedMNIST   every label, as a number
"""

from collections.abc import Iterable
from pathlib import Path

from pneumoscope.data.class_names import USUAL_WORDS, DataNames
from pneumoscope.data.layouts import find_public_set
from pneumoscope.data.layouts.folders import files_of
from pneumoscope.data.layouts.medmnist import medmnist_labels
from pneumoscope.data.layouts.table import classes_of_table, is_table
from pneumoscope.data.source_images import SPLIT_FOLDERS
from pneumoscope.data.sources import Source, open_source
from pneumoscope.errors import DataError, listed
from pneumoscope.types import Finding

# Words for a class without the finding, beside the usual ones: such a class is named first.
_NEGATIVE_WORDS = frozenset({"absent", "benign", "clear", "negative", "no", "none", "0"})
_KINDS = "a folder with a folder for each class, a table (.csv, .tsv) with the columns path and class, or a MedMNIST archive (.npz)"
# Beyond this many the folders are of patients or studies, not of classes.
_MOST_CLASSES = 200


def open_any_classes(root: Path, names: DataNames | None = None) -> Source:
    """List the images of a folder, table or archive with classes of any names and number.

    Args:
        root: Folder, table or archive.
        names: Names of columns, and of classes: a class map may name any classes, and images of others are left out.

    Raises:
        DataError: Missing file or folder, an unknown layout, or fewer than two classes.
    """
    names = names or DataNames()
    is_public = not names.columns and find_public_set(root) is not None
    if not root.exists() or (is_public and not names.classes):
        return open_source(root, names=names)
    found = names.classes or {name: name for name in _class_names(root, names)}
    wanted = {name.lower(): to for name, to in found.items()}
    is_archive = root.suffix == ".npz"
    by_words = not is_archive and {to.lower() for to in wanted.values()} <= USUAL_WORDS.keys()
    if not wanted:
        raise DataError(f"expected {_KINDS}, found no image in a folder below {root}: name another with --data")
    if by_words or (is_archive and root.name.lower().startswith("pneumoniamnist")):
        return open_source(root, names=names)
    if len(set(wanted.values())) < 2:
        raise DataError(
            f"expected images of two classes or more in {root}, found {listed(sorted(wanted.values())) or 'no class'}: name a "
            "folder with a folder for each class, or a table with the columns path and class"
        )
    if len(set(wanted.values())) > _MOST_CLASSES:
        raise DataError(
            f"expected at most {_MOST_CLASSES} classes in {root}, found {len(set(wanted.values())):,}: name the classes by --class-map"
        )
    source = open_source(root, names=names, own_classes=dict(sorted(wanted.items(), key=lambda each: _order(each[1]))))
    if absent := sorted(set(wanted.values()) - {image.class_name for image in source.images}):
        raise DataError(f"expected images of {listed(absent)} in {root}, found none: correct the class map")
    return source


def _order(name: str) -> tuple[bool, int, str]:
    """Key by which classes are sorted: the negative one first, numbers by value."""
    word = name.lower()
    is_negative = word in _NEGATIVE_WORDS or USUAL_WORDS.get(word, ("",))[0] is Finding.NORMAL
    return not is_negative, int(name) if name.isdecimal() else 0, word


def _class_names(root: Path, names: DataNames) -> list[str]:
    """Names of the classes of a data set as it writes them, one for each word in lower case."""
    if root.suffix == ".npz":
        found: Iterable[str] = (label for labels in medmnist_labels(root).values() for label in labels)
    elif is_table(root):
        found = classes_of_table(root, names)
    elif root.is_dir():
        found = _class_folders([path.parts[:-1] for path in files_of(root)])
    else:
        raise DataError(f"expected {_KINDS}, found the file {root}: name one of these with --data")
    names_of: dict[str, str] = {}
    for name in found:
        names_of.setdefault(name.lower(), name)
    return list(names_of.values())


def _class_folders(folders: list[tuple[str, ...]]) -> list[str]:
    """Folders that are classes, out of the folders above each image."""
    split = [path for path in folders if any(part.lower() in SPLIT_FOLDERS for part in path)]
    if split:
        return [name for path in split if (name := _beside_split(path))]
    level = 0
    inside = [path for path in folders if path]
    while inside and len({path[level] for path in inside}) == 1 and all(len(path) > level + 1 for path in inside):
        level += 1
    found = [path[level] for path in inside]
    deeper = {path[level + 1].lower() for path in inside if len(path) > level + 1}
    # Folders of hospitals or devices that each have the usual classes.
    if deeper & USUAL_WORDS.keys() and not {name.lower() for name in found} & USUAL_WORDS.keys():
        return [path[level + 1] for path in inside if len(path) > level + 1]
    return found


def _beside_split(path: tuple[str, ...]) -> str:
    """Folder of the class of an image in a split; empty where there is none."""
    last = max(i for i, part in enumerate(path) if part.lower() in SPLIT_FOLDERS)
    if last + 1 < len(path):
        return path[last + 1]
    return path[last - 1] if last else ""

"""Classes of any names: which cells, folders or labels of a data set are its classes.

Where all of them are usual names of normal and pneumonia, or its causes, one name for each, the data set is opened as everywhere else.

    table      every word in the column of the classes
    folders    the first level of folders in which images differ, without those of splits; the next one where the first is of ten patients
               or more who each have folders of the same names, or of hospitals with the usual classes
    MedMNIST   every label, as a number
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pneumoscope.data.class_names import USUAL_WORDS, DataNames
from pneumoscope.data.layouts import find_public_set
from pneumoscope.data.layouts.folders import FolderFiles, beside_splits, first_level, table_advice, without_masks
from pneumoscope.data.layouts.medmnist import medmnist_labels
from pneumoscope.data.layouts.table import Table
from pneumoscope.data.sources import Content, Source, open_source, read_content
from pneumoscope.errors import DataError, listed
from pneumoscope.types import Finding

# Words for a class without the finding, beside the usual ones: such a class is named first.
_NEGATIVE_WORDS = frozenset({"absent", "benign", "clear", "negative", "no", "none", "0"})
_KINDS = "a folder with a folder for each class, a table (.csv, .tsv) with the columns path and class, or a MedMNIST archive (.npz)"
# Beyond this many the folders are of patients or studies, not of classes.
_MOST_CLASSES = 200
# Folders above those of the classes from which on they may be of patients.
_FEWEST_PATIENTS = 10


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
    content = read_content(root, names)
    found = names.classes or {name: name for name in _class_names(root, content)}
    wanted = {name.lower(): to for name, to in found.items()}
    is_archive = root.suffix == ".npz"
    by_words = not is_archive and _are_usual({to.lower() for to in wanted.values()})
    tables = table_advice(content) if isinstance(content, FolderFiles) else ""
    if not wanted:
        raise DataError(
            f"expected {_KINDS}, found no image in a folder below {root}: {tables or 'name another with --data'}"
        )
    if by_words or (is_archive and root.name.lower().startswith("pneumoniamnist")):
        return open_source(root, names=names, content=content)
    if len(set(wanted.values())) < 2:
        raise DataError(
            f"expected images of two classes or more in {root}, found {listed(sorted(wanted.values())) or 'no class'}: "
            f"{f'{tables}, or ' if tables else ''}name a folder with a folder for each class, or a table with the columns path and class"
        )
    if len(set(wanted.values())) > _MOST_CLASSES:
        raise DataError(
            f"expected at most {_MOST_CLASSES} classes in {root}, found {len(set(wanted.values())):,}: name the classes by --class-map"
        )
    own_classes = dict(sorted(wanted.items(), key=lambda each: _order(each[1])))
    source = open_source(root, names=names, own_classes=own_classes, content=content)
    if absent := sorted(set(wanted.values()) - {image.class_name for image in source.images}):
        raise DataError(f"expected images of {listed(absent)} in {root}, found none: correct the class map")
    return source


def _order(name: str) -> tuple[bool, int, str]:
    """Key by which classes are sorted: the negative one first, numbers by value."""
    word = name.lower()
    is_negative = word in _NEGATIVE_WORDS or USUAL_WORDS.get(word, ("",))[0] is Finding.NORMAL
    return not is_negative, int(name) if name.isdecimal() else 0, word


def _class_names(root: Path, content: Content | None) -> list[str]:
    """Names of the classes of a data set as it writes them, one for each word in lower case."""
    if root.suffix == ".npz":
        found: Iterable[str] = (label for labels in medmnist_labels(root).values() for label in labels)
    elif isinstance(content, Table):
        found = content.classes
    elif content is not None:
        found = _class_folders([path.parts[:-1] for path in without_masks(content.images)])
    else:
        raise DataError(f"expected {_KINDS}, found the file {root}: name one of these with --data")
    names_of: dict[str, str] = {}
    for name in found:
        names_of.setdefault(name.lower(), name)
    return list(names_of.values())


def _class_folders(folders: list[tuple[str, ...]]) -> list[str]:
    """Folders that are classes, out of the folders above each image: those of one level, without the folders of splits."""
    inside = [found for path in folders if (found := beside_splits(path))]
    level = first_level(inside)
    inside = [path for path in inside if len(path) > level]
    found = [path[level] for path in inside]
    deeper = [path[level + 1] for path in inside if len(path) > level + 1]
    # Folders of hospitals or devices that each have the usual classes.
    has_usual = {name.lower() for name in deeper} & USUAL_WORDS.keys()
    if has_usual and not {name.lower() for name in found} & USUAL_WORDS.keys():
        return deeper
    if len(deeper) == len(inside) and _are_patients_above([(path[level], path[level + 1]) for path in inside]):
        return deeper
    return found


def _are_patients_above(pairs: list[tuple[str, str]]) -> bool:
    """Whether the outer of two levels of folders is of patients, and the inner one, whose names repeat, of classes."""
    outer = {parent for parent, _ in pairs}
    parents = Counter(name for _, name in set(pairs))
    repeat = len(parents) > 1 and min(parents.values()) > 1
    return repeat and len(outer) >= _FEWEST_PATIENTS and len(parents) < len(outer)


def _are_usual(words: set[str]) -> bool:
    """Whether classes are normal and pneumonia, or its causes; several names for one of these are classes of their own."""
    if not words <= USUAL_WORDS.keys():
        return False
    meanings = [USUAL_WORDS[word] for word in words]
    normal = sum(finding is Finding.NORMAL for finding, _ in meanings)
    unknown = [word for word in words if USUAL_WORDS[word] == USUAL_WORDS["pneumonia"]]
    return (
        normal <= 1 and (len(unknown) <= 1) and (unknown in ([], ["pneumonia"]) or normal + len(unknown) == len(words))
    )

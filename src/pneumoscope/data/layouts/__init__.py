"""Layouts of data sets: which files a set is known by, and how its tables, classes, patients and splits are read.

`folders`, `table` and `medmnist` are for images of one's own and for Guangzhou's; each other module is a public set as it is
published. docs/reference/public-data.md is the table of the public sets.
"""

from pathlib import Path

from pneumoscope.data.layouts.chexpert import CHEXPERT
from pneumoscope.data.layouts.nih import NIH
from pneumoscope.data.layouts.padchest import PADCHEST
from pneumoscope.data.layouts.public import FoundSet
from pneumoscope.data.layouts.rsna import RSNA
from pneumoscope.data.layouts.vindr_pcxr import VINDR_PCXR

PUBLIC_SETS = (NIH, RSNA, VINDR_PCXR, CHEXPERT, PADCHEST)
# Sets that need no layout of their own, and how to come by them.
_FREE = {
    "kermany": "run `pneumoscope data download`, or unpack ChestXRay2017.zip (doi 10.17632/rscbjbr9sj, CC BY 4.0)",
    "pneumoniamnist": "download pneumoniamnist_224.npz (doi 10.5281/zenodo.10519652, CC BY 4.0)",
}
_TABLE_SUFFIXES = (".csv", ".csv.gz")
# Folders of macOS archives that repeat the names of the files.
_SHADOW = "__MACOSX"


def find_public_set(root: Path) -> FoundSet | None:
    """Public set at a path, known by its tables in the folder or in a folder below it; None where there is none.

    Args:
        root: Folder; or a table of the set, of which the other tables are then not read.
    """
    if root.is_file():
        return _known_by(root.parent, [root]) if root.name.lower().endswith(_TABLE_SUFFIXES) else None
    if not root.is_dir():
        return None
    for folder in (root, *_folders(root)):
        if found := _known_by(root, _tables(folder)):
            return found
    return None


def absent_advice(path: Path, origin: str) -> str:
    """Message for a path with nothing there; of the name of a public set it says where to obtain that."""
    name = str(path).lower().replace("_", "-")
    for public in PUBLIC_SETS:
        if name in public.names:
            return (
                f"expected a folder or table ({origin}), found the name {path}: {public.title} is not downloaded from here; "
                f"{public.obtain}, unpack it, and name its folder"
            )
    if name in _FREE:
        return f"expected a folder or file ({origin}), found the name {path}: {_FREE[name]}, and name its path"
    return f"expected a data set at {path} ({origin}), found nothing there: check the path"


def _known_by(root: Path, tables: list[Path]) -> FoundSet | None:
    for public in PUBLIC_SETS:
        if own := [table for table in tables if public.has_table(table)]:
            return FoundSet(public, root, tuple(own))
    return None


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in _entries(folder) if path.name.lower().endswith(_TABLE_SUFFIXES) and path.is_file())


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in _entries(root) if path.is_dir() and not path.name.startswith((".", _SHADOW)))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the layout that is taken instead says why a folder cannot be read
        return []

"""Image files: which files are images, by their endings and first bytes, and those of a folder."""

import os
import stat
from collections import Counter
from collections.abc import Iterator

from pneumoscope.data import jpeg, png
from pneumoscope.types import IMAGE_SUFFIXES

# Bytes from the beginning of a file that say what it is.
HEAD = 132
# Endings of images that are refused, by name rather than silently.
REFUSED_SUFFIXES = frozenset({".bmp", ".gif", ".jp2", ".tif", ".tiff", ".webp"})
# Endings of archives and compressed files, which are to be unpacked.
PACKED_SUFFIXES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip")
JPEG, PNG, DICOM = "JPEG", "PNG", "DICOM"

_ALL_SUFFIXES = IMAGE_SUFFIXES | REFUSED_SUFFIXES

_DICOM_MARK = slice(128, 132)
# A DICOM file without the preamble that the standard asks for begins with an element of group 2 or 8, little endian.
_BARE_DICOM_STARTS = tuple(bytes((group, 0, element, 0)) for group in (2, 8) for element in (0, 1, 5, 8))
_STARTS = (
    (jpeg.START, JPEG),
    (png.SIGNATURE, PNG),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)


def format_of(content: bytes) -> str:
    """Format of an image file by its first bytes: `JPEG`, `PNG`, `DICOM`, or one that is refused; empty for none.

    Args:
        content: The first `HEAD` bytes of the file, or more.
    """
    if content[_DICOM_MARK] == b"DICM":
        return DICOM
    for start, name in _STARTS:
        if content.startswith(start):
            return name
    if content.startswith(b"BM") and content[6:10] == bytes(4):
        return "BMP"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    return DICOM if content.startswith(_BARE_DICOM_STARTS) else ""


def walk_folder(folder: str, also: tuple[str, ...] = (), left_out: Counter[str] | None = None) -> Iterator[str]:
    """Paths of the images in a folder and its subfolders, without hidden ones; every walk has the same order.

    What a file is, its ending says where that is the ending of an image, else its first bytes. A folder that is reached twice,
    by a symbolic link, is walked once. Pipes, sockets and devices are left out, whatever their names: opening one may wait
    for ever.

    Args:
        folder: Path of the folder.
        also: Endings, lower case, of further files to include.
        left_out: Counter of the files that are left out, by their endings.
    """
    yield from _walk(folder, also, Counter() if left_out is None else left_out, set())


def _walk(folder: str, also: tuple[str, ...], left_out: Counter[str], walked: set[tuple[int, int]]) -> Iterator[str]:
    # Plain strings throughout: a million Path objects take seconds.
    here = os.stat(folder)  # noqa: PTH116
    if (here.st_dev, here.st_ino) in walked:
        return
    walked.add((here.st_dev, here.st_ino))
    for name in sorted(os.listdir(folder)):  # noqa: PTH208
        if name.startswith("."):
            continue
        path = os.path.join(folder, name)  # noqa: PTH118
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            yield from _walk(path, also, left_out, walked)
        elif mode != 0 and not stat.S_ISREG(mode):
            continue
        elif _is_image(path) or path.lower().endswith(also):
            yield path
        else:
            left_out[_suffix(path) or "no ending"] += 1


def _mode(path: str) -> int:
    """File type and mode behind a path, symbolic links followed; 0 where there is no file, as behind a broken link."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return 0


def _is_image(path: str) -> bool:
    if has_image_suffix(path):
        return True
    try:
        with open(path, "rb") as stream:
            return format_of(stream.read(HEAD)) != ""
    except OSError:
        return False


def has_image_suffix(name: str) -> bool:
    """Whether the ending of a name is that of an image, one that is refused included."""
    return _suffix(name) in _ALL_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122

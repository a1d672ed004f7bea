"""One image file becomes grey levels: JPEG, PNG or DICOM; grey or colour, 8 to 16 bits, turned the right way up."""

import io
import os
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pneumoscope.data import jpeg, png
from pneumoscope.data.grey_levels import EXPECTED, Grey, full_range
from pneumoscope.data.image_files import DICOM, JPEG, PNG, format_of
from pneumoscope.data.limits import MAX_BYTES, MAX_INFLATED, check_bytes, check_memory, check_size
from pneumoscope.errors import InputError, UnreadableImage, UnsupportedDicom
from pneumoscope.types import ImageHeader, NamedImage

# Pixels converted at once, so that what is needed in between takes little memory.
_STRIP = 1 << 21
# Bytes from the beginning of a DICOM object that hold its header, without the pixels.
_HEADER_BYTES = 1 << 17
# What brings each EXIF orientation back upright.
_UPRIGHT: dict[int, Callable[[Grey], Grey]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}


def read_grey(file: Path, content: bytes | None = None) -> Grey:
    """Grey levels of an image file, as `read_image` gives them."""
    return read_image(file, content)[0]


def read_image(file: Path, content: bytes | None = None) -> tuple[Grey, ImageHeader | None]:
    """Grey levels of an image file, and the header of a DICOM object; its bytes tell the format, not its name.

    Grey levels follow the rule of `data/grey_levels.py`; the luma of a JPEG is its Y channel, and a DICOM object says what
    to show (`data/dicom.py`).

    Args:
        file: A JPEG, PNG or DICOM file.
        content: Its bytes where they are at hand; the file is then not opened.

    Returns:
        Grey levels, (height, width), not empty, uint8 or uint16; and the header, None for a JPEG or PNG.

    Raises:
        UnreadableImage: Missing, no regular file, truncated, of another format, or beyond the bounds of `data/limits.py`
            in bytes, pixels, memory or processor time, which are checked before it is decoded.
        UnsupportedDicom: A DICOM object that is no single grey frame.
    """
    data = read_bytes(file) if content is None else content
    try:
        if not data:
            raise ValueError("the file is empty")
        check_bytes(len(data), MAX_BYTES)
        image, header = _decode(data)
        return _checked(image), header
    except UnsupportedDicom as error:
        raise UnsupportedDicom(f"expected one grey frame, found {file} ({error}): export it as such") from error
    except Exception as error:  # decoders raise whatever comes over them on damaged files
        raise _unreadable(file, error) from error


def image_name(image: Any) -> str:
    """Name of an image; empty for an array, and for bytes without a name."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = getattr(image, "name", "") or getattr(image, "filename", "")
    return name if isinstance(name, str) else ""


def image_bytes(image: Any) -> bytes | None:
    """Bytes of an image file, given by its path, as an open file or as the bytes; None for an image that is no file.

    Raises:
        UnreadableImage: The file cannot be read.
        InputError: A file that is open as text.
    """
    if isinstance(image, NamedImage):
        return image.content
    if isinstance(image, str | os.PathLike):
        return read_bytes(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not hasattr(image, "read"):
        return None
    content = image.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise InputError(f"{EXPECTED}; found a file open as text: open it with mode 'rb'")
    return content


def read_header(file: Path) -> ImageHeader:
    """What the header of a DICOM object says of patient and exposure; nothing where it cannot be read.

    Only the beginning of the file is read where that holds the header: thousands of files are looked through this way.
    """
    from pneumoscope.data.dicom import read_dicom_header

    try:
        with file.open("rb") as stream:
            head = stream.read(_HEADER_BYTES)
    except OSError:
        return ImageHeader()
    # A beginning that ends within a sequence or a deflated dataset cannot be parsed; the whole file can.
    with suppress(Exception):
        return read_dicom_header(head)[0]
    with suppress(Exception):
        return read_dicom_header(read_bytes(file))[0]
    return ImageHeader()


def read_bytes(file: Path) -> bytes:
    """Bytes of an image file.

    Raises:
        UnreadableImage: Missing, not to be read, no regular file, or more than `MAX_BYTES`.
    """
    try:
        return _read_regular(file)
    except (OSError, ValueError, MemoryError) as error:
        raise _unreadable(file, error) from error


def _read_regular(file: Path) -> bytes:
    _check_regular(file.stat())
    # The file may have been replaced since; without O_NONBLOCK opening a named pipe waits until somebody writes to it.
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = _check_regular(os.fstat(handle))
        # One read for a file that stays as it is; one that grows, or says zero as those in /proc, is read to the limit.
        content = os.read(handle, size + 1)
        while len(content) != size and (more := os.read(handle, _STRIP)):
            content += more
            check_bytes(len(content), MAX_BYTES)
        return content
    finally:
        os.close(handle)


def _check_regular(state: os.stat_result) -> int:
    """Size of a regular file in bytes.

    Raises:
        ValueError: It is a folder, pipe, socket or device, or larger than `MAX_BYTES`.
    """
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("not a regular file")
    check_bytes(state.st_size, MAX_BYTES)
    return state.st_size


def _unreadable(file: Path, error: Exception) -> UnreadableImage:
    return UnreadableImage(f"expected a whole JPEG, PNG or DICOM image, found {file} ({_reason(error)}): replace it")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):  # its message is an address in memory
        return "not a valid header"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _decode(data: bytes) -> tuple[Grey, ImageHeader | None]:
    name = format_of(data)
    if name == JPEG:
        return _decode_jpeg(data), None
    if name == DICOM:
        return _decode_dicom(data)
    if name == PNG:
        return _decode_png(data), None
    raise ValueError(f"a {name} image, which is not supported; convert it to PNG" if name else "not an image")


def _checked(image: Grey) -> Grey:
    if image.ndim != 2 or image.size == 0 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"decoded to {image.dtype} of shape {image.shape}")
    return image


def _decode_jpeg(data: bytes) -> Grey:
    height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height)
    process = jpeg.frame_header(data).process
    if process not in jpeg.HUFFMAN_FRAMES:
        raise ValueError(f"arithmetic-coded or hierarchical JPEG, process {process:#x}")
    # Several scans, or a progressive one, are collected as coefficients of two bytes.
    collected = jpeg.check_scans(data, width * height) > 1 or process == jpeg.PROGRESSIVE
    if colour_space not in ("Gray", "YCbCr"):  # CMYK and RGB-coded JPEGs have no Y channel to take
        check_memory((4 + 1 + 8 * collected) * width * height + 2 * len(data))
        grey, _ = _converted(jpeg.without_metadata(data), "JPEG", (width, height))
        return _upright(grey, jpeg.jpeg_orientation(data))
    check_memory((2 + (2 if colour_space == "Gray" else 6) * collected) * width * height + len(data))
    decoded: Grey = simplejpeg.decode_jpeg(data, colorspace="GRAY")[:, :, 0]
    return _upright(decoded, jpeg.jpeg_orientation(data)) if b"Exif\x00\x00" in data[:64] else decoded


def _decode_png(data: bytes) -> Grey:
    header = png.png_header(data)
    check_size(header.width, header.height)
    check_bytes(header.row_bytes * header.height, MAX_INFLATED)
    check_memory(header.pixel_bytes * header.width * header.height + 2 * header.row_bytes + 2 * len(data))
    grey, info = _converted(png.without_metadata(data), "PNG", (header.width, header.height))
    return _upright(full_range(grey), _png_orientation(info))


def _converted(data: bytes, kind: str, size: tuple[int, int]) -> tuple[Grey, dict[Any, Any]]:
    """Grey levels of what Pillow decodes, not yet upright, and what it says about the image."""
    with warnings.catch_warnings():
        # What Pillow warns of, it either copes with or is checked here; a user can do nothing about it.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            if image.size != size:
                raise ValueError(f"{image.size} pixels in a file of {size}")
            image.load()
            deep = image.mode.startswith("I")  # 16-bit PNG
            grey = np.empty(size[::-1], dtype=np.uint16 if deep else np.uint8)
            rows = max(1, _STRIP // size[0])
            for top in range(0, size[1], rows):
                strip = image.crop((0, top, size[0], min(top + rows, size[1]))) if rows < size[1] else image
                grey[top : top + rows] = np.asarray(strip).clip(0, 65535) if deep else np.asarray(strip.convert("L"))
            return grey, dict(image.info)


def _png_orientation(info: dict[Any, Any]) -> int:
    exif = info.get("exif")
    if exif is None and "Raw profile type exif" in info:
        exif = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    return jpeg.orientation(exif or b"", xmp if isinstance(xmp, bytes) else xmp.encode())


def _decode_dicom(data: bytes) -> tuple[Grey, ImageHeader]:
    # Imported here: most runs see no DICOM, and the library takes as long to import as everything else together.
    from pneumoscope.data.dicom import decode_dicom

    try:
        return decode_dicom(data)
    except UnsupportedDicom:
        raise
    except Exception as error:
        raise ValueError(f"damaged DICOM: {_reason(error)}") from error


def _upright(image: Grey, orientation: int) -> Grey:
    turn = _UPRIGHT.get(orientation)
    return turn(image).copy() if turn else image

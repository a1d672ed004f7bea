"""One image file becomes grey levels: JPEG, PNG or DICOM; grey or colour, 8 to 16 bits, turned the right way up."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.errors import UnreadableImage, UnsupportedDicom

# The largest digital radiographs have about 20 million pixels; more is a decompression bomb or not a film.
MAX_PIXELS = 100_000_000
MAX_BYTES = 2 * MAX_PIXELS + 10_000_000

Grey = NDArray[np.uint8] | NDArray[np.uint16]

_JPEG_START = b"\xff\xd8"
_DICOM_MARK = slice(128, 132)
# A DICOM file without the preamble that the standard asks for begins with an element of group 2 or 8, little endian.
_BARE_DICOM_STARTS = tuple(bytes((group, 0, element, 0)) for group in (2, 8) for element in (0, 1, 5, 8))
# Bits that detectors and converters give; a PNG of 16 bits may use fewer.
_DEPTHS = (8, 10, 12, 14, 16)
# EXIF's orientation, the tag and what brings each back upright.
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[Grey], Grey]] = {
    2: np.fliplr,
    3: lambda film: np.rot90(film, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda film: np.rot90(film, -1),
    7: lambda film: np.rot90(film, 2).T,
    8: np.rot90,
}


def read_grey(file: Path, content: bytes | None = None) -> Grey:
    """Grey levels of an image file; what it is, its bytes tell, not its name.

    Colour is reduced to luma (ITU-R BT.601), which for a JPEG is its Y channel; transparency is ignored. A deep image
    gives 16 bits with the full range in use: a PNG is taken to have the fewest of 8, 10, 12, 14 or 16 bits that hold its
    largest value, a DICOM object says what to show (`data/dicom.py`).

    Args:
        file: A JPEG, PNG or DICOM file.
        content: Its bytes where they are at hand; the file is then not opened.

    Returns:
        (height, width), uint8 or uint16.

    Raises:
        UnreadableImage: Missing, truncated, of another format, or larger than `MAX_BYTES` or `MAX_PIXELS`; such are found
            before they are decoded.
        UnsupportedDicom: A DICOM object that is no single grey frame.
    """
    data = read_bytes(file) if content is None else content
    try:
        if not data:
            raise ValueError("the file is empty")
        _check_bytes(len(data))
        if data[:2] == _JPEG_START:
            return _decode_jpeg(data)
        return _decode_dicom(data) if _is_dicom(data) else _decode_other(data)
    except UnsupportedDicom as error:
        raise UnsupportedDicom(f"expected one grey frame, found {file} ({error}): export it as such") from error
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def read_bytes(file: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnreadableImage: Missing, not to be read, or more than `MAX_BYTES`.
    """
    try:
        _check_bytes(file.stat().st_size)
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UnreadableImage:
    return UnreadableImage(f"expected a whole JPEG, PNG or DICOM image, found {file} ({_reason(error)}): replace it")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "cannot identify image" in str(error):
        return "not an image"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _decode_jpeg(data: bytes) -> Grey:
    height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    if colour_space not in ("Gray", "YCbCr"):
        return _decode_other(data)  # CMYK and RGB-coded JPEGs have no Y channel to take
    decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="GRAY")[:, :, 0]
    if b"Exif\x00\x00" not in data[:64]:
        return decoded
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return _upright(decoded, image)


def _decode_other(data: bytes) -> Grey:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        _check_size(*image.size)
        image.load()
        if image.mode.startswith("I"):  # 16-bit PNG
            return _upright(_full_range(np.asarray(image).clip(0, 65535).astype(np.uint16)), image)
        return _upright(np.asarray(image.convert("L")), image)


def _is_dicom(data: bytes) -> bool:
    return data[_DICOM_MARK] == b"DICM" or data.startswith(_BARE_DICOM_STARTS)


def _decode_dicom(data: bytes) -> Grey:
    # Imported here: most runs see no DICOM, and the library takes as long to import as everything else together.
    from pneumoscope.data.dicom import decode_dicom

    try:
        return decode_dicom(data, MAX_PIXELS)
    except UnsupportedDicom:
        raise
    except Exception as error:  # the library and its codecs raise whatever comes over them on damaged files
        raise ValueError(f"damaged DICOM: {_reason(error)}") from error


def _upright(film: Grey, image: Image.Image) -> Grey:
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return turn(film).copy() if turn else film


def _full_range(film: NDArray[np.uint16]) -> NDArray[np.uint16]:
    largest = int(film.max(initial=0))
    most = next(2**bits - 1 for bits in _DEPTHS if largest < 2**bits)
    return film if most == 65535 else np.rint(film * (65535 / most)).astype(np.uint16)


def _check_bytes(count: int) -> None:
    if count > MAX_BYTES:
        raise ValueError(f"{count} bytes are more than {MAX_BYTES}")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS}")

"""One image file becomes grey levels: JPEG or PNG; grey, colour or 16 bits."""

import io
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.errors import UnreadableImage

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
# The largest digital radiographs have about 20 million pixels; more is a decompression bomb or not a film.
MAX_PIXELS = 100_000_000

_JPEG_START = b"\xff\xd8"


def read_grey(file: Path, content: bytes | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Grey levels of an image file.

    Colour is reduced to luma (ITU-R BT.601), which for a JPEG is its Y channel; transparency is ignored. A 16-bit
    image stays 16-bit, its full range being 0-65535.

    Args:
        file: A JPEG or PNG file.
        content: Its bytes where they are at hand; the file is then not opened.

    Returns:
        (height, width), uint8 or uint16.

    Raises:
        UnreadableImage: Missing, truncated, of another format, or of more than `MAX_PIXELS` pixels.
    """
    try:
        data = file.read_bytes() if content is None else content
        if not data:
            raise ValueError("the file is empty")
        return _decode_jpeg(data) if data[:2] == _JPEG_START else _decode_other(data)
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise UnreadableImage(
            f"expected a whole JPEG or PNG image, found {file} ({_reason(error)}): replace it"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "cannot identify image" in str(error):
        return "not an image"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _decode_jpeg(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    if colour_space in ("Gray", "YCbCr"):
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="GRAY")
        return decoded[:, :, 0]
    return _decode_other(data)  # CMYK and RGB-coded JPEGs have no Y channel to take


def _decode_other(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        _check_size(*image.size)
        image.load()
        if image.mode.startswith("I"):  # 16-bit PNG
            return np.asarray(image).clip(0, 65535).astype(np.uint16)
        return np.asarray(image.convert("L"))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS}")

"""One DICOM object becomes grey levels as a viewer would show them: rescale, window or VOI table, MONOCHROME1 turned over.

Single grey frames are read, whatever their compression; what is refused is told by reason.
"""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from pneumoscope.errors import UnsupportedDicom

# Shares of the stored values shown as black and as white where the object does not say: hot and dead pixels do not count.
_SHOWN = (0.001, 0.999)
# Beyond every stored value, to learn what a window makes of black and white.
_FAR = 1e9
_LARGEST_VALUE = 65535
_PIECE = 1 << 20
_GREY = ("MONOCHROME1", "MONOCHROME2")

# Values are taken as they are; what they mean is checked here.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def decode_dicom(content: bytes, most_pixels: int) -> NDArray[np.uint16]:
    """Grey levels of a DICOM file.

    Args:
        content: Of the file.
        most_pixels: More are refused before they are decoded.

    Returns:
        (height, width) uint16, its full range in use; bright is dense.

    Raises:
        UnsupportedDicom: No image, several frames, colour, or more pixels.
        Exception: Any of pydicom's and its codecs', for what is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_inflated(content, most_pixels)
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        _fill_in(dataset)
        _check(dataset, most_pixels)
        if dataset.file_meta.TransferSyntaxUID == RLELossless:
            # The library's own decoder: the compiled one panics, with a page of traces, on damaged runs.
            dataset.pixel_array_options(decoding_plugin="pydicom")
        stored = dataset.pixel_array
        return _levels(dataset, stored)[stored.astype(np.int32) - int(stored.min())]


def _check_inflated(content: bytes, most_pixels: int) -> None:
    """A deflated object is inflated whole by the library, so its size is found first, piece by piece."""
    if DeflatedExplicitVRLittleEndian.encode() not in content[:1024]:
        return
    meta_length = struct.unpack("<I", content[140:144])[0]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left, size, most = content[144 + meta_length :], 0, 2 * most_pixels + _PIECE
    while left and not inflater.eof:
        size += len(inflater.decompress(left, _PIECE))
        left = inflater.unconsumed_tail
        if size > most:
            raise UnsupportedDicom(f"more than {most} bytes once inflated")


def _fill_in(dataset: pydicom.Dataset) -> None:
    """What the standard asks for and objects leave out all the same, where there is a usual value."""
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        implicit = dataset.original_encoding[0] is not False
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
    usual = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    for keyword, value in (usual | {"BitsStored": dataset.get("BitsAllocated")}).items():
        if dataset.get(keyword) in (None, "") and value is not None:
            setattr(dataset, keyword, value)


def _check(dataset: pydicom.Dataset, most_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise UnsupportedDicom("no image in it")
    if missing := [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]:
        raise UnsupportedDicom(f"no {', '.join(missing)}")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise UnsupportedDicom(f"{frames} frames")
    if dataset.SamplesPerPixel != 1 or dataset.PhotometricInterpretation not in _GREY:
        raise UnsupportedDicom(f"colour ({dataset.PhotometricInterpretation})")
    if dataset.BitsAllocated not in (8, 16):
        raise UnsupportedDicom(f"{dataset.BitsAllocated} bits a pixel")
    sizes = [(dataset.Rows, dataset.Columns)]
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        sizes.append(_coded_size(frame) or sizes[0])
    for rows, columns in sizes:
        if rows * columns > most_pixels:
            raise UnsupportedDicom(f"{columns} x {rows} pixels, more than {most_pixels}")
    if sizes[-1] != sizes[0]:
        raise UnsupportedDicom(f"{sizes[-1]} pixels encoded as {sizes[0]}")


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream announces; None for RLE and what says nothing."""
    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: the extent of its grid less the offset in it
        right, lower, left, upper = struct.unpack(">4I", frame[8:24])
        return lower - upper, right - left
    place = 2
    while frame[:2] == b"\xff\xd8" and frame[place : place + 1] == b"\xff":
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return struct.unpack(">HH", frame[place + 5 : place + 9])
        place += 2 + length
    return None


def _levels(dataset: pydicom.Dataset, stored: NDArray[np.integer]) -> NDArray[np.uint16]:
    """(values,) what the first view that the object describes shows for each stored value from the lowest to the highest.

    What a viewer does goes by the value alone, so it is done once for each value, not for each pixel.
    """
    values = np.arange(int(stored.min()), int(stored.max()) + 1).astype(stored.dtype)
    padding = _padding(dataset, values)
    meant = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    if table := dataset.get("VOILUTSequence"):
        levels = apply_voi(meant.astype(np.int64), dataset).astype(np.float64)
        shown = _stretched(levels, 0, 2 ** int(table[0].LUTDescriptor[2]) - 1)
    elif _has_window(dataset):
        levels = apply_windowing(np.concatenate([meant, [-_FAR, _FAR]]), dataset)
        shown = _stretched(levels[:-2], levels[-2], levels[-1])
    else:
        shown = _stretched(
            meant, *_usual_range(meant, np.bincount(stored.ravel().astype(np.int64) - int(values[0])) * ~padding)
        )
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return np.rint(shown * _LARGEST_VALUE).astype(np.uint16)


def _usual_range(meant: NDArray[np.float64], count: NDArray[np.integer]) -> tuple[float, float]:
    """Black and white for values of which there are so many each."""
    share = np.cumsum(count) / max(int(count.sum()), 1)
    low, high = (min(int(np.searchsorted(share, shown)), len(meant) - 1) for shown in _SHOWN)
    black, white = sorted((float(meant[low]), float(meant[high])))
    return black, white


def _has_window(dataset: pydicom.Dataset) -> bool:
    """Whether there is a window that says something; a width below 1 does not."""
    try:
        width = dataset.get("WindowWidth")
        width = width[0] if isinstance(width, pydicom.multival.MultiValue) else width
        return dataset.get("WindowCenter") not in (None, "") and float(width) >= 1
    except (TypeError, ValueError, IndexError):
        return False


def _stretched(values: NDArray[np.float64], black: float, white: float) -> NDArray[np.float64]:
    return np.clip((values - black) / max(white - black, 1e-9), 0, 1)


def _padding(dataset: pydicom.Dataset, values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(values,), which of them only fill the rectangle."""
    try:
        one = int(dataset.PixelPaddingValue)
        other = int(dataset.get("PixelPaddingRangeLimit", one))
    except (AttributeError, TypeError, ValueError):
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray((values >= min(one, other)) & (values <= max(one, other)))

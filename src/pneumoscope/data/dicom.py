"""One DICOM object becomes grey levels as a viewer would show them: rescale, window or VOI table, MONOCHROME1 inverted.

Single grey frames are read, whatever their compression; what is refused is refused with its reason. Reading is bounded
(`data/limits.py`): only the attributes that the pixels depend on are kept, a deflated dataset is inflated piece by piece,
and pydicom stops after so many reads.
"""

import io
import logging
import math
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data import limits
from pneumoscope.data.ages import age_in_years, age_on
from pneumoscope.data.codecs import SIGN_IN_STREAM, decode_frame
from pneumoscope.data.names import patient_key
from pneumoscope.errors import UnsupportedDicom
from pneumoscope.types import ImageHeader

# Shares of the stored values shown as black and as white where the object does not say: hot and dead pixels do not count.
_SHOWN = (0.001, 0.999)
# Beyond every stored value, to learn what a window makes of black and white.
_FAR = 1e9
_LARGEST_VALUE = 65535
_PIECE = 1 << 20
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PIXEL_DATA = Tag("PixelData")
# All that the pixels and how they are shown depend on. Other elements are passed over, not kept.
_WANTED = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelData"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
]
# What a bundle's scope is compared with, whose image it is, and what a reader wants to know; no pixel depends on these.
_DESCRIPTIVE = [
    *("Modality", "BodyPartExamined", "ViewPosition", "PatientSex", "PatientAge", "PatientBirthDate"),
    *("StudyDate", "AcquisitionDate", "PatientID", "IssuerOfPatientID", "Manufacturer"),
    *("PixelSpacing", "ImagerPixelSpacing"),
]
_WANTED_TAGS: list[Any] = [Tag(keyword) for keyword in (*_WANTED, *_DESCRIPTIVE)]
_TABLES = (Tag("ModalityLUTSequence"), Tag("VOILUTSequence"))
# What a code string or a date may hold, and a little more.
_PLAIN_TEXT = re.compile(r"[A-Z0-9 _./-]{1,32}")
# Characters of a long string (PS3.5, section 6.2).
_LONG_STRING = 64
# Bytes of an element that describes: none of them says more.
_LONGEST_DESCRIPTION = 1024
# Distances of neighbouring pixels of a radiograph, mm; what lies outside is a fault of the header.
_SPACINGS = (0.005, 10.0)
# Bytes of an element outside of a sequence; explicit lengths of two bytes allow no more.
_LONGEST_ELEMENT = 65_536
# Pixels that are mapped at once: NumPy widens their values to eight bytes for it.
_STRIP = 1 << 21

# Values are taken as they are; what they mean is checked here.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def decode_dicom(content: bytes) -> tuple[NDArray[np.uint16], ImageHeader]:
    """Grey levels and header of a DICOM file.

    Args:
        content: Bytes of the file.

    Returns:
        (height, width) uint16, its full range in use, bright is dense; and what the header says of patient and exposure.

    Raises:
        UnsupportedDicom: No image, several frames, colour, or more than `MAX_PIXELS` pixels.
        Exception: Any of pydicom's and its codecs', for a damaged object; ValueError for one that costs too much.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _parse(content)
        _drop_long_descriptions(dataset)
        _check_lengths(dataset)
        _fill_in(dataset)
        _check(dataset)
        stored = _stored(dataset, len(content))
        del dataset[_PIXEL_DATA]
        return _shown(dataset, stored), _header(dataset)


def read_dicom_header(content: bytes, *further: str) -> tuple[ImageHeader, pydicom.Dataset]:
    """Header of a DICOM file, whether or not its pixels can be decoded.

    Args:
        content: Bytes of the file.
        *further: Keywords of further elements, none of them long.

    Returns:
        What the header says of patient and exposure; and the further elements, as far as they are there.

    Raises:
        Exception: As for `read_elements`.
    """
    dataset = read_elements(content, (*_DESCRIPTIVE, "BitsStored", *further))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _drop_long_descriptions(dataset)
        _check_lengths(dataset)
        return _header(dataset), dataset


def _header(dataset: pydicom.Dataset) -> ImageHeader:
    spacing, at_detector = _spacing(dataset)
    taken = _taken(dataset)
    return ImageHeader(
        _age_years(dataset, taken),
        view=_text(dataset, "ViewPosition"),
        body_part=_text(dataset, "BodyPartExamined"),
        modality=_text(dataset, "Modality"),
        sex=_text(dataset, "PatientSex"),
        patient=_patient(dataset),
        taken=taken.isoformat() if taken else "",
        manufacturer=_words(dataset, "Manufacturer"),
        bits=bits if isinstance(bits := dataset.get("BitsStored"), int) else None,
        spacing=spacing,
        at_detector=at_detector,
        window=_window(dataset),
    )


def _patient(dataset: pydicom.Dataset) -> str:
    """Hash of the patient's identifier: images of one patient are recognised without keeping who it is."""
    identifier = _string(dataset, "PatientID")
    # The same identifier of two hospitals is of two patients.
    issuer = _string(dataset, "IssuerOfPatientID")
    return patient_key(f"{issuer}\0{identifier}" if issuer else identifier) if identifier else ""


def _string(dataset: pydicom.Dataset, keyword: str) -> str:
    """Value of a text element without spaces around it; empty where it is missing, multiple, damaged or no text."""
    try:
        value = dataset.get(keyword)
    except Exception:  # a damaged element that the pixels do not depend on makes no image unreadable
        return ""
    return value.strip() if isinstance(value, str) else ""


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """Value of a text element, upper case; empty as well where it is not plain text."""
    text = _string(dataset, keyword).upper()
    return text if _PLAIN_TEXT.fullmatch(text) else ""


def _words(dataset: pydicom.Dataset, keyword: str) -> str:
    """Value of a text element in any script, cut to a long string; empty as well where it holds what is not printable."""
    text = _string(dataset, keyword)
    return text[:_LONG_STRING].rstrip() if text.isprintable() else ""


def _numbers(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...]:
    """Values of an element of numbers; empty where it is missing, damaged, or holds what is no finite number."""
    try:
        value = dataset.get(keyword)
        several = value if isinstance(value, pydicom.multival.MultiValue) else [] if value is None else [value]
        numbers = tuple(float(each) for each in several)
    except Exception:  # as for any element that the pixels do not depend on
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _spacing(dataset: pydicom.Dataset) -> tuple[tuple[float, float] | None, bool]:
    """Distances of rows and of columns in mm, None where unknown, and whether they are those at the detector.

    Where Pixel Spacing repeats Imager Pixel Spacing, nobody has corrected it for the magnification (PS3.3, section 10.7.1.3).
    """
    low, high = _SPACINGS
    of_patient, of_detector = (
        found if len(found := _numbers(dataset, keyword)) == 2 and all(low <= each <= high for each in found) else None
        for keyword in ("PixelSpacing", "ImagerPixelSpacing")
    )
    spacing = of_patient or of_detector
    return ((spacing[0], spacing[1]), spacing == of_detector) if spacing else (None, False)


def _window(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    centre, width = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    return (centre[0], width[0]) if centre and width else None


def _age_years(dataset: pydicom.Dataset, taken: date | None) -> float | None:
    """Age of the patient, from its own element or from the dates of birth and study; None where neither says it."""
    if stated := _text(dataset, "PatientAge"):
        return age_in_years(stated)
    born = _date(dataset, "PatientBirthDate")
    return age_on(born, taken) if born and taken else None


def _taken(dataset: pydicom.Dataset) -> date | None:
    return _date(dataset, "AcquisitionDate") or _date(dataset, "StudyDate")


def _date(dataset: pydicom.Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(_text(dataset, keyword), "%Y%m%d").date()
    except ValueError:
        return None


class _BoundedStream(io.BytesIO):
    """Bytes in memory that can be read from so many times.

    pydicom reads at least once for each element, item and fragment; a file of 200 MB may hold 25 million of them, each of
    which becomes an object of a kilobyte.
    """

    reads_left = limits.MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError("more elements than the object of one image has")
        return super().read(size)


def read_elements(content: bytes, keywords: Iterable[str]) -> pydicom.Dataset:
    """Elements of a DICOM file by their keywords, as they are stored, and its file meta information.

    Args:
        content: Bytes of the file.
        keywords: Keywords of the elements; others are passed over.

    Raises:
        UnsupportedDicom: More bytes than an image may have, once inflated.
        Exception: Any of pydicom's, for a damaged object; ValueError for one that costs too much.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _parse(content, [Tag(keyword) for keyword in keywords])


def _parse(content: bytes, wanted: list[Any] = _WANTED_TAGS) -> pydicom.Dataset:
    """Wanted attributes of a file, and its file meta information."""
    stream = _BoundedStream(content)
    read_preamble(stream, force=True)
    file_meta = _read_file_meta_info(stream)
    if file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        stream.seek(0)
        return pydicom.dcmread(stream, force=True, specific_tags=wanted)
    inflated = _inflated(memoryview(content)[stream.tell() :])
    dataset = read_dataset(inflated, is_implicit_VR=False, is_little_endian=True, specific_tags=wanted)
    dataset.file_meta = file_meta
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return dataset


def _inflated(deflated: memoryview) -> _BoundedStream:
    """Inflated dataset; pydicom would inflate it whole, whatever its size."""
    most, size = 2 * limits.MAX_PIXELS + _PIECE, 0
    for piece in _pieces(deflated):
        size += len(piece)
        if size > most:
            raise UnsupportedDicom(f"more than {most} bytes once inflated")
    stream = _BoundedStream()
    for piece in _pieces(deflated):
        stream.write(piece)
    stream.seek(0)
    return stream


def _pieces(deflated: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for start in range(0, len(deflated), _PIECE):
        left: bytes | memoryview = deflated[start : start + _PIECE]
        while left and not inflater.eof:
            yield inflater.decompress(left, _PIECE)
            left = inflater.unconsumed_tail
    if not inflater.eof:
        raise ValueError("truncated deflated dataset")


def _drop_long_descriptions(dataset: pydicom.Dataset) -> None:
    """Remove elements that describe the image but are sequences or too long to say anything: they make no image unreadable."""
    for keyword in _DESCRIPTIVE:
        tag = Tag(keyword)
        if tag in dataset:
            value = dataset.get_item(tag).value
            if value is not None and (not isinstance(value, bytes) or len(value) > _LONGEST_DESCRIPTION):
                del dataset[tag]


def _check_lengths(dataset: pydicom.Dataset, longest: int = _LONGEST_ELEMENT) -> None:
    """Raise ValueError for elements too long for what they are to say: a list of numbers becomes a list of objects."""
    for element in dataset.values():
        if isinstance(element.value, pydicom.Sequence):
            for item in element.value:
                _check_lengths(item, limits.MAX_DESCRIPTION)
            continue
        # A table in a sequence of known length has not been parsed yet.
        most = limits.MAX_DESCRIPTION if element.tag in _TABLES else longest
        if element.tag != _PIXEL_DATA and isinstance(element.value, bytes) and len(element.value) > most:
            raise ValueError(f"{len(element.value)} bytes in element {element.tag}")


def _fill_in(dataset: pydicom.Dataset) -> None:
    """Set what the standard asks for and objects leave out all the same, where there is a usual value."""
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        implicit = dataset.original_encoding[0] is not False
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    usual = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    for keyword, value in (usual | {"BitsStored": dataset.get("BitsAllocated")}).items():
        if dataset.get(keyword) in (None, "") and value is not None:
            setattr(dataset, keyword, value)


def _check(dataset: pydicom.Dataset) -> None:
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
    if dataset.Rows * dataset.Columns > limits.MAX_PIXELS:
        raise UnsupportedDicom(f"{dataset.Columns} x {dataset.Rows} pixels, more than {limits.MAX_PIXELS}")
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated or dataset.PixelRepresentation not in (0, 1):
        raise ValueError(f"{dataset.BitsStored} bits stored, pixel representation {dataset.PixelRepresentation}")


@dataclass(frozen=True)
class _Stored:
    """Pixels as they are stored.

    Attributes:
        codes: (rows, columns) uint8 or uint16 of any byte order, the bits of each pixel.
        values: (256,) or (65536,), signed or unsigned: the value that each of the codes means.
    """

    codes: NDArray[np.integer]
    values: NDArray[np.integer]


def _stored(dataset: pydicom.Dataset, held: int) -> _Stored:
    """Pixels of a checked dataset.

    Args:
        dataset: Checked attributes and the pixel data.
        held: Bytes of the file, which stay in memory.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    shape, bits = (int(dataset.Rows), int(dataset.Columns)), int(dataset.BitsAllocated)
    # Bits above those stored may hold anything (PS3.5, section 8.1.1).
    unused = bits - int(dataset.BitsStored)
    if not syntax.is_encapsulated:
        return _Stored(codes := _native(dataset, shape, held), _values(dataset, codes.itemsize, unused))
    decoded = decode_frame(_frame(dataset[_PIXEL_DATA].value), syntax, shape, bits)
    if 8 * decoded.samples.itemsize > bits:
        raise ValueError(f"{decoded.precision} bits a sample in a stream where {bits} are allocated")
    if decoded.precision is not None and syntax in SIGN_IN_STREAM:
        # JPEG-LS has no signed samples, and JPEG 2000 may say otherwise than the dataset: the sign bit is the stream's.
        unused = bits - decoded.precision if decoded.signed != bool(dataset.PixelRepresentation) else 0
    codes = decoded.samples.view(f"u{decoded.samples.itemsize}")
    return _Stored(codes, _values(dataset, codes.itemsize, unused))


def _values(dataset: pydicom.Dataset, size: int, unused: int) -> NDArray[np.integer]:
    """Value of each code of `size` bytes, the `unused` high bits of the allocated ones taken from the sign bit or zero."""
    kind = "ui"[int(dataset.PixelRepresentation)]
    codes = np.arange(1 << (8 * size), dtype=f"u{size}").view(f"{kind}{size}")
    values = codes.astype(f"{kind}{int(dataset.BitsAllocated) // 8}")
    return np.asarray((values << unused) >> unused)


def _native(dataset: pydicom.Dataset, shape: tuple[int, int], held: int) -> NDArray[np.integer]:
    """(rows, columns) codes of uncompressed pixel data."""
    element, size = dataset[_PIXEL_DATA], int(dataset.BitsAllocated) // 8
    content: bytes = element.value
    pixels = shape[0] * shape[1]
    expected = pixels * size
    if len(content) < expected:
        raise ValueError(f"{len(content)} bytes of pixel data where {expected} were expected")
    if len(content) > expected + expected % 2 and len(content) >= 2 * expected:
        raise ValueError(f"pixel data for {len(content) // expected} frames of {shape[1]} x {shape[0]}, one expected")
    limits.check_memory(held + len(content) + 2 * pixels)
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    if size == 1 and not little and element.VR == "OW":
        # Words of two pixels, the first of them in the low byte.
        words = np.frombuffer(content.ljust(expected + expected % 2, b"\x00"), "u2", (expected + 1) // 2)
        return words.byteswap().view(np.uint8)[:pixels].reshape(shape)
    return np.frombuffer(content, f"{'<' if little else '>'}u{size}", pixels).reshape(shape)


def _frame(encapsulated: bytes) -> bytes:
    """Stream of the only frame in encapsulated pixel data."""
    if sum(1 for _ in islice(generate_fragments(encapsulated), limits.MAX_FRAGMENTS + 1)) > limits.MAX_FRAGMENTS:
        raise ValueError(f"more than {limits.MAX_FRAGMENTS} fragments")
    frames = list(islice(generate_frames(encapsulated, number_of_frames=1), 2))
    if len(frames) != 1:
        raise ValueError("pixel data for several frames, one expected")
    return frames[0]


def _shown(dataset: pydicom.Dataset, stored: _Stored) -> NDArray[np.uint16]:
    """(rows, columns) what the first view that the object describes shows.

    What a viewer does depends on the value alone, so it is done once for each value and not for each pixel.
    """
    codes = stored.codes.reshape(-1)
    strips = [slice(start, start + _STRIP) for start in range(0, codes.size, _STRIP)]
    count = sum(np.bincount(codes[strip], minlength=len(stored.values)) for strip in strips)
    used = np.flatnonzero(count)
    values = stored.values[used].astype(np.int64)
    lowest = int(values.min())
    frequency = np.zeros(int(values.max()) - lowest + 1, dtype=np.int64)
    np.add.at(frequency, values - lowest, np.asarray(count)[used])
    domain = np.arange(lowest, lowest + len(frequency)).astype(stored.values.dtype)
    table = np.zeros(len(stored.values), dtype=np.uint16)
    table[used] = _levels(dataset, domain, frequency)[values - lowest]
    shown = np.empty(codes.size, dtype=np.uint16)
    for strip in strips:
        np.take(table, codes[strip], out=shown[strip], mode="clip")
    return shown.reshape(stored.codes.shape)


def _levels(
    dataset: pydicom.Dataset, values: NDArray[np.integer], frequency: NDArray[np.integer]
) -> NDArray[np.uint16]:
    """(values,) grey level of each value from the lowest to the highest that is stored.

    Args:
        dataset: Describes the view.
        values: (values,) one after the other.
        frequency: (values,) number of pixels that have each.
    """
    padding = _padding(dataset, values)
    meant = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    if table := dataset.get("VOILUTSequence"):
        levels = apply_voi(meant.astype(np.int64), dataset).astype(np.float64)
        shown = _stretched(levels, 0, 2 ** int(table[0].LUTDescriptor[2]) - 1)
    elif _has_window(dataset):
        levels = apply_windowing(np.concatenate([meant, [-_FAR, _FAR]]), dataset)
        shown = _stretched(levels[:-2], levels[-2], levels[-1])
    else:
        shown = _stretched(meant, *_usual_range(meant, frequency * ~padding))
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

"""Properties of an image that its file, its header or a table says, without regard to what the image shows.

    file     format, colour, kinds of metadata in it; the audit adds sizes and compression
    header   elements of a DICOM object, or age, sex and view of a table: numbers, words, and whether an element is there
    column   further columns of a table

Nothing that identifies a person is kept: no names, identifiers or dates, of dates the year.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from pydicom.multival import MultiValue
from pydicom.uid import UID

from pneumoscope.data.ages import age_in_years
from pneumoscope.data.image_files import DICOM, format_of
from pneumoscope.data.privacy import may_identify, without_dates
from pneumoscope.data.sources import SourceImage
from pneumoscope.types import ImageHeader

Origin = Literal["file", "grey levels", "header", "column"]
Value = float | str
# Keyword to the name of a property, of words and of numbers.
_WORDS = {
    "ManufacturerModelName": "model",
    "StationName": "station",
    "InstitutionName": "institution",
    "PhotometricInterpretation": "photometric interpretation",
    "PresentationLUTShape": "presentation LUT shape",
    "SoftwareVersions": "software",
    "ConversionType": "conversion type",
}
_NUMBERS = {"BitsAllocated": "bits allocated", "RescaleSlope": "rescale slope", "RescaleIntercept": "rescale intercept"}
# Elements that devices, archives and anonymisers write or leave out.
_PRESENT = (
    *("KVP", "Exposure", "ExposureTime", "XRayTubeCurrent", "Grid", "DistanceSourceToDetector", "ImagerPixelSpacing"),
    *(
        "WindowCenter",
        "VOILUTSequence",
        "BurnedInAnnotation",
        "LossyImageCompression",
        "PatientOrientation",
        "StudyTime",
    ),
    *("SeriesDescription", "ProtocolName", "AccessionNumber", "DetectorType", "PixelPaddingValue", "PixelAspectRatio"),
)
# Prefix of the names of a table's columns: one may be called width, age or sharpness.
_COLUMN = "column "
# That of columns whose cells are left out.
_LEFT_OUT = "left out "
# Numbers of no more different values than these may be codes.
_CODES = 9
# Properties whose values are names or free text: reports number them.
UNNAMED = frozenset({"station", "institution", "model", "software"})
_COLOURS = {
    "1": "black and white",
    "L": "grey",
    "I": "grey",
    "I;16": "grey of 16 bits",
    "P": "palette",
    "RGB": "colour",
}
# What Pillow says of a file beside its metadata.
_NO_METADATA = frozenset(
    {"jfif_version", "jfif_unit", "jfif_density", "progressive", "progression", "transparency", "sizes"}
)


@dataclass(frozen=True)
class Property:
    """Property of all images.

    Attributes:
        name: Name; that of a table's column begins with `column`, so that it is not taken for a property of the file.
        origin: `file`, `grey levels`, `header` or `column`.
        values: Number or word of each image; NaN or empty where it is unknown.
        is_number: Whether the values are numbers.
    """

    name: str
    origin: Origin
    values: tuple[Value, ...]
    is_number: bool

    @property
    def varies(self) -> bool:
        """Whether it has two different known values."""
        return len({value for value in self.values if value == value and value != ""}) > 1


def file_properties(content: bytes) -> dict[str, Value]:
    """Format, colour and kinds of metadata of an image file; empty where it says none."""
    if (kind := format_of(content)) == DICOM or not kind:
        return {"file format": kind} if kind else {}
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, keys = image.mode, {str(key) for key in image.info}
    except Exception:  # Pillow's opinion of a file that has been decoded already
        return {"file format": kind}
    metadata = ", ".join(sorted(keys - _NO_METADATA))
    found: dict[str, Value] = {
        "file format": kind,
        "colour": _COLOURS.get(mode, mode),
        "file metadata": metadata or "none",
    }
    return found | ({"JPEG process": "progressive" if "progressive" in keys else "baseline"} if kind == "JPEG" else {})


def header_properties(content: bytes, header: ImageHeader) -> dict[str, Value]:
    """Elements of a DICOM object that devices, archives and examinations differ by.

    Args:
        content: Bytes of the file.
        header: Header, as it has been read.
    """
    from pneumoscope.data.dicom import read_elements

    found: dict[str, Value] = {
        "manufacturer": header.manufacturer,
        "modality": header.modality,
        "body part": header.body_part,
        "view": header.view,
        "sex": header.sex,
        "study year": header.taken[:4],
    }
    numbers: dict[str, float | None] = {
        "age": header.age_years,
        "bits stored": header.bits,
        "pixel spacing": header.spacing[0] if header.spacing else None,
        "window centre": header.window[0] if header.window else None,
        "window width": header.window[1] if header.window else None,
    }
    dataset = read_elements(content, (*_WORDS, *_NUMBERS, *_PRESENT))
    found |= {name: _word(dataset, keyword) for keyword, name in _WORDS.items()}
    numbers |= {name: _number(dataset, keyword) for keyword, name in _NUMBERS.items()}
    found |= {f"has {keyword}": "yes" if keyword in dataset else "no" for keyword in _PRESENT}
    syntax = dataset.file_meta.get("TransferSyntaxUID", "") if hasattr(dataset, "file_meta") else ""
    found["transfer syntax"] = UID(str(syntax)).name if syntax else ""
    return found | {name: float("nan") if number is None else float(number) for name, number in numbers.items()}


def _word(dataset: Any, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # a damaged element says nothing
        return ""
    values = value if isinstance(value, MultiValue) else [] if value is None else [value]
    return " / ".join(str(each).strip() for each in values)[:64]


def _number(dataset: Any, keyword: str) -> float | None:
    try:
        return float(dataset.get(keyword))
    except Exception:  # missing, damaged, or several
        return None


def table_properties(image: SourceImage) -> dict[str, Value]:
    """Age, sex and view of a table, and its further columns, as words; of those that may identify a person the name alone."""
    known = {name: word for name, word in image.groups.items() if word}
    found: dict[str, Value] = {
        f"{_LEFT_OUT}{name}" if may_identify(name) else f"{_COLUMN}{name}": ""
        if may_identify(name)
        else without_dates(word)
        for name, word in image.further.items()
    }
    if (years := age_in_years(known.pop("age", ""))) is not None:
        found["age"] = years
    return found | {name: word.upper() for name, word in known.items()}


def properties_of(rows: tuple[Mapping[str, Value], ...]) -> Iterator[Property]:
    """Properties of all images out of those of each; where some images lack one, whether it is there is one more."""
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        values = tuple(row.get(name, "") for row in rows)
        known = [value not in ("", None) and value == value for value in values]
        if not any(known):
            continue
        origin = _origin(name)
        yield _typed(name, origin, values)
        if not all(known):
            whether = f"{name} given" if f"{name} given" not in names else f"{name} is given"
            yield Property(whether, origin, tuple("yes" if each else "no" for each in known), is_number=False)


def left_out_columns(rows: tuple[Mapping[str, Value], ...]) -> list[str]:
    """Columns of a table that are left out, since they may identify a person."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name.removeprefix(_LEFT_OUT) for name in names if name.startswith(_LEFT_OUT)]


def _origin(name: str) -> Origin:
    if name.startswith(_COLUMN):
        return "column"
    return "file" if name.startswith(("file ", "colour", "JPEG ")) else "header"


def _typed(name: str, origin: Origin, values: tuple[Value, ...]) -> Property:
    """Property of numbers where all known values are numbers of more than a few sizes, else of words."""
    numbers = [_as_number(value) for value in values]
    words = [value if isinstance(value, str) else f"{value:g}" if value == value else "" for value in values]
    if (
        all(number is not None for number, word in zip(numbers, words, strict=True) if word)
        and len(set(numbers)) > _CODES
    ):
        return Property(name, origin, tuple(float("nan") if n is None else n for n in numbers), is_number=True)
    return Property(name, origin, tuple(words), is_number=False)


def _as_number(value: Value) -> float | None:
    if not isinstance(value, str):
        return value if value == value else None
    try:
        return float(value.replace(",", ".")) if value else None
    except ValueError:
        return None

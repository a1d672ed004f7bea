"""Header of the image that is answered: whose it is, which study it belongs to, and how it is shown.

Who it is and which study it is goes into the answers as it came, even where a value is longer than the standard allows: a PACS
files by these values. Values that cannot be what their type says, such as a range where a date belongs, are left empty.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.charset import convert_encodings, python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from pneumoscope.data.dicom import read_elements
from pneumoscope.data.limits import MAX_DESCRIPTION, check_bytes
from pneumoscope.errors import DataError

# Attributes of patient and study that every answer shares with its image; those of type 2 are there, empty or not.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
PATIENT_AND_STUDY = (
    *_TYPE_2,
    *("StudyInstanceUID", "StudyDescription", "IssuerOfPatientID", "TypeOfPatientID", "PatientAge", "PatientSize"),
    *("PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
)
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_IMAGE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "Modality", "Rows", "Columns"),
    *("PatientOrientation", "ImageLaterality", "BodyPartExamined", "BurnedInAnnotation", "TimezoneOffsetFromUTC"),
    *("PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
_WANTED = ("SpecificCharacterSet", *PATIENT_AND_STUDY, *_IMAGE)
# Texts that a PACS may hold in another form than the standard asks for.
_FREE_TEXT = ("LO", "LT", "PN", "SH", "ST", "UI", "UT")
_WINDOW = ("WindowCenter", "WindowWidth")
_UID = re.compile(r"[0-9.]{1,64}")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
# Bytes of a text that describes.
_LONGEST_TEXT = 1024
_LATIN_1 = "ISO_IR 100"
# Character sets without a character beyond ASCII.
_ASCII = ("", "ISO_IR 6")
# Defined terms, where others would be refused by who reads the answers.
_ALLOWED = {
    "PatientSex": ("M", "F", "O"),
    "ImageLaterality": ("R", "L", "U", "B"),
    "BurnedInAnnotation": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID"),
}


def read_header(file: Path | str | bytes) -> pydicom.Dataset:
    """Attributes of an image that its answers need, without the pixels; attributes of type 2 are there, empty or not.

    Args:
        file: DICOM file, as a path or as bytes.

    Raises:
        DataError: No DICOM object, or one without the identifiers that an answer refers to.
    """
    try:
        check_bytes(len(file) if isinstance(file, bytes) else Path(file).stat().st_size)
        stored = read_elements(file if isinstance(file, bytes) else Path(file).read_bytes(), _WANTED)
    except Exception as error:  # pydicom's errors for damaged files are of every type
        name = "" if isinstance(file, bytes) else f"{file}: "
        raise DataError(f"{name}expected a DICOM object, found {error}: send it again") from error
    return repaired(stored)


def repaired(stored: pydicom.Dataset) -> pydicom.Dataset:
    """Header of a dataset, with values that no reader of an answer trips over.

    Raises:
        DataError: No identifier of the object, its class or its study.
    """
    header = pydicom.Dataset()
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        names, encodings = _character_set(stored)
        if names:
            header.SpecificCharacterSet = names
        for element in _elements(stored, encodings):
            if _is_usable(element):
                header.add(element)
        if not _has_usable_windows(header):
            for keyword in _WINDOW:
                header.pop(keyword, None)
        for keyword in _TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
    for keyword in _IDENTITY:
        if not _UID.fullmatch(str(header.get(keyword) or "")):
            raise DataError(
                f"expected a DICOM object with a {keyword}, found none: nothing can refer to it, so it is not answered"
            )
    return header


def _elements(stored: pydicom.Dataset, encodings: list[str]) -> Iterator[DataElement]:
    """Elements that can be decoded and have the type that the standard gives them, texts by these encodings."""
    for keyword in (*PATIENT_AND_STUDY, *_IMAGE):
        if (tag := Tag(keyword)) not in stored:
            continue
        try:
            element = stored.get_item(tag)
            if isinstance(element, RawDataElement):
                if len(element.value or b"") > MAX_DESCRIPTION:
                    continue
                typed = element._replace(VR=element.VR or dictionary_VR(tag))
                element = convert_raw_data_element(typed, encoding=encodings)
        except Exception:  # noqa: S112 - a damaged element is one that is missing
            continue
        if isinstance(element, DataElement) and dictionary_VR(tag) == element.VR:
            yield element


def _is_usable(element: DataElement) -> bool:
    """Whether a value is what its type says, or a text that a PACS files by."""
    value, keyword = element.value, element.keyword
    if element.VR == "SQ":
        return True
    if element.is_empty or len(str(value)) > _LONGEST_TEXT:
        return False
    several = list(value) if isinstance(value, pydicom.multival.MultiValue) else [value]
    if keyword == "TimezoneOffsetFromUTC":
        return bool(_OFFSET.fullmatch(str(value).strip()))
    if element.VR in _FREE_TEXT:
        return True
    if element.VR in ("DA", "TM") and "-" in str(value):
        # A range, which only a query may hold.
        return False
    if any(str(each) not in _ALLOWED.get(keyword, (str(each),)) for each in several):
        return False
    try:
        for each in several:
            text = getattr(each, "original_string", None) or each
            validate_value(element.VR, text if element.VR in ("US", "SS") else str(text), RAISE)
    except Exception:  # whatever the value is, it is not valid
        return False
    return len(several) == 1 or keyword in ("PatientOrientation", "WindowCenter", "WindowWidth")


def _has_usable_windows(header: pydicom.Dataset) -> bool:
    """Whether each window has a centre and a width of 1 or more, all of them finite."""
    centres, widths = (np.atleast_1d(np.array(header.get(keyword, []), float)) for keyword in _WINDOW)
    return centres.size == widths.size and bool(np.isfinite([*centres, *widths]).all() and (widths >= 1).all())


def _character_set(stored: pydicom.Dataset) -> tuple[str | list[str], list[str]]:
    """Names and Python's names of the character set in which all texts can be decoded; no name where they are ASCII.

    Texts that are not in the character set they say are taken for Latin 1, where every byte is a character: the bytes that go
    back are the bytes that came.
    """
    names = _character_set_names(stored)
    texts = [text for keyword in PATIENT_AND_STUDY if (text := _stored_text(stored, keyword))]
    if len(names) > 1:
        return names, convert_encodings(names)
    name = names[0]
    if all(text.isascii() for text in texts):
        return name, convert_encodings(name)
    if name not in _ASCII:
        try:
            for text in texts:
                text.decode(python_encoding[name])
            return name, convert_encodings(name)
        except UnicodeError:
            pass
    return _LATIN_1, convert_encodings(_LATIN_1)


def _character_set_names(stored: pydicom.Dataset) -> list[str]:
    """Names of the character set; one empty name where it is missing, damaged or unknown."""
    try:
        value = stored.get("SpecificCharacterSet")
        names = [str(name) for name in value] if isinstance(value, pydicom.multival.MultiValue) else [str(value or "")]
    except Exception:  # an element that is damaged says nothing
        return [""]
    return names if names and all(name in python_encoding for name in names) else [""]


def _stored_text(stored: pydicom.Dataset, keyword: str) -> bytes:
    """Bytes of a text as they were stored; none where it is missing."""
    element = stored.get_item(Tag(keyword)) if Tag(keyword) in stored else None
    if not isinstance(element, RawDataElement) or dictionary_VR(element.tag) not in _FREE_TEXT:
        return b""
    return element.value or b""

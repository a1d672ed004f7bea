"""Copies of DICOM files without who it is, for sharing: dicognito's consistent identifiers, and stricter rules for all else.

dicognito replaces UIDs, names and identifiers that it knows, and shifts dates. What it leaves of the Basic Profile (PS3.15, annex E) are
private elements, comments and descriptions, addresses and names of institutions but three, serial numbers, station AE titles, text of
structured reports, overlays, thumbnails, original attributes, encrypted attributes, signatures and the file's preamble. So here no free
text stays that is not listed: a value is kept by the kind of its element (numbers, codes, age strings), replaced, shifted or emptied.

Not covered: what is burnt into the pixels (such files are left out where the header says so), a face in a CT or MR series, and names in
the comments of compressed pixels that are shorter than six letters.
"""

import io
import os
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pydicom
from dicognito.anonymizer import Anonymizer
from dicognito.datetimeanonymizer import DateTimeAnonymizer
from dicognito.element_anonymizer import ElementAnonymizer
from dicognito.idanonymizer import IDAnonymizer
from dicognito.randomizer import Randomizer
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data.ages import age_on
from pneumoscope.data.image_files import DICOM, HEAD, format_of
from pneumoscope.errors import DataError, InputError, PneumoscopeError, listed
from pneumoscope.files import atomic_write
from pneumoscope.pacs.unused_bits import clear_unused_bits

# Characters of a secret: one that is guessed gives the identifiers back to who has a list of them.
_SHORTEST_SECRET = 16
# Days by which dates are shifted into the past, per patient.
_SHIFT_DAYS = (62, 730)
# Ages from here on are rare enough to tell who it is (45 CFR 164.514(b)(2)(i)(C)).
_OLDEST = 90
_REMOVED_TEXT = "removed"
_METHOD = "pneumoscope pacs deidentify: no free text, pixels not examined"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_BURNT_IN = "text is burnt into the picture, says its header"
_MAY_BE_BURNT_IN = "a secondary capture, which may have text burnt in"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DICOMDIR = "1.2.840.10008.1.3.10"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
# Root of all UIDs that the standard defines: they name no instance.
_STANDARD_ROOT = "1.2.840.10008."
_DATE_VRS = frozenset({"DA", "DT", "TM"})
_TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_BINARY_VRS = frozenset({"OB", "OB or OW", "OD", "OF", "OL", "OV", "OW", "UN"})
# Values of an element that is kept by its kind: others than its kind allows are emptied.
_KINDS = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DS": re.compile(r"[0-9+\-.eE ]{0,16}"),
    "IS": re.compile(r"[0-9+\- ]{0,12}"),
}
# Text of a code, which stays where its scheme is published.
_CODE_TEXT = frozenset(
    {"CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning", "CodingSchemeVersion", "CodingSchemeDesignator"}
)
_KEPT_TEXT = frozenset(
    {
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
        *_CODE_TEXT,
    }
)
_KEPT_BINARY = re.compile(r"(Float|DoubleFloat)?PixelData|LUTData|.*PaletteColorLookupTableData")
# Identifiers that dicognito replaces, and one that must not be empty.
_REPLACED_IDS = frozenset(
    {
        *("AccessionNumber", "PatientID", "PerformedProcedureStepID", "RequestedProcedureID"),
        *("ScheduledProcedureStepID", "StationName", "StudyID", "DeviceSerialNumber"),
    }
)
# Text that a structured report or a presentation state must have.
_REQUIRED_TEXT = frozenset({"PersonName", "TextValue", "UnformattedTextValue", "VerifyingOrganization"})
_REMOVED = frozenset(
    {
        *("ActualHumanPerformersSequence", "AdmittingDiagnosesCodeSequence", "AuthorObserverSequence"),
        *("ConsultingPhysicianIdentificationSequence", "ContentCreatorIdentificationCodeSequence"),
        *("CustodialOrganizationSequence", "DigitalSignaturesSequence", "EncryptedAttributesSequence"),
        *("HumanPerformerCodeSequence", "IconImageSequence", "InstitutionCodeSequence"),
        *("InstitutionalDepartmentTypeCodeSequence", "IssuerOfAccessionNumberSequence"),
        *("IssuerOfAdmissionIDSequence", "IssuerOfPatientIDQualifiersSequence", "LastMenstrualDate"),
        *("MACParametersSequence", "ModifiedAttributesSequence", "OperatorIdentificationSequence"),
        *("OriginalAttributesSequence", "OtherPatientIDsSequence", "OtherPatientNames", "ParticipantSequence"),
        *("PatientBirthDateInAlternativeCalendar", "PatientBirthTime", "PatientBreedCodeSequence"),
        *("PatientDeathDateInAlternativeCalendar", "PatientInsurancePlanCodeSequence"),
        *("PatientPrimaryLanguageCodeSequence", "PatientSexNeutered", "PatientSize", "PatientSizeCodeSequence"),
        *("PatientWeight", "PerformingPhysicianIdentificationSequence", "PersonIdentificationCodeSequence"),
        *("PhysiciansOfRecordIdentificationSequence", "PhysiciansReadingStudyIdentificationSequence"),
        *("PregnancyStatus", "ReferencedPatientPhotoSequence", "ReferencedPatientSequence"),
        *("ReferringPhysicianIdentificationSequence", "RequestingServiceCodeSequence"),
        *("RequestingPhysicianIdentificationSequence", "ResponsiblePersonRole", "SmokingStatus"),
        *("SourcePatientGroupIdentificationSequence", "StudyIDIssuer", "VerifyingObserverSequence"),
        *("VerifyingObserverIdentificationCodeSequence", "VisitComments"),
    }
)
# Designators of code schemes that are published, and that of the node's own reports.
_SCHEMES = re.compile(r"DCM|SCT|SRT|SNM3|99SDM|UCUM|LN|RADLEX|FMA|UMLS|NCIt|ACR|I10|ICD10CM|99PNEUMO[A-Z]*")
# What must not be found in a copy: names by their parts, others whole.
_NAMES = (
    *("PatientName", "OtherPatientNames", "PatientMotherBirthName", "ReferringPhysicianName", "OperatorsName"),
    *("PerformingPhysicianName", "NameOfPhysiciansReadingStudy"),
)
_IDENTITY = (
    *("PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber", "AdmissionID"),
    *("PatientAddress", "PatientTelephoneNumbers", "InstitutionName"),
)
# Characters of what is looked for: of names, of numbers, which UIDs are full of, and of both in pixels.
_SHORTEST_FOUND, _SHORTEST_NUMBER, _SHORTEST_IN_PIXELS = 4, 7, 6
# Words that name nobody, though someone may be called so.
_NO_NAMES = frozenset({b"", b"ANONYMOUS", b"Anonymous", b"anonymous", b"UNKNOWN", b"Unknown"})


@dataclass(frozen=True)
class Deidentified:
    """Result of de-identifying files.

    Attributes:
        written: Number of copies.
        patients: Number of patients among them.
        unstated: Number of copies with pixels whose header does not say whether anything is burnt in.
        left_out: Path of each file that was left out, and why.
    """

    written: int
    patients: int
    unstated: int
    left_out: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """Result in words, a line each."""
        lines = [f"{self.written:,} copies of {self.patients:,} patients written"]
        if self.unstated:
            lines.append(
                f"{self.unstated:,} of them do not say whether text is burnt into the picture: look at them before you share them"
            )
        if self.left_out:
            reasons = Counter(why for _, why in self.left_out)
            lines += [f"{count:,} left out: {why}" for why, count in reasons.most_common()]
            if looked_at := reasons[_BURNT_IN] + reasons[_MAY_BE_BURNT_IN]:
                lines.append(f"{looked_at:,} of them would be copied with --include-burnt-in: look at them first")
        return lines


def deidentify(
    paths: Sequence[Path], out: Path, secret: str | None = None, include_burnt_in: bool = False
) -> Deidentified:
    """Copy DICOM files without who it is; the originals are not touched.

    In a run, and in all runs with one secret, a patient has one new identifier, all dates of a patient are shifted by one number of hours,
    and equal UIDs become equal ones, so that reports and captures still refer to their images. The age is kept, up to 90 years; the date
    of birth is not. A copy is named by its new identifiers, and is written whole or not at all.

    Args:
        paths: Files and folders; folders with all below them.
        out: Folder of the copies, neither in one of `paths` nor around it.
        secret: Text of at least 16 characters, to be kept as safe as the originals; a new one for each run where None.
        include_burnt_in: Whether to copy images whose header says that text is burnt in, and secondary captures.

    Raises:
        InputError: A secret that is too short, or a folder that is in one of `paths` or around it.
        DataError: Nothing at a path, no DICOM file, or a disk that cannot be written.
    """
    if secret is not None and len(secret) < _SHORTEST_SECRET:
        raise InputError(
            f"expected a secret of at least {_SHORTEST_SECRET} characters, found {len(secret)}: make one with openssl rand -hex 32"
        )
    _check_apart(paths, out)
    key = secret or secrets.token_hex(32)
    patients, written, unstated, left_out = set[str](), set[Path](), 0, list[tuple[str, str]]()
    for path in _files(paths):
        try:
            copy = _copy_of(path, key, include_burnt_in)
        except _LeftOut as reason:
            left_out.append((str(path), str(reason)))
            continue
        file = out / copy.patient / f"{copy.sop_uid}.dcm"
        if file in written:
            left_out.append((str(path), "the same SOP Instance UID as a file before it"))
            continue
        with atomic_write(file) as temporary:
            temporary.write_bytes(copy.content)
        written.add(file)
        patients.add(copy.patient)
        unstated += copy.unstated
    if not written and not left_out:
        raise DataError(f"expected DICOM files in {listed(map(str, paths))}, found none: name others")
    return Deidentified(len(written), len(patients), unstated, tuple(left_out))


class _LeftOut(Exception):
    """Reason for leaving a file out."""


@dataclass(frozen=True)
class _Copy:
    content: bytes
    patient: str
    sop_uid: str
    unstated: bool


def _check_apart(paths: Sequence[Path], out: Path) -> None:
    target = out.resolve()
    for path in paths:
        if not path.exists():
            raise DataError(f"expected a DICOM file or a folder at {path}, found nothing there: check the path")
        source = path.resolve()
        # Whoever shares the folder of the copies must not share an original with them.
        if target.is_relative_to(source) or source.is_relative_to(target):
            folder = source if source.is_dir() else source.parent
            raise InputError(f"expected a folder apart from the originals in {folder}, found {out}: name another")


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Regular files, in order; those of folders with all below them, symbolic links to folders not followed."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (file for name in sorted(names) if (file := Path(folder, name)).is_file())
        else:
            yield path


def _copy_of(path: Path, secret: str, include_burnt_in: bool) -> _Copy:
    """Content of a copy.

    Raises:
        _LeftOut: No DICOM file, a damaged one, or one whose copy would tell who it is.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _LeftOut(f"cannot be read ({error.strerror})") from error
    if format_of(content[:HEAD]) != DICOM:
        raise _LeftOut("no DICOM file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            original = pydicom.dcmread(io.BytesIO(content), force=True)
            _check_kind(original, include_burnt_in)
            if reason := clear_unused_bits(original):
                raise _LeftOut(reason)
            identity = _identity_of(original)
            dataset = _deidentified(original, secret)
            written = _written(dataset)
    except (_LeftOut, PneumoscopeError, MemoryError):
        raise
    except Exception as error:  # pydicom raises any for damaged files; a file that is not understood is not shared
        raise _LeftOut("damaged, or not as the standard has it") from error
    if _tells(dataset, written, identity):
        raise _LeftOut("a name, identifier or date of birth would still be in it")
    unstated = "PixelData" in dataset and dataset.get("BurnedInAnnotation") not in ("YES", "NO")
    return _Copy(written, str(dataset.PatientID), str(dataset.SOPInstanceUID), unstated)


def _check_kind(dataset: Dataset, include_burnt_in: bool) -> None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class == _DICOMDIR or dataset.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
        raise _LeftOut("a DICOMDIR, which lists names")
    if not sop_class or not dataset.get("SOPInstanceUID"):
        raise _LeftOut("no SOP class or SOP Instance UID")
    if sop_class.startswith(_ENCAPSULATED):
        raise _LeftOut("an encapsulated document")
    if ("Rows" in dataset or "Image Storage" in UID(sop_class).name) and not _has_its_pixels(dataset):
        raise _LeftOut("pixels that are missing or cut short")
    if include_burnt_in:
        return
    if dataset.get("BurnedInAnnotation") == "YES":
        raise _LeftOut(_BURNT_IN)
    if sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        raise _LeftOut(_MAY_BE_BURNT_IN)


def _has_its_pixels(dataset: Dataset) -> bool:
    """Whether the pixels are there, all of them where they are not compressed: pydicom reads a file that is cut short."""
    if not {"Rows", "Columns", "BitsAllocated"} <= set(dataset.dir()):
        return False
    pixels = next((dataset[name].value for name in _PIXELS if name in dataset), b"")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        return bool(pixels)
    size = dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * int(dataset.get("NumberOfFrames") or 1)
    # Colours may share their values, half of them at most.
    return bool(len(pixels) >= size * dataset.BitsAllocated // (16 if dataset.get("SamplesPerPixel", 1) > 1 else 8))


def _deidentified(dataset: Dataset, secret: str) -> Dataset:
    patient = _patient_of(dataset)
    age = _age_of(dataset)
    had_observer = "VerifyingObserverSequence" in dataset
    # The same identifier of two hospitals is of two patients: dicognito sees the issuer in it.
    dataset.PatientID = patient
    anonymizer = Anonymizer(seed=secret)
    anonymizer.add_element_handler(_Rules(secret, patient))  # before its own
    dataset.file_meta = _file_meta(dataset)
    anonymizer.anonymize(dataset)
    # A copy begins with zeros: a preamble may hold anything.
    dataset.preamble = bytes(128)
    dataset.PatientName = dataset.PatientID
    dataset.PatientBirthDate = ""
    if age:
        dataset.PatientAge = age
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.DeidentificationMethod = ["DICOGNITO", _METHOD]
    if had_observer:
        dataset.VerificationFlag = "UNVERIFIED"
    if "PixelData" not in dataset or dataset.get("BurnedInAnnotation") == "NO":
        dataset.PatientIdentityRemoved = "YES"
    elif "PatientIdentityRemoved" in dataset:
        del dataset.PatientIdentityRemoved
    return dataset


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    """File meta information with what a reader needs, without the names of the stations that sent the file."""
    meta = FileMetaDataset()
    implicit, _ = dataset.original_encoding
    meta.TransferSyntaxUID = dataset.file_meta.get("TransferSyntaxUID") or (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    )
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return meta


def _patient_of(dataset: Dataset) -> str:
    """Key of a patient: issuer and identifier; the study where there is none, since that is of one patient."""
    identifier, issuer = (str(dataset.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    if identifier:
        return f"{issuer}|{identifier}"
    return f"study {dataset.get('StudyInstanceUID') or dataset.SOPInstanceUID}"


def _age_of(dataset: Dataset) -> str:
    """Age string, from its own element or from the dates of birth and study; empty where neither says it."""
    stated = str(dataset.get("PatientAge") or "").strip().upper()
    if not _KINDS["AS"].fullmatch(stated):
        born, taken = (
            _date(dataset, "PatientBirthDate"),
            _date(dataset, "AcquisitionDate") or _date(dataset, "StudyDate"),
        )
        years = age_on(born, taken) if born and taken else None
        if years is None:
            return ""
        stated = f"{int(12 * years):03d}M" if years < 3 else f"{int(years):03d}Y"
    return f"{_OLDEST:03d}Y" if stated.endswith("Y") and int(stated[:3]) > _OLDEST else stated


def _date(dataset: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(str(dataset.get(keyword) or ""), "%Y%m%d").date()
    except ValueError:
        return None


class _Rules(ElementAnonymizer):
    """Removes, empties, replaces or keeps an element by its name and kind; leaves UIDs to dicognito."""

    def __init__(self, secret: str, patient: str) -> None:
        randomizer = Randomizer(secret)
        least, most = (24 * days for days in _SHIFT_DAYS)
        hours = least + randomizer.to_int(f"dates of {patient}") % (most - least)
        self._shift = DateTimeAnonymizer(-hours)
        self._replace_identifier = IDAnonymizer(randomizer, "", "", *_REPLACED_IDS)

    def __call__(self, dataset: Dataset, data_element: DataElement) -> bool:
        keyword, vr = data_element.keyword, data_element.VR
        if _is_removed(data_element):
            del dataset[data_element.tag]
        elif keyword in _REQUIRED_TEXT or (keyword in _CODE_TEXT and not _is_published(dataset)):
            data_element.value = _REMOVED_TEXT
        elif keyword in _REPLACED_IDS:
            if data_element.value:
                self._replace_identifier(dataset, data_element)
        elif vr in _DATE_VRS:
            self._shift_date(dataset, data_element)
        elif (vr in _TEXT_VRS and keyword not in _KEPT_TEXT) or (vr in _KINDS and not _is_of_its_kind(data_element)):
            data_element.value = ""
        elif vr == "UI":
            # Such as the UID of a code scheme: dicognito replaces all but those of classes.
            return all(str(value).startswith(_STANDARD_ROOT) for value in _values(data_element))
        return True

    def _shift_date(self, dataset: Dataset, element: DataElement) -> None:
        """Shifts a date with its time; empties what is no date, and a time without a date."""
        if element.VR == "TM":  # with a date, it was shifted when that was
            if element.keyword.replace("Time", "Date") not in dataset:
                element.value = ""
            return
        try:
            self._shift(dataset, element)
        except (ValueError, OverflowError):
            element.value = ""

    def describe_actions(self) -> Iterator[str]:
        """Describe the rules."""
        yield "Remove private elements, empty free text, replace identifiers, shift dates"


def _is_removed(element: DataElement) -> bool:
    tag, keyword = element.tag, element.keyword
    # Private elements, overlays, curves and others have no keyword; a length of a group would be wrong.
    if not keyword or tag.element == 0:
        return True
    return keyword in _REMOVED or (element.VR in _BINARY_VRS and not _KEPT_BINARY.fullmatch(keyword))


def _is_published(code: Dataset) -> bool:
    """Whether a code is of a scheme that is published: in others a site may have written anything."""
    return _SCHEMES.fullmatch(str(code.get("CodingSchemeDesignator", ""))) is not None


def _is_of_its_kind(element: DataElement) -> bool:
    return all(_KINDS[element.VR].fullmatch(str(value)) for value in _values(element))


def _values(element: DataElement) -> Sequence[Any]:
    if element.is_empty:
        return []
    return element.value if isinstance(element.value, MultiValue | list) else [element.value]


def _written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _identity_of(dataset: Dataset) -> set[bytes]:
    """Parts of names, identifiers and dates of birth that are long enough to be found by more than chance."""
    texts = {str(value) for name in _IDENTITY if name in dataset for value in _values(dataset[name])}
    names = {str(value) for name in _NAMES if name in dataset for value in _values(dataset[name])}
    texts |= {part for name in names for part in re.split(r"[\^= ,]+", name)}
    long = {text for text in texts if len(text) >= (_SHORTEST_NUMBER if text.isdigit() else _SHORTEST_FOUND)}
    return {text.encode(encoding, errors="ignore") for text in long for encoding in ("utf-8", "latin-1")} - _NO_NAMES


def _tells(dataset: Dataset, content: bytes, identity: set[bytes]) -> bool:
    """Whether a copy still holds a part of the identity."""
    if any(len(text) >= _SHORTEST_IN_PIXELS and text in content for text in identity):
        return True
    plain = Dataset({element.tag: element for element in dataset if element.tag != Tag("PixelData")})
    with io.BytesIO() as buffer:
        pydicom.dcmwrite(buffer, plain, implicit_vr=False, little_endian=True)
        return any(text in buffer.getvalue() for text in identity)

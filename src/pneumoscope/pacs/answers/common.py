"""What all answers have in common: which prediction they show, patient and study, the device, dates and identifiers."""

from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian

import pneumoscope
from pneumoscope.errors import InputError
from pneumoscope.inference.prediction import Prediction
from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers.coding import coding_scheme
from pneumoscope.pacs.answers.header import PATIENT_AND_STUDY
from pneumoscope.pacs.answers.uids import stable_uid
from pneumoscope.types import OUTSIDE, Decision

DEVICE = "pneumoscope"
# Looked up once: the metadata of a package is a file.
VERSION = pneumoscope.__version__
# Characters of a long string (PS3.5, section 6.2).
LONG_STRING = 64
_UTF_8 = "ISO_IR 192"
# Above the numbers that acquisition devices and workstations give.
_SERIES_NUMBERS = {"sr": 99001, "sc": 99002, "gsps": 99003}
_DESCRIPTIONS = {"sr": "report", "sc": "evidence map", "gsps": "annotation"}


@dataclass(frozen=True)
class Answer:
    """All that the answers to one image are made of.

    Attributes:
        header: Attributes of the image, by `read_header`.
        prediction: Prediction without what must not be said, by `withheld`, and without the name of the file.
        station: Station name of the device.
        made: Time of the answers, at the offset from UTC that the header states, else at that of the machine.
    """

    header: pydicom.Dataset
    prediction: Prediction
    station: str
    made: datetime

    @property
    def model(self) -> str:
        """Name and version of the bundle, at most a long string."""
        return f"{self.prediction.bundle.name} {self.prediction.bundle.version}"[:LONG_STRING].strip()

    @property
    def detail(self) -> str:
        """Explanation in words, on one line."""
        return " ".join(self.prediction.detail.split())

    def uid(self, kind: str) -> str:
        """Identifier of an object about the image, that follows from image, bundle, operating point and kind."""
        prediction = self.prediction
        return stable_uid(kind, self.header.SOPInstanceUID, prediction.bundle.sha256, prediction.operating_point.name)

    def series_uid(self, kind: str) -> str:
        """Identifier of the series with the objects of a kind in the study."""
        return stable_uid("series", kind, self.header.StudyInstanceUID, self.prediction.bundle.sha256)

    def series_number(self, kind: str) -> int:
        """Number of the series with the objects of a kind."""
        return _SERIES_NUMBERS[kind]

    @property
    def instance_number(self) -> int:
        """Number within the series, that of the image within its own; 1 where it has none."""
        number = self.header.get("InstanceNumber")
        return int(number) if number is not None and 0 < int(number) < 2**31 else 1


def withheld(prediction: Prediction) -> Prediction:
    """Prediction without what must not be said of an image that the bundle was not validated on: finding, probability and evidence.

    An accepted reason (`PredictionRequest.accept`) changes nothing here: nobody has shown that such a decision is right.
    """
    if prediction.validated or prediction.decision is Decision.REJECTED:
        return prediction
    return replace(
        prediction,
        decision=Decision.REFER,
        reasons=tuple(reason for reason in prediction.reasons if reason in OUTSIDE),
        pneumonia_probability=None,
        class_probability=None,
        zones=None,
        evidence_map=None,
    )


def in_time_zone(made: datetime, header: pydicom.Dataset) -> datetime:
    """Time at the offset from UTC that all times of a header have; unchanged where the header does not state it.

    Raises:
        InputError: Time without an offset from UTC.
    """
    if made.utcoffset() is None:
        raise InputError("expected a time with an offset from UTC, found none: datetime.now().astimezone() has one")
    stated = str(header.get("TimezoneOffsetFromUTC") or "").strip()
    if not stated:
        return made
    minutes = int(stated[1:3]) * 60 + int(stated[3:])
    return made.astimezone(timezone(timedelta(minutes=-minutes if stated[0] == "-" else minutes)))


def referred_image(header: pydicom.Dataset) -> pydicom.Dataset:
    """Image as highdicom refers to it: identifiers, size and how it is shown, but patient and study left empty.

    `complete` copies these; highdicom would refuse values that a PACS may hold.
    """
    image = pydicom.Dataset()
    empty = set(PATIENT_AND_STUDY) - {"StudyInstanceUID"}
    for element in header:
        if element.keyword not in empty and element.keyword != "SpecificCharacterSet":
            image.add(copy(element))
    for keyword in empty & {element.keyword for element in header}:
        setattr(image, keyword, "")
    return image


def complete(dataset: pydicom.Dataset, kind: str, answer: Answer) -> pydicom.Dataset:
    """Complete an answer: patient and study as the image has them, device, times, research use, private codes."""
    header, made = answer.header, answer.made
    # Elements are copied: what changes in an answer changes in no other.
    for keyword in PATIENT_AND_STUDY:
        if keyword in header:
            dataset.add(copy(header[keyword]))
        elif keyword in dataset:
            del dataset[keyword]
    if "SpecificCharacterSet" in header:
        dataset.add(copy(header["SpecificCharacterSet"]))
    elif "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet
    if not _own_text(answer).isascii():
        dataset.SpecificCharacterSet = _UTF_8
    dataset.SeriesDescription = f"{DEVICE} {_DESCRIPTIONS[kind]} (research use only)"
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = answer.model
    dataset.DeviceSerialNumber = answer.prediction.bundle.sha256
    dataset.SoftwareVersions = VERSION
    dataset.StationName = answer.station
    dataset.ContentQualification = "RESEARCH"
    dataset.CodingSchemeIdentificationSequence = [coding_scheme()]
    dataset.InstanceCreationDate = date_of(made)
    dataset.InstanceCreationTime = time_of(made)
    # It applies to all times in an answer, of which those of the study are the image's.
    if header.get("TimezoneOffsetFromUTC"):
        dataset.TimezoneOffsetFromUTC = f"{made:%z}"[:5]
    elif "TimezoneOffsetFromUTC" in dataset:
        del dataset.TimezoneOffsetFromUTC
    dataset.file_meta = _file_meta(dataset)
    return dataset


def date_of(made: datetime) -> str:
    """Date as DICOM writes it."""
    return f"{made:%Y%m%d}"


def time_of(made: datetime) -> str:
    """Time of day as DICOM writes it, to the second."""
    return f"{made:%H%M%S}"


def _own_text(answer: Answer) -> str:
    """Text of the answers that is not the image's."""
    prediction = answer.prediction
    point, bundle = prediction.operating_point, prediction.bundle
    words = [bundle.name, bundle.version, point.name, point.fitted_on, prediction.detail, prediction.notice]
    return "".join((*words, *prediction.scheme.names, answer.station))


def _file_meta(dataset: pydicom.Dataset) -> pydicom.dataset.FileMetaDataset:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(stable_uid("implementation"))
    meta.ImplementationVersionName = f"PNEUMO_{VERSION}"[:16]
    return meta

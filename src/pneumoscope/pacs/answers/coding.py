"""Concepts of the answers: DICOM's and SNOMED CT's where there is one that means the same, else those of the private scheme 99PNEUMO.

Case Sensitivity (111088) and Case Specificity (111090) of DICOM are defined for cancer, and CAD Operating Point (111071) is the
number of a point, so that sensitivity, specificity and threshold have private codes.
"""

import pydicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers.uids import stable_uid
from pneumoscope.types import ClassScheme, Decision, Reason

PRIVATE = "99PNEUMO"


def _standard(code: Code) -> CodedConcept:
    """Concept of a standard scheme, made once: reports use each of them several times."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def _private(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, PRIVATE, meaning)


PNEUMONIA = CodedConcept("233604007", "SCT", "Pneumonia")
CHEST_RADIOGRAPHY = CodedConcept("399208008", "SCT", "Plain chest X-ray")
CERTAINTY = _standard(codes.DCM.CertaintyOfFinding)
PRESENCE = _standard(codes.DCM.PresenceOfProperty)
OPERATING_POINT = _standard(codes.DCM.CADOperatingPointDescription)
COMMENT = _standard(codes.DCM.Comment)
LUNG = _standard(codes.SCT.Lung)
PERCENT = _standard(codes.UCUM.Percent)
SOURCE_IMAGE = _standard(codes.DCM.SourceImageForImageProcessingOperation)

# Not Imaging Measurement Report: OHIF looks for coordinates under that title, and shows nothing where there are none. CID 7021 is
# extensible, and a title of CID 7000 could be taken for the radiologist's report.
REPORT = _standard(codes.DCM.ChestCADReport)
LIBRARY = _standard(codes.DCM.ImageLibrary)
LIBRARY_GROUP = _standard(codes.DCM.ImageLibraryGroup)
SOURCE = CodedConcept("260753009", "SCT", "Source")
MODALITY = _standard(codes.DCM.Modality)
ROWS = _standard(codes.DCM.PixelDataRows)
COLUMNS = _standard(codes.DCM.PixelDataColumns)
PIXELS = CodedConcept("{pixels}", "UCUM", "Pixels")
_RADIOGRAPHY, _COMPUTED, _OTHER = (
    _standard(each) for each in (codes.DCM.DigitalRadiography, codes.DCM.ComputedRadiography, codes.DCM.Other)
)
# Modality by what a header says, and by the class of an image whose header says none of these.
_MODALITIES = {each.value: each for each in (_RADIOGRAPHY, _COMPUTED, _OTHER, _standard(codes.DCM.RadiographicImaging))}
_MODALITIES_OF_CLASSES = {
    ComputedRadiographyImageStorage: _COMPUTED,
    DigitalXRayImageStorageForPresentation: _RADIOGRAPHY,
    DigitalXRayImageStorageForProcessing: _RADIOGRAPHY,
    SecondaryCaptureImageStorage: _OTHER,
}

# DICOM, SNOMED CT: whether the finding is there; where a person should read the image, that is open.
PRESENCES = {
    Decision.PNEUMONIA: _standard(codes.SCT.Present),
    Decision.NORMAL: _standard(codes.SCT.Absent),
    Decision.REFER: _standard(codes.DCM.PresenceUndetermined),
}


DECISION = _private("decision", "Decision")
STATUS = _private("status", "Status of the answer")
REASON = _private("reason", "Reason")
THRESHOLD = _private("threshold", "Threshold of the probability")
SENSITIVITY = _private("sensitivity", "Sensitivity at the operating point")
SPECIFICITY = _private("specificity", "Specificity at the operating point")
FITTED_ON = _private("fitted_on", "Images that sensitivity and specificity were measured on")
EVIDENCE = _private("evidence", "Fraction of the evidence for the finding")
EVIDENCE_OUTSIDE = _private("evidence_outside", "Fraction of the evidence outside the lungs")
NOTICE = _private("notice", "Research-use notice")

ANSWERED = _private("answered", "Answered")
OUTSIDE = _private("outside", "Outside validated population")
NO_ANSWER = _private("no_answer", "No answer")

REASONS = {
    reason: _private(reason.value, meaning)
    for reason, meaning in {
        Reason.UNREADABLE: "Image cannot be read",
        Reason.UNSUPPORTED_DICOM: "DICOM object that is not one grey image",
        Reason.TOO_SMALL: "Image too small",
        Reason.POOR_EXPOSURE: "Image blank, black or burnt out",
        Reason.INVERTED: "Image with black and white exchanged",
        Reason.NOT_A_RADIOGRAPH: "Image is not a radiograph",
        Reason.NOT_FRONTAL_CHEST: "Image is not a frontal radiograph of the chest",
        Reason.NEAR_THRESHOLD: "Probability near the threshold",
        Reason.OUTSIDE_POPULATION: "Image unlike the validated ones",
        Reason.OUTSIDE_AGE: "Age outside the validated ages",
        Reason.OUTSIDE_VIEW: "View other than the validated ones",
        Reason.OUTSIDE_BODY_PART: "Body part other than the chest",
        Reason.OUTSIDE_MODALITY: "Modality other than projection radiography",
    }.items()
}
_ZONE_LEVELS = {
    "upper": _standard(codes.SCT.UpperZoneOfLung),
    "middle": _standard(codes.SCT.MiddleZoneOfLung),
    "lower": _standard(codes.SCT.LowerZoneOfLung),
}
_SIDES = {"right": _standard(codes.SCT.Right), "left": _standard(codes.SCT.Left)}
# Zone of the lungs to anatomic site and side.
ZONE_SITES = {
    f"{side}_{level}": (site, laterality) for side, laterality in _SIDES.items() for level, site in _ZONE_LEVELS.items()
}


def finding_of(scheme: ClassScheme) -> CodedConcept:
    """Concept of what a bundle detects: pneumonia, or a site's own class."""
    return _private(f"class:{scheme.positive}", scheme.positive) if scheme.is_own else PNEUMONIA


def modality_of(header: pydicom.Dataset) -> CodedConcept | None:
    """Concept of the modality of an image, None for what is no radiograph: a secondary capture may well hold one, and its header says so."""
    stated = str(header.get("Modality") or "").strip()
    return _MODALITIES.get(stated) or _MODALITIES_OF_CLASSES.get(header.SOPClassUID)


def decision_code(scheme: ClassScheme, decision: Decision) -> CodedConcept:
    """Concept of a decision; its meaning names a site's own classes."""
    meanings = {
        Decision.REFER: "Refer: a person should read the image",
        Decision.REJECTED: "Rejected: no decision",
    }
    return _private(
        decision.value,
        meanings.get(
            decision, scheme.outcome(decision).capitalize() if not scheme.is_own else scheme.outcome(decision)
        ),
    )


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Description of the private coding scheme."""
    return CodingSchemeIdentificationItem(
        PRIVATE,
        name="Concepts of pneumoscope",
        uid=stable_uid("coding scheme", PRIVATE),
        responsible_organization=MANUFACTURER,
    )

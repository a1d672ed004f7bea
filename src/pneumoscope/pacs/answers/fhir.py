"""FHIR R4: a preliminary DiagnosticReport with one Observation by the device, in a transaction, validated by fhir.resources.

Patient, study and image are not resources here but identifiers, as the PACS has them: a server resolves them.
"""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import pydicom
from fhir.resources.R4B.bundle import Bundle as FhirBundle

from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers import coding
from pneumoscope.pacs.answers.common import DEVICE, VERSION, Answer
from pneumoscope.pacs.answers.picture import headline, reasons_in_words
from pneumoscope.pacs.answers.uids import stable_uuid
from pneumoscope.types import Decision

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
}
_INTERPRETATIONS = {
    Decision.PNEUMONIA: ("POS", "Positive"),
    Decision.NORMAL: ("NEG", "Negative"),
    Decision.REFER: ("IND", "Indeterminate"),
}


def diagnostic_bundle(answer: Answer) -> dict[str, Any]:
    """Transaction that creates DiagnosticReport, Observation and Device where the server has none, as plain JSON."""
    resources = [_report(answer), _observation(answer), _device(answer)]
    bundle = {
        "resourceType": "Bundle",
        "id": _id(answer, "Bundle"),
        "type": "transaction",
        "timestamp": _instant(answer.made),
        "entry": [_entry(answer, each) for each in resources],
    }
    # Raises for what is no R4: nothing else leaves.
    return dict(FhirBundle.model_validate(bundle).model_dump(mode="json"))


def _entry(answer: Answer, resource: dict[str, Any]) -> dict[str, Any]:
    """Entry that creates a resource unless there is one of its identifier: one that a person has changed since stays as it is."""
    kind, [identifier] = resource["resourceType"], resource["identifier"]
    known_by = quote(f"{identifier['system']}|{identifier['value']}", safe=":")
    request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={known_by}"}
    return {"fullUrl": f"urn:uuid:{_id(answer, kind)}", "resource": resource, "request": request}


def _report(answer: Answer) -> dict[str, Any]:
    prediction = answer.prediction
    words = [f"{DEVICE}: {headline(prediction)}", reasons_in_words(prediction), answer.detail, prediction.notice]
    return _of_image(answer, "DiagnosticReport") | {
        "status": "preliminary",
        "category": [{"coding": [_coding(f"{_TERMINOLOGY}/v2-0074", "RAD", "Radiology")]}],
        "code": {"coding": [_coding(_SYSTEMS["LN"], "30745-4")], "text": "Radiograph of the chest"},
        "issued": _instant(answer.made),
        "imagingStudy": [_study(answer.header)],
        "result": [_reference(answer, "Observation")],
        "conclusion": ". ".join(word.rstrip(".") for word in words if word) + ".",
    }


def _observation(answer: Answer) -> dict[str, Any]:
    prediction = answer.prediction
    point, finding = prediction.operating_point, coding.finding_of(prediction.scheme)
    notes = [reasons_in_words(prediction), answer.detail, prediction.notice]
    observation = _of_image(answer, "Observation") | {
        "status": "preliminary",
        "category": [{"coding": [_coding(f"{_TERMINOLOGY}/observation-category", "imaging", "Imaging")]}],
        "code": _concept(finding, f"Probability of {prediction.scheme.positive}"),
        "issued": _instant(answer.made),
        "device": _reference(answer, "Device"),
        "derivedFrom": [_study(answer.header), _image(answer.header)],
        "note": [{"text": note} for note in notes if note],
    }
    if prediction.pneumonia_probability is None:
        absent = _coding(f"{_TERMINOLOGY}/data-absent-reason", "not-performed", "Not Performed")
        return observation | {"dataAbsentReason": {"coding": [absent], "text": headline(prediction)}}
    code, display = _INTERPRETATIONS[prediction.decision]
    measured = {
        coding.THRESHOLD: point.threshold,
        coding.SENSITIVITY: point.sensitivity,
        coding.SPECIFICITY: point.specificity,
    }
    return observation | {
        "valueQuantity": _percent(prediction.pneumonia_probability),
        "interpretation": [
            {
                "coding": [_coding(f"{_TERMINOLOGY}/v3-ObservationInterpretation", code, display)],
                "text": headline(prediction),
            }
        ],
        "method": {"text": f"{answer.model}, operating point {point.name}"},
        "component": [
            {"code": _concept(name, name.meaning), "valueQuantity": _percent(value)} for name, value in measured.items()
        ],
    }


def _device(answer: Answer) -> dict[str, Any]:
    bundle = answer.prediction.bundle
    return {
        "resourceType": "Device",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:sha256:{bundle.sha256}"}],
        "status": "active",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": f"{DEVICE} {bundle.name}", "type": "model-name"}],
        "version": [{"value": bundle.version}, {"value": f"{DEVICE} {VERSION}"}],
    }


def _of_image(answer: Answer, kind: str) -> dict[str, Any]:
    """Head of a resource about the image: identifier and patient."""
    resource: dict[str, Any] = {
        "resourceType": kind,
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{answer.uid(kind)}"}],
    }
    if patient := str(answer.header.get("PatientID") or "").strip():
        identifier: dict[str, Any] = {"value": patient}
        if issuer := str(answer.header.get("IssuerOfPatientID") or "").strip():
            identifier["assigner"] = {"display": issuer}
        resource["subject"] = {"type": "Patient", "identifier": identifier}
    return resource


def _id(answer: Answer, kind: str) -> str:
    """Identifier that follows from image, bundle, operating point and kind; the device's from the bundle alone."""
    return str(stable_uuid(kind, answer.prediction.bundle.sha256 if kind == "Device" else answer.uid(kind)))


def _reference(answer: Answer, kind: str) -> dict[str, str]:
    return {"reference": f"urn:uuid:{_id(answer, kind)}", "type": kind}


def _study(header: pydicom.Dataset) -> dict[str, Any]:
    return {"type": "ImagingStudy", "identifier": _uid_identifier(header.StudyInstanceUID)}


def _image(header: pydicom.Dataset) -> dict[str, Any]:
    return {"type": "Media", "identifier": _uid_identifier(header.SOPInstanceUID)}


def _uid_identifier(uid: str) -> dict[str, str]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _concept(code: Any, text: str) -> dict[str, Any]:
    """Concept with its code where the scheme is a public one."""
    system = _SYSTEMS.get(code.scheme_designator)
    return {"text": text} | ({"coding": [_coding(system, code.value, code.meaning)]} if system else {})


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code} | ({"display": display} if display else {})


def _percent(fraction: float) -> dict[str, Any]:
    return {"value": round(100 * fraction, 4), "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}


def _instant(made: datetime) -> str:
    return made.isoformat(timespec="seconds")

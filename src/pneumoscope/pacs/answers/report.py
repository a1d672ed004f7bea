"""Structured report after TID 1500: one group of measurements and evaluations about the whole image.

An image that the bundle was not validated on, or that was rejected, gets a report without a finding and without a probability:
that there is no answer, and why.
"""

from collections.abc import Iterable
from typing import Any

import pydicom
from highdicom import sr
from highdicom.sr.utils import find_content_items
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from pneumoscope.errors import DataError
from pneumoscope.inference.prediction import Prediction
from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers import coding
from pneumoscope.pacs.answers.common import DEVICE, Answer, complete, date_of, time_of
from pneumoscope.pacs.answers.uids import stable_uid
from pneumoscope.types import OUTSIDE_LUNGS, Decision

_ENGLISH = sr.LanguageOfContentItemAndDescendants(sr.CodedConcept("en", "RFC5646", "English"))
_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_ACQUISITION = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT


def make_report(answer: Answer) -> pydicom.Dataset:
    """Comprehensive 3D SR about an image, unverified.

    highdicom makes the content; the document around it is made here, since highdicom copies the content three times for it, which
    takes longer than all the rest.
    """
    header, made = answer.header, answer.made
    report = pydicom.Dataset()
    report.SOPClassUID = Comprehensive3DSRStorage
    report.SOPInstanceUID = answer.uid("sr")
    report.SeriesInstanceUID = answer.series_uid("sr")
    report.SeriesNumber = answer.series_number("sr")
    report.InstanceNumber = answer.instance_number
    report.Modality = "SR"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PreliminaryFlag = "PRELIMINARY"
    report.CompletionFlag = "COMPLETE" if _has_finding(answer.prediction) else "PARTIAL"
    report.CompletionFlagDescription = _status(answer.prediction).meaning
    report.VerificationFlag = "UNVERIFIED"
    report.ContentDate, report.ContentTime = date_of(made), time_of(made)
    report.PerformedProcedureCodeSequence = []
    report.CurrentRequestedProcedureEvidenceSequence = [_evidence(header)]
    [root] = _content(answer)
    for element in root:
        report.add(element)
    return complete(report, "sr", answer)


def _evidence(header: pydicom.Dataset) -> pydicom.Dataset:
    """Image within its series and study, as the evidence that the report is about."""
    image, series, study = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = header.SeriesInstanceUID, [image]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = header.StudyInstanceUID, [series]
    return study


def _has_finding(prediction: Prediction) -> bool:
    return prediction.pneumonia_probability is not None


def _status(prediction: Prediction) -> sr.CodedConcept:
    if _has_finding(prediction):
        return coding.ANSWERED
    return coding.NO_ANSWER if prediction.decision is Decision.REJECTED else coding.OUTSIDE


def _content(answer: Answer) -> sr.MeasurementReport:
    bundle = answer.prediction.bundle
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=stable_uid("device", bundle.sha256),
        name=DEVICE,
        manufacturer_name=MANUFACTURER,
        model_name=answer.model,
        serial_number=bundle.sha256,
        physical_location=answer.station,
    )
    observer = sr.ObserverContext(codes.DCM.Device, device)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=coding.CHEST_RADIOGRAPHY,
        imaging_measurements=[_group(answer)],
        title=coding.REPORT,
        language_of_content_item_and_descendants=_ENGLISH,
    )
    # The library stands before the measurements.
    report[0].ContentSequence.insert(-1, _library(answer.header))
    _separate(report)
    return report


def _separate(items: Iterable[pydicom.Dataset]) -> None:
    """Mark every container's items as separate: each on a line of its own in a viewer, where continuous ones run together."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
            _separate(item.ContentSequence)


def _library(header: pydicom.Dataset) -> sr.ContainerContentItem:
    """Image library with the image (TID 1600): its kind where that is a radiograph's, and its size where that is known."""
    image = sr.ImageContentItem(coding.SOURCE, header.SOPClassUID, header.SOPInstanceUID, relationship_type=_CONTAINS)
    described: list[sr.ContentItem] = []
    if (modality := coding.modality_of(header)) is not None:
        described.append(sr.CodeContentItem(coding.MODALITY, modality, _ACQUISITION))
    for name, size in ((coding.ROWS, header.get("Rows")), (coding.COLUMNS, header.get("Columns"))):
        if size:
            described.append(sr.NumContentItem(name, int(size), coding.PIXELS, relationship_type=_ACQUISITION))
    image.ContentSequence = sr.ContentSequence(described)
    group = sr.ContainerContentItem(coding.LIBRARY_GROUP, relationship_type=_CONTAINS)
    group.ContentSequence = sr.ContentSequence([image])
    library = sr.ContainerContentItem(coding.LIBRARY, relationship_type=_CONTAINS)
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _group(answer: Answer) -> sr.MeasurementsAndQualitativeEvaluations:
    prediction, header = answer.prediction, answer.header
    point, bundle = prediction.operating_point, prediction.bundle
    finding = coding.finding_of(prediction.scheme) if _has_finding(prediction) else None
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=answer.uid("tracking"), identifier=f"{DEVICE} {bundle.name} 1"),
        finding_type=finding,
        finding_sites=[sr.FindingSite(coding.LUNG)] if finding else None,
        algorithm_id=sr.AlgorithmIdentification(
            name=bundle.name,
            version=bundle.version,
            parameters=[f"operating point {point.name}", f"SHA-256 of the bundle {bundle.sha256}"],
            manufacturer=MANUFACTURER,
        ),
        measurements=_measurements(prediction) if finding else None,
        qualitative_evaluations=_evaluations(prediction),
        source_images=[sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
    )
    texts = [(coding.OPERATING_POINT, point.name), (coding.FITTED_ON, point.fitted_on)] if finding else []
    texts += [(coding.COMMENT, answer.detail), (coding.NOTICE, prediction.notice)]
    group[0].ContentSequence.extend(sr.TextContentItem(name, text, _CONTAINS) for name, text in texts if text)
    return group


def _measurements(prediction: Prediction) -> list[sr.Measurement]:
    point = prediction.operating_point
    values = [
        (coding.CERTAINTY, prediction.pneumonia_probability),
        (coding.THRESHOLD, point.threshold),
        (coding.SENSITIVITY, point.sensitivity),
        (coding.SPECIFICITY, point.specificity),
    ]
    zones = (prediction.zones or {}) if prediction.decision is not Decision.NORMAL else {}
    return [
        *(_percent(name, value) for name, value in values if value is not None),
        *(
            _percent(coding.EVIDENCE, zones[zone], sr.FindingSite(*site))
            for zone, site in coding.ZONE_SITES.items()
            if zone in zones
        ),
        *([_percent(coding.EVIDENCE_OUTSIDE, zones[OUTSIDE_LUNGS])] if OUTSIDE_LUNGS in zones else []),
    ]


def _percent(name: sr.CodedConcept, fraction: float, site: sr.FindingSite | None = None) -> sr.Measurement:
    """Fraction in [0, 1] as a percentage: exact as a floating-point number, rounded in the text that viewers show."""
    measurement = sr.Measurement(name, 100.0 * fraction, coding.PERCENT, finding_sites=[site] if site else None)
    measurement[0].MeasuredValueSequence[0].NumericValue = f"{100 * fraction:.2f}"
    return measurement


def _evaluations(prediction: Prediction) -> list[sr.QualitativeEvaluation]:
    values = [
        (coding.STATUS, _status(prediction)),
        (coding.DECISION, coding.decision_code(prediction.scheme, prediction.decision)),
    ]
    if _has_finding(prediction):
        values.append((coding.PRESENCE, coding.PRESENCES[prediction.decision]))
    values += [(coding.REASON, coding.REASONS[reason]) for reason in prediction.reasons]
    return [sr.QualitativeEvaluation(name, value) for name, value in values]


def read_report(dataset: pydicom.Dataset) -> dict[str, Any]:
    """Values of one of these reports, as plain data.

    Args:
        dataset: Report by `make_report`, read from its file.

    Returns:
        `status` (answered, outside or no_answer), `finding` (None without an answer), `decision`, `probability`, `operating_point`,
        `threshold`, `sensitivity`, `specificity`, `fitted_on`, `reasons`, `detail`, `zones`, `bundle` (name, version, sha256),
        `source` (SOP Instance UID of the image), `tracking`, `notice` and `verified`. Fractions are in [0, 1]; what is not there
        is None, or empty for reasons and zones.

    Raises:
        DataError: Another kind of object, or a report of another device.
    """
    try:
        return _values(sr.Comprehensive3DSR.from_dataset(dataset))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected a structured report of {DEVICE}, found another object ({error}): leave it out"
        ) from error


def _values(report: sr.Comprehensive3DSR) -> dict[str, Any]:
    content: Any = report.content
    [group] = content.get_image_measurement_groups()
    measured = {(item.name.value, *_zone(item)): item.value / 100 for item in group.get_measurements()}
    coded: dict[str, list[str]] = {}
    for evaluation in group.get_qualitative_evaluations():
        coded.setdefault(evaluation.name.value, []).append(evaluation.value.value)
    texts = {item.name.value: item.value for item in find_content_items(group[0], value_type=sr.ValueTypeValues.TEXT)}
    [device] = content.get_observer_contexts(observer_type=codes.DCM.Device)
    zones = {zone: measured.get((coding.EVIDENCE.value, zone)) for zone in coding.ZONE_SITES}
    zones[OUTSIDE_LUNGS] = measured.get((coding.EVIDENCE_OUTSIDE.value,))
    finding = group.finding_type
    return {
        "status": coded[coding.STATUS.value][0],
        "finding": None if finding is None else finding.meaning,
        "decision": coded[coding.DECISION.value][0],
        "probability": measured.get((coding.CERTAINTY.value,)),
        "operating_point": texts.get(coding.OPERATING_POINT.value),
        "threshold": measured.get((coding.THRESHOLD.value,)),
        "sensitivity": measured.get((coding.SENSITIVITY.value,)),
        "specificity": measured.get((coding.SPECIFICITY.value,)),
        "fitted_on": texts.get(coding.FITTED_ON.value),
        "reasons": coded.get(coding.REASON.value, []),
        "detail": texts.get(coding.COMMENT.value, ""),
        "zones": {zone: value for zone, value in zones.items() if value is not None},
        "bundle": {
            "name": texts[codes.DCM.AlgorithmName.value],
            "version": texts[codes.DCM.AlgorithmVersion.value],
            "sha256": device.observer_identifying_attributes.serial_number,
        },
        "source": group.source_images[0].referenced_sop_instance_uid,
        "tracking": str(group.tracking_uid),
        "notice": texts[coding.NOTICE.value],
        "verified": report.VerificationFlag == "VERIFIED",
    }


def _zone(measurement: sr.Measurement) -> list[str]:
    """Name of the lung zone that a measurement belongs to; none for the whole image."""
    return [
        zone
        for site in measurement.finding_sites
        for zone, (place, side) in coding.ZONE_SITES.items()
        if site.value == place and site.laterality == side
    ]

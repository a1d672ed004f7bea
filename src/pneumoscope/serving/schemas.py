"""Response models of the OpenAPI schema, made from the records that the service answers with.

A record is described once, in its docstring; names, types, descriptions and ranges here follow from it.
"""

import inspect
import re
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model

from pneumoscope.evaluation.drift import Drift, StatisticDrift
from pneumoscope.inference.drift import DriftReport
from pneumoscope.inference.prediction import Prediction
from pneumoscope.serving.adaptations import AdaptationLimits, AdaptationRecord
from pneumoscope.serving.history import Entry, Period
from pneumoscope.serving.problems import Kind
from pneumoscope.serving.readings import ReaderFinding, Reading
from pneumoscope.serving.studies import Study, StudyImage
from pneumoscope.types import BundleUsed, Decision, OperatingPoint, Reason

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_CLOSED = ConfigDict(extra="forbid")


def model_of(record: type, name: str, fields_changed: dict[str, Any] | None = None) -> type[BaseModel]:
    """Pydantic model of a dataclass.

    Args:
        record: Dataclass whose docstring describes its attributes.
        name: Name of the model in the schema.
        fields_changed: Field to the type it has in JSON; None for a field that is not part of the JSON. Fields that the record
            lacks are added.

    Returns:
        A model that allows no other fields. `in [0, 1]` and `64 hex digits` in a description become constraints.
    """
    changed = fields_changed or {}
    document = inspect.cleandoc(record.__doc__ or "")
    words = {match[1]: " ".join(match[2].split()) for match in _ATTRIBUTE.finditer(document)}
    types = get_type_hints(record, localns={"np": np, "NDArray": NDArray})
    known = {field.name: types[field.name] for field in fields(record)} | changed
    chosen = {key: kind for key, kind in known.items() if kind is not None}
    return create_model(  # type: ignore[no-any-return, call-overload]
        name,
        __config__=_CLOSED,
        __doc__=document.split("\n\n")[0],
        **{key: (kind, _field(words.get(key, ""), kind)) for key, kind in chosen.items()},
    )


def _field(description: str, kind: Any) -> Any:
    limits: dict[str, Any] = (
        {"ge": 0.0, "le": 1.0} if kind in (float, float | None) and "in [0, 1]" in description else {}
    )
    if kind is str and "64 hex digits" in description:
        limits["pattern"] = "^[0-9a-f]{64}$"
    return Field(description=description or None, **limits)


_BARE = {"evidence_map": None, "frame": None, "statistics": None, "scheme": None, "header": None, "image": None}
OperatingPointSchema = model_of(OperatingPoint, "OperatingPointSchema", {"refer_from": None, "refer_to": None})
BundleUsedSchema = model_of(BundleUsed, "BundleUsedSchema")
PredictionSchema = model_of(
    Prediction,
    "PredictionSchema",
    {"reasons": list[Reason], "operating_point": OperatingPointSchema, "bundle": BundleUsedSchema, **_BARE},
)
MovedSchema = model_of(
    StatisticDrift, "MovedSchema", {"share": list[float], "reference": list[float], "edges": list[float]}
)
DriftSchema = model_of(
    DriftReport,
    "DriftSchema",
    {"rejected_share": list[float] | None, "statistics": dict[str, MovedSchema]},  # type: ignore[valid-type]
)
PeriodSchema = model_of(Period, "PeriodSchema")
EntrySchema = model_of(Entry, "EntrySchema", {"prediction": PredictionSchema})
AdaptationSchema = model_of(AdaptationRecord, "AdaptationSchema")
AdaptationLimitsSchema = model_of(AdaptationLimits, "AdaptationLimitsSchema")
ProblemKindSchema = model_of(Kind, "ProblemKindSchema", {"type": str})
# Lists of models that are made above are no types to a type checker.
PredictionList: Any = list[PredictionSchema]  # type: ignore[valid-type]
ProblemKindList: Any = list[ProblemKindSchema]  # type: ignore[valid-type]


class EvidenceSchema(BaseModel):
    """Evidence for pneumonia against normal."""

    model_config = _CLOSED
    map: list[list[float]] = Field(description="Contributions to the logit, rows from the top.")
    frame: list[float] = Field(
        description="Top, left, bottom and right of the map, as fractions of the image's height and width.",
        min_length=4,
        max_length=4,
    )


class PredictionWithEvidenceSchema(PredictionSchema):  # type: ignore[valid-type, misc]
    """A prediction, with its evidence map where it was requested."""

    evidence_map: EvidenceSchema | None = Field(
        default=None, description="Present with `evidence=true` alone; null for a rejected image."
    )


class HealthSchema(BaseModel):
    """State of the service."""

    model_config = _CLOSED
    status: Literal["alive", "ready", "not ready"]
    images_accepted: int = Field(description="Images that wait or are at work.", ge=0)


class HistorySchema(BaseModel):
    """Decisions on record, the newest first."""

    model_config = _CLOSED
    entries: list[EntrySchema]  # type: ignore[valid-type]


class KeptImageSchema(EntrySchema):  # type: ignore[valid-type, misc]
    """Newest decision on a kept image, and whose image it is."""

    patient: str = Field(
        description="Key of the patient, as in the header `Film-Patient`; empty where it is not known."
    )
    taken: str = Field(
        description="Date of the acquisition, as in the header `Film-Date`; empty where it is not known."
    )


class KeptImagesSchema(BaseModel):
    """Kept images, in the order of the newest decisions on them."""

    model_config = _CLOSED
    entries: list[KeptImageSchema]


class NodeAnswerSchema(BaseModel):
    """Answer of the DICOM node, without anything that says whose image it is."""

    model_config = _CLOSED
    sender: str = Field(description="AE title of the sender, `dicomweb` or `folder`.")
    received: str
    answered: str
    delivered: str | None = Field(description="Time at which the last destination had it; null before.")
    kept: bool = Field(description="Whether it goes nowhere, as in silent mode.")
    decision: Decision
    reasons: list[Reason]


class NodeSchema(BaseModel):
    """Queue of the DICOM node. Times are UTC, ISO 8601."""

    model_config = _CLOSED
    counts: dict[str, int] = Field(
        description="Images `waiting`, `answered`, `delivered`, `kept` and `dead`; answers `to` and `dead to` a destination; objects `ignored` "
        "and `refused: REASON`."
    )
    oldest: str | None = Field(description="Arrival of the oldest image that is not delivered; null for none.")
    last_hour: int = Field(description="Images that were answered in the last hour.", ge=0)
    last_day: int = Field(description="Images that were answered in the last 24 hours.", ge=0)
    latest: list[NodeAnswerSchema] = Field(description="The newest first.")


class PacsSchema(BaseModel):
    """PACS that can be searched."""

    model_config = _CLOSED
    writable: bool = Field(description="Whether answers can be sent to it.")
    answers: list[str] = Field(description="Kinds of answers: `sr`, `sc`, `gsps`.")


def _criterion(description: str, pattern: str | None = None) -> Any:
    return Field(default="", description=description, pattern=pattern, max_length=64)


_DAY = r"^(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$"


class WantedSchema(BaseModel):
    """Studies that are searched: those that match all that is not empty."""

    model_config = _CLOSED
    patient_id: str = _criterion("Identifier of the patient; * and ? are wildcards, here and below.")
    patient_name: str = _criterion("Beginning of the name of the patient.")
    accession_number: str = _criterion("Accession number.")
    since: str = _criterion("Earliest date of the study, ISO 8601.", _DAY)
    until: str = _criterion("Latest date of the study, ISO 8601.", _DAY)


StudySchema = model_of(Study, "StudySchema")
StudyImageSchema = model_of(StudyImage, "StudyImageSchema")


class StudiesSchema(BaseModel):
    """Studies that were found."""

    model_config = _CLOSED
    studies: list[StudySchema]  # type: ignore[valid-type]
    more: bool = Field(description="Whether there may be others: then search more narrowly.")


class StudyImagesSchema(BaseModel):
    """Radiographs of a study in the order of acquisition, then earlier ones of the patient, the newest first."""

    model_config = _CLOSED
    images: list[StudyImageSchema]  # type: ignore[valid-type]


class SentSchema(BaseModel):
    """Answers that are in the PACS now."""

    model_config = _CLOSED
    time: str = Field(description="UTC, ISO 8601.")
    answers: list[str] = Field(description="Kinds of answers: `sr`, `sc`, `gsps`.")
    new: bool = Field(description="Whether some were not there before.")


class TimelineSchema(BaseModel):
    """Counts of decisions over time."""

    model_config = _CLOSED
    periods: list[PeriodSchema] = Field(description="The earliest first.")  # type: ignore[valid-type]


class AdaptationListSchema(BaseModel):
    """Adaptations, the newest first, and their limits."""

    model_config = _CLOSED
    adaptations: list[AdaptationSchema]  # type: ignore[valid-type]
    limits: AdaptationLimitsSchema  # type: ignore[valid-type]


Reader = Annotated[str, Field(min_length=1, max_length=60)]
_Given = Literal[ReaderFinding.NEGATIVE, ReaderFinding.POSITIVE, ReaderFinding.UNDECIDED]
ReadingSchema = model_of(
    Reading,
    "ReadingSchema",
    {
        "reader": Reader,
        "comment": Annotated[str, Field(max_length=2000)],
        "time": Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")],
    },
)
ReadingsIn: Any = Annotated[list[ReadingSchema], Field(max_length=10_000)]  # type: ignore[valid-type]


class ReadingListSchema(BaseModel):
    """Readings on record, by reader and time."""

    model_config = _CLOSED
    readings: list[ReadingSchema]  # type: ignore[valid-type]


class KeptSchema(BaseModel):
    """Number of readings that were kept."""

    model_config = _CLOSED
    kept: int = Field(ge=0)


class ReadImageSchema(BaseModel):
    """Image with a decision and the findings of its readers."""

    model_config = _CLOSED
    path: str = Field(
        description="Path as in a table of `evaluate --data`; the patient of a usual file name counts.", max_length=1000
    )
    patient: str = Field(default="", description="Patient; by the path where empty.", max_length=200)
    sha256: str = Field(
        default="",
        description="SHA-256 of the file; empty where unknown. An image that the detector was trained on has no part in the measures.",
        pattern="^([0-9a-f]{64})?$",
    )
    decision: Decision = Field(description="Decision, by the class it stands for.")
    probability: float | None = Field(
        description="Probability of the positive class; null for a rejected image.", ge=0, le=1
    )
    reasons: list[Reason] = Field(max_length=20)
    findings: dict[Reader, _Given] = Field(description="Reader to finding.", min_length=1, max_length=10)


class ReadImagesSchema(BaseModel):
    """Images that readers have read."""

    model_config = _CLOSED
    images: list[ReadImageSchema] = Field(max_length=5000)


class EstimateSchema(BaseModel):
    """Value with its 95 % interval; null where undefined."""

    model_config = _CLOSED
    value: float | None
    low: float | None
    high: float | None


class AgreementSchema(BaseModel):
    """Agreement of two readers."""

    model_config = _CLOSED
    readers: list[str] = Field(min_length=2, max_length=2)
    images: int = Field(description="Images that both have read.", ge=1)
    same: int = Field(description="Images on which both find the same.", ge=0)
    kappa: EstimateSchema = Field(description="Cohen's kappa of normal, pneumonia and undecided.")


class MeasuredReadingsSchema(BaseModel):
    """Decisions measured against what the readers agree on, as `pneumoscope evaluate --data` measures them."""

    model_config = _CLOSED
    labelled: int = Field(
        description="Images with a finding that all of their readers share, without those that the detector was trained on.",
        ge=0,
    )
    learnt: int = Field(
        description="Images that the detector was trained on, which are left out of the measures.", ge=0
    )
    undecided: int = Field(description="Images whose readers cannot say.", ge=0)
    contradictory: int = Field(description="Images on which readers differ.", ge=0)
    flow: dict[str, dict[str, int]] = Field(description="Reference to outcome to number of images.")
    measures: dict[str, EstimateSchema] = Field(description="Sensitivity, specificity, accuracy, AUC.")
    agreement: list[AgreementSchema]


class SeveralReportsSchema(BaseModel):
    """Reports on the same images."""

    model_config = _CLOSED
    report: str = Field(description="Accession number or UID.")
    lines: list[int]


class ComparedAnswersSchema(BaseModel):
    """Answers of the DICOM node, in images. Times are UTC, ISO 8601."""

    model_config = _CLOSED
    images: int = Field(ge=1)
    superseded: int = Field(description="Earlier answers to the same images, which do not count.", ge=0)
    sent: int = Field(
        description="Answers that were sent or are on their way, and may have been seen before the reports.", ge=0
    )
    matched: int = Field(description="Images that a report speaks of.", ge=1)
    unmatched: int = Field(ge=0)
    first: str
    last: str
    bundles: dict[str, int] = Field(description="SHA-256 of a bundle to number of images.")


class ComparedReportsSchema(BaseModel):
    """Lines of the table of reports."""

    model_config = _CLOSED
    lines: int = Field(ge=1)
    matched: int = Field(ge=1)
    unmatched: dict[str, int] = Field(description="Why reports are left out to their number.")
    other_findings: dict[str, int] = Field(description="Finding that the class map does not name to number of lines.")
    contradictory: list[SeveralReportsSchema] = Field(description="Left out.")
    doubled: list[SeveralReportsSchema] = Field(description="Counted once.")


class ComparedAgreementSchema(BaseModel):
    """Agreement of node and radiologists, in studies."""

    model_config = _CLOSED
    decided: int = Field(description="Studies with a decision.", ge=0)
    same: int = Field(description="Studies of these with the finding of the report.", ge=0)
    kappa: EstimateSchema


class PredictiveValueSchema(BaseModel):
    """How often a decision is right at a prevalence."""

    model_config = _CLOSED
    prevalence: float = Field(ge=0, le=1)
    ppv: EstimateSchema
    npv: EstimateSchema


class ComparedPeriodSchema(BaseModel):
    """Week (ISO 8601) or month of receipt."""

    model_config = _CLOSED
    period: str = Field(examples=["2026-W10"])
    compared: int = Field(ge=1)
    positive: int = Field(description="Pneumonia, by report.", ge=0)
    measures: dict[str, EstimateSchema]


class ComparedPeriodsSchema(BaseModel):
    """Measures over time, the earliest first."""

    model_config = _CLOSED
    by: Literal["week", "month"]
    rows: list[ComparedPeriodSchema]


class ProbabilityDriftSchema(BaseModel):
    """Drift of the probabilities; null where they are too few."""

    model_config = _CLOSED
    quartiles: list[list[float | None]] = Field(description="25 %, median and 75 %, first half and last period.")
    level: Drift
    index: float | None = Field(description="Population stability index.")
    by_chance: float | None


class ComparedDriftSchema(BaseModel):
    """First half of all answers beside the last period."""

    model_config = _CLOSED
    period: str
    images: list[int]
    referred: list[EstimateSchema]
    rejected: list[EstimateSchema]
    rejections: Drift
    probability: ProbabilityDriftSchema


class TurnaroundSchema(BaseModel):
    """Times from receipt to answer, and from the answer to the report; null where there are none."""

    model_config = _CLOSED
    images: int = Field(ge=0)
    unusable: int = Field(description="Images during which the clock was set back.", ge=0)
    median_s: float | None
    p95_s: float | None
    reports_with_time: int = Field(ge=0)
    before_report: int = Field(description="Answers that came before their report.", ge=0)
    median_hours_before_report: float | None


class DisagreementSchema(BaseModel):
    """Study whose decision differs from its report."""

    model_config = _CLOSED
    accession: str
    decision: Decision
    report: Literal["normal", "pneumonia"]


class ComparisonSchema(BaseModel):
    """Answers of the DICOM node beside the radiologists' reports, as `pneumoscope pacs compare` gives it."""

    model_config = _CLOSED
    rule: str = Field(description="How the images of a report become one.")
    answers: ComparedAnswersSchema
    reports: ComparedReportsSchema
    compared: int = Field(description="Studies.", ge=1)
    patients: int = Field(ge=1)
    agreement: ComparedAgreementSchema
    flow: dict[str, dict[str, int]] = Field(description="Report to outcome to number of studies.")
    measures: dict[str, EstimateSchema]
    predictive_values: list[PredictiveValueSchema]
    reasons: dict[str, int] = Field(description="Reason of a referral or rejection to number of studies.")
    periods: ComparedPeriodsSchema
    drift: ComparedDriftSchema
    turnaround: TurnaroundSchema
    disagreements: list[DisagreementSchema]


class DeletedSchema(BaseModel):
    """Number of deleted entries."""

    model_config = _CLOSED
    deleted: int = Field(ge=0)


class ProblemSchema(BaseModel):
    """Reason why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/v1/problems/too_large"])
    title: str
    status: int
    detail: str
    advice: str = Field(description="What to do.")
    instance: str = Field(description="The request's id, also in the header X-Request-ID.")

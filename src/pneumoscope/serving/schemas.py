"""Response models of the OpenAPI schema, made from the records that the service answers with.

A record is described once, in its docstring; names, types, descriptions and ranges here follow from it.
"""

import inspect
import re
from dataclasses import fields
from typing import Any, Literal, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model

from pneumoscope.evaluation.drift import StatisticDrift
from pneumoscope.inference.drift import DriftReport
from pneumoscope.inference.prediction import Prediction
from pneumoscope.serving.adaptations import AdaptationLimits, AdaptationRecord
from pneumoscope.serving.history import Entry
from pneumoscope.serving.problems import Kind
from pneumoscope.types import BundleUsed, OperatingPoint, Reason

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


class AdaptationListSchema(BaseModel):
    """Adaptations, the newest first, and their limits."""

    model_config = _CLOSED
    adaptations: list[AdaptationSchema]  # type: ignore[valid-type]
    limits: AdaptationLimitsSchema  # type: ignore[valid-type]


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

"""What the service answers, as its OpenAPI schema tells it. The same as `Prediction.as_json`, which a test holds to it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pneumoscope.types import Decision, Reason


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OperatingPointSchema(_Schema):
    """The operating point that a decision was made at."""

    name: str = Field(description="Such as balanced.", examples=["balanced"])
    threshold: float = Field(
        description="Of the probability of pneumonia as it is shown.", examples=[0.54], ge=0.0, le=1.0
    )
    sensitivity: float = Field(description="On the films it was fitted on.", examples=[0.916], ge=0.0, le=1.0)
    specificity: float = Field(description="Likewise.", examples=[0.95], ge=0.0, le=1.0)
    fitted_on: str = Field(description="These films, in words.")


class BundleUsedSchema(_Schema):
    """The bundle that judged."""

    name: str = Field(examples=["default"])
    version: str = Field(examples=["1"])
    sha256: str = Field(description="Of its manifest: the identity of the whole.", pattern="^[0-9a-f]{64}$")


class PredictionSchema(_Schema):
    """What the detector says of one image; the same as `pneumoscope predict --json` prints."""

    file: str = Field(description="The name that was sent with it; empty without one.", examples=["film.jpeg"])
    sha256: str = Field(description="Of the image's bytes.", pattern="^([0-9a-f]{64})?$")
    decision: Decision = Field(description="`refer`: a person should read the film.")
    reasons: list[Reason] = Field(description="Why it was referred or rejected; docs/detecting.md explains each.")
    detail: str = Field(description="For a rejected image, in words.")
    pneumonia_probability: float | None = Field(
        description="Null for a rejected image.", examples=[0.97], ge=0.0, le=1.0
    )
    class_probability: dict[str, float] | None = Field(
        description="Sums to 1; which kind of pneumonia is weak evidence. Null for a rejected image.",
        examples=[{"normal": 0.03, "bacterial": 0.88, "viral": 0.09}],
    )
    operating_point: OperatingPointSchema
    evidence: str | None = Field(description="Always null here; see `evidence_map`.")
    bundle: BundleUsedSchema
    notice: str = Field(examples=["Research use only. Not a medical device."])


class EvidenceSchema(_Schema):
    """Where an answer comes from."""

    map: list[list[float]] = Field(
        description="Rows from the top: what each place adds to the logit of pneumonia against normal."
    )
    frame: list[float] = Field(
        description="Top, left, bottom and right of what it covers, as shares of the film's height and width.",
        min_length=4,
        max_length=4,
    )


class JudgedSchema(PredictionSchema):
    """A prediction, with its evidence where it was asked for."""

    evidence_map: EvidenceSchema | None = Field(
        default=None, description="With `evidence=true` alone; null for a rejected image."
    )


class HealthSchema(_Schema):
    """Whether the service lives, or takes images."""

    status: Literal["alive", "ready", "not ready"]
    images_accepted: int = Field(description="Images that wait or are being judged.", ge=0)


class MovedSchema(_Schema):
    """How a statistic of the last images has moved from the bundle's reference."""

    drift: Literal["too_few", "steady", "moved", "drifted"]
    index: float = Field(description="Population stability index.", ge=0)
    by_chance: float = Field(
        description="What it stays below in 99.9 % of windows of films that have not changed.", ge=0
    )
    share: list[float] = Field(description="Of the films in each bin of the reference.")
    reference: list[float] = Field(description="The same of the reference.")
    edges: list[float] = Field(description="Between the bins.")


class DriftSchema(_Schema):
    """The last images beside what films were like when the bundle was fitted."""

    images: int = Field(description="How many; unreadable ones are left out.", ge=0)
    rejected: int = Field(ge=0)
    rejected_share: list[float] | None = Field(description="With the ends of its 95 % interval.")
    rejected_reference: float | None = Field(description="Null where the bundle has no reference.")
    rejections: Literal["too_few", "steady", "moved", "drifted"]
    statistics: dict[str, MovedSchema]


class EntrySchema(_Schema):
    """A decision that was kept."""

    id: int
    time: str = Field(description="UTC, ISO 8601.")
    prediction: PredictionSchema


class HistorySchema(_Schema):
    """Decisions that were kept, the newest first."""

    entries: list[EntrySchema]


class DeletedSchema(_Schema):
    """What was deleted."""

    deleted: int = Field(ge=0)


class ProblemSchema(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/v1/problems/too_large"])
    title: str
    status: int
    detail: str
    advice: str = Field(description="What to do.")
    instance: str = Field(description="The request's id, also in the header X-Request-ID.")


class ProblemKindSchema(_Schema):
    """A kind of problem."""

    type: str
    status: int
    title: str
    advice: str

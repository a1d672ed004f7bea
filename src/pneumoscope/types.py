"""The words that every stage shares: findings, etiologies, splits, class schemes, index rows.

The positive class is always pneumonia. In a two-class scheme it has index 1; in the three-class scheme the
probability of pneumonia is the sum over the classes other than normal.
"""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help needs these words and not the library
    import numpy as np
    from numpy.typing import NDArray

NOTICE = "Research use only. Not a medical device."
SYNTHETIC_NOTICE = "Synthetic films: this says nothing about accuracy."


class Finding(StrEnum):
    """What the reference standard says of a radiograph."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"


class Etiology(StrEnum):
    """The cause of a pneumonia, as the data set's file names give it."""

    NONE = "none"
    BACTERIAL = "bacterial"
    VIRAL = "viral"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """What the detector says of a film."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    REFER = "refer"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a film was not answered; documented in docs/detecting.md."""

    # Rejected: no probability is shown.
    UNREADABLE = "unreadable"
    UNSUPPORTED_DICOM = "unsupported_dicom"
    TOO_SMALL = "too_small"
    POOR_EXPOSURE = "poor_exposure"
    INVERTED = "inverted"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    NOT_FRONTAL_CHEST = "not_frontal_chest"
    # Referred: a person should read the film.
    NEAR_THRESHOLD = "near_threshold"
    UNLIKE_TRAINING = "unlike_training"


class Split(StrEnum):
    """The side of the data set on which a radiograph stands."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class ClassScheme:
    """An ordered list of classes that a network tells apart; `normal` is always first."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return " / ".join(self.names)


BINARY = ClassScheme(("normal", "pneumonia"))
THREE_CLASS = ClassScheme(("normal", "bacterial", "viral"))
SCHEMES = {len(BINARY): BINARY, len(THREE_CLASS): THREE_CLASS}


@dataclass(frozen=True)
class IndexRow:
    """One radiograph of a data set.

    Attributes:
        path: Where it lies, relative to the data set's root, with forward slashes; `file.npz#split/i` in an archive.
        sha256: Hash of the file's bytes (of the pixel bytes for an array in an archive), 64 hex digits.
        finding: Normal or pneumonia.
        etiology: Bacterial or viral; `none` for a normal film; `unknown` where the source does not say.
        patient: Identity within this data set; train and test are separate name spaces.
        split: Train (before a validation set is drawn from it), validation or test.
        width: Pixels, as stored.
        height: Pixels, as stored.
        bytes: Size of the file; 0 for an array in an archive.
    """

    path: str
    sha256: str
    finding: Finding
    etiology: Etiology
    patient: str
    split: Split
    width: int
    height: int
    bytes: int

    @property
    def label(self) -> str:
        """The finest class that is known: normal, bacterial, viral or pneumonia."""
        if self.finding is Finding.NORMAL:
            return "normal"
        return "pneumonia" if self.etiology is Etiology.UNKNOWN else self.etiology.value


@dataclass(frozen=True)
class OperatingPointUsed:
    """The operating point that a prediction was made at.

    Attributes:
        name: Such as balanced.
        threshold: Of the probability of pneumonia as it is shown, in [0, 1].
        sensitivity: It had on the films it was fitted on, in [0, 1].
        specificity: Likewise.
        fitted_on: These films, in words.
    """

    name: str
    threshold: float
    sensitivity: float
    specificity: float
    fitted_on: str


@dataclass(frozen=True)
class BundleUsed:
    """The bundle that a prediction was made by.

    Attributes:
        name: Of the detector.
        version: Of its weights.
        sha256: Of its manifest, 64 hex digits: the identity of the whole bundle.
    """

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class FilmStatistics:
    """What can be watched of the films that a detector is asked about, to see that they stay as they were.

    Attributes:
        probability: Of pneumonia, calibrated, at the prevalence that the bundle assumes, in [0, 1].
        brightness: Mean grey level of what the network saw, in [0, 1].
        contrast: Standard deviation of the same, in [0, 0.5].
        similarity: Of the placed chest with the mean chest, in [-1, 1].
        distance: From chest films, as the input guard sees it, from 0; up to 1 passes.
    """

    probability: float
    brightness: float
    contrast: float
    similarity: float
    distance: float


STATISTICS = tuple(each.name for each in fields(FilmStatistics))


@dataclass(frozen=True)
class NamedImage:
    """An image file's bytes, with the name that the prediction is to carry."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Unread:
    """An image that could not be had, and why, in words: its prediction is a rejection."""

    name: str
    found: str


@dataclass(frozen=True)
class Prediction:
    """What the detector says of one image; every way of asking gives this.

    Attributes:
        file: As it was named; empty for an array or bytes without a name.
        sha256: Of the file's bytes, of the pixels' bytes for an array; empty where the file could not be opened.
        decision: Normal, pneumonia, refer (a person should read the film) or rejected.
        reasons: Why it was referred or rejected; empty otherwise.
        detail: For a rejected image, in words; empty otherwise.
        pneumonia_probability: In [0, 1]; None for a rejected image.
        class_probability: Class name to probability, in the network's order, summing to 1; None for a rejected image. How
            pneumonia divides into bacterial and viral is weak evidence.
        operating_point: That the decision was made at.
        evidence: Path of the evidence overlay; None where none was asked for.
        bundle: Made by which.
        notice: That this is for research.
        evidence_map: (rows, columns) float32 within `frame`: what each place adds to the logit of pneumonia against normal;
            None where it was not asked for or the image was rejected. Not part of `as_json`.
        frame: Top, left, bottom, right of what the network saw, as shares of the film's height and width.
        statistics: Of the film; None for a rejected image. Not part of `as_json`.
    """

    file: str
    sha256: str
    decision: Decision
    reasons: tuple[Reason, ...]
    detail: str
    pneumonia_probability: float | None
    class_probability: dict[str, float] | None
    operating_point: OperatingPointUsed
    evidence: str | None
    bundle: BundleUsed
    notice: str = NOTICE
    evidence_map: "NDArray[np.float32] | None" = field(default=None, compare=False, repr=False)
    frame: tuple[float, float, float, float] | None = field(default=None, compare=False, repr=False)
    statistics: FilmStatistics | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Plain data, as `pneumoscope predict` prints it."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "decision": self.decision.value,
            "reasons": [reason.value for reason in self.reasons],
            "detail": self.detail,
            "pneumonia_probability": self.pneumonia_probability,
            "class_probability": self.class_probability,
            "operating_point": asdict(self.operating_point),
            "evidence": self.evidence,
            "bundle": asdict(self.bundle),
            "notice": self.notice,
        }

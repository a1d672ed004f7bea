"""Records shared by all stages: findings, etiologies, splits, class schemes, index rows, predictions.

The positive class is pneumonia, or what a site's own bundle detects. In a two-class scheme it has index 1; in the three-class
scheme the probability of pneumonia is the sum over the classes other than normal.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import InputError

if TYPE_CHECKING:  # the help of the command line needs these records but not numpy
    pass

NOTICE = "Research use only. Not a medical device."
# Suffixes of image files, lower case.
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
IMAGE_SUFFIXES = DICOM_SUFFIXES | {".jpeg", ".jpg", ".png"}
# Lung zones, of the patient's right and left lung, and what lies outside of them (`inference/zones.py`).
OUTSIDE_LUNGS = "outside"
ZONES = (*(f"{side}_{level}" for side in ("right", "left") for level in ("upper", "middle", "lower")), OUTSIDE_LUNGS)
SYNTHETIC_NOTICE = "Synthetic films: this says nothing about accuracy."


class Finding(StrEnum):
    """Label of a radiograph by the reference standard: `normal` or `pneumonia`."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"


class Etiology(StrEnum):
    """Cause of a pneumonia, as in the file names of the data set: `none`, `bacterial`, `viral` or `unknown`."""

    NONE = "none"
    BACTERIAL = "bacterial"
    VIRAL = "viral"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """Decision of the detector for an image: `normal`, `pneumonia`, `refer` (a person should read it) or `rejected` (none)."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    REFER = "refer"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Reason for a rejection or referral; docs/reference/predictions.md lists them."""

    # Rejected: no probability is shown.
    UNREADABLE = "unreadable"
    UNSUPPORTED_DICOM = "unsupported_dicom"
    TOO_SMALL = "too_small"
    POOR_EXPOSURE = "poor_exposure"
    INVERTED = "inverted"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    NOT_FRONTAL_CHEST = "not_frontal_chest"
    # Referred: a reader should read the image.
    NEAR_THRESHOLD = "near_threshold"
    # Referred, since the detector was not validated on such images; a site may accept them.
    OUTSIDE_POPULATION = "outside_population"
    OUTSIDE_AGE = "outside_age"
    OUTSIDE_VIEW = "outside_view"
    OUTSIDE_BODY_PART = "outside_body_part"
    OUTSIDE_MODALITY = "outside_modality"


# Reasons of images that a detector was not validated on.
OUTSIDE = tuple(reason for reason in Reason if reason.value.startswith("outside_"))


class Split(StrEnum):
    """Part of the data set that a radiograph belongs to: `train`, `validation` or `test`."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class ClassScheme:
    """Ordered classes of a network; the negative class is always first.

    Attributes:
        names: `normal` and `pneumonia`; `normal`, `bacterial`, `viral`; or two names of a site's own.
    """

    names: tuple[str, ...]

    @property
    def negative(self) -> str:
        """Name of the negative class, such as normal."""
        return self.names[0]

    @property
    def positive(self) -> str:
        """Name of what is detected: pneumonia, of either etiology, or the second of a site's own two names."""
        return self.names[1] if len(self.names) == 2 else Finding.PNEUMONIA.value

    @property
    def is_own(self) -> bool:
        """Whether the classes are a site's own instead of normal and pneumonia."""
        return (self.negative, self.positive) != (Finding.NORMAL.value, Finding.PNEUMONIA.value)

    @property
    def probability_field(self) -> str:
        """Name of the probability of the positive class in JSON and tables."""
        return "probability" if self.is_own else "pneumonia_probability"

    def named(self, text: str) -> str:
        """Text about normal and pneumonia, with the names of these classes instead."""
        if not self.is_own:
            return text
        names = {"normal": self.negative, "pneumonia": self.positive}
        return re.sub(r"\b(normal|pneumonia)\b", lambda found: names[found[1].lower()], text, flags=re.IGNORECASE)

    def outcome(self, decision: Decision) -> str:
        """Name of a decision."""
        return {Decision.NORMAL: self.negative, Decision.PNEUMONIA: self.positive}.get(decision, decision.value)

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
        path: Path relative to the data set's root, with forward slashes; `file.npz#split/i` in an archive.
        sha256: SHA-256 of the file's bytes (of the pixel bytes for an array in an archive), 64 hex digits.
        finding: Normal or pneumonia.
        etiology: Bacterial or viral; `none` for a normal radiograph; `unknown` where the source does not say.
        patient: Patient identifier within this data set; train and test are separate name spaces.
        split: Train (before a validation set is drawn from it), validation or test.
        width: Width as stored, pixels.
        height: Height as stored, pixels.
        bytes: Size of the file in bytes; 0 for an array in an archive.
        class_name: Class by the data set's own name, where its classes are of any names; `finding` is then normal for the first
            of them and pneumonia for all others. Empty where the classes are normal and pneumonia.
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
    class_name: str = ""

    @property
    def coarse_label(self) -> str:
        """Class of the audit: the data set's own name, or normal or pneumonia."""
        return self.class_name or self.finding.value

    @property
    def label(self) -> str:
        """Finest known class: normal, bacterial, viral or pneumonia, or the data set's own name."""
        if self.class_name:
            return self.class_name
        if self.finding is Finding.NORMAL:
            return "normal"
        return "pneumonia" if self.etiology is Etiology.UNKNOWN else self.etiology.value


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds on the probability of pneumonia, and the performance measured where they were fitted.

    Attributes:
        threshold: Probability in [0, 1] from which on the decision is pneumonia; normal below.
        refer_from: Lower edge of the band that is referred to a reader, in [0, threshold]; equal to `threshold` for none.
        refer_to: Upper edge of the band, exclusive, in [threshold, 1].
        sensitivity: Sensitivity on the images it was fitted on, in [0, 1], referred images counted by the threshold.
        specificity: Specificity on these images, in [0, 1].
        name: Name in the bundle, such as balanced; empty while it is fitted.
        fitted_on: Description of the images it was fitted on; empty while it is fitted.

    Raises:
        InputError: Thresholds out of order or outside [0, 1].
    """

    threshold: float
    refer_from: float
    refer_to: float
    sensitivity: float
    specificity: float
    name: str = ""
    fitted_on: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.refer_from <= self.threshold <= self.refer_to <= 1:
            raise InputError(f"expected 0 <= refer_from <= threshold <= refer_to <= 1, found {self}: fit it again")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as predictions show it."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            "fitted_on": self.fitted_on,
        }

    @property
    def fitted(self) -> dict[str, float]:
        """Thresholds and performance as plain data, as manifests store them under the point's name."""
        return {
            "threshold": self.threshold,
            "refer_from": self.refer_from,
            "refer_to": self.refer_to,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
        }


@dataclass(frozen=True)
class BundleUsed:
    """Identity of the bundle that made a prediction.

    Attributes:
        name: Name of the detector.
        version: Version of its weights.
        sha256: SHA-256 of its manifest, 64 hex digits, which identifies the whole bundle.
    """

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class ImageStatistics:
    """Per-image statistics monitored for drift.

    Attributes:
        probability: Calibrated probability of pneumonia in [0, 1], at the prevalence that the bundle assumes.
        brightness: Mean grey level of the network's input, in [0, 1].
        contrast: Standard deviation of the network's input, in [0, 0.5].
        similarity: Correlation of the aligned chest with the mean chest, in [-1, 1].
        distance: Distance from the population that the bundle was validated on, above 0; inside up to 1.
    """

    probability: float
    brightness: float
    contrast: float
    similarity: float
    distance: float


STATISTICS = tuple(each.name for each in fields(ImageStatistics))


@dataclass(frozen=True)
class ImageHeader:
    """What the header of a DICOM object says about patient and exposure.

    Attributes:
        age_years: Age of the patient, years; None where the header does not say.
        view: View position, such as AP, PA or LL, upper case; empty where the header does not say.
        body_part: Body part examined, upper case; empty where the header does not say.
        modality: Modality, such as CR or DX, upper case; empty where the header does not say.
        sex: Sex of the patient, F, M or O; empty where the header does not say.
        patient: Hash of the patient's identifier and its issuer, 16 hex digits, by which images of one patient are known; empty where
            the header has none.
        taken: Date of the acquisition, else of the study, ISO 8601; empty where the header does not say.
        manufacturer: Manufacturer of the device, at most 64 printable characters; empty where the header does not say.
        bits: Bits stored for a pixel; None where the header does not say.
        spacing: Distances between the centres of neighbouring rows and of neighbouring columns, mm; None where the header does not say.
        at_detector: Whether `spacing` is that at the detector, where the patient's shadow is larger than the patient.
        window: Centre and width of the first window, in units of the rescaled values; None where the header has none.
    """

    age_years: float | None = None
    view: str = ""
    body_part: str = ""
    modality: str = ""
    sex: str = ""
    patient: str = ""
    taken: str = ""
    manufacturer: str = ""
    bits: int | None = None
    spacing: tuple[float, float] | None = None
    at_detector: bool = False
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class NamedImage:
    """Bytes of an image file with the name that its prediction carries."""

    name: str
    content: bytes


@dataclass(frozen=True)
class UnreadImage:
    """Image whose bytes could not be obtained, with the cause; its prediction is a rejection."""

    name: str
    cause: str


@dataclass(frozen=True)
class PredictionRequest:
    """Settings of a prediction; every interface makes one of these.

    Attributes:
        operating_point: Name of an operating point in the bundle's manifest.
        prevalence: Prevalence of pneumonia in (0, 1) for which probabilities are shown; the manifest's where None.
        evidence: Whether evidence maps are computed.
        accept: Reasons out of `OUTSIDE` for which an image is not referred: such images get a decision that nobody validated.

    Raises:
        InputError: Another reason to accept.
    """

    operating_point: str = "balanced"
    prevalence: float | None = None
    evidence: bool = False
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.accept) - set(OUTSIDE)):
            raise InputError(
                f"expected reasons to accept out of {', '.join(OUTSIDE)}, found {', '.join(unknown)}: name some of these"
            )

"""Prediction: the detector's result for one image, as every interface returns it."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.types import (
    BINARY,
    NOTICE,
    THREE_CLASS,
    ZONES,
    BundleUsed,
    ClassScheme,
    Decision,
    ImageHeader,
    ImageStatistics,
    OperatingPoint,
    Reason,
)

if TYPE_CHECKING:  # the help of the command line needs these records but not numpy
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class Prediction:
    """The detector's result for one image; every interface returns this.

    Attributes:
        file: Name of the file as it was given; empty for an array or bytes without a name.
        sha256: SHA-256 of the file's bytes, or of an array's grey levels; empty where the file could not be opened.
        decision: Normal, pneumonia, refer (a person should read the image) or rejected; in JSON, normal and pneumonia by the names
            of a site's own classes, where the bundle has such.
        reasons: Reasons for a referral or rejection, and accepted reasons; empty otherwise.
        detail: Explanation in words of a rejection, of being outside, or of what could not be checked; empty otherwise.
        pneumonia_probability: Probability of pneumonia in [0, 1]; None for a rejected image. Where the bundle has a site's own
            classes, that of the positive one, and named `probability` in JSON.
        class_probability: Class name to probability, in the network's order, summing to 1; None for a rejected image. The
            division of pneumonia into bacterial and viral is weak evidence.
        operating_point: Operating point of the decision, its threshold at the prevalence shown.
        evidence: Path of the evidence overlay; None where none was written.
        bundle: Bundle that made the prediction.
        notice: Research-use notice.
        validated: Whether the detector was validated on images like this one; False where it is outside or rejected.
        zones: Fractions of the evidence for pneumonia in six lung zones (`right_upper` to `left_lower`, the patient's sides) and
            `outside` of them, in [0, 1]; None where the evidence was not requested, the lungs could not be placed, and for a
            rejected image.
        evidence_map: (rows, columns) float32 within `frame`, contributions to the logit of pneumonia against normal; None
            unless requested, and for a rejected image. Not part of `to_dict`.
        frame: Top, left, bottom, right of the network's input, as fractions of the image's height and width.
        statistics: Statistics for drift monitoring; None for a rejected image. Not part of `to_dict`.
        scheme: Classes of the bundle. Not part of `to_dict`.
        header: Header of a DICOM object; None for other files and where it cannot be read. Not part of `to_dict`.
        image: Image as `Detector.predict` was given it, for drawing; None where several were predicted, which are drawn from
            their files. Not part of `to_dict`.
    """

    file: str
    sha256: str
    decision: Decision
    reasons: tuple[Reason, ...]
    detail: str
    pneumonia_probability: float | None
    class_probability: dict[str, float] | None
    operating_point: OperatingPoint
    evidence: str | None
    bundle: BundleUsed
    notice: str = NOTICE
    validated: bool = False
    zones: dict[str, float] | None = None
    evidence_map: "NDArray[np.float32] | None" = field(default=None, compare=False)
    frame: tuple[float, float, float, float] | None = field(default=None, compare=False)
    statistics: ImageStatistics | None = field(default=None, compare=False)
    scheme: ClassScheme = field(default=BINARY, compare=False)
    header: ImageHeader | None = field(default=None, compare=False)
    image: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Prediction({', '.join([self.file or 'image', *self._in_words()])})"

    @property
    def outcome(self) -> str:
        """Decision by the name that the bundle's classes give it."""
        return self.scheme.outcome(self.decision)

    @property
    def etiologies(self) -> dict[str, float]:
        """Etiology to probability in [0, 1]; empty where the bundle does not distinguish any."""
        shown = self.class_probability or {}
        return dict(list(shown.items())[1:]) if len(shown) > len(BINARY) else {}

    def without_file(self) -> "Prediction":
        """Copy the prediction without the name of the file, also in its explanation: a path or a name is not for who reads an answer."""
        detail = self.detail
        # A message has the path that was read, which may be written otherwise.
        for name in {self.file, str(Path(self.file))} if self.file else ():
            detail = detail.replace(f"found {name} (", "found this image (")
        return replace(self, file="", detail=detail)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `pneumoscope predict --json` prints it."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "decision": self.outcome,
            "reasons": [reason.value for reason in self.reasons],
            "detail": self.detail,
            self.scheme.probability_field: self.pneumonia_probability,
            "class_probability": self.class_probability,
            "operating_point": self.operating_point.to_dict(),
            "evidence": self.evidence,
            "bundle": asdict(self.bundle),
            "notice": self.notice,
            "validated": self.validated,
            "zones": self.zones,
        }

    def to_row(self) -> dict[str, Any]:
        """Row of a table, as `pneumoscope predict --out predictions.csv` writes it: nested names joined by `_`, reasons by `;`.

        `pandas.DataFrame(p.to_row() for p in predictions)` is a frame, and so is `polars.DataFrame([p.to_row() for ...])`.
        """
        classes = self.class_probability or {}
        row: dict[str, Any] = {"file": self.file, "sha256": self.sha256, "decision": self.outcome}
        row |= {"reasons": ";".join(self.reasons), "detail": self.detail}
        row |= {self.scheme.probability_field: self.pneumonia_probability}
        row |= {f"{name}_probability": classes.get(name) for name in _classes_of_row(self.scheme)}
        point = self.operating_point.to_dict()
        row |= {("operating_point" if key == "name" else key): value for key, value in point.items()}
        row |= {"evidence": self.evidence}
        row |= {f"bundle_{key}": value for key, value in asdict(self.bundle).items()}
        row |= {"notice": self.notice, "validated": self.validated}
        return row | {f"zone_{name}": (self.zones or {}).get(name) for name in ZONES}

    def plot(self, image: Any = None, axes: "Axes | None" = None) -> "Axes":
        """Draws the image with its evidence, if that was computed, and the decision as the title.

        Args:
            image: Image as for `Detector.predict`; the one that was predicted, or the file's, where None.
            axes: Matplotlib axes to draw on; new ones where None.

        Raises:
            ConfigError: Matplotlib is not installed.
            InputError: The image cannot be had again: it was no file, and `predict_many` keeps none.
        """
        from pneumoscope.inference.notebook import plot

        return plot(self, image, axes)

    def _repr_html_(self) -> str:
        """Image, evidence, decision and reasons, as notebooks show them."""
        from pneumoscope.inference.notebook import as_html

        return as_html(self)

    def _in_words(self) -> list[str]:
        """Decision, probability and reasons in a few words."""
        shown = [] if self.pneumonia_probability is None else [f"probability {self.pneumonia_probability:.3f}"]
        return [str(self.outcome), *shown, *self.reasons]

    @staticmethod
    def from_dict(record: dict[str, Any], scheme: ClassScheme = BINARY) -> "Prediction":
        """Prediction from the plain data of `to_dict` of a bundle with these classes, without maps and statistics."""
        shown = record["operating_point"]
        threshold = shown["threshold"]
        values = {key: value for key, value in record.items() if key != scheme.probability_field}
        return Prediction(
            **values
            | {
                "decision": next(each for each in Decision if scheme.outcome(each) == record["decision"]),
                "pneumonia_probability": record[scheme.probability_field],
                "bundle": BundleUsed(**record["bundle"]),
                "operating_point": OperatingPoint(
                    threshold,
                    threshold,
                    threshold,
                    shown["sensitivity"],
                    shown["specificity"],
                    shown["name"],
                    shown["fitted_on"],
                ),
                "reasons": tuple(map(Reason, record["reasons"])),
                "scheme": scheme,
            }
        )


def row_columns(scheme: ClassScheme) -> tuple[str, ...]:
    """Columns of a table of predictions by a bundle with these classes, in the order of `Prediction.to_row`."""
    return (
        *("file", "sha256", "decision", "reasons", "detail", scheme.probability_field),
        *(f"{name}_probability" for name in _classes_of_row(scheme)),
        *("operating_point", "threshold", "sensitivity", "specificity", "fitted_on", "evidence"),
        *("bundle_name", "bundle_version", "bundle_sha256", "notice", "validated"),
        *(f"zone_{name}" for name in ZONES),
    )


def _classes_of_row(scheme: ClassScheme) -> tuple[str, ...]:
    """Classes with a column each: the same for two and for three classes, so that tables of several bundles fit together."""
    return scheme.names if scheme.is_own else THREE_CLASS.names

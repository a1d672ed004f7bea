"""Manifest of a bundle: the only source of preprocessing, class names, calibration and operating points for inference."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pneumoscope.config import Preprocessing, from_table
from pneumoscope.decision import Calibration, DecisionPolicy, point_at_prevalence
from pneumoscope.errors import InputError
from pneumoscope.evaluation.drift import Histogram, Reference
from pneumoscope.types import NOTICE, STATISTICS, THREE_CLASS, ClassScheme, OperatingPoint, PredictionRequest

FORMAT = 2
# Name of a class: what a table, a page and a file name can hold.
CLASS_NAME = re.compile(r"[^\W_][\w .()+-]{0,39}")


@dataclass(frozen=True)
class GuardLimits:
    """Acceptance limits of the input guard; `inference/population.py` defines the distance.

    Attributes:
        feature_weight: Weight of the distance in features beside that in layouts, in [0, 1].
        outside: Joint distance above which an image is outside the population; other distances are in units of it.
        not_frontal_chest: Distance, above 1, from which an image is rejected as no frontal chest radiograph.
        not_a_radiograph: Distance from which it is rejected as no radiograph.
        suspicious_similarity: Correlation with the mean chest, in [-1, 1], below which an image is tested for being inverted or
            upside down.
    """

    feature_weight: float
    outside: float
    not_frontal_chest: float
    not_a_radiograph: float
    suspicious_similarity: float


@dataclass(frozen=True)
class Scope:
    """What a bundle was validated for, as far as headers of DICOM objects tell.

    Attributes:
        ages: Youngest and oldest age, completed years; None for any age.
        views: View positions, upper case; empty for any.
    """

    ages: tuple[int, int] | None = None
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Description of a bundle.

    Attributes:
        name: Name of the detector.
        version: Version of the weights.
        architecture: Name that `pneumoscope models` lists.
        classes: Class names in the order of the logits; the negative class first.
        preprocessing: Preprocessing from image to network input.
        calibration: Calibration from logits to probabilities.
        prevalence: Prevalence of pneumonia that the probabilities assume, in (0, 1); both etiologies equally frequent.
        operating_points: Name to operating point; `balanced` is always there.
        fitted_on: Description of the images that calibration and operating points were fitted on.
        guard: Acceptance limits of the input guard.
        intended_use: Intended use in words.
        licence: Licence of the weights.
        citation: Source of the data and the method.
        conformal: Coverage to the lowest probability per class that belongs to the prediction set.
        reference: Reference statistics for drift monitoring; None in bundles without any.
        guard_preprocessing: Preprocessing for the guard's own network; None where it has none.
        scope: Ages and views that the bundle was validated for.
        preprocessing_version: Version of the preprocessing code; another version may give other pixels.
        training: Configuration, hashes, commit and date of the training.
        metrics: Measures with intervals, by the images they were measured on.
        parts: File name to SHA-256, 64 hex digits.
        parent: SHA-256 of the manifest that this one was derived from; empty for none.
        notice: Research-use notice for every output.
        format: Version of the manifest's format.
    """

    name: str
    version: str
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration
    prevalence: float
    operating_points: Mapping[str, OperatingPoint]
    fitted_on: str
    guard: GuardLimits
    intended_use: str
    licence: str
    citation: str
    conformal: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    reference: Reference | None = None
    guard_preprocessing: Preprocessing | None = None
    scope: Scope = field(default_factory=Scope)
    preprocessing_version: int = 1
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    notice: str = NOTICE
    format: int = FORMAT

    @property
    def scheme(self) -> ClassScheme:
        """Classes with the names of the negative and the positive one."""
        return ClassScheme(self.classes)

    @property
    def policy(self) -> DecisionPolicy:
        """Calibration, prevalence, operating points and conformal limits together."""
        return DecisionPolicy(self.calibration, self.prevalence, self.operating_points, self.conformal)

    def with_policy(self, policy: DecisionPolicy, fitted_on: str) -> "Manifest":
        """Manifest with another decision policy and the description of the images it was fitted on."""
        return replace(
            self,
            calibration=policy.calibration,
            prevalence=policy.prevalence,
            operating_points=policy.operating_points,
            conformal=policy.conformal,
            fitted_on=fitted_on,
        )

    def operating_point(self, name: str) -> OperatingPoint:
        """Operating point for calibrated probabilities at the manifest's prevalence.

        Raises:
            InputError: Unknown name.
        """
        if name not in self.operating_points:
            raise InputError(
                f"expected an operating point out of {', '.join(self.operating_points)}, found {name!r}: name one of these"
            )
        return replace(self.operating_points[name], name=name, fitted_on=self.fitted_on)

    def point_shown(self, request: PredictionRequest) -> OperatingPoint:
        """Operating point of a request, its thresholds at the prevalence that the request names.

        Raises:
            InputError: Unknown name, or prevalence outside (0, 1).
        """
        point = self.operating_point(request.operating_point)
        wanted = self.prevalence if request.prevalence is None else request.prevalence
        return point_at_prevalence(point, self.prevalence, wanted)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `manifest.json`."""
        return asdict(self) | {
            "operating_points": {name: point.fitted for name, point in self.operating_points.items()},
            "reference": self.reference.to_dict() if self.reference else None,
        }


def manifest_from_dict(table: dict[str, Any], origin: str) -> Manifest:
    """Build a manifest from plain data, and check it.

    Args:
        table: Parsed `manifest.json`.
        origin: Path for messages.

    Raises:
        ValueError: Value that no detector can use.
        TypeError: Value of another type.
        KeyError: Missing key.
        PneumoscopeError: Setting out of range.
    """
    guard_preprocessing = table.get("guard_preprocessing")
    typed = {
        "classes": tuple(table["classes"]),
        "preprocessing": from_table(Preprocessing, table["preprocessing"], f"{origin}: preprocessing"),
        "calibration": Calibration(table["calibration"]["temperature"], tuple(table["calibration"]["bias"])),
        "operating_points": {name: OperatingPoint(**point) for name, point in table["operating_points"].items()},
        "conformal": {coverage: tuple(values) for coverage, values in table["conformal"].items()},
        "guard_preprocessing": None
        if guard_preprocessing is None
        else from_table(Preprocessing, guard_preprocessing, f"{origin}: guard_preprocessing"),
        "reference": _reference(table.get("reference")),
        "guard": GuardLimits(**table["guard"]),
        "scope": _scope(table["scope"]),
    }
    manifest = Manifest(**(table | typed))
    _check_texts(manifest)
    _check_numbers(manifest)
    _check_reference(manifest.reference)
    if "balanced" not in manifest.operating_points or not isinstance(manifest.parts, dict):
        raise ValueError("no balanced operating point, or no parts")
    return manifest


def _scope(table: dict[str, Any]) -> Scope:
    ages, views = table["ages"], table["views"]
    whole = ages is None or (len(ages) == 2 and all(type(age) is int for age in ages))
    if not whole or (ages is not None and not 0 <= ages[0] <= ages[1]):
        raise ValueError(f"the ages {ages}")
    if not isinstance(views, list) or not all(isinstance(v, str) and v and v == v.strip().upper() for v in views):
        raise ValueError(f"the views {views}")
    return Scope(None if ages is None else (ages[0], ages[1]), tuple(views))


def _reference(table: dict[str, Any] | None) -> Reference | None:
    if table is None:
        return None
    histograms = {
        name: Histogram(tuple(map(float, histogram["edges"])), tuple(map(float, histogram["share"])))
        for name, histogram in table["histograms"].items()
    }
    return Reference(int(table["films"]), float(table["rejected"]), histograms)


def _check_texts(manifest: Manifest) -> None:
    texts = [manifest.name, manifest.version, manifest.architecture, manifest.fitted_on, manifest.intended_use]
    texts += [manifest.licence, manifest.citation, manifest.notice, manifest.parent, *manifest.classes]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name that is not text")
    check_class_names(manifest.classes)


def check_class_names(names: tuple[str, ...]) -> None:
    """Check the class names of a bundle: normal, bacterial, viral; or any two.

    Raises:
        ValueError: Other names.
    """
    two = len(names) == 2 and names[0] != names[1] and all(map(CLASS_NAME.fullmatch, names))
    reserved = {"refer", "rejected", "outside"} & {name.lower() for name in names}
    if names != THREE_CLASS.names and (not two or reserved):
        raise ValueError(f"the classes {', '.join(names)}")


def _check_numbers(manifest: Manifest) -> None:
    if len(manifest.calibration.bias) not in (0, len(manifest.classes)):
        raise ValueError("a calibration for other classes")
    limits, points = manifest.guard, manifest.operating_points.values()
    numbers = [*asdict(limits).values(), *(v for values in manifest.conformal.values() for v in values)]
    numbers += [value for point in points for value in (point.sensitivity, point.specificity)]
    if not all(_is_number(value) for value in numbers):
        raise ValueError("a limit that is not a number")
    ordered = 1 <= limits.not_frontal_chest <= limits.not_a_radiograph and abs(limits.suspicious_similarity) <= 1
    if not (0 <= limits.feature_weight <= 1 and 1e-9 < limits.outside < 1e9 and ordered):
        raise ValueError("limits of the guard out of range or order")
    if not (_is_number(manifest.prevalence) and 0 < manifest.prevalence < 1):
        raise ValueError(f"the prevalence {manifest.prevalence}")


def _check_reference(reference: Reference | None) -> None:
    if reference is None:
        return
    complete = set(reference.histograms) == set(STATISTICS)
    if reference.images < 1 or not 0 <= reference.rejected <= 1 or not complete:
        raise ValueError("a reference for other statistics")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

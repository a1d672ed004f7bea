"""Manifest of a bundle: the only source of preprocessing, class names, calibration and operating points for inference."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pneumoscope.config import Preprocessing, from_table
from pneumoscope.decision import Calibration, DecisionPolicy, point_at_prevalence
from pneumoscope.errors import InputError
from pneumoscope.evaluation.drift import Histogram, Reference
from pneumoscope.types import NOTICE, SCHEMES, STATISTICS, OperatingPoint, PredictionRequest

FORMAT = 1


@dataclass(frozen=True)
class GuardLimits:
    """Acceptance limits of the input guard; `inference/guard.py` defines the distance.

    Attributes:
        usual: (2,) mean of the two parts of the distance, logarithms, over held-out chest radiographs.
        spread: (2,) standard deviation of the two parts, logarithms.
        farthest: Largest accepted excess over `usual`, in units of `spread`.
        suspicious_similarity: Correlation with the mean chest, in [-1, 1], below which an image is tested for being inverted or
            upside down.
    """

    usual: tuple[float, ...]
    spread: tuple[float, ...]
    farthest: float
    suspicious_similarity: float


@dataclass(frozen=True)
class Manifest:
    """Description of a bundle.

    Attributes:
        name: Name of the detector.
        version: Version of the weights.
        architecture: Name that `pneumoscope models` lists.
        classes: Class names in the order of the logits; normal first.
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
        least_similarity: Correlation with the mean chest, in [-1, 1], below which an image is referred as unlike the training
            images; -1 where the preprocessing does not align the chest.
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
    least_similarity: float = -1.0
    preprocessing_version: int = 1
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    notice: str = NOTICE
    format: int = FORMAT

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

    def as_json(self) -> dict[str, Any]:
        """Plain data, as in `manifest.json`."""
        return asdict(self) | {
            "operating_points": {name: point.fitted for name, point in self.operating_points.items()},
            "reference": self.reference.as_json() if self.reference else None,
        }


def manifest_from_json(table: dict[str, Any], origin: str) -> Manifest:
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
    guard, guard_preprocessing = dict(table["guard"]), table.get("guard_preprocessing")
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
        "guard": GuardLimits(tuple(guard.pop("usual")), tuple(guard.pop("spread")), **guard),
    }
    manifest = Manifest(**(table | typed))
    _check_texts(manifest)
    _check_numbers(manifest)
    _check_reference(manifest.reference)
    if "balanced" not in manifest.operating_points or not isinstance(manifest.parts, dict):
        raise ValueError("no balanced operating point, or no parts")
    return manifest


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
    if len(manifest.classes) not in SCHEMES or manifest.classes != SCHEMES[len(manifest.classes)].names:
        raise ValueError(f"the classes {', '.join(manifest.classes)}")


def _check_numbers(manifest: Manifest) -> None:
    if len(manifest.calibration.bias) not in (0, len(manifest.classes)):
        raise ValueError("a calibration for other classes")
    limits, points = manifest.guard, manifest.operating_points.values()
    numbers = [*limits.usual, *limits.spread, limits.farthest, limits.suspicious_similarity]
    numbers += [manifest.least_similarity, *(v for values in manifest.conformal.values() for v in values)]
    numbers += [value for point in points for value in (point.sensitivity, point.specificity)]
    if not all(_is_number(value) for value in numbers) or len(limits.usual) != 2 or len(limits.spread) != 2:
        raise ValueError("a limit that is not a number")
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

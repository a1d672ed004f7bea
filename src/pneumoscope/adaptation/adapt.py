"""Adaptation of a bundle to a site: what its labelled images can support, and the bundle made of them.

check images -> nested cross-validation -> better than chance? -> learning curve, acquisition -> fit to all images -> bundle
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.acquisition import AcquisitionAudit, audit_acquisition
from pneumoscope.adaptation.cross_validation import (
    OUTER_FOLDS,
    Candidate,
    NestedPredictions,
    choose,
    cross_validate,
    nested_predictions,
)
from pneumoscope.adaptation.learning_curve import LearningCurve, learning_curve
from pneumoscope.adaptation.methods import LinearHeads, Method, usable_methods
from pneumoscope.adaptation.population import fit_site_guard, site_scope
from pneumoscope.adaptation.site import FEWEST_IMAGES, FEWEST_PATIENTS, SiteImages
from pneumoscope.assessment.acceptance import group_of, name_classes
from pneumoscope.bundle import Bundle, Scope
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.decision import pneumonia_probability
from pneumoscope.errors import DataError, InputError
from pneumoscope.evaluation.acceptance import DecidedImages, measure_acceptance
from pneumoscope.evaluation.calibration import calibration_line
from pneumoscope.evaluation.intervals import Estimate, auc_estimate, delong_difference, interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, Ints, compute_metrics
from pneumoscope.evaluation.policy_fitting import balancing_weights
from pneumoscope.files import sha256_or_empty
from pneumoscope.inference.guard import Guard
from pneumoscope.inference.scope import compare_header
from pneumoscope.progress import Report, one
from pneumoscope.types import OUTSIDE, ClassScheme, Finding, Reason

_CHANCE = 0.5


@dataclass(frozen=True)
class Adaptation:
    """Result of adapting a bundle to a site's images, by nested cross-validation over patients.

    Attributes:
        images: Images of the site.
        scheme: Names of the site's two classes.
        candidates: Candidates, simplest first, with their out-of-fold performance.
        chosen: Candidate that the bundle is made of.
        nested: Predictions for every image without its patient.
        auc: AUC of the nested predictions with its interval over patients.
        parent_auc: AUC of the parent on the same images.
        gain: AUC of the nested predictions minus that of the parent, with its interval by DeLong's paired test.
        gain_p: P value of the gain, two-sided.
        guard: Guard with the site's population.
        distance: (n,) distances of the images to this population, without their own patients.
        acceptance: Measures of the nested decisions, as `measure_acceptance` gives them; rejected images, and those outside of
            the population, are among them.
        calibration: Name of a measure of calibration to its estimate.
        curve: Learning curve of the chosen candidate.
        acquisition: Audit of how far the acquisition tells the label.
    """

    images: SiteImages
    scheme: ClassScheme
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    nested: NestedPredictions
    auc: Estimate
    parent_auc: Estimate
    gain: Estimate
    gain_p: float
    guard: Guard
    distance: Floats
    acceptance: dict[str, Any]
    calibration: dict[str, Estimate]
    curve: LearningCurve
    acquisition: AcquisitionAudit

    @property
    def better_than_chance(self) -> bool:
        """Whether the interval of the AUC lies above one half."""
        return self.auc.low > _CHANCE

    @property
    def verdict(self) -> str:
        """Verdict in one line."""
        auc = f"AUC {self.auc.as_number()}"
        count = f"{len(self.images)} images, {self.patients} patients"
        if not self.better_than_chance:
            return f"no better than chance: not made; {auc} by cross-validation over {count}"
        return f"{self.chosen.description}; {auc} by cross-validation over {count}"

    @property
    def warnings(self) -> list[str]:
        """Warnings in words, a sentence or more each."""
        parent_is_better = "On these images the bundle that was adapted ranks better than the new one, by more than chance: use it, or label more images."
        unknown = (
            "The patients of some images are not known; images of one patient in several folds make all figures too good. Name them "
            "in a table with the column patient."
        )
        return [
            *([parent_is_better] if self.gain.high < 0 else []),
            *([self.acquisition.warning] if self.acquisition.warning else []),
            *([] if self.images.known_patients else [unknown]),
        ]

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(set(self.images.patients))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the manifest and for `--json`."""
        return {
            "films": len(self.images),
            "patients": self.patients,
            "patients_known": self.images.known_patients,
            "positives": int(self.images.positive.sum()),
            "classes": list(self.scheme.names),
            "rejected": sum(self.images.rejected.values()),
            "rejected_reasons": self.images.rejected,
            "method": self.chosen.method.name,
            "chosen": self.chosen.description,
            "made": self.better_than_chance,
            "verdict": self.verdict,
            "auc": self.auc.value,
            "cross_validated": {
                "auc": asdict(self.auc),
                **{name: self.acceptance["measures"][name] for name in ("sensitivity", "specificity")},
                **{name: asdict(estimate) for name, estimate in self.calibration.items()},
            },
            "parent": {"auc": asdict(self.parent_auc), "gain": asdict(self.gain), "p": self.gain_p},
            "candidates": [
                {"candidate": each.description, "auc": each.mean, "standard_error": each.standard_error}
                for each in self.candidates
            ],
            "learning_curve": {
                "points": self.curve.points,
                "more_would_help": self.curve.more_would_help,
                "answer": self.curve.answer,
            },
            "acquisition": self.acquisition.to_dict(),
            "warnings": self.warnings,
            "acceptance": self.acceptance,
        }


def adapt(
    parent: Bundle,
    images: SiteImages,
    scheme: ClassScheme,
    settings: DetectorConfig,
    methods: Sequence[Method],
    report: Report,
) -> Adaptation:
    """Choose the candidate that a site's images support, and measure it by nested cross-validation over patients.

    Args:
        parent: Bundle that is adapted.
        images: Images of the site, described by it and checked by `check_images`.
        scheme: Names of the site's two classes.
        settings: Targets of the operating points.
        methods: Methods, simplest first.
        report: Progress of the stages.

    Returns:
        Chosen candidate with its figures; no bundle is written.
    """
    done = one(report, "candidates cross-validated")
    candidates = cross_validate(images, methods, np.arange(len(images)), OUTER_FOLDS)
    done()
    chosen = choose(candidates)
    nested = nested_predictions(images, candidates, settings, report("folds cross-validated"))
    curve = learning_curve(images, _fast(chosen), report("repeats of the learning curve"))
    positive, weight = images.positive, patient_weights(images.patients, np.random.default_rng(0))
    theirs = pneumonia_probability(images.parent_probability)
    guard, distance, outside = fit_site_guard(Guard.from_bundle(parent), images)
    gain, p = delong_difference(nested.probability, theirs, positive, images.patients)
    return Adaptation(
        images,
        scheme,
        tuple(candidates),
        chosen,
        nested,
        auc_estimate(nested.probability, positive, images.patients),
        auc_estimate(theirs, positive, images.patients),
        gain,
        p,
        guard,
        distance,
        name_classes(_acceptance(images, nested, outside), scheme),
        _calibration(nested.probability, positive, weight),
        curve,
        audit_acquisition(images, nested.probability),
    )


def _fast(chosen: Candidate) -> Candidate:
    """Candidate for the learning curve: the chosen one, or a linear head where that takes minutes to fit."""
    method = chosen.method
    return chosen if method.is_fast else replace(chosen, method=LinearHeads(method.scheme, method.etiologies), number=2)


def check_method(parent: Bundle, scheme: ClassScheme, wanted: str | None) -> None:
    """Check that the parent and the site's classes allow a method; None for all that need no PyTorch.

    Raises:
        InputError: They do not.
    """
    if not usable_methods(parent.manifest.scheme, scheme, False, wanted):
        raise InputError(
            f"expected the classes {parent.manifest.scheme.negative} and {parent.manifest.scheme.positive}, which "
            f"{parent.manifest.name} predicts, to calibrate it, found {scheme}: use pneumoscope adapt --method linear"
        )


def check_labels(source: Source) -> None:
    """Check, before any image is read, that labels and files can support anything.

    Raises:
        DataError: Too few labelled images of a class, or files that do not exist.
    """
    scheme = source.scheme
    counts = [
        sum(image.finding is finding for image in source.images) for finding in (Finding.NORMAL, Finding.PNEUMONIA)
    ]
    if min(counts) < FEWEST_IMAGES:
        raise DataError(
            f"expected at least {FEWEST_IMAGES} {scheme.negative} and {FEWEST_IMAGES} {scheme.positive} images, found {counts[0]} and "
            f"{counts[1]} in {source.root}: add images, or name the positive class with --positive"
        )
    missing = [path for image in source.images if not (path := source.file_of(image.path)).is_file()]
    if missing:
        raise DataError(
            f"expected the files of {source.root}, found {len(missing)} of {len(source.images)} missing, such as {missing[0]}: correct "
            "their paths"
        )


def check_files(parent: Bundle, source: Source) -> None:
    """Check the bytes of a site's files, before any of them is predicted.

    Raises:
        DataError: Files that the parent was fitted to, or one content with two labels.
    """
    if source.layout == "medmnist":
        return
    digests = [sha256_or_empty(source.file_of(image.path)) for image in source.images]
    if learnt := parent.count_training_images(digest for digest in digests if digest):
        raise DataError(
            f"expected images that the detector was not trained on, found {learnt} of its training images, on "
            "which it performs too well to learn from: use the site's own images, with the bundle that shipped"
        )
    first: dict[str, SourceImage] = {}
    for digest, image in zip(digests, source.images, strict=True):
        earlier = first.setdefault(digest or image.path, image)
        if earlier.finding is not image.finding:
            both = (
                f"{earlier.path} and {image.path}, the same bytes,"
                if earlier.path != image.path
                else f"{image.path} twice"
            )
            raise DataError(
                f"expected one label for one image, found {both} with two in {source.root}: correct one of them"
            )


def check_images(images: SiteImages, scheme: ClassScheme) -> None:
    """Check that a site's images can support anything.

    Raises:
        DataError: Too few images or patients of a class.
    """
    positive = images.positive
    counts = [int((~positive).sum()), int(positive.sum())]
    if min(counts) < FEWEST_IMAGES:
        raise DataError(
            f"expected at least {FEWEST_IMAGES} {scheme.negative} and {FEWEST_IMAGES} {scheme.positive} images that are not "
            f"rejected, found {counts[0]} and {counts[1]} (and {sum(images.rejected.values())} rejected): add images"
        )
    patients = [len({images.patients[i] for i in np.flatnonzero(positive == truth)}) for truth in (False, True)]
    total = len(set(images.patients))
    if min(patients) < FEWEST_PATIENTS or total < 2 * FEWEST_PATIENTS:
        raise DataError(
            f"expected images of at least {FEWEST_PATIENTS} {scheme.negative} and {FEWEST_PATIENTS} {scheme.positive} patients, "
            f"{2 * FEWEST_PATIENTS} in all, found {patients[0]} and {patients[1]}, {total} in all: add patients, or name them in a table "
            "with the column patient"
        )


def _calibration(probability: Floats, positive: NDArray[np.bool_], weight: Floats) -> dict[str, Estimate]:
    """Calibration of probabilities that assume a prevalence of one half: the classes are weighted alike."""
    balanced = balancing_weights(positive)
    slope, intercept = calibration_line(probability, positive, balanced)
    rows = [
        compute_metrics(
            np.stack([1 - probability, probability], axis=1), positive.astype(np.int64), ("normal", "pneumonia"), each
        )
        for each in (balanced[None], weight * balanced)
    ]
    found = {name: interval_of(float(rows[0][name][0]), rows[1][name]) for name in ("ece", "brier")}
    undefined = float("nan")
    return found | {
        "calibration_slope": Estimate(slope, undefined, undefined),
        "calibration_intercept": Estimate(intercept, undefined, undefined),
    }


def _scopes(images: SiteImages, fold: Ints) -> list[Scope]:
    """Scope for each image, of the images of other folds: its own age must not make it validated."""
    found = {
        each: site_scope([header for header, own in zip(images.headers, fold, strict=True) if own != each])
        for each in set(fold.tolist())
    }
    return [found[each] for each in fold.tolist()]


def _acceptance(images: SiteImages, nested: NestedPredictions, outside_population: NDArray[np.bool_]) -> dict[str, Any]:
    """Measures of what users would have got: nested decisions, and the silence of gate and guard."""
    scopes, rejected = _scopes(images, nested.fold), images.rejected_images
    reasons: list[list[str]] = []
    for header, scope, far, decision in zip(images.headers, scopes, outside_population, nested.decision, strict=True):
        population = [Reason.OUTSIDE_POPULATION] if far else []
        near = [Reason.NEAR_THRESHOLD] if decision == "refer" else []
        reasons.append([each.value for each in (*near, *population, *compare_header(header, scope).outside)])
    outside = np.array([any(each in OUTSIDE for each in found) for found in reasons], dtype=np.bool_)
    decisions = ["refer" if out else each for each, out in zip(nested.decision, outside, strict=True)]
    of_image = [group_of(header) for header in (*images.headers, *(each.header for each in rejected))]
    return measure_acceptance(
        DecidedImages(
            np.concatenate([nested.probability, np.full(len(rejected), np.nan)]),
            np.concatenate([images.positive, np.array([each.positive for each in rejected], dtype=np.bool_)]),
            [*decisions, *["rejected"] * len(rejected)],
            [*reasons, *([each.reason] for each in rejected)],
            np.concatenate([outside, np.zeros(len(rejected), dtype=np.bool_)]),
            [*images.patients, *(each.patient for each in rejected)],
            {by: [group[by] for group in of_image] for by in ("age", "sex", "view")},
        )
    )

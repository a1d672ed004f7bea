"""Logits of labelled films become calibration and operating points; a bundle refitted to a site's own films."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import Bundle, Manifest, NamedOperatingPoint, find_bundle, save_bundle
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import Source
from pneumoscope.decision import Calibration, logits_of, pneumonia_probability
from pneumoscope.errors import DataError
from pneumoscope.evaluation.calibration import fit_calibration, fit_pneumonia_calibration
from pneumoscope.evaluation.conformal import fit_conformal
from pneumoscope.evaluation.intervals import interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc
from pneumoscope.evaluation.selective import fit_refer_band
from pneumoscope.evaluation.thresholds import (
    OperatingPoint,
    best_operating_point,
    operating_point_at_sensitivity,
    operating_point_at_specificity,
)
from pneumoscope.inference.batch import Asked, predict_files
from pneumoscope.inference.drift import reference_of
from pneumoscope.types import Etiology, FilmStatistics, Finding

_COVERAGES = (0.9, 0.95)
# Films of a kind without which no threshold means anything.
_FEWEST = 20
_PARTS = 5


def fit_decision(
    logit: NDArray[np.floating], label: Ints, settings: DetectorConfig, weight: Floats | None = None, kinds: bool = True
) -> dict[str, Any]:
    """Calibration, operating points and prediction sets, as plain data.

    Args:
        logit: (n, classes) of films that the network did not learn from.
        label: (n,) int, normal first.
        settings: What the operating points are to reach.
        weight: (n,) how much each film counts; by default, as much as makes normals and pneumonias count alike.
        kinds: Whether the labels tell the kinds of pneumonia apart; where they do not, any label above 0 will do, and there
            are no prediction sets.
    """
    sick = label > 0
    counts = np.where(sick, 0.5 / sick.mean(), 0.5 / (1 - sick.mean())) if weight is None else weight
    fitted = fit_calibration(logit, label, weight=counts) if kinds else fit_pneumonia_calibration(logit, sick, counts)
    probability = fitted.probabilities(logit)
    chance = pneumonia_probability(probability)
    points = {
        "balanced": best_operating_point(chance, sick, "balanced_accuracy", counts),
        "sensitive": operating_point_at_sensitivity(chance, sick, settings.sensitivity, counts),
        "specific": operating_point_at_specificity(chance, sick, settings.specificity, counts),
    }
    return {
        "calibration": asdict(fitted),
        "prevalence": 0.5,
        "operating_points": {
            name: asdict(_named(point, chance, settings.refer_share)) for name, point in points.items()
        },
        "conformal": {
            str(coverage): fit_conformal(probability, label, coverage) for coverage in (_COVERAGES if kinds else ())
        },
        "films": len(label),
        "auc": roc_auc(chance, sick),
    }


def _named(point: OperatingPoint, chance: Floats, share: float) -> NamedOperatingPoint:
    threshold = float(np.clip(point.threshold, 1e-6, 1 - 1e-6))
    band = fit_refer_band(chance, threshold, share)
    return NamedOperatingPoint(**asdict(band), sensitivity=point.sensitivity, specificity=point.specificity)


@dataclass(frozen=True)
class SiteFilms:
    """What a detector said of a site's own labelled films.

    Attributes:
        probability: (n, classes) as the bundle calibrates them.
        label: (n,) int, in the order of the bundle's classes; 1 for a pneumonia of unknown kind.
        patients: (n,) whose film each is.
        kinds: Whether the labels tell the kinds of pneumonia apart.
        origin: Where they came from, in words.
        rejected: How many more there were that the detector rejected.
        sha256: (n,) of the files.
        statistics: (n,) of the films.
    """

    probability: Floats
    label: Ints
    patients: tuple[str, ...]
    kinds: bool
    origin: str
    rejected: int
    sha256: tuple[str, ...]
    statistics: tuple[FilmStatistics, ...]


def judge_site(
    bundle: str, source: Source, workers: int = 1, follow: Callable[[int], None] = lambda more: None
) -> SiteFilms:
    """Asks a detector about a site's labelled films.

    Args:
        bundle: `default`, `nano`, or a bundle's path.
        source: The films.
        workers: Processes.
        follow: Told how many more are done.

    Raises:
        DataError: The films lie in an archive, where each has no file of its own.
    """
    if source.kind == "medmnist":
        raise DataError(
            f"expected films as files of their own, found the archive {source.root}: unpack it into a folder"
        )
    classes = find_bundle(bundle).manifest.classes
    kinds = all(film.etiology is not Etiology.UNKNOWN for film in source.films) or len(classes) == 2
    rows = iter(source.films)
    probability, label, patients, hashes, statistics, rejected = [], [], [], [], [], 0
    for predictions in predict_files((str(source.file_of(film.path)) for film in source.films), Asked(bundle), workers):
        for prediction in predictions:
            film = next(rows)
            if prediction.class_probability is None or prediction.statistics is None:
                rejected += 1
                continue
            probability.append(list(prediction.class_probability.values()))
            sick = film.finding is Finding.PNEUMONIA
            label.append(classes.index(film.etiology.value) if sick and kinds and len(classes) > 2 else int(sick))
            patients.append(film.patient)
            hashes.append(prediction.sha256)
            statistics.append(prediction.statistics)
        follow(len(predictions))
    return SiteFilms(
        np.array(probability).reshape(-1, len(classes)),
        np.array(label, dtype=np.int64),
        tuple(patients),
        kinds,
        str(source.root.name),
        rejected,
        tuple(hashes),
        tuple(statistics),
    )


def recalibrate(bundle: Bundle, films: SiteFilms, settings: DetectorConfig, out: Path) -> Bundle:
    """A new bundle with the same network and guard, its calibration and operating points fitted to a site's films.

    What it will reach at the site is measured by cross-validation over patients and kept in the manifest's metrics.

    Args:
        bundle: Its parent.
        films: Of the site.
        settings: What the operating points are to reach.
        out: Of the new bundle, ending in `.zip`.

    Raises:
        DataError: Too few films of a kind, or films that the network learnt from.
    """
    if learnt := bundle.learnt_from(films.sha256):
        raise DataError(
            f"expected films that the detector did not learn from, found {learnt} that it did, which it knows too well to set "
            "thresholds by: take the site's own"
        )
    counts = np.bincount((films.label > 0).astype(int), minlength=2)
    if counts.min() < _FEWEST:
        raise DataError(
            f"expected at least {_FEWEST} normal and {_FEWEST} pneumonia films that can be judged, found {counts[0]} and "
            f"{counts[1]} (and {films.rejected} rejected): add films"
        )
    logit = logits_of(films.probability)
    decided = fit_decision(logit, films.label, settings, kinds=films.kinds)
    told = {
        "films": len(films.label),
        "rejected": films.rejected,
        "auc": decided["auc"],
        "cross_validated": _cross_validated(logit, films, settings),
    }
    chance = pneumonia_probability(_calibration(decided).probabilities(logit))
    now = [replace(one, probability=float(p)) for one, p in zip(films.statistics, chance, strict=True)]
    manifest = replace(
        bundle.manifest,
        calibration=_after(bundle.manifest, _calibration(decided)),
        prevalence=decided["prevalence"],
        operating_points={name: NamedOperatingPoint(**point) for name, point in decided["operating_points"].items()},
        conformal={coverage: tuple(values) for coverage, values in decided["conformal"].items()},
        fitted_on=f"{len(films.label)} films of {films.origin}",
        metrics={"site": told},
        reference=reference_of(now, films.rejected),
        parent=bundle.sha256,
    )
    return save_bundle(out, manifest, bundle.model, bundle.golden, bundle.guard, bundle.guard_model)


def _calibration(decided: dict[str, Any]) -> Calibration:
    return Calibration(decided["calibration"]["temperature"], tuple(decided["calibration"]["bias"]))


def _after(manifest: Manifest, second: Calibration) -> Calibration:
    """One calibration that does what the manifest's and then the second one do."""
    first = manifest.calibration
    bias = np.zeros(len(manifest.classes)) + (np.asarray(first.bias) if first.bias else 0)
    bias = bias / second.temperature + (np.asarray(second.bias) if second.bias else 0)
    return Calibration(first.temperature * second.temperature, tuple(bias.tolist()))


def _cross_validated(logit: Floats, films: SiteFilms, settings: DetectorConfig) -> dict[str, Any]:
    """Sensitivity and specificity of the balanced point on films it was not fitted on, with intervals over patients."""
    sick = films.label > 0
    part = np.unique(np.asarray(films.patients), return_inverse=True)[1] % _PARTS
    answer = np.zeros(len(sick), dtype=bool)
    for held_out in range(_PARTS):
        own = part == held_out
        if min(np.bincount(sick[~own], minlength=2)) == 0 or not own.any():
            continue
        if films.kinds and len(np.unique(films.label[~own])) < logit.shape[1]:
            continue
        fitted = fit_decision(logit[~own], films.label[~own], settings, kinds=films.kinds)
        chance = pneumonia_probability(_calibration(fitted).probabilities(logit[own]))
        answer[own] = chance >= fitted["operating_points"]["balanced"]["threshold"]
    weight = patient_weights(list(films.patients), np.random.default_rng(0))
    return {
        name: asdict(interval_of(float(hit[among].mean()), (weight @ (hit & among)) / (weight @ among)))
        for name, hit, among in (("sensitivity", answer, sick), ("specificity", ~answer, ~sick))
    }

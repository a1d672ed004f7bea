"""Recalibration: a bundle's probabilities and operating points fitted to a site's own labelled images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.bundle import Bundle, Manifest, save_bundle
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.decision import Calibration, logits_of, pneumonia_probability
from pneumoscope.errors import DataError
from pneumoscope.evaluation.intervals import interval_of, patient_weights
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.evaluation.policy_fitting import fit_policy
from pneumoscope.inference.batch import predict_files
from pneumoscope.inference.drift import fit_reference
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.types import Etiology, Finding, ImageStatistics

# Images of each class below which no threshold means anything.
_FEWEST = 20
_FOLDS = 5


@dataclass(frozen=True)
class SiteImages:
    """Predictions for a site's labelled images.

    Attributes:
        probability: (n, classes) probabilities as the bundle calibrates them.
        label: (n,) int, in the order of the bundle's classes; 1 for a pneumonia of unknown etiology.
        patients: (n,) patient of each image.
        etiologies: Whether the labels distinguish bacterial and viral.
        origin: Name of the data set.
        rejected: Number of further images that the detector rejected.
        sha256: (n,) hashes of the files.
        statistics: (n,) statistics of the images.
    """

    probability: Floats
    label: Ints
    patients: tuple[str, ...]
    etiologies: bool
    origin: str
    rejected: int
    sha256: tuple[str, ...]
    statistics: tuple[ImageStatistics, ...]


def predict_site(
    bundle: Bundle, pool: WorkerPool, source: Source, follow: Callable[[int], None] = lambda more: None
) -> SiteImages:
    """Predicts a site's labelled images.

    Args:
        bundle: Bundle of the pool.
        pool: Worker processes.
        source: The site's images.
        follow: Callback, called with the number of new predictions after every few.

    Raises:
        DataError: The images lie in an archive, where each has no file of its own.
    """
    if source.layout == "medmnist":
        raise DataError(
            f"expected each image in a file of its own, found the archive {source.root}: unpack it into a folder"
        )
    classes = bundle.manifest.classes
    etiologies = all(image.etiology is not Etiology.UNKNOWN for image in source.images) or len(classes) == 2
    rows = iter(source.images)
    found: list[tuple[list[float], int, str, str, ImageStatistics]] = []
    rejected = 0
    for predictions in predict_files((str(source.file_of(image.path)) for image in source.images), pool):
        for prediction in predictions:
            image = next(rows)
            if prediction.class_probability is None or prediction.statistics is None:
                rejected += 1
                continue
            label = _label(image, classes, etiologies)
            probability = list(prediction.class_probability.values())
            found.append((probability, label, image.patient, prediction.sha256, prediction.statistics))
        follow(len(predictions))
    probabilities, labels, patients, hashes, statistics = zip(*found, strict=True) if found else ((),) * 5
    return SiteImages(
        np.array(probabilities, dtype=np.float64).reshape(-1, len(classes)),
        np.array(labels, dtype=np.int64),
        tuple(patients),
        etiologies,
        str(source.root.name),
        rejected,
        tuple(hashes),
        tuple(statistics),
    )


def _label(image: SourceImage, classes: tuple[str, ...], etiologies: bool) -> int:
    positive = image.finding is Finding.PNEUMONIA
    return classes.index(image.etiology.value) if positive and etiologies and len(classes) > 2 else int(positive)


def recalibrate(bundle: Bundle, images: SiteImages, settings: DetectorConfig, out: Path) -> Bundle:
    """Makes a bundle with the same network and guard, whose calibration and operating points are fitted to a site's images.

    Its performance at the site is measured by cross-validation over patients and kept in the manifest's metrics.

    Args:
        bundle: Parent of the new bundle.
        images: Predictions for the site's images.
        settings: Targets of the operating points.
        out: File of the new bundle, ending in `.zip`.

    Raises:
        DataError: Too few images of a class, or images that the network was trained on.
    """
    if learnt := bundle.count_training_images(images.sha256):
        raise DataError(
            f"expected images that the detector was not trained on, found {learnt} of its training images, on "
            "which it performs too well to fit thresholds: use the site's own images"
        )
    counts = np.bincount((images.label > 0).astype(int), minlength=2)
    if counts.min() < _FEWEST:
        raise DataError(
            f"expected at least {_FEWEST} normal and {_FEWEST} pneumonia images that are not rejected, found {counts[0]} and "
            f"{counts[1]} (and {images.rejected} rejected): add images"
        )
    logit = logits_of(images.probability)
    fitted = fit_policy(logit, images.label, settings, etiologies=images.etiologies)
    site = {
        "films": len(images.label),
        "rejected": images.rejected,
        "auc": fitted.auc,
        "cross_validated": _cross_validated(logit, images, settings),
    }
    policy = fitted.policy
    probability = pneumonia_probability(policy.calibration.probabilities(logit))
    recalibrated = [replace(one, probability=float(p)) for one, p in zip(images.statistics, probability, strict=True)]
    whole = replace(policy, calibration=_composed(bundle.manifest, policy.calibration))
    manifest = replace(
        bundle.manifest.with_policy(whole, f"{len(images.label)} films of {images.origin}"),
        metrics={"site": site},
        reference=fit_reference(recalibrated, images.rejected),
        parent=bundle.sha256,
    )
    return save_bundle(out, manifest, bundle.model, bundle.golden, bundle.guard, bundle.guard_model)


def _composed(manifest: Manifest, second: Calibration) -> Calibration:
    """Composes the manifest's calibration and a second one, fitted to the logits of its probabilities."""
    first = manifest.calibration
    bias = np.zeros(len(manifest.classes)) + (np.asarray(first.bias) if first.bias else 0)
    bias = bias / second.temperature + (np.asarray(second.bias) if second.bias else 0)
    return Calibration(first.temperature * second.temperature, tuple(bias.tolist()))


def _cross_validated(logit: Floats, images: SiteImages, settings: DetectorConfig) -> dict[str, Any]:
    """Sensitivity and specificity of the balanced point on held-out images, with intervals over patients."""
    positive = images.label > 0
    fold = np.unique(np.asarray(images.patients), return_inverse=True)[1] % _FOLDS
    predicted = np.zeros(len(positive), dtype=bool)
    for held_out in range(_FOLDS):
        own = fold == held_out
        if min(np.bincount(positive[~own], minlength=2)) == 0 or not own.any():
            continue
        if images.etiologies and len(np.unique(images.label[~own])) < logit.shape[1]:
            continue
        policy = fit_policy(logit[~own], images.label[~own], settings, etiologies=images.etiologies).policy
        probability = pneumonia_probability(policy.calibration.probabilities(logit[own]))
        predicted[own] = probability >= policy.operating_points["balanced"].threshold
    weight = patient_weights(list(images.patients), np.random.default_rng(0))
    return {
        name: asdict(interval_of(float(hit[among].mean()), (weight @ (hit & among)) / (weight @ among)))
        for name, hit, among in (("sensitivity", predicted, positive), ("specificity", ~predicted, ~positive))
    }

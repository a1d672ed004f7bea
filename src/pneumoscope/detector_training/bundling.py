"""Bundles of trained networks: export to ONNX, parity check, input guard, reference statistics, manifest.

The exported network is compared with torch on training images; the guard is fitted (`guard_fitting.py`); the bundle is written, and
run over the validation images for the reference statistics of drift.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoscope import paths
from pneumoscope.bundle import (
    INPUT,
    LOGITS,
    OUTPUTS,
    TRAINING_HASHES,
    Bundle,
    GuardLimits,
    Manifest,
    Scope,
    find_bundle,
    save_bundle,
    training_hashes,
)
from pneumoscope.config import DetectorConfig, Preprocessing, RunConfig
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.labelled import labelled_images
from pneumoscope.data.locate import Location
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.decision import DecisionPolicy, logits_of, softmax
from pneumoscope.detector_training.guard_fitting import fit_guard_to
from pneumoscope.errors import BundleError, RunError
from pneumoscope.evaluation.drift import Reference
from pneumoscope.evaluation.policy_fitting import fit_policy
from pneumoscope.inference.detector import Detector
from pneumoscope.inference.drift import fit_reference
from pneumoscope.inference.guard import Guard
from pneumoscope.inference.network import Network
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import set_reference
from pneumoscope.progress import Progress, Report, ignored, one, silent
from pneumoscope.provenance import provenance
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.export import export_onnx, golden_outputs
from pneumoscope.training.networks import load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import BINARY, Split

_GOLDEN_IMAGES = 4
# Normal images whose mean is the reference of the evidence.
_REFERENCE_IMAGES = 400
# Architectures with a guard on their own features, and the shipped detector whose guard the others get.
_GUARD_ARCHITECTURES, _GUARD_DETECTOR = ("lite0", "mid", "nano"), "nano"
# Greatest fraction of the validation images that another detector may find outside its population; it finds all phantoms so.
_GREATEST_OUTSIDE_FRACTION = 0.1
# Settings that describe a bundle.
_TEXTS = ("name", "version", "intended_use", "licence", "citation", "ages", "views")
# Parity of the exported network: number of images, batch size, greatest difference of a probability; of an ensemble, whose weights
# are rounded to half precision, a greater one.
_PARITY_IMAGES, _PARITY_BATCH, _PARITY_TOLERANCE, _ROUNDED_TOLERANCE = 200, 16, 1e-4, 2e-3


@dataclass(frozen=True)
class BundleDescription:
    """Entries of a manifest that follow neither from the network nor from its decision policy.

    Attributes:
        about: Name, version, intended use, licence, citation, ages and views.
        fitted_on: Description of the images that calibration and operating points were fitted on.
        metrics: Metrics of the network on these images.
        training_facts: Facts of the training beside configuration and hashes.
    """

    about: DetectorConfig
    fitted_on: str
    metrics: dict[str, Any]
    training_facts: dict[str, Any]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with its configuration and its data.

    Attributes:
        config: Configuration of the training.
        architecture: Name of its architecture, or the names of its members'.
        preprocessing: Preprocessing of its images.
        model: Network with its trained weights.
        dataset: Data set, split into training and validation images of this training.
    """

    config: RunConfig
    architecture: str
    preprocessing: Preprocessing
    model: ImageClassifier | Ensemble
    dataset: Dataset


def export_run(
    folder: Path,
    location: Location,
    out: Path,
    inception_weights: Path | None = None,
    report: Report = silent,
    about: DetectorConfig | None = None,
) -> Bundle:
    """Export a finished run, of the study or any other, as a bundle.

    Calibration and operating points are fitted on the run's own validation images, which also stopped its training. These
    are easier than the official test images (docs/explanation/detector.md), where performance is lower than the operating points state.

    Args:
        folder: Folder of the run.
        location: Data set that the run was trained on.
        out: Path of the bundle, ending in `.zip`.
        inception_weights: Weight file of an Inception V3 run; found where None.
        report: Progress of the stages.
        about: Description of the bundle; what is empty in it is that of the run's configuration.

    Raises:
        RunError: The run is not finished, or was trained on other images.
        BundleError: The probabilities of ONNX Runtime differ from those of torch.
    """
    run = RunFolder(folder)
    run.check_finished()
    config, record = run.config(), run.provenance()
    dataset = load_dataset(location, config.preprocessing, config.split, paths.images_directory(), report)
    if record["facts"]["split_hash"] != dataset.split.hash:
        raise RunError(
            f"expected the images that the run in {folder} was trained on, found others at {location.root}: name their data set with --data"
        )
    model = load_network(run, inception_weights)
    validation = labelled_images(dataset, Split.VALIDATION, config.model.classes)
    probability = class_probabilities(model, validation, resolve_precision(config.training.precision))
    fitted = fit_policy(logits_of(probability), validation.labels, DetectorConfig())
    description = BundleDescription(
        _with_texts(texts_for(dataset, replace(config.detector, name=config.detector.name or config.name)), about),
        f"{len(validation)} validation films of the training, drawn by {config.split.by}",
        {"validation": {"auc": fitted.auc, "films": len(validation)}},
        {"weights": record["facts"]["weights"], "seed": record["seed"], "trained_at_commit": record["commit"]},
    )
    guard_bundle = None if config.model.architecture in _GUARD_ARCHITECTURES else _shipped_guard_bundle(dataset)
    trained = TrainedNetwork(config, config.model.architecture, config.preprocessing, model, dataset)
    return make_bundle(out, description, trained, fitted.policy, guard_bundle, report)


def texts_for(dataset: Dataset, settings: DetectorConfig) -> DetectorConfig:
    """Settings whose texts are true of a bundle trained on a data set: name, intended use, licence, citation, ages, views."""
    if settings.index_hash in ("", dataset.index.hash):
        return settings
    return replace(DetectorConfig(), name=f"{settings.name} ({dataset.source.root.name})")


def _with_texts(settings: DetectorConfig, about: DetectorConfig | None) -> DetectorConfig:
    """Settings with the texts of others, where these have any."""
    texts: dict[str, Any] = {name: text for name in _TEXTS if (text := getattr(about, name, ""))}
    return replace(settings, **texts)


def _shipped_guard_bundle(dataset: Dataset) -> Bundle | None:
    """Shipped detector whose guard a network of the study gets; None if the validation images are outside its population.

    The features of the study's networks separate hands from chests badly: of 300 images that show no chest, guards on these
    features accepted 272 with the CNNs and 230 with Inception V3.
    """
    detector = Detector(find_bundle(_GUARD_DETECTOR))
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    predictions = detector.predict_many(squares[i] for i in dataset.positions(Split.VALIDATION))
    outside_fraction = np.mean([not prediction.validated for prediction in predictions])
    return detector.bundle if outside_fraction <= _GREATEST_OUTSIDE_FRACTION else None


def make_bundle(
    path: Path,
    description: BundleDescription,
    trained: TrainedNetwork,
    policy: DecisionPolicy,
    guard_bundle: Bundle | None = None,
    report: Report = silent,
) -> Bundle:
    """Export a network and write its bundle.

    Args:
        path: Path of the bundle, ending in `.zip`.
        description: Name, version, metrics and history for the manifest.
        trained: Network with its configuration and data.
        policy: Calibration, operating points and prediction sets, fitted on validation images.
        guard_bundle: Bundle whose guard is copied, with the network that it needs; None to fit a guard to the network's own
            features.
        report: Progress of the stages.

    Raises:
        BundleError: The probabilities of ONNX Runtime differ from those of torch.
    """
    dataset, settings = trained.dataset, trained.preprocessing
    used = [*dataset.positions(Split.TRAIN), *dataset.positions(Split.VALIDATION)]
    made = one(report, "network exported")
    set_reference(trained.model, normal_batches(dataset))
    onnx = export_onnx(trained.model, settings.height, settings.width)
    network = Network(onnx, settings.height, settings.width)
    made()
    parity = _check_parity(trained.model, network, dataset.images[used[:: max(1, len(used) // _PARITY_IMAGES)]])
    guard = Guard.from_bundle(guard_bundle) if guard_bundle else fit_guard_to(network, dataset, settings, report)
    manifest = replace(
        _manifest(description, trained, policy, parity),
        guard=guard.limits,
        guard_preprocessing=guard_bundle.manifest.preprocessing if guard_bundle else None,
    )
    golden = _golden(trained.model, network, settings)
    golden[TRAINING_HASHES] = training_hashes(dataset.index.rows[i].sha256 for i in used)
    parts = (onnx, golden, guard.arrays(), guard_bundle.model if guard_bundle else b"")
    without_reference = save_bundle(path, manifest, *parts)
    reference = fit_reference_to(without_reference, dataset, report("validation images predicted by the bundle"))
    return save_bundle(path, replace(manifest, reference=reference), *parts)


def normal_batches(dataset: Dataset) -> Iterator[Tensor]:
    """Normal training images as networks take them, some hundred, evenly over the index."""
    train = dataset.positions(Split.TRAIN)
    normals = train[dataset.labels(BINARY, train) == 0]
    chosen = normals[:: max(1, len(normals) // _REFERENCE_IMAGES)]
    for start in range(0, len(chosen), _PARITY_BATCH):
        yield as_network_input(dataset.images[chosen[start : start + _PARITY_BATCH]])


def _manifest(
    description: BundleDescription, trained: TrainedNetwork, policy: DecisionPolicy, parity: float
) -> Manifest:
    """Manifest without guard limits and reference statistics."""
    config, dataset, origin = trained.config, trained.dataset, trained.dataset.source.root.name
    about = description.about
    count = len(dataset.positions(Split.TRAIN)) + len(dataset.positions(Split.VALIDATION))
    classes = ", ".join(trained.model.scheme.names)
    use = f"Research on images like the {count:,} of {origin} that it was trained on: {classes}."
    return Manifest(
        name=about.name,
        version=about.version,
        architecture=trained.architecture,
        classes=trained.model.scheme.names,
        preprocessing=trained.preprocessing,
        preprocessing_version=PREPROCESSING_VERSION,
        calibration=policy.calibration,
        prevalence=policy.prevalence,
        operating_points=policy.operating_points,
        fitted_on=description.fitted_on,
        conformal=policy.conformal,
        guard=GuardLimits(0.5, 1.0, 1.0, 1.0, 0.0),
        scope=Scope(about.age_range, about.view_names),
        intended_use=about.intended_use or use,
        licence=about.licence or "not stated",
        citation=about.citation or f"Images: {origin}",
        training={
            "config": _own_settings(config),
            "config_hash": config.hash,
            "index_hash": dataset.index.hash,
            "split_hash": dataset.split.hash,
            "largest_difference_of_onnx": parity,
            **description.training_facts,
            **provenance(),
        },
        metrics=description.metrics,
    )


def _own_settings(config: RunConfig) -> dict[str, Any]:
    """Settings of a training for the manifest; of an ensemble's, whose members have their own, name and detector alone."""
    settings = config.to_dict()
    return {name: settings[name] for name in ("name", "detector")} if config.detector.ensemble else settings


def _golden(model: ImageClassifier | Ensemble, network: Network, settings: Preprocessing) -> dict[str, NDArray[Any]]:
    """Golden inputs and outputs; the inputs are noise, so that the bundle holds no images of the data set."""
    size = (_GOLDEN_IMAGES, settings.height, settings.width)
    images = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    if isinstance(model, Ensemble):
        # Stored weights are rounded: torch's outputs would leave little of the tolerance to another processor.
        return {INPUT: images} | dict(zip(OUTPUTS, network.run(images, *OUTPUTS), strict=True))
    return golden_outputs(model, images)


def fit_reference_to(bundle: Bundle, dataset: Dataset, progress: Progress = ignored) -> Reference | None:
    """Fit reference statistics to the detector's predictions of the validation images; None where all are rejected."""
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    validation, found = dataset.positions(Split.VALIDATION), []
    for prediction in Detector(bundle).predict_many(squares[i] for i in validation):
        found.append(prediction.statistics)
        progress(len(found), len(validation))
    accepted = [statistics for statistics in found if statistics]
    return fit_reference(accepted, rejected=len(found) - len(accepted)) if accepted else None


def _check_parity(model: ImageClassifier | Ensemble, network: Network, images: NDArray[np.uint8]) -> float:
    """Largest difference of a probability between torch and ONNX Runtime for images (n, height, width) uint8.

    Raises:
        BundleError: The difference exceeds the tolerance.
    """
    model.cpu().eval()
    largest = 0.0
    for start in range(0, len(images), _PARITY_BATCH):
        batch = images[start : start + _PARITY_BATCH]
        with torch.no_grad():
            expected = model(as_network_input(batch)).double().numpy()
        found = softmax(network.run(batch, LOGITS)[0].astype(np.float64))
        largest = max(largest, float(np.abs(found - softmax(expected)).max()))
    tolerance = _ROUNDED_TOLERANCE if isinstance(model, Ensemble) else _PARITY_TOLERANCE
    if not largest <= tolerance:
        raise BundleError(
            f"expected ONNX Runtime's probabilities within {tolerance:g} of torch's, found {largest:g}: report the "
            "versions of both"
        )
    return largest

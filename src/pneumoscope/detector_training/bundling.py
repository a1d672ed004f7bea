"""A trained network, with what its validation says, becomes a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.bundle import (
    FEATURES,
    LEARNT,
    LOGITS,
    Bundle,
    GuardLimits,
    Manifest,
    find_bundle,
    learnt_hashes,
    save_bundle,
)
from pneumoscope.config import AugmentationConfig, DetectorConfig, Preprocessing, RunConfig
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.augmentation import augment, with_lines
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.labelled import labelled_images
from pneumoscope.data.locate import Location
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.decision import DecisionPolicy, logits_of, softmax
from pneumoscope.errors import BundleError, RunError
from pneumoscope.evaluation.drift import Reference
from pneumoscope.evaluation.policy_fitting import fit_policy
from pneumoscope.inference.detector import Detector
from pneumoscope.inference.drift import reference_of
from pneumoscope.inference.guard import Guard, fit_guard
from pneumoscope.inference.network import Network
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.progress import Report, silent
from pneumoscope.provenance import provenance
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.export import export_onnx, golden_outputs
from pneumoscope.training.networks import load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split

_GOLDEN_IMAGES = 4
# Architectures whose features tell what is no chest image, and the shipped detector that does it for the others.
_GUARDING, _GUARD_OF_OTHERS = ("lite0", "nano"), "nano"
# Share of the images watched by the training that a guard taken over may reject: phantoms, say, it rejects all.
_UNKNOWN = 0.02
# Share of the images learnt from that are called unlike them.
_UNLIKE = 0.01
# Share of the chest images, changed ones among them, that the guard may reject.
_REJECTED = 0.004
# How real images differ beyond those learnt from; the guard must let such pass.
_CHANGES = AugmentationConfig(
    rotation_degrees=12,
    stretch=1.2,
    shift=0.05,
    tone=0.6,
    letters=0.5,
    smallest_resolution=56,
    jpeg_quality=10,
    noise=8,
)
# So many images, and no more difference of a probability, for the exported network to count as the trained one.
_PARITY_IMAGES, _PARITY_BATCH, _PARITY_TOLERANCE = 200, 16, 1e-4
_CHANGED_TRAINING, _CHANGED_HELD_OUT = 2, 4
INTENDED_USE = (
    "Research on frontal chest radiographs of children of 1 to 5 years: normal or pneumonia, and of pneumonia, as weak "
    "evidence, bacterial or viral. Not for adults, lateral films, other body parts, CT or MR, nor for deciding on treatment."
)
LICENCE = "Apache-2.0; trained on images under CC BY 4.0"
CITATION = (
    "Images: Kermany, Zhang, Goldbaum, Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
    "Classification, Mendeley Data, doi 10.17632/rscbjbr9sj"
)


@dataclass(frozen=True)
class BundleDescription:
    """Part of a manifest that neither the network nor its policy tells.

    Attributes:
        name: Name of the detector.
        version: Version of its weights.
        fitted_on: Description of the images that calibration and operating points were fitted on.
        metrics: Measures of the network on these images.
        made: Facts of the training beside configuration and hashes.
    """

    name: str
    version: str
    fitted_on: str
    metrics: dict[str, Any]
    made: dict[str, Any]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with its configuration and its data.

    Attributes:
        config: Configuration of the training.
        model: Network with its trained weights.
        dataset: Data set, split into the images it was trained on and those that watched the training.
    """

    config: RunConfig
    model: ImageClassifier
    dataset: Dataset


def export_run(
    folder: Path, location: Location, out: Path, inception_weights: Path | None = None, report: Report = silent
) -> Bundle:
    """A finished run becomes a bundle: one of the study's networks, or any other.

    Calibration and operating points come from the run's own validation images, which also stopped its training; they are
    easier than the official test images (docs/detector.md), so that what they promise is not kept there.

    Args:
        folder: Of the run.
        location: Of the data set that it was trained on.
        out: Of the bundle, ending in `.zip`.
        inception_weights: For an Inception V3 run: its weight file; found where None.
        report: Told of progress.

    Raises:
        RunError: The run is not finished, or was trained on other images.
        BundleError: ONNX Runtime answers otherwise than torch.
    """
    run = RunFolder(folder)
    if not run.is_finished:
        raise RunError(f"expected a finished run in {folder}, found one without weights: finish it with --resume")
    config, told = run.config(), run.provenance()
    dataset = load_dataset(location.root, config.preprocessing, config.split, paths.images_directory(), report)
    if told["facts"]["split_hash"] != dataset.split.hash:
        raise RunError(
            f"expected the films that the run in {folder} was trained on, found others at {location.root}: name these by --data"
        )
    model = load_network(run, inception_weights)
    watched = labelled_images(dataset, Split.VALIDATION, config.model.classes)
    answered = class_probabilities(model, watched, resolve_precision(config.training.precision))
    fitted = fit_policy(logits_of(answered), watched.labels, DetectorConfig())
    description = BundleDescription(
        config.name,
        "1",
        f"{len(watched)} validation films of the training, drawn by {config.split.by}",
        {"validation": {"auc": fitted.auc, "films": len(watched)}},
        {"weights": told["facts"]["weights"], "seed": told["seed"], "trained_at_commit": told["commit"]},
    )
    guard_of = None if config.model.architecture in _GUARDING else _better_guard(dataset)
    return make_bundle(out, description, TrainedNetwork(config, model, dataset), fitted.policy, guard_of)


def _better_guard(dataset: Dataset) -> Bundle | None:
    """The shipped detector whose guard a network of the study takes over, if that knows the images it is trained on.

    What the study's networks make of an image tells hands from chests badly: with guards fitted to it, 272 of 300 foreign
    images passed those of the CNNs, 230 that of Inception V3.
    """
    detector = Detector(find_bundle(_GUARD_OF_OTHERS))
    images = cached_images(dataset.source, dataset.index, detector.guard_preprocessing, paths.images_directory())
    unknown = (detector.distances(images[dataset.positions(Split.VALIDATION)]) > 1).mean()
    return detector.bundle if unknown <= _UNKNOWN else None


def make_bundle(
    path: Path,
    description: BundleDescription,
    trained: TrainedNetwork,
    policy: DecisionPolicy,
    guard_of: Bundle | None = None,
) -> Bundle:
    """Exports a network and writes its bundle.

    Args:
        path: File to write, ending in `.zip`.
        description: Name, version, metrics and history for the manifest.
        trained: The network.
        policy: Calibration, operating points and prediction sets, fitted on validation images.
        guard_of: Bundle whose guard is taken over, network included; one is fitted to the network's own features where None.
    """
    dataset, settings = trained.dataset, trained.config.preprocessing
    learnt = [*dataset.positions(Split.TRAIN), *dataset.positions(Split.VALIDATION)]
    onnx = export_onnx(trained.model, settings.height, settings.width)
    network = Network(onnx, settings.height, settings.width)
    parity = _check_parity(trained.model, network, dataset.images[learnt[:: max(1, len(learnt) // _PARITY_IMAGES)]])
    guard = Guard.of(guard_of) if guard_of else _guard(network, dataset)
    manifest = replace(
        _manifest(description, trained, policy, parity),
        guard=guard.limits,
        guard_preprocessing=guard_of.manifest.preprocessing if guard_of else None,
        least_similarity=_least_similarity(settings, dataset, learnt),
    )
    golden = _golden(trained.model, settings)
    golden[LEARNT] = learnt_hashes(dataset.index.rows[i].sha256 for i in learnt)
    parts = (onnx, golden, guard.arrays(), guard_of.model if guard_of else b"")
    bare = save_bundle(path, manifest, *parts)
    return save_bundle(path, replace(manifest, reference=_reference(bare, dataset)), *parts)


def _manifest(
    description: BundleDescription, trained: TrainedNetwork, policy: DecisionPolicy, parity: float
) -> Manifest:
    """Manifest without the limits of the guard."""
    config, dataset = trained.config, trained.dataset
    return Manifest(
        name=description.name,
        version=description.version,
        architecture=config.model.architecture,
        classes=trained.model.scheme.names,
        preprocessing=config.preprocessing,
        preprocessing_version=PREPROCESSING_VERSION,
        calibration=policy.calibration,
        prevalence=policy.prevalence,
        operating_points=policy.operating_points,
        fitted_on=description.fitted_on,
        conformal=policy.conformal,
        guard=GuardLimits((), (), 0.0, 0.0),
        intended_use=INTENDED_USE,
        licence=LICENCE,
        citation=CITATION,
        training={
            "config": config.as_json(),
            "config_hash": config.hash,
            "index_hash": dataset.index.hash,
            "split_hash": dataset.split.hash,
            "largest_difference_of_onnx": parity,
            **description.made,
            **provenance(),
        },
        metrics=description.metrics,
    )


def _golden(model: ImageClassifier, settings: Preprocessing) -> dict[str, NDArray[Any]]:
    """Golden inputs and outputs. The inputs are noise: the data set's images stay out of the bundle."""
    size = (_GOLDEN_IMAGES, settings.height, settings.width)
    return golden_outputs(model, np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))


def _reference(bundle: Bundle, dataset: Dataset) -> Reference | None:
    """Of the images that watched the training, as a user would hand them in; None where all are rejected."""
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    predictions = Detector(bundle).predict_many(squares[i] for i in dataset.positions(Split.VALIDATION))
    found = [prediction.statistics for prediction in predictions]
    judged = [statistics for statistics in found if statistics]
    return reference_of(judged, rejected=len(found) - len(judged)) if judged else None


def _check_parity(model: ImageClassifier, network: Network, images: NDArray[np.uint8]) -> float:
    """The largest difference of a probability between torch and ONNX Runtime; images as (n, height, width) uint8."""
    model.cpu().eval()
    largest = 0.0
    for start in range(0, len(images), _PARITY_BATCH):
        some = images[start : start + _PARITY_BATCH]
        with torch.no_grad():
            expected = model(as_network_input(some)).double().numpy()
        found = softmax(network.run(some, LOGITS)[0].astype(np.float64))
        largest = max(largest, float(np.abs(found - softmax(expected)).max()))
    if not largest <= _PARITY_TOLERANCE:
        raise BundleError(
            f"expected ONNX Runtime's probabilities within {_PARITY_TOLERANCE:g} of torch's, found {largest:g}: report the "
            "versions of both"
        )
    return largest


def _least_similarity(settings: Preprocessing, dataset: Dataset, learnt: Sequence[int]) -> float:
    if settings.fit != "chest":
        return -1.0
    return float(np.quantile([load_atlas().similarity(dataset.images[i]) for i in learnt], _UNLIKE))


def _guard(network: Network, dataset: Dataset) -> Guard:
    """Fitted on the images that the network learnt from, its limits on those that watched."""
    learnt, watched = dataset.positions(Split.TRAIN), dataset.positions(Split.VALIDATION)
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    similarity = np.array([load_atlas().place(squares[i]).similarity for i in watched])
    features, held_out = (
        np.concatenate([_features(network, dataset, chosen, change) for change in range(1 + times)])
        for chosen, times in ((learnt, _CHANGED_TRAINING), (watched, _CHANGED_HELD_OUT))
    )
    return fit_guard(features, held_out, similarity, _REJECTED)


def _features(network: Network, dataset: Dataset, chosen: NDArray[np.int64], change: int) -> NDArray[np.float32]:
    """(n, channels) of images as they are (0) or changed at random, in one of several ways."""
    parts = []
    for position in chosen:
        image, rng = dataset.images[position], np.random.default_rng([change, int(position)])
        if change:
            image = augment(image, _CHANGES, rng)
            image = with_lines(image, rng) if rng.random() < 0.5 else image
        parts.append(network.run(image[None], FEATURES)[0])
    return np.concatenate(parts)

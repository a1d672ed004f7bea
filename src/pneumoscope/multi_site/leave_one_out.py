"""Leave-one-hospital-out: a network for each hospital, trained on all others, and one of all hospitals.

RUN/without-NAME/  network of all hospitals but one, which is measured there
RUN/all/           network of all hospitals: what a next hospital would get
RUN/sites.json, sites.md, sites.html  report
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.config import DetectorConfig, RunConfig
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.errors import ConfigError, RunError
from pneumoscope.evaluation.intervals import Estimate, delong_difference, estimate_metrics
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.multi_site.sites import JoinedSites, Site, balanced_repeats, join_sites, load_sites
from pneumoscope.progress import one
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.networks import InitialWeights, find_pretrained, load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import TrainingSetup, train_network
from pneumoscope.types import BINARY, Split

MEASURES = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")
ALL = "all"


@dataclass(frozen=True)
class Measured:
    """Performance of a network on images of one hospital.

    Attributes:
        network: Name of the network: that of its folder.
        site: Name of the hospital.
        images: Number of images.
        positives: Number of images with pneumonia.
        patients: Number of patients.
        measures: Name out of `MEASURES` to its estimate, intervals over patients.
    """

    network: str
    site: str
    images: int
    positives: int
    patients: int
    measures: dict[str, Estimate]


@dataclass(frozen=True)
class Trained:
    """Trained network.

    Attributes:
        name: Name: that of its folder.
        sites: Hospitals that it was trained on.
        images: Number of training images.
        threshold: Probability of pneumonia from which on it decides for pneumonia, chosen on the validation images of its hospitals.
        probability: (n,) probability of pneumonia of each image of all hospitals.
    """

    name: str
    sites: tuple[str, ...]
    images: int
    threshold: float
    probability: Floats


@dataclass(frozen=True)
class Seen:
    """What it is worth that a network saw other patients of a hospital, on its held-out patients.

    Attributes:
        site: Name of the hospital.
        images: Number of held-out images.
        unseen: AUC of the network without the hospital.
        seen: AUC of the network of all hospitals.
        gain: Difference of the AUCs, with its interval by DeLong's paired test over patients.
        p: P value of the gain, two-sided.
    """

    site: str
    images: int
    unseen: Estimate
    seen: Estimate
    gain: Estimate
    p: float


@dataclass(frozen=True)
class LeaveOneOut:
    """Result of a training on several hospitals.

    Attributes:
        networks: Networks without each hospital, in the order of the hospitals, and that of all.
        next_site: Performance of each network at the hospital that it never saw, on all its images.
        own_sites: Performance of every network on held-out patients of the hospitals that it was trained on.
        seen: Worth of having seen each hospital.
        lookalikes: Number of images that are near duplicates of one of another hospital.
    """

    networks: tuple[Trained, ...]
    next_site: tuple[Measured, ...]
    own_sites: tuple[Measured, ...]
    seen: tuple[Seen, ...]
    lookalikes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `sites.json`."""
        networks = [
            {"name": each.name, "sites": each.sites, "images": each.images, "threshold": each.threshold}
            for each in self.networks
        ]
        return {
            "networks": networks,
            "next_site": [asdict(each) for each in self.next_site],
            "own_sites": [asdict(each) for each in self.own_sites],
            "seen": [asdict(each) for each in self.seen],
            "lookalikes": self.lookalikes,
        }


def leave_one_out(
    config: RunConfig,
    sites: Sequence[Site],
    folder: Path,
    callbacks: Callbacks,
    resume: bool = False,
    skip_unreadable: bool = False,
) -> LeaveOneOut:
    """Train a network without each hospital and one of all, and measure them; finished trainings of an interrupted run are kept.

    Args:
        config: Configuration of every network; two classes are trained, since few hospitals state the cause of a pneumonia.
        sites: Two hospitals or more.
        folder: Run folder.
        callbacks: Progress.
        resume: Whether to resume the run in `folder`.
        skip_unreadable: Whether to leave out images that cannot be read.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    if config.detector.ensemble:
        raise ConfigError(f"expected one network, found the ensemble {config.name}: name one of its members")
    training = replace(config.training, odd_repeats=1, balance=False)
    own = replace(
        config, model=replace(config.model, classes=len(BINARY)), training=training, detector=DetectorConfig()
    )
    loaded = load_sites(sites, own, callbacks.progress, skip_unreadable)
    names = [site.name for site in sites]
    index = {name: dataset.index.hash for name, dataset in zip(names, loaded, strict=True)}
    RunFolder(folder).start(own, {"sites": index, "preprocessing_version": PREPROCESSING_VERSION}, resume)
    file = folder / "images.npy"
    try:
        joined = join_sites(names, loaded, file)
        networks = [_network(own, joined, left_out, folder, callbacks) for left_out in (*range(len(sites)), None)]
        return _measure(joined, networks)
    finally:
        file.unlink(missing_ok=True)


def _network(
    config: RunConfig, joined: JoinedSites, left_out: int | None, folder: Path, callbacks: Callbacks
) -> Trained:
    """Network without a hospital, or of all, trained unless it is finished; with its predictions for all images."""
    name = ALL if left_out is None else f"without-{joined.names[left_out]}"
    dataset = joined.without(left_out)
    sites = tuple(each for number, each in enumerate(joined.names) if number != left_out)
    callbacks.message(f"network {name}, of {', '.join(sites)}")
    model = _trained(config, joined, dataset, RunFolder(folder / name), callbacks)
    done = one(callbacks.progress, "images predicted")
    everything = np.arange(len(joined.site))
    data = LabelledImages(dataset.images, everything, joined.positive.astype(np.int64))
    probability = class_probabilities(model, data, resolve_precision(config.training.precision))[:, 1]
    done()
    validation = dataset.positions(Split.VALIDATION)
    weight = 1 / np.bincount(_cells(joined))[_cells(joined)]
    point = best_operating_point(
        probability[validation], joined.positive[validation], "balanced_accuracy", weight[validation]
    )
    return Trained(name, sites, len(dataset.positions(Split.TRAIN)), point.threshold, probability)


def _trained(
    config: RunConfig, joined: JoinedSites, dataset: Dataset, run: RunFolder, callbacks: Callbacks
) -> ImageClassifier:
    if run.is_finished and run.config() != config:
        raise RunError(f"expected a training of these settings in {run.path}, found one of others: name another folder")
    if not run.is_finished:
        pretrained = find_pretrained(config.model.architecture, None, callbacks.progress)
        cell = _cells(joined)[dataset.positions(Split.TRAIN)]
        repeats = balanced_repeats(cell, np.random.default_rng(config.training.seed))
        weights = InitialWeights(pretrained=pretrained)
        setup = TrainingSetup(config, dataset, run, weights, run.path / "features", repeats)
        train_network(setup, callbacks.training, resume=run.is_begun)
    return load_network(run)


def _cells(joined: JoinedSites) -> Ints:
    """(n,) int, cell of each image: its hospital and class."""
    return np.asarray(2 * joined.site + joined.positive)


def _measure(joined: JoinedSites, networks: Sequence[Trained]) -> LeaveOneOut:
    next_site, own_sites, seen = [], [], []
    *without, whole = networks
    for network in networks:
        for number, site in enumerate(joined.names):
            if site in network.sites:
                held_out = joined.images_of(number, Split.TEST)
                own_sites.append(_measured(joined, network, site, held_out))
            else:
                next_site.append(_measured(joined, network, site, joined.images_of(number)))
    for number, (site, network) in enumerate(zip(joined.names, without, strict=True)):
        seen.append(_seen(joined, site, joined.images_of(number, Split.TEST), network, whole))
    return LeaveOneOut(tuple(networks), tuple(next_site), tuple(own_sites), tuple(seen), joined.lookalikes)


def _measured(joined: JoinedSites, network: Trained, site: str, images: Ints) -> Measured:
    probability, patients = network.probability[images], joined.dataset.patients(images)
    label = joined.positive[images].astype(np.int64)
    found = estimate_metrics(
        np.stack([1 - probability, probability], axis=1), label, patients, BINARY.names, threshold=network.threshold
    )
    measures = {name: found[name] for name in MEASURES}
    return Measured(network.name, site, len(images), int(label.sum()), len(set(patients)), measures)


def _seen(joined: JoinedSites, site: str, images: Ints, without: Trained, whole: Trained) -> Seen:
    """Comparison of two networks on the held-out patients of a hospital."""
    one_auc, other_auc = (_measured(joined, each, site, images).measures["auc"] for each in (without, whole))
    gain, p = delong_difference(
        whole.probability[images], without.probability[images], joined.positive[images], joined.dataset.patients(images)
    )
    return Seen(site, len(images), one_auc, other_auc, gain, p)

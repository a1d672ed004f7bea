"""Cross-fitting of a detector over folds of acquisition clusters: out-of-fold predictions, final network, bundle.

A detector is one network or an ensemble: networks of several seeds, of several configurations, or both. Each member is trained on
every fold and once for the bundle; their weights in the ensemble are fitted on the out-of-fold predictions (stacking).

RUN/folds/fold-K/      networks trained without the minority clusters of fold K, a run seed-S for each seed; hard-S.npz
                       holds its out-of-fold predictions
RUN/final/             networks trained on all training images but a tenth for validation, a run seed-S for each seed
RUN/members/NAME/      these two folders for each configuration of `detector.ensemble`
RUN/decision.json      weights of the members, calibration and operating points, fitted on the out-of-fold predictions of all folds
RUN/bundle.zip         the final network, or the ensemble as one network, with calibration and operating points
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.config import DetectorConfig, RunConfig, SplitConfig
from pneumoscope.configs import find_config
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.detector_training.bundling import BundleDescription, TrainedNetwork, make_bundle, texts_for
from pneumoscope.detector_training.stress_validation import (
    StressValidation,
    join_members,
    load_stress_validation,
    run_stress_validation,
    stack_members,
    stress_set,
)
from pneumoscope.errors import ConfigError, RunError
from pneumoscope.evaluation.policy_fitting import FittedPolicy, fit_policy
from pneumoscope.files import write_json
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.progress import Report, one
from pneumoscope.provenance import provenance
from pneumoscope.training import distributed
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Job, Workers, run_jobs
from pneumoscope.training.networks import InitialWeights, find_pretrained, load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import TrainingSetup, train_network

# Split of the final training: the study's validation set, which monitors that training and fits nothing.
_FINAL_SPLIT = SplitConfig()


@dataclass(frozen=True)
class Member:
    """A network of a detector.

    Attributes:
        name: Name in messages and in the record.
        config: Configuration of its training, without that of the detector; its split is not used.
        folder: Folder with its `folds` and `final`.
    """

    name: str
    config: RunConfig
    folder: Path


def make_detector(
    config: RunConfig,
    location: Location,
    folder: Path,
    callbacks: Callbacks,
    resume: bool = False,
    workers: Workers | None = None,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Train a detector and write its bundle; finished trainings of an interrupted run are kept.

    Args:
        config: Configuration with `detector.name`; its split is not used.
        location: Data set.
        folder: Run folder.
        callbacks: Progress.
        resume: Whether to resume the run in `folder`.
        workers: Resources for concurrent trainings; None to train one network after the other.
        epochs: Largest number of epochs of an ensemble's members; those of their configurations where None.

    Returns:
        Path and SHA-256 of the bundle, and calibration and operating points with their performance on the stress set.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    members = detector_members(config, folder, epochs)
    dataset = _load_dataset(members[0].config, _FINAL_SPLIT, location, callbacks)
    facts: dict[str, Any] = {"index_hash": dataset.index.hash, "preprocessing_version": PREPROCESSING_VERSION}
    if config.detector.ensemble:
        facts["members"] = {member.name: member.config.hash for member in members}
    distributed.on_first_rank(lambda: RunFolder(folder).start(config, facts, resume))
    splits = [
        SplitConfig(seed=0, folds=config.detector.folds, fold=fold, by="style") for fold in range(config.detector.folds)
    ]
    run_jobs(_jobs(members, splits, location), workers or Workers(), callbacks.message, callbacks.progress)
    folds = []
    for member in members:
        if len(members) > 1:
            callbacks.message(member.name)
        configs = [replace(member.config, split=split) for split in splits]
        folds.append(
            [held_out_predictions(each, location, _fold_folder(member, each.split), callbacks) for each in configs]
        )
    weights = stack_members(folds)
    stress = stress_set([join_members(fold, weights) for fold in zip(*folds, strict=True)])
    fitted = fit_policy(stress.logit, stress.label, config.detector, stress.weight)
    callbacks.message("the final network, on all training films")
    # A member without weight would cost its time for every image and change nothing.
    used = [(member, weight) for member, weight in zip(members, weights, strict=True) if weight > 0]
    networks = []
    for member, _ in used:
        if len(used) > 1:
            callbacks.message(member.name)
        final = replace(member.config, split=_FINAL_SPLIT)
        networks.append(train_member(final, dataset, member.folder / "final", callbacks))
    model = Ensemble(networks, [weight for _, weight in used]) if len(used) > 1 else networks[0]
    detector = _TrainedDetector(config, members, weights, model)
    return distributed.on_first_rank(lambda: _write_bundle(detector, dataset, folder, fitted, callbacks.progress))


def detector_members(config: RunConfig, folder: Path, epochs: int | None = None) -> list[Member]:
    """Networks of a detector, those of one configuration after the other, each with all its seeds.

    Args:
        config: Configuration of the detector.
        folder: Run folder.
        epochs: Largest number of epochs of an ensemble's members; those of their configurations where None.

    Raises:
        ConfigError: A configuration that is not there or is itself an ensemble, members that take other images or classes than the
            first, or settings beside those of the detector that no member would have.
    """
    names = config.detector.ensemble
    if not names:
        return _seeds(config.name, config, folder)
    detector_only = RunConfig(config.name, detector=replace(config.detector, members=1))
    if replace(config, split=SplitConfig()) != detector_only:
        raise ConfigError(
            "expected nothing but [detector] beside detector.ensemble, whose configurations have settings of their own, found "
            "other settings: leave them out"
        )
    named = {_plain_name(name): find_config(name) for name in names}
    first = next(iter(named.values()))
    for name, each in named.items():
        if each.detector.ensemble:
            raise ConfigError(
                f"expected members of one configuration each, found the ensemble {name}: name its members"
            )
        if (each.preprocessing, each.model.classes) != (first.preprocessing, first.model.classes):
            raise ConfigError(
                f"expected members of one preprocessing and {first.model.classes} classes, found others in {name}: change detector.ensemble"
            )
    if len(named) < len(names):
        raise ConfigError(
            f"expected detector.ensemble to name each configuration once, found {', '.join(names)}: set detector.members of a "
            "configuration for more seeds, or rename a file"
        )
    if epochs is not None:
        named = {name: each.with_training(epochs=epochs) for name, each in named.items()}
    return [member for name, each in named.items() for member in _seeds(name, each, folder / "members" / name)]


def _plain_name(name: str) -> str:
    """Name of a member's configuration as a folder may have it."""
    return Path(name).stem if name.endswith(".toml") else name.replace("/", "-")


def _seeds(name: str, config: RunConfig, folder: Path) -> list[Member]:
    """Members of one configuration, which differ in their seed."""
    first = config.training.seed
    return [
        Member(f"{name}, seed {seed}", replace(config.with_training(seed=seed), detector=DetectorConfig()), folder)
        for seed in range(first, first + config.detector.members)
    ]


@dataclass(frozen=True)
class _TrainedDetector:
    """A trained detector.

    Attributes:
        config: Configuration of the detector.
        members: Its networks.
        weights: Weight of each; the network has none of weight 0.
        model: Final network.
    """

    config: RunConfig
    members: Sequence[Member]
    weights: Sequence[float]
    model: ImageClassifier | Ensemble


def _write_bundle(
    detector: _TrainedDetector, dataset: Dataset, folder: Path, fitted: FittedPolicy, report: Report
) -> dict[str, Any]:
    """Write the bundle and `decision.json`, which holds the record that `make_detector` returns."""
    config, members = detector.config, detector.members
    training_facts: dict[str, Any] = {
        "weights": _run(members[0].folder / "final", members[0].config).provenance()["facts"]["weights"],
        "training_seconds": _training_seconds(folder),
    }
    if len(members) > 1:
        training_facts["members"] = [
            {"name": member.name, "weight": weight, "config": member.config.to_dict()}
            for member, weight in zip(members, detector.weights, strict=True)
        ]
    fitted_on = (
        f"out-of-fold predictions of {config.detector.folds} folds by acquisition cluster for {fitted.images} training images: "
        "pneumonias as they are, both etiologies weighted alike, minority normals, other normals stored like pneumonias"
    )
    description = BundleDescription(
        texts_for(dataset, config.detector),
        fitted_on,
        {"hard_validation": {"auc": fitted.auc, "films": fitted.images}},
        training_facts,
    )
    used = [member for member, weight in zip(members, detector.weights, strict=True) if weight > 0]
    architecture = " + ".join(member.config.model.architecture for member in used)
    trained = TrainedNetwork(config, architecture, members[0].config.preprocessing, detector.model, dataset)
    bundle = make_bundle(folder / "bundle.zip", description, trained, fitted.policy, report=report)
    record = {
        "bundle": str(folder / "bundle.zip"),
        "sha256": bundle.sha256,
        "decision": fitted.to_dict(),
        **training_facts,
    }
    write_json(folder / "decision.json", record | provenance())
    return record


def _load_dataset(config: RunConfig, split: SplitConfig, location: Location, callbacks: Callbacks) -> Dataset:
    return distributed.first_rank_then_others(
        lambda: load_dataset(
            location,
            config.preprocessing,
            split,
            paths.images_directory(),
            callbacks.progress,
        )
    )


def _fold_folder(member: Member, split: SplitConfig) -> Path:
    return member.folder / "folds" / f"fold-{split.fold}"


def _jobs(members: Sequence[Member], splits: Sequence[SplitConfig], location: Location) -> list[Job]:
    """Jobs for all trainings of a detector; none depends on another."""
    return [
        Job(f"{member.name}, {where}", _train_job, (replace(member.config, split=split), location, folder))
        for member in members
        for where, split, folder in (
            *((f"fold {split.fold + 1} of {len(splits)}", split, _fold_folder(member, split)) for split in splits),
            ("the final network", _FINAL_SPLIT, member.folder / "final"),
        )
    ]


def _train_job(config: RunConfig, location: Location, folder: Path) -> str:
    """Train one network in a worker process unless it is finished; summary of its run."""
    if not _run(folder, config).is_finished:
        train_member(config, _load_dataset(config, config.split, location, Callbacks()), folder, Callbacks())
    return _run(folder, config).summary()


def held_out_predictions(config: RunConfig, location: Location, folder: Path, callbacks: Callbacks) -> StressValidation:
    """Train a network on a fold and predict the images that the fold holds out; finished parts are read from the folder.

    Args:
        config: Configuration with the fold as its split.
        location: Data set.
        folder: Folder of the fold, which gets the run and the predictions.
        callbacks: Progress.

    Returns:
        Out-of-fold predictions.

    Raises:
        RunError: The folder holds a training of other settings.
    """
    file, run = folder / f"hard-{config.training.seed}.npz", _run(folder, config)
    if distributed.on_first_rank(lambda: run.is_begun) and _what_it_learns(run.config()) != _what_it_learns(config):
        raise RunError(f"expected a training of these settings in {run.path}, found one of others: name another folder")
    if not distributed.on_first_rank(file.exists):
        dataset = _load_dataset(config, config.split, location, callbacks)
        callbacks.message(f"fold {config.split.fold + 1} of {config.split.folds}")
        model = train_member(config, dataset, folder, callbacks)
        precision = resolve_precision(config.training.precision)
        done = one(callbacks.progress, "fold validated")
        distributed.on_first_rank(
            lambda: run_stress_validation(model, dataset, config.preprocessing, precision).save(file)
        )
        done()
    return load_stress_validation(file)


def _what_it_learns(config: RunConfig) -> RunConfig:
    """Configuration without the name and the settings of the detector, which change nothing about its networks."""
    return replace(config, name="", detector=DetectorConfig())


def train_member(config: RunConfig, dataset: Dataset, folder: Path, callbacks: Callbacks) -> ImageClassifier:
    """Train a network in `folder/seed-S` unless it is finished, and load it.

    Args:
        config: Configuration with the seed S.
        dataset: Data set with the split of the configuration.
        folder: Folder that gets the run.
        callbacks: Progress.

    Raises:
        RunError: The folder holds a training of other settings.
    """
    run = _run(folder, config)
    # Rank 0 decides: a slower rank could find the run finished that the others have just finished.
    is_finished = distributed.on_first_rank(lambda: run.is_finished)
    if is_finished and run.config() != config:
        raise RunError(f"expected a training of these settings in {run.path}, found one of others: name another folder")
    if not is_finished:
        pretrained = distributed.first_rank_then_others(
            lambda: find_pretrained(config.model.architecture, None, callbacks.progress)
        )
        weights = InitialWeights(pretrained=pretrained)
        setup = TrainingSetup(config, dataset, run, weights, run.path / "features")
        train_network(setup, callbacks.training, resume=run.is_begun)
    return load_network(run)


def _training_seconds(folder: Path) -> float:
    """Total duration of the epochs of all networks; unfinished epochs before a resume are not counted."""
    runs = [RunFolder(file.parent) for file in folder.glob("**/metrics.csv")]
    return sum(epoch["seconds"] for run in runs for epoch in run.read_metrics())


def _run(folder: Path, config: RunConfig) -> RunFolder:
    """Run folder of a network of a seed."""
    return RunFolder(folder / f"seed-{config.training.seed}")

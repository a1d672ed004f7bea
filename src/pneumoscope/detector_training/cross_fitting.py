"""Cross-fitting of a detector over folds of acquisition clusters: out-of-fold predictions, final network, bundle.

RUN/folds/fold-K/      networks trained without the minority clusters of fold K, a run seed-S for each member; hard-*.npz
                       holds the out-of-fold predictions of the network with their mean weights
RUN/decision.json      calibration and operating points, fitted on the out-of-fold predictions of all folds
RUN/final/             networks trained on all training images but a tenth for validation, a run seed-S for each member
RUN/bundle.zip         the final network with the mean weights of these, calibration and operating points
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.config import DetectorConfig, RunConfig, SplitConfig
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.detector_training.bundling import BundleDescription, TrainedNetwork, make_bundle, texts_for
from pneumoscope.detector_training.stress_validation import (
    StressValidation,
    load_stress_validation,
    run_stress_validation,
    stress_set,
)
from pneumoscope.evaluation.policy_fitting import FittedPolicy, fit_policy
from pneumoscope.files import write_json
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.progress import Report, one
from pneumoscope.provenance import provenance
from pneumoscope.training import distributed
from pneumoscope.training.averaging import mean_weights
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Job, Workers, run_jobs
from pneumoscope.training.networks import InitialWeights, find_pretrained, load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import TrainingSetup, train_network

# Split of the final training: the study's validation set, which monitors that training and fits nothing.
_FINAL_SPLIT = SplitConfig()


def make_detector(
    config: RunConfig,
    location: Location,
    folder: Path,
    callbacks: Callbacks,
    resume: bool = False,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Train a detector and write its bundle; finished trainings of an interrupted run are kept.

    Args:
        config: Configuration with `detector.name`; its split is not used.
        location: Data set.
        folder: Run folder.
        callbacks: Progress.
        resume: Whether to resume the run in `folder`.
        workers: Resources for concurrent trainings; None to train one network after the other.

    Returns:
        Path and SHA-256 of the bundle, and calibration and operating points with their performance on the stress set.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    network_config = replace(config, detector=DetectorConfig())
    seeds = _seeds(config)
    dataset = _load_dataset(network_config, _FINAL_SPLIT, location, callbacks)
    distributed.on_first_rank(lambda: RunFolder(folder).start(config, {"index_hash": dataset.index.hash}, resume))
    jobs = _jobs(network_config, config.detector.folds, seeds, location, folder)
    run_jobs(jobs, workers or Workers(), callbacks.message)
    folds = [
        held_out_predictions(each, location, _fold_folder(folder, each.split.fold), seeds, callbacks)
        for each in _fold_configs(network_config, config.detector.folds)
    ]
    stress = stress_set(folds)
    fitted = fit_policy(stress.logit, stress.label, config.detector, stress.weight)
    callbacks.message("the final network, on all training films")
    final_config = replace(network_config, split=_FINAL_SPLIT)
    model = train_and_average(final_config, dataset, folder / "final", seeds, callbacks)
    return distributed.on_first_rank(
        lambda: _write_bundle(config, dataset, folder, seeds[0], model, fitted, callbacks.progress)
    )


def _write_bundle(
    config: RunConfig,
    dataset: Dataset,
    folder: Path,
    seed: int,
    model: ImageClassifier,
    fitted: FittedPolicy,
    report: Report,
) -> dict[str, Any]:
    """Write the bundle and `decision.json`, which holds the record that `make_detector` returns."""
    training_facts = {
        "weights": _member_run(folder / "final", seed).provenance()["facts"]["weights"],
        "training_seconds": _training_seconds(folder),
    }
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
    trained = TrainedNetwork(config, model, dataset)
    bundle = make_bundle(folder / "bundle.zip", description, trained, fitted.policy, report=report)
    record = {
        "bundle": str(folder / "bundle.zip"),
        "sha256": bundle.sha256,
        "decision": fitted.to_dict(),
        **training_facts,
    }
    write_json(folder / "decision.json", record | provenance())
    return record


def _seeds(config: RunConfig) -> range:
    return range(config.training.seed, config.training.seed + config.detector.members)


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


def _fold_configs(config: RunConfig, folds: int) -> list[RunConfig]:
    """Configurations of the networks of each fold."""
    splits = [SplitConfig(seed=0, folds=folds, fold=fold, by="style") for fold in range(folds)]
    return [replace(config, split=split) for split in splits]


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder / "folds" / f"fold-{fold}"


def _jobs(config: RunConfig, folds: int, seeds: Sequence[int], location: Location, folder: Path) -> list[Job]:
    """Jobs for all trainings of a detector; none depends on another."""
    networks = [
        (f"style fold {each.split.fold + 1} of {folds}", each, _fold_folder(folder, each.split.fold))
        for each in _fold_configs(config, folds)
    ]
    networks.append(("the final network", replace(config, split=_FINAL_SPLIT), folder / "final"))
    return [
        Job(f"{name}, seed {seed}", _train_job, (network_config, location, network_folder, seed))
        for name, network_config, network_folder in networks
        for seed in seeds
    ]


def _train_job(config: RunConfig, location: Location, folder: Path, seed: int) -> str:
    """Train one member in a worker process unless it is finished; summary of its run."""
    if not _member_run(folder, seed).is_finished:
        dataset = _load_dataset(config, config.split, location, Callbacks())
        _train_member(config, dataset, folder, seed, Callbacks())
    return _member_run(folder, seed).summary()


def held_out_predictions(
    config: RunConfig, location: Location, folder: Path, seeds: Sequence[int], callbacks: Callbacks
) -> StressValidation:
    """Train the network of a fold and predict the images that the fold holds out; finished parts are read from the folder.

    Args:
        config: Configuration with the fold as its split.
        location: Data set.
        folder: Folder of the fold, which gets the runs and the predictions.
        seeds: Seeds of the trainings whose weights are averaged.
        callbacks: Progress.

    Returns:
        Out-of-fold predictions.
    """
    file = folder / f"hard-{'-'.join(map(str, seeds))}.npz"
    if not distributed.on_first_rank(file.exists):
        dataset = _load_dataset(config, config.split, location, callbacks)
        callbacks.message(f"style fold {config.split.fold + 1} of {config.split.folds}")
        model = train_and_average(config, dataset, folder, seeds, callbacks)
        precision = resolve_precision(config.training.precision)
        done = one(callbacks.progress, "fold validated")
        distributed.on_first_rank(
            lambda: run_stress_validation(model, dataset, config.preprocessing, precision).save(file)
        )
        done()
    return load_stress_validation(file)


def train_and_average(
    config: RunConfig, dataset: Dataset, folder: Path, seeds: Sequence[int], callbacks: Callbacks
) -> ImageClassifier:
    """Train networks that differ only in their seed, unless finished, and average their weights.

    Args:
        config: Configuration; its own seed is not used.
        dataset: Data set with the split of the configuration.
        folder: Folder that gets a run `seed-S` for each seed.
        seeds: Seeds, at least one.
        callbacks: Progress.

    Returns:
        Network with the mean weights.
    """
    for seed in seeds:
        # Rank 0 decides for each member: a slower rank could find a run finished that the others have just finished.
        if distributed.on_first_rank(lambda seed=seed: _member_run(folder, seed).is_finished):  # type: ignore[misc]
            continue
        if len(seeds) > 1:
            callbacks.message(f"seed {seed}")
        _train_member(config, dataset, folder, seed, callbacks)
    model = load_network(_member_run(folder, seeds[0]))
    model.load_own_state(mean_weights([_member_run(folder, seed).load_weights() for seed in seeds]))
    return model


def _train_member(config: RunConfig, dataset: Dataset, folder: Path, seed: int, callbacks: Callbacks) -> None:
    run = _member_run(folder, seed)
    pretrained = distributed.first_rank_then_others(
        lambda: find_pretrained(config.model.architecture, None, callbacks.progress)
    )
    weights = InitialWeights(pretrained=pretrained)
    resume = (run.path / "config.json").exists()
    setup = TrainingSetup(config.with_training(seed=seed), dataset, run, weights, run.path / "features")
    train_network(setup, callbacks.training, resume)


def _training_seconds(folder: Path) -> float:
    """Total duration of the epochs of all networks; unfinished epochs before a resume are not counted."""
    runs = [RunFolder(file.parent) for file in folder.glob("*/**/metrics.csv")]
    return sum(epoch["seconds"] for run in runs for epoch in run.read_metrics())


def _member_run(folder: Path, seed: int) -> RunFolder:
    """Run folder of the member with a seed."""
    return RunFolder(folder / f"seed-{seed}")

"""A configuration becomes a bundle: networks on style folds, their held-out answers, a network on all images, the export.

RUN/folds/fold-K/      trained without the odd styles dealt to fold K, a run seed-S for each member; hard-*.npz holds what
                       the mean of them answers for what none of them saw
RUN/decision.json      calibration and operating points, fitted on those answers
RUN/final/             trained on all training images but a tenth that watches, likewise
RUN/bundle.zip         the final network, the mean of these, with that calibration
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.config import DetectorConfig, RunConfig, SplitConfig
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.detector_training.bundling import BundleDescription, TrainedNetwork, make_bundle
from pneumoscope.detector_training.stress_validation import (
    StressValidation,
    load_stress_validation,
    run_stress_validation,
    stress_set,
)
from pneumoscope.evaluation.policy_fitting import FittedPolicy, fit_policy
from pneumoscope.files import write_json
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.provenance import provenance
from pneumoscope.training import distributed
from pneumoscope.training.averaging import mean_of_trainings
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Job, Workers, run_jobs
from pneumoscope.training.networks import InitialWeights, find_pretrained, load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import TrainingSetup, train_network

# The study's validation set; it only shows that the final training went well.
_WATCHING = SplitConfig()


def make_detector(
    config: RunConfig,
    location: Location,
    folder: Path,
    callbacks: Callbacks,
    resume: bool = False,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Trains a detector and writes its bundle; what a killed run has finished is kept.

    Args:
        config: With `detector.name`; its split is not looked at.
        location: Of the data set.
        folder: Of the run.
        callbacks: Progress.
        resume: Go on with the run in `folder`.
        workers: Where several trainings run at the same time; one after the other where None.

    Returns:
        Path of the bundle, and what calibration and operating points gave on the hard validation.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    part = replace(config, detector=DetectorConfig())
    seeds = _seeds(config)
    watched = _dataset(part, _WATCHING, location, callbacks)
    distributed.first(lambda: RunFolder(folder).start(config, {"index_hash": watched.index.hash}, resume))
    run_jobs(_jobs(part, config.detector.folds, seeds, location, folder), workers or Workers(), callbacks.message)
    folds = _judge_folds(part, config.detector.folds, seeds, location, folder, callbacks)
    hard = stress_set(folds)
    fitted = fit_policy(hard.logit, hard.label, config.detector, hard.weight)
    callbacks.message("the final network, on all training films")
    model = trained_mean(replace(part, split=_WATCHING), watched, folder / "final", seeds, callbacks)
    return distributed.first(lambda: _finish(config, watched, folder, seeds[0], model, fitted))


def _finish(
    config: RunConfig, watched: Dataset, folder: Path, seed: int, model: ImageClassifier, fitted: FittedPolicy
) -> dict[str, Any]:
    """Writes the bundle, and beside it what `make_detector` returns."""
    made = {
        "weights": _member(folder / "final", seed).provenance()["facts"]["weights"],
        "training_seconds": _training_seconds(folder),
    }
    fitted_on = (
        f"held-out answers of {config.detector.folds} style folds for {fitted.images} training films: pneumonias as "
        "they are, both kinds counting alike, normals of odd styles, other normals stored like pneumonias"
    )
    description = BundleDescription(
        config.detector.name,
        config.detector.version,
        fitted_on,
        {"hard_validation": {"auc": fitted.auc, "films": fitted.images}},
        made,
    )
    trained = TrainedNetwork(config, model, watched)
    bundle = make_bundle(folder / "bundle.zip", description, trained, fitted.policy)
    record = {"bundle": str(folder / "bundle.zip"), "sha256": bundle.sha256, "decision": fitted.as_json(), **made}
    write_json(folder / "decision.json", record | provenance())
    return record


def _seeds(config: RunConfig) -> range:
    return range(config.training.seed, config.training.seed + config.detector.members)


def _dataset(config: RunConfig, split: SplitConfig, location: Location, callbacks: Callbacks) -> Dataset:
    return distributed.in_turn(
        lambda: load_dataset(location.root, config.preprocessing, split, paths.images_directory(), callbacks.progress)
    )


def _judge_folds(
    config: RunConfig, folds: int, seeds: Sequence[int], location: Location, folder: Path, callbacks: Callbacks
) -> list[StressValidation]:
    """The held-out answers of every fold, trained where they are not there yet."""
    return [
        held_out_answers(_of_fold(config, folds, fold), location, _fold_folder(folder, fold), seeds, callbacks)
        for fold in range(folds)
    ]


def _of_fold(config: RunConfig, folds: int, fold: int) -> RunConfig:
    return replace(config, split=SplitConfig(seed=0, folds=folds, fold=fold, by="style"))


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder / "folds" / f"fold-{fold}"


def _jobs(config: RunConfig, folds: int, seeds: Sequence[int], location: Location, folder: Path) -> list[Job]:
    """Every training that the bundle and its decision need: none waits for another."""
    wanted = [
        (f"style fold {k + 1} of {folds}", _of_fold(config, folds, k), _fold_folder(folder, k)) for k in range(folds)
    ]
    wanted.append(("the final network", replace(config, split=_WATCHING), folder / "final"))
    return [
        Job(f"{name}, seed {seed}", _train_alone, (own, location, place, seed))
        for name, own, place in wanted
        for seed in seeds
    ]


def _train_alone(config: RunConfig, location: Location, folder: Path, seed: int) -> str:
    """What a process of its own does of it."""
    if not _member(folder, seed).is_finished:
        dataset = _dataset(config, config.split, location, Callbacks())
        _train_member(config, dataset, folder, seed, Callbacks())
    return _member(folder, seed).summary()


def held_out_answers(
    config: RunConfig, location: Location, folder: Path, seeds: Sequence[int], callbacks: Callbacks
) -> StressValidation:
    """What a network says of the images that its style fold holds out; trained, and asked, where that is not done yet.

    Args:
        config: With the fold as its split.
        location: Of the data set.
        folder: Of the fold; keeps the trainings and the answers.
        seeds: Of the trainings whose mean answers.
        callbacks: Progress.
    """
    file = folder / f"hard-{'-'.join(map(str, seeds))}.npz"
    if not distributed.first(file.exists):
        dataset = _dataset(config, config.split, location, callbacks)
        callbacks.message(f"style fold {config.split.fold + 1} of {config.split.folds}")
        model = trained_mean(config, dataset, folder, seeds, callbacks)
        precision = resolve_precision(config.training.precision)
        distributed.first(lambda: run_stress_validation(model, dataset, config.preprocessing, precision).save(file))
    return load_stress_validation(file)


def trained_mean(
    config: RunConfig, dataset: Dataset, folder: Path, seeds: Sequence[int], callbacks: Callbacks
) -> ImageClassifier:
    """The network whose weights are the mean of trainings that differ in their seed alone; made where not done yet.

    Args:
        config: Its own seed is not looked at.
        dataset: Split as it says.
        folder: Gets or has a run `seed-S` for each.
        seeds: At least one.
        callbacks: Progress.
    """
    for seed in seeds:
        # Asked one by one: a process that is behind may find finished what the team has just finished.
        if distributed.first(lambda seed=seed: _member(folder, seed).is_finished):  # type: ignore[misc]
            continue
        if len(seeds) > 1:
            callbacks.message(f"seed {seed}")
        _train_member(config, dataset, folder, seed, callbacks)
    model = load_network(_member(folder, seeds[0]))
    model.load_own_state(mean_of_trainings([_member(folder, seed).load_weights() for seed in seeds]))
    return model


def _train_member(config: RunConfig, dataset: Dataset, folder: Path, seed: int, callbacks: Callbacks) -> None:
    run = _member(folder, seed)
    pretrained = distributed.in_turn(lambda: find_pretrained(config.model.architecture, None, callbacks.progress))
    weights = InitialWeights(pretrained=pretrained)
    resume = (run.path / "config.json").exists()
    setup = TrainingSetup(config.with_training(seed=seed), dataset, run, weights, run.path / "features")
    train_network(setup, callbacks.training, resume)


def _training_seconds(folder: Path) -> float:
    """Of all networks together; what resumed trainings had begun in vain is not counted."""
    runs = [RunFolder(file.parent) for file in folder.glob("*/**/metrics.csv")]
    return sum(epoch["seconds"] for run in runs for epoch in run.read_metrics())


def _member(folder: Path, seed: int) -> RunFolder:
    return RunFolder(folder / f"seed-{seed}")

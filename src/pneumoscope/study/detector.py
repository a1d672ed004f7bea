"""A configuration becomes a bundle: networks on style folds, their held-out answers, a network on all films, the export.

RUN/folds/fold-K/      trained without the odd styles dealt to fold K, a run seed-S for each member; hard-*.npz holds what
                       the mean of them answers for what none of them saw
RUN/decision.json      calibration and operating points, fitted on those answers
RUN/final/             trained on all training films but a tenth that watches, likewise
RUN/bundle.zip         the final network, the mean of these, with that calibration
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope import places
from pneumoscope.bundle import Bundle, Manifest, NamedOperatingPoint, save_bundle
from pneumoscope.config import DetectorConfig, RunConfig, SplitConfig
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.decision import Calibration, pneumonia_probability
from pneumoscope.evaluation.calibration import fit_calibration
from pneumoscope.evaluation.conformal import fit_conformal
from pneumoscope.evaluation.metrics import Floats, roc_auc
from pneumoscope.evaluation.selective import fit_refer_band
from pneumoscope.evaluation.thresholds import (
    OperatingPoint,
    best_operating_point,
    operating_point_at_sensitivity,
    operating_point_at_specificity,
)
from pneumoscope.files import write_json
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.study.assessment import LEARNT, learnt_hashes
from pneumoscope.study.hard_validation import (
    HardSet,
    HardValidation,
    hard_set,
    load_hard_validation,
    validate_hard,
)
from pneumoscope.study.networks import Foundations, find_pretrained, load_network
from pneumoscope.study.study import Listeners, train_network
from pneumoscope.training.averaging import mean_of_trainings
from pneumoscope.training.export import export_onnx, golden_outputs
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.provenance import provenance
from pneumoscope.training.run import RunFolder
from pneumoscope.types import Split

# The study's validation set; it only shows that the final training went well.
_WATCHING = SplitConfig()
_COVERAGES = (0.9, 0.95)
_GOLDEN_FILMS = 4
# Share of the films learnt from that are called unlike them.
_UNLIKE = 0.01
INTENDED_USE = (
    "Research on frontal chest radiographs of children of 1 to 5 years: normal or pneumonia, and of pneumonia, as weak "
    "evidence, bacterial or viral. Not for adults, lateral films, other body parts, CT or MR, nor for deciding on treatment."
)
LICENCE = "Apache-2.0; trained on images under CC BY 4.0"
CITATION = (
    "Images: Kermany, Zhang, Goldbaum, Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
    "Classification, Mendeley Data, doi 10.17632/rscbjbr9sj"
)


def make_detector(
    config: RunConfig, location: Location, folder: Path, listeners: Listeners, resume: bool = False
) -> dict[str, Any]:
    """Trains a detector and writes its bundle; what a killed run has finished is kept.

    Args:
        config: With `detector.name`; its split is not looked at.
        location: Of the data set.
        folder: Of the run.
        listeners: Told of progress.
        resume: Go on with the run in `folder`.

    Returns:
        Path of the bundle, and what calibration and operating points gave on the hard validation.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    part = replace(config, detector=DetectorConfig())
    seeds = _seeds(config)
    watched = _dataset(part, _WATCHING, location, listeners)
    RunFolder(folder).start(config, {"index_hash": watched.index.hash}, resume)
    folds = _judge_folds(part, config.detector.folds, seeds, location, folder, listeners)
    decision = fit_decision(hard_set(folds), config.detector)
    listeners.say("the final network, on all training films")
    model = trained_mean(replace(part, split=_WATCHING), watched, folder / "final", seeds, listeners)
    made = {
        "weights": _member(folder / "final", seeds[0]).provenance()["facts"]["weights"],
        "training_seconds": _training_seconds(folder),
    }
    bundle = _bundle(config, model, made, watched, decision, folder / "bundle.zip")
    record = {"bundle": str(folder / "bundle.zip"), "sha256": bundle.sha256, "decision": decision, **made}
    write_json(folder / "decision.json", record | provenance())
    return record


def _seeds(config: RunConfig) -> range:
    return range(config.training.seed, config.training.seed + config.detector.members)


def fit_decision(hard: HardSet, settings: DetectorConfig) -> dict[str, Any]:
    """Calibration, operating points and prediction sets from held-out answers, as plain data.

    Args:
        hard: Held-out answers of the folds.
        settings: What the operating points are to reach.
    """
    calibration = fit_calibration(hard.logit, hard.label, weight=hard.weight)
    probability = calibration.probabilities(hard.logit)
    chance, sick = pneumonia_probability(probability), hard.label > 0
    points = {
        "balanced": best_operating_point(chance, sick, "balanced_accuracy", hard.weight),
        "sensitive": operating_point_at_sensitivity(chance, sick, settings.sensitivity, hard.weight),
        "specific": operating_point_at_specificity(chance, sick, settings.specificity, hard.weight),
    }
    return {
        "calibration": asdict(calibration),
        "prevalence": 0.5,
        "operating_points": {
            name: asdict(_named(point, chance, settings.refer_share)) for name, point in points.items()
        },
        "conformal": {str(coverage): fit_conformal(probability, hard.label, coverage) for coverage in _COVERAGES},
        "films": len(hard.label),
        "auc": roc_auc(chance, sick),
    }


def _named(point: OperatingPoint, chance: Floats, share: float) -> NamedOperatingPoint:
    threshold = float(np.clip(point.threshold, 1e-6, 1 - 1e-6))
    band = fit_refer_band(chance, threshold, share)
    return NamedOperatingPoint(**asdict(band), sensitivity=point.sensitivity, specificity=point.specificity)


def _dataset(config: RunConfig, split: SplitConfig, location: Location, listeners: Listeners) -> Dataset:
    return load_dataset(location.root, config.preprocessing, split, places.films_directory(), listeners.report)


def _judge_folds(
    config: RunConfig, folds: int, seeds: Sequence[int], location: Location, folder: Path, listeners: Listeners
) -> list[HardValidation]:
    """The held-out answers of every fold, trained where they are not there yet."""
    answers = []
    for fold in range(folds):
        split = SplitConfig(seed=0, folds=folds, fold=fold, by="style")
        own = folder / "folds" / f"fold-{fold}"
        answers.append(held_out_answers(replace(config, split=split), location, own, seeds, listeners))
    return answers


def held_out_answers(
    config: RunConfig, location: Location, folder: Path, seeds: Sequence[int], listeners: Listeners
) -> HardValidation:
    """What a network says of the films that its style fold holds out; trained, and asked, where that is not done yet.

    Args:
        config: With the fold as its split.
        location: Of the data set.
        folder: Of the fold; keeps the trainings and the answers.
        seeds: Of the trainings whose mean answers.
        listeners: Told of progress.
    """
    file = folder / f"hard-{'-'.join(map(str, seeds))}.npz"
    if not file.exists():
        dataset = _dataset(config, config.split, location, listeners)
        listeners.say(f"style fold {config.split.fold + 1} of {config.split.folds}")
        model = trained_mean(config, dataset, folder, seeds, listeners)
        precision = resolve_precision(config.training.precision)
        validate_hard(model, dataset, config.preprocessing, precision).save(file)
    return load_hard_validation(file)


def trained_mean(
    config: RunConfig, dataset: Dataset, folder: Path, seeds: Sequence[int], listeners: Listeners
) -> FilmClassifier:
    """The network whose weights are the mean of trainings that differ in their seed alone; made where not done yet.

    Args:
        config: Its own seed is not looked at.
        dataset: Split as it says.
        folder: Gets or has a run `seed-S` for each.
        seeds: At least one.
        listeners: Told of progress.
    """
    for seed in seeds:
        run = _member(folder, seed)
        if run.is_finished:
            continue
        if len(seeds) > 1:
            listeners.say(f"seed {seed}")
        foundations = Foundations(pretrained=find_pretrained(config.model.architecture, None, listeners.report))
        resume = (run.path / "config.json").exists()
        seeded = config.with_training(seed=seed)
        train_network(seeded, dataset, run, foundations, run.path / "features", listeners.observer, resume)
    model = load_network(_member(folder, seeds[0]))
    model.load_own_state(mean_of_trainings([_member(folder, seed).load_weights() for seed in seeds]))
    return model


def _training_seconds(folder: Path) -> float:
    """Of all networks together; what resumed trainings had begun in vain is not counted."""
    runs = [RunFolder(file.parent) for file in folder.glob("*/**/metrics.csv")]
    return sum(epoch["seconds"] for run in runs for epoch in run.read_metrics())


def _member(folder: Path, seed: int) -> RunFolder:
    return RunFolder(folder / f"seed-{seed}")


def _least_similarity(config: RunConfig, dataset: Dataset, learnt: Sequence[int]) -> float:
    if config.preprocessing.fit != "chest":
        return -1.0
    return float(np.quantile([load_atlas().similarity(dataset.films[i]) for i in learnt], _UNLIKE))


def _bundle(
    config: RunConfig,
    model: FilmClassifier,
    made: dict[str, Any],
    dataset: Dataset,
    decision: dict[str, Any],
    path: Path,
) -> Bundle:
    calibration = Calibration(decision["calibration"]["temperature"], tuple(decision["calibration"]["bias"]))
    rows = dataset.index.rows
    learnt = [*dataset.positions(Split.TRAIN), *dataset.positions(Split.VALIDATION)]
    manifest = Manifest(
        name=config.detector.name,
        version=config.detector.version,
        architecture=config.model.architecture,
        classes=model.scheme.names,
        preprocessing=config.preprocessing,
        preprocessing_version=PREPROCESSING_VERSION,
        calibration=calibration,
        prevalence=decision["prevalence"],
        operating_points={name: NamedOperatingPoint(**told) for name, told in decision["operating_points"].items()},
        fitted_on=(
            f"held-out answers of {config.detector.folds} style folds for {decision['films']} training films: pneumonias as "
            "they are, both kinds counting alike, normals of odd styles, other normals stored like pneumonias"
        ),
        conformal={coverage: tuple(values) for coverage, values in decision["conformal"].items()},
        least_similarity=_least_similarity(config, dataset, learnt),
        intended_use=INTENDED_USE,
        licence=LICENCE,
        citation=CITATION,
        training={
            "config": config.as_json(),
            "config_hash": config.hash,
            "index_hash": dataset.index.hash,
            "split_hash": dataset.split.hash,
            **made,
            **provenance(),
        },
        metrics={"hard_validation": {"auc": decision["auc"], "films": decision["films"]}},
    )
    # Noise, not films: the data set's images stay out of the bundle, and any input shows a network that differs.
    noise = np.random.default_rng(0).integers(
        0, 256, (_GOLDEN_FILMS, config.preprocessing.height, config.preprocessing.width), dtype=np.uint8
    )
    golden = golden_outputs(model, noise)
    golden[LEARNT] = learnt_hashes(rows[i].sha256 for i in learnt)
    onnx = export_onnx(model, config.preprocessing.height, config.preprocessing.width)
    return save_bundle(path, manifest, onnx, golden)

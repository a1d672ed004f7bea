"""The study: description of the data, training of every network with every seed, evaluation on test images, comparison.

    OUT/study.json          identity of the data and settings
    OUT/data/               index.csv, split.csv, audit.json, overview.html and its images
    OUT/runs/NAME/seed-S/   run folder, with evaluation/
    OUT/comparison.*        table and chart that compare the networks

All networks are trained before the first test image is used.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.assessment.runs import assess_run
from pneumoscope.config import Preprocessing, RunConfig, SplitConfig
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.index import save_index
from pneumoscope.data.locate import Location
from pneumoscope.data.overview import write_overview
from pneumoscope.data.split import save_split
from pneumoscope.errors import ConfigError, DownloadError, RunError
from pneumoscope.files import write_json
from pneumoscope.models.weights import WeightFile, find_inception_weights
from pneumoscope.progress import Report, silent
from pneumoscope.provenance import provenance
from pneumoscope.study.comparison import compare, write_comparison
from pneumoscope.study.experiments import EXPERIMENTS, Experiment, experiment, with_prerequisites
from pneumoscope.training import distributed
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Job, Workers, run_jobs
from pneumoscope.training.networks import InitialWeights
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import TrainingSetup, remove_features, train_network
from pneumoscope.types import Split


@dataclass(frozen=True)
class StudyPlan:
    """Settings of a study.

    Attributes:
        only: Names of experiments; all where empty. Experiments that they build on are included.
        seeds: Number of trainings per experiment, with the seeds 0, 1, ...
        epochs: Largest number of epochs; each experiment's own where None.
        limit: Number of images in all, a seeded sample of each class and split; all images where None.
        precision: Precision of training and evaluation: `auto`, `fp32` or `bf16`.
        skip_unreadable: Whether to go on without images that cannot be read.
        inception_weights: Keras' notop HDF5 file; found or downloaded where None.
    """

    only: tuple[str, ...] = ()
    seeds: int = 1
    epochs: int | None = None
    limit: int | None = None
    precision: str = "auto"
    skip_unreadable: bool = False
    inception_weights: Path | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"expected 1 seed or more, found {self.seeds}: change --seeds")
        if self.limit is not None and self.limit < 100:
            raise ConfigError(f"expected a limit of 100 images or more, found {self.limit}: change --limit")

    @property
    def experiments(self) -> list[Experiment]:
        """Experiments to train, in order."""
        return with_prerequisites(list(self.only))


@dataclass(frozen=True)
class Study:
    """A study of a data set, in a folder.

    Attributes:
        location: Data set.
        plan: Settings.
        out: Folder of the study; a folder that holds the same study is resumed.
        ledger: File that gets a line for every evaluation on the test images of a real data set; none is kept where None.
    """

    location: Location
    plan: StudyPlan
    out: Path
    ledger: Path | None = None

    def load_dataset(self, report: Report) -> Dataset:
        """Load the data set with the study's preprocessing and split."""
        return load_dataset(
            replace(self.location, limit=self.plan.limit),
            Preprocessing(),
            SplitConfig(),
            paths.images_directory(),
            report,
            self.plan.skip_unreadable,
        )

    def run_folder(self, name: str, seed: int) -> RunFolder:
        """Run folder of an experiment with a seed."""
        return RunFolder(self.out / "runs" / name / f"seed-{seed}")

    def config(self, entry: Experiment, seed: int) -> RunConfig:
        """Configuration of an experiment with a seed."""
        config = entry.config.with_training(seed=seed, precision=self.plan.precision)
        return config if self.plan.epochs is None else config.with_training(epochs=self.plan.epochs)


@dataclass(frozen=True)
class _LoadedStudy:
    """A study with everything that its trainings need.

    Attributes:
        study: Data set, settings and folder.
        dataset: Loaded data set.
        inception: Weight file of Inception V3; None for random weights, or where no experiment needs it.
        callbacks: Progress.
    """

    study: Study
    dataset: Dataset
    inception: WeightFile | None
    callbacks: Callbacks

    def setup(self, entry: Experiment, seed: int) -> TrainingSetup:
        """Everything that the training of an experiment starts from."""
        run = self.study.run_folder(entry.name, seed)
        base = self.study.run_folder(entry.builds_on, seed) if entry.builds_on else None
        weights = InitialWeights(base, self.inception if entry.needs_inception else None)
        # Inception's features are equal for all seeds; those of a trained base are not.
        features = (self.study.out if entry.needs_inception else run.path) / "features"
        return TrainingSetup(self.study.config(entry, seed), self.dataset, run, weights, features)

    def train(self, entry: Experiment, seed: int) -> RunFolder:
        """Train an experiment with a seed, unless it is trained already."""
        setup = self.setup(entry, seed)
        run = setup.run
        if distributed.on_first_rank(lambda: run.is_finished):
            distributed.on_first_rank(lambda: run.start(setup.config, setup.facts, resume=True))
            self.callbacks.message(f"{_title(entry, seed)}: trained already")
            return run
        self.callbacks.message(_title(entry, seed))
        train_network(setup, self.callbacks.training, resume=(run.path / "config.json").exists())
        if not entry.needs_inception:
            distributed.on_first_rank(lambda: remove_features(setup.features))
        return run


def run_study(study: Study, callbacks: Callbacks, workers: Workers | None = None) -> dict[str, Any]:
    """Run a study, or what is missing of it.

    Args:
        study: Data set, settings and folder.
        callbacks: Progress.
        workers: Workers for trainings that run at the same time; one training after the other where None.

    Returns:
        The comparison, as in `comparison.json`.

    Raises:
        PneumoscopeError: Data, weights, settings or folders are not as expected; finished runs are kept.
    """
    study, inception = with_inception(study, callbacks)
    dataset = distributed.first_rank_then_others(lambda: study.load_dataset(callbacks.progress))
    distributed.on_first_rank(lambda: _begin(study, dataset))
    callbacks.message(dataset.audit.verdict)
    run_jobs(_jobs(study, inception), workers or Workers(), callbacks.message, callbacks.progress)
    runs = _train_all(_LoadedStudy(study, dataset, inception, callbacks))
    return distributed.on_first_rank(lambda: _evaluate_all(study, dataset, runs, callbacks))


def _train_all(loaded: _LoadedStudy) -> dict[str, list[RunFolder]]:
    """Train the experiments one after the other; returns name to runs, one per seed."""
    plan, out = loaded.study.plan, loaded.study.out
    runs: dict[str, list[RunFolder]] = {}
    for entry in plan.experiments:
        runs[entry.name] = [loaded.train(entry, seed) for seed in range(plan.seeds)]
        distributed.on_first_rank(lambda: remove_features(out / "features"))
    return runs


def _jobs(study: Study, inception: WeightFile | None) -> list[Job]:
    """Jobs of all trainings; a training that builds on another waits for the one with its seed."""
    return [
        Job(
            _title(entry, seed),
            _train_alone,
            (study, entry.name, seed, inception),
            _title(experiment(entry.builds_on), seed) if entry.builds_on else "",
        )
        for entry in study.plan.experiments
        for seed in range(study.plan.seeds)
    ]


def _train_alone(study: Study, name: str, seed: int, inception: WeightFile | None) -> str:
    """Train one experiment of a study in a process of its own; returns the summary of its run."""
    loaded = _LoadedStudy(study, study.load_dataset(silent), inception, Callbacks())
    return loaded.train(experiment(name), seed).summary()


def _title(entry: Experiment, seed: int) -> str:
    return f"{entry.title}, seed {seed}"


def _begin(study: Study, dataset: Dataset) -> None:
    _check_same_study(study, dataset)
    describe_data(dataset, study.out / "data", study.location.synthetic)


def _evaluate_all(
    study: Study, dataset: Dataset, runs: dict[str, list[RunFolder]], callbacks: Callbacks
) -> dict[str, Any]:
    """Evaluate all runs on the test images, and compare them."""
    synthetic = study.location.synthetic
    evaluation = Evaluation(Split.TEST, "final evaluation of the study", study.ledger, synthetic)
    titles = {each.name: each.title for each in EXPERIMENTS}
    for run in (run for folders in runs.values() for run in folders):
        callbacks.message(f"evaluating {run.path.parent.name}, {run.path.name}")
        name = run.config().name
        assess_run(run, dataset, evaluation, titles.get(name, name), study.plan.inception_weights)
    facts = {
        "data": {
            "films": len(dataset.index.rows),
            "index_hash": dataset.index.hash,
            "split_hash": dataset.split.hash,
        },
        "synthetic": synthetic,
        "plan": {k: v for k, v in asdict(study.plan).items() if k != "inception_weights"},
        **provenance(),
    }
    record = compare(runs, facts)
    write_comparison(record, study.out)
    return record


def with_inception(study: Study, callbacks: Callbacks) -> tuple[Study, WeightFile | None]:
    """The study with the weight file of Inception V3; without the experiments that need it where it cannot be had.

    Raises:
        DownloadError: It cannot be had, and a file or such an experiment was named.
    """
    plan = study.plan
    needing = [entry.name for entry in plan.experiments if entry.needs_inception]
    if not needing:
        return study, None
    try:
        return study, distributed.first_rank_then_others(
            lambda: find_inception_weights(plan.inception_weights, callbacks.progress)
        )
    except DownloadError as error:
        if study.location.synthetic:
            callbacks.message("Inception V3 starts from random weights: Keras' file is not at hand and cannot be had")
            return study, None
        others = tuple(entry.name for entry in plan.experiments if not entry.needs_inception)
        if plan.only or plan.inception_weights or not others:
            raise DownloadError(f"{error}; or name a notop HDF5 file by --inception-weights") from error
        callbacks.message(
            f"left out: {', '.join(needing)}, whose weights are not at hand and cannot be had; to add it, run the same command "
            "with --inception-weights FILE (Keras' notop HDF5 file)"
        )
        return replace(study, plan=replace(plan, only=others)), None


def _check_same_study(study: Study, dataset: Dataset) -> None:
    """Refuse a folder that holds a study of other data or settings, before anything in it changes."""
    identity = {
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
        "epochs": study.plan.epochs,
        "precision": study.plan.precision,
    }
    file = study.out / "study.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        write_json(file, identity)
        return
    except ValueError:
        found = {}
    if found != identity:
        changed = ", ".join(key for key in identity if found.get(key) != identity[key])
        raise RunError(
            f"expected the same study as before in {study.out}, found another ({changed} differ): change --out"
        )


def describe_data(dataset: Dataset, folder: Path, synthetic: bool) -> None:
    """Write index, split, audit and overview of a data set."""
    save_index(dataset.index, folder / "index.csv")
    save_split(dataset.index, dataset.split, folder / "split.csv")
    write_json(
        folder / "audit.json",
        dataset.audit.to_dict() | {"index_hash": dataset.index.hash, "split_hash": dataset.split.hash, **provenance()},
    )
    write_overview(dataset, folder, synthetic)

"""The whole study: data, overview, every network with every seed, evaluation on the test images, comparison.

    OUT/study.json    which data and settings this is
    OUT/data/         index.csv, split.csv, audit.json, overview.html and its pictures
    OUT/runs/NAME/seed-S/   the run folder; evaluation/ in it
    OUT/comparison.*  the closing table and chart

Training ends, for every network and seed, before the first test image is looked at.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.assessment.runs import assess_run
from pneumoscope.config import Preprocessing, SplitConfig
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
from pneumoscope.study.comparison import write_comparison
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
    """What a study does.

    Attributes:
        only: Names of experiments; all where empty. What they build on comes along.
        seeds: Trainings per experiment, with the seeds 0, 1, ...
        epochs: At most; each experiment's own where None.
        limit: Images in all, a seeded sample of each class and split; all where None.
        precision: `auto`, `fp32` or `bf16`.
        skip_unreadable: Go on without images that cannot be read.
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
            raise ConfigError(f"expected a limit of 100 films or more, found {self.limit}: change --limit")

    @property
    def experiments(self) -> list[Experiment]:
        """What is to be trained, in order."""
        return with_prerequisites(list(self.only))


def run_study(
    location: Location,
    plan: StudyPlan,
    out: Path,
    ledger: Path | None,
    callbacks: Callbacks,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Runs the study, or what is still missing of it.

    Args:
        location: The data set.
        plan: What to do.
        out: Folder of the study; one that holds the same study is gone on with.
        ledger: Gets a line for every evaluation on the test images of a real data set.
        callbacks: Progress.
        workers: Where several trainings run at the same time; one after the other where None.

    Returns:
        The comparison, as in `comparison.json`.

    Raises:
        PneumoscopeError: Data, weights, settings or folders are not as expected; whatever is finished stays.
    """
    inception = _inception(plan, location, callbacks)
    dataset = distributed.in_turn(lambda: _dataset(location, plan, callbacks.progress))
    distributed.first(lambda: _begin(location, plan, dataset, out))
    callbacks.message(dataset.audit.verdict)
    run_jobs(_jobs(location, plan, inception, out), workers or Workers(), callbacks.message)
    runs: dict[str, list[RunFolder]] = {}
    for entry in plan.experiments:
        runs[entry.name] = [
            _train_one(entry, seed, plan, dataset, inception, out, callbacks) for seed in range(plan.seeds)
        ]
        distributed.first(lambda: remove_features(out / "features"))
    return distributed.first(lambda: _evaluate_all(location, plan, dataset, runs, out, ledger, callbacks))


def _dataset(location: Location, plan: StudyPlan, report: Report) -> Dataset:
    return load_dataset(
        location.root,
        Preprocessing(),
        SplitConfig(),
        paths.images_directory(),
        report,
        plan.skip_unreadable,
        plan.limit,
    )


def _jobs(location: Location, plan: StudyPlan, inception: WeightFile | None, out: Path) -> list[Job]:
    """Every training of the study; those that build on another wait for the one with their seed."""
    return [
        Job(
            _title(entry, seed),
            _train_alone,
            (location, plan, entry.name, seed, inception, out),
            _title(experiment(entry.builds_on), seed) if entry.builds_on else "",
        )
        for entry in plan.experiments
        for seed in range(plan.seeds)
    ]


def _train_alone(
    location: Location, plan: StudyPlan, name: str, seed: int, inception: WeightFile | None, out: Path
) -> str:
    """What a process of its own does of a study."""
    dataset = _dataset(location, plan, silent)
    run = _train_one(experiment(name), seed, plan, dataset, inception, out, Callbacks())
    return run.summary()


def _title(entry: Experiment, seed: int) -> str:
    return f"{entry.title}, seed {seed}"


def _run_folder(out: Path, name: str, seed: int) -> RunFolder:
    return RunFolder(out / "runs" / name / f"seed-{seed}")


def _begin(location: Location, plan: StudyPlan, dataset: Dataset, out: Path) -> None:
    _check_same_study(out, plan, dataset)
    describe_data(dataset, out / "data", location.synthetic)


def _evaluate_all(
    location: Location,
    plan: StudyPlan,
    dataset: Dataset,
    runs: dict[str, list[RunFolder]],
    out: Path,
    ledger: Path | None,
    callbacks: Callbacks,
) -> dict[str, Any]:
    """Every network on the test images, and the comparison of them."""
    evaluation = Evaluation(Split.TEST, "final evaluation of the study", ledger, location.synthetic)
    for folders in runs.values():
        for run in folders:
            callbacks.message(f"evaluating {run.path.parent.name}, {run.path.name}")
            name = run.config().name
            title = next((each.title for each in EXPERIMENTS if each.name == name), name)
            assess_run(run, dataset, evaluation, title, plan.inception_weights)
    facts = {
        "data": {
            "films": len(dataset.index.rows),
            "index_hash": dataset.index.hash,
            "split_hash": dataset.split.hash,
        },
        "synthetic": location.synthetic,
        "plan": {k: v for k, v in asdict(plan).items() if k != "inception_weights"},
        **provenance(),
    }
    return write_comparison(runs, facts, out)


def _inception(plan: StudyPlan, location: Location, callbacks: Callbacks) -> WeightFile | None:
    """Found before the first training, so that a study does not fail in its third hour."""
    if not any(entry.needs_inception for entry in plan.experiments):
        return None
    try:
        return distributed.in_turn(lambda: find_inception_weights(plan.inception_weights, callbacks.progress))
    except DownloadError as error:
        if location.synthetic:
            callbacks.message("Inception V3 starts from random weights: Keras' file is not at hand and cannot be had")
            return None
        raise DownloadError(
            f"{error}; or name a notop HDF5 file by --inception-weights, or leave it out by --only"
        ) from error


def _check_same_study(out: Path, plan: StudyPlan, dataset: Dataset) -> None:
    """Refuses a folder that holds a study of other data or settings, before anything in it changes."""
    identity = {
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
        "epochs": plan.epochs,
        "precision": plan.precision,
    }
    file = out / "study.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        write_json(file, identity)
        return
    except ValueError:
        found = {}
    if found != identity:
        changed = ", ".join(key for key in identity if found.get(key) != identity[key])
        raise RunError(f"expected the study that was begun in {out}, found another ({changed} differ): change --out")


def describe_data(dataset: Dataset, folder: Path, synthetic: bool) -> None:
    """Writes index, split, audit and overview."""
    save_index(dataset.index, folder / "index.csv")
    save_split(dataset.index, dataset.split, folder / "split.csv")
    write_json(
        folder / "audit.json",
        dataset.audit.as_json() | {"index_hash": dataset.index.hash, "split_hash": dataset.split.hash, **provenance()},
    )
    write_overview(dataset, folder, synthetic)


def _train_one(
    entry: Experiment,
    seed: int,
    plan: StudyPlan,
    dataset: Dataset,
    inception: WeightFile | None,
    out: Path,
    callbacks: Callbacks,
) -> RunFolder:
    config = entry.config.with_training(seed=seed, precision=plan.precision)
    if plan.epochs is not None:
        config = config.with_training(epochs=plan.epochs)
    run = _run_folder(out, entry.name, seed)
    base = _run_folder(out, entry.builds_on, seed) if entry.builds_on else None
    weights = InitialWeights(base, inception if entry.needs_inception else None)
    # Inception's features are the same for every seed; a trained base gives others each time.
    features = out / "features" if entry.needs_inception else run.path / "features"
    setup = TrainingSetup(config, dataset, run, weights, features)
    if distributed.first(lambda: run.is_finished):
        distributed.first(lambda: run.start(config, setup.facts, resume=True))
        callbacks.message(f"{_title(entry, seed)}: trained already")
        return run
    callbacks.message(_title(entry, seed))
    train_network(setup, callbacks.training, resume=(run.path / "config.json").exists())
    if not entry.needs_inception:
        distributed.first(lambda: remove_features(features))
    return run

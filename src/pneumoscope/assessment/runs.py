"""Assessment of a training run: probabilities by PyTorch, a report, and a ledger line for test images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.assessment.evaluation import Evaluation, prediction_table
from pneumoscope.assessment.report import ReportContext
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.labelled import labelled_images
from pneumoscope.data.locate import Location
from pneumoscope.errors import RunError
from pneumoscope.progress import Report
from pneumoscope.provenance import provenance
from pneumoscope.training.networks import load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import SCHEMES, Split


def evaluate_run(
    folder: Path,
    location: Location,
    evaluation: Evaluation,
    report: Report,
    titles: Mapping[str, str],
    inception_weights: Path | None = None,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluate a finished run on one split of a data set and write `RUN/evaluation/SPLIT/`; see `assess_run`.

    Args:
        folder: Run folder.
        location: Data set.
        evaluation: Split, purpose and ledger.
        report: Progress of data stages.
        titles: Name of a configuration to the title of its network; the name is the title where it is missing.
        inception_weights: Weight file of an Inception V3 run; found where None.
        skip_unreadable: Whether to go on without images that cannot be read.
    """
    run = RunFolder(folder)
    config = run.config()
    dataset = load_dataset(
        location, config.preprocessing, config.split, paths.images_directory(), report, skip_unreadable
    )
    return assess_run(run, dataset, evaluation, titles.get(config.name, config.name), inception_weights)


def assess_run(
    run: RunFolder, dataset: Dataset, evaluation: Evaluation, title: str, inception_weights: Path | None = None
) -> dict[str, Any]:
    """Evaluate a run and write `RUN/evaluation/SPLIT/`, unless a report of the same weights and images exists.

    Args:
        run: Finished run.
        dataset: Data set with images of the wanted split.
        evaluation: Split, purpose and ledger.
        title: Title of the network.
        inception_weights: Weight file of an Inception V3 run; found where None.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: Unfinished run, or training image of the run among the images.
        DataError: Missing split or class.
    """
    run.check_finished()
    split = evaluation.split or Split.TEST
    folder = run.path / "evaluation" / split.value
    facts = _facts(run, dataset)
    if (existing := _existing_report(folder, facts)) is not None:
        return existing
    _check_unseen(run, dataset, split)
    config = run.config()
    scheme = SCHEMES[config.model.classes]
    data = labelled_images(dataset, split, len(scheme))
    model = load_network(run, inception_weights)
    probability = class_probabilities(model, data, resolve_precision(config.training.precision))
    table = prediction_table(dataset, data, scheme, probability)
    context = ReportContext(title, split.value, evaluation.synthetic, run.read_metrics(), facts | provenance())
    return evaluation.write(table, dataset.images[data.positions], context, folder)


def _facts(run: RunFolder, dataset: Dataset) -> dict[str, Any]:
    trained = run.provenance()
    return {
        "model": f"{run.config().name}, seed {trained['seed']}",
        "config_hash": trained["config_hash"],
        "weights": trained["facts"]["weights"],
        "trained_at_commit": trained["commit"],
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
    }


def _existing_report(folder: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Report in a folder if it is of the same run and images, otherwise None."""
    try:
        record: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        recorded = record["provenance"]
        return record if all(recorded[key] == value for key, value in facts.items()) else None
    except (OSError, ValueError, KeyError):
        return None


def _check_unseen(run: RunFolder, dataset: Dataset, split: Split) -> None:
    """Refuse images that the run was trained on.

    Validation images of the run's own split may be evaluated although they stopped its training; any other overlap is refused.
    """
    if run.provenance()["facts"]["split_hash"] == dataset.split.hash:
        return
    evaluated = {dataset.index.rows[i].sha256 for i in dataset.positions(split)}
    if overlap := evaluated & training_hashes(run):
        raise RunError(
            f"expected images that the run in {run.path} was not trained on, found {len(overlap)} of its training images: "
            "evaluate it on the data set that it was trained with, or on images of another origin"
        )


def training_hashes(run: RunFolder) -> set[str]:
    """SHA-256 of the files that a run was trained on.

    Raises:
        RunError: The run does not name them.
    """
    try:
        return set((run.path / "training_films.txt").read_text(encoding="utf-8").split())
    except OSError as error:
        raise RunError(
            f"expected training_films.txt in {run.path}, found {error.strerror}: train the run again"
        ) from error

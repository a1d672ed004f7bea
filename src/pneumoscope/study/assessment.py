"""A run or a bundle is measured on films: probabilities, report, and a line in the ledger where they are test films."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscope import places
from pneumoscope.data.cache import cached_films
from pneumoscope.data.dataset import Dataset, FilmLooks, film_looks
from pneumoscope.data.styles import STYLES
from pneumoscope.errors import DataError, RunError
from pneumoscope.evaluation.decisions import Rules
from pneumoscope.evaluation.metrics import Floats
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.evaluation.report import ReportContext, measure, write_report
from pneumoscope.inference.detector import Detector
from pneumoscope.study.experiments import EXPERIMENTS
from pneumoscope.study.networks import load_network
from pneumoscope.training.batches import LabelledFilms, labelled_films
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.provenance import provenance
from pneumoscope.training.run import RunFolder
from pneumoscope.types import SCHEMES, ClassScheme, Split


def assess(
    run: RunFolder,
    dataset: Dataset,
    side: Split,
    why: str,
    ledger: Path,
    synthetic: bool,
    inception_weights: Path | None = None,
) -> dict[str, Any]:
    """Evaluates a run and writes `RUN/evaluation/SIDE/`; one that is there for the same weights and films is taken.

    Args:
        run: Finished.
        dataset: With films of the wanted side.
        side: Validation or test; train to look for overfitting.
        why: For the ledger.
        ledger: JSON lines; gets one where `side` is test and the films are real.
        synthetic: Whether the films are phantoms.
        inception_weights: For an Inception V3 run: its weight file; found where None.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: The run is not finished, or was trained with another split, so that it may have seen these films.
        DataError: The films lack a side or a class.
    """
    if not run.is_finished:
        raise RunError(f"expected a finished run in {run.path}, found one without weights: finish it with --resume")
    folder = run.path / "evaluation" / side.value
    facts = _facts(run, dataset)
    if (earlier := _earlier(folder, facts)) is not None:
        return earlier
    _check_unseen(run, dataset, side)
    config = run.config()
    scheme = SCHEMES[config.model.classes]
    data = labelled_films(dataset, side, len(scheme))
    model = load_network(run, inception_weights)
    probability = class_probabilities(model, data, resolve_precision(config.training.precision))
    table = _table(dataset, data, scheme, probability)
    context = ReportContext(_title(config.name), side.value, synthetic, run.read_metrics(), facts | provenance())
    return _told(table, dataset, data, context, folder, why, ledger)


def assess_bundle(
    detector: Detector, dataset: Dataset, side: Split, why: str, ledger: Path, synthetic: bool, folder: Path
) -> dict[str, Any]:
    """Evaluates a bundle at its balanced operating point and writes a report into `folder`.

    Args:
        detector: Of the bundle.
        dataset: With the manifest's preprocessing, and films of the wanted side.
        side: Whose films.
        why: For the ledger.
        ledger: JSON lines; gets one where `side` is test and the films are real.
        synthetic: Whether the films are phantoms.
        folder: Of the report.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: The bundle learnt from some of these films.
        DataError: The films lack a side or a class.
    """
    manifest = detector.bundle.manifest
    scheme = SCHEMES[len(manifest.classes)]
    data = labelled_films(dataset, side, len(scheme))
    if learnt := detector.bundle.learnt_from(dataset.index.rows[i].sha256 for i in data.positions):
        raise RunError(
            f"expected films that the detector {manifest.name} did not learn from, found {learnt} that it did: evaluate "
            "it on --split test, or on films of another origin"
        )
    facts = {
        "model": f"{manifest.name} {manifest.version}",
        "bundle": detector.bundle.sha256,
        "config_hash": str(manifest.training.get("config_hash", "")),
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
    }
    point = manifest.operating_points["balanced"]
    films = data.films[data.positions]
    probability = detector.class_probabilities(films)
    table = _table(dataset, data, scheme, probability, point.threshold)
    title = f"Detector {manifest.name} {manifest.version}"
    rules = Rules(manifest.operating_points, manifest.conformal, manifest.prevalence)
    styles = looks.styles[data.positions] if (looks := _looks(dataset)) else None
    made = facts | provenance()
    own = cached_films(dataset.source, dataset.index, detector.guard_preprocessing, places.films_directory())
    flags = (detector.unlike(films), detector.distances(own[data.positions]) > 1)
    context = ReportContext(title, side.value, synthetic, [], made, rules, styles, *flags)
    return _told(table, dataset, data, context, folder, why, ledger)


def _looks(dataset: Dataset) -> FilmLooks | None:
    """Styles are those of the training films; films of another origin come without such."""
    learnable = len(dataset.index.positions(Split.TRAIN))
    return film_looks(dataset, places.films_directory()) if learnable >= STYLES else None


def _table(
    dataset: Dataset, data: LabelledFilms, scheme: ClassScheme, probability: Floats, threshold: float | None = None
) -> PredictionTable:
    paths, patients = dataset.paths(data.positions), dataset.patients(data.positions)
    return PredictionTable(scheme.names, tuple(paths), tuple(patients), data.labels, probability, threshold)


def _told(
    table: PredictionTable,
    dataset: Dataset,
    data: LabelledFilms,
    context: ReportContext,
    folder: Path,
    why: str,
    ledger: Path,
) -> dict[str, Any]:
    record = measure(table, context)
    # The ledger first: a run killed while it writes the report has looked all the same.
    if context.split == Split.TEST and not context.synthetic:
        write_in_ledger(ledger, record, why)
    return write_report(record, table, dataset.films[data.positions], context, folder)


def _title(name: str) -> str:
    return next((e.title for e in EXPERIMENTS if e.name == name), name)


def _facts(run: RunFolder, dataset: Dataset) -> dict[str, Any]:
    told = run.provenance()
    return {
        "model": f"{run.config().name}, seed {told['seed']}",
        "config_hash": told["config_hash"],
        "weights": told["facts"]["weights"],
        "trained_at_commit": told["commit"],
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
    }


def _earlier(folder: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The report that is there already, if it is of the same run and films."""
    try:
        record: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        told = record["provenance"]
        return record if all(told[key] == value for key, value in facts.items()) else None
    except (OSError, ValueError, KeyError):
        return None


def _check_unseen(run: RunFolder, dataset: Dataset, side: Split) -> None:
    """A run may be judged only by films that it did not learn from.

    Under the split it was trained with, its validation films stopped its training and may still be looked at; any other
    overlap is refused.
    """
    if run.provenance()["facts"]["split_hash"] == dataset.split.hash:
        return
    judged = {dataset.index.rows[i].sha256 for i in dataset.positions(side)}
    if learnt := judged & _training_hashes(run):
        raise RunError(
            f"expected films that the run in {run.path} did not learn from, found {len(learnt)} that it did: evaluate it "
            "on the data set that it was trained with, or on films of another origin"
        )


def _training_hashes(run: RunFolder) -> set[str]:
    try:
        return set((run.path / "training_films.txt").read_text(encoding="utf-8").split())
    except OSError as error:
        raise RunError(
            f"expected training_films.txt in {run.path}, found {error.strerror}: train the run anew"
        ) from error


def write_in_ledger(ledger: Path, record: dict[str, Any], why: str) -> None:
    """Adds the line that says that a run was evaluated on the test films.

    Raises:
        DataError: The ledger cannot be written.
    """
    made = record["provenance"]
    chosen = ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc")
    append_to_ledger(
        ledger,
        commit=made["commit"],
        model=made["model"],
        config_hash=made["config_hash"],
        split_hash=made["split_hash"],
        films=record["films"],
        why=why,
        result={n: round(record["measures"][n]["value"], 4) for n in chosen if _is_known(record, n)},
    )


def _is_known(record: dict[str, Any], name: str) -> bool:
    return math.isfinite(record["measures"].get(name, {}).get("value", math.nan))


def append_to_ledger(ledger: Path, **look: Any) -> None:
    """Adds one look at the test films, with its date, to the ledger: one JSON object per line.

    Raises:
        DataError: The ledger cannot be written.
    """
    line = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **look}
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(
            f"expected to write the test ledger {ledger}, found {error.strerror}: name another by --ledger"
        ) from error

"""Answers become a report: report.json, report.md, report.html and the figures, self-contained."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.assessment.figures import (
    draw_answered,
    draw_calibration,
    draw_confusion_matrix,
    draw_mistakes,
    draw_roc,
    draw_training,
    most_confident_mistakes,
)
from pneumoscope.decision import DecisionPolicy
from pneumoscope.evaluation.decisions import DecisionOutcomes, measure_decisions
from pneumoscope.evaluation.intervals import LEVEL, RESAMPLES, Estimate, estimates
from pneumoscope.evaluation.metrics import confusion_matrices
from pneumoscope.evaluation.predictions import PredictionTable, save_predictions
from pneumoscope.files import as_json, write_json, write_text
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_page
from pneumoscope.reporting.style import png_of, save_png
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

MISTAKES = 8
_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "binary_accuracy": "accuracy, normal vs pneumonia",
    "binary_balanced_accuracy": "balanced accuracy, normal vs pneumonia",
    "sensitivity": "sensitivity for pneumonia",
    "specificity": "specificity",
    "auc": "AUC, pneumonia vs normal",
    "auc_viral_vs_bacterial": "AUC, viral vs bacterial",
    "ece": "expected calibration error",
    "brier": "Brier score",
}


@dataclass(frozen=True)
class ReportContext:
    """What a report says besides its numbers.

    Attributes:
        title: Name of the network.
        split: Whose images.
        synthetic: Whether they are phantoms.
        history: Epochs of the training; empty where unknown.
        facts: Provenance: model, data, weights, commit, machine, date.
        policy: Decision policy of a detector; None for a network alone.
        clusters: (n,) int, acquisition cluster of each image; None where unknown.
        outcomes: Images that a detector referred and rejected; None for a network alone.
    """

    title: str
    split: str
    synthetic: bool
    history: Sequence[dict[str, float]]
    facts: dict[str, Any]
    policy: DecisionPolicy | None = None
    clusters: NDArray[np.int64] | None = None
    outcomes: DecisionOutcomes | None = None


def words_for(measure: str) -> str:
    """The name of a measure for people."""
    if measure in _WORDS:
        return _WORDS[measure]
    kind, _, name = measure.partition("_")
    return f"{'AUC' if kind == 'auc' else kind}, {name}"


def measure(table: PredictionTable, context: ReportContext) -> dict[str, Any]:
    """Every number of a report, as in `report.json`, before anything is drawn or written.

    Args:
        table: Answers and labels.
        context: Title and provenance.
    """
    found = estimates(table.probability, table.label, table.patients, table.class_names, threshold=table.threshold)
    record = _record(table, found, most_confident_mistakes(table, MISTAKES), context)
    if context.policy and context.outcomes:
        record["decisions"] = measure_decisions(table, context.policy, context.outcomes, context.clusters)
    return record


def write_report(
    record: dict[str, Any],
    table: PredictionTable,
    images: NDArray[np.uint8],
    context: ReportContext,
    folder: Path,
) -> dict[str, Any]:
    """Writes predictions, report and figures.

    Args:
        record: From `measure`, of the same table and context.
        table: Answers and labels.
        images: (n, height, width) uint8, in the order of the table; only the mistakes are shown.
        context: Title and provenance.
        folder: To write into.

    Returns:
        The report as it is read back from `report.json`.
    """
    found = {name: Estimate(**told) for name, told in record["measures"].items()}
    mistakes = most_confident_mistakes(table, MISTAKES)
    pictures = {
        "confusion-matrix": draw_confusion_matrix(table, f"{context.title}, {context.split}", context.synthetic),
        "roc": draw_roc(table, found["auc"], f"{context.title}, {context.split}", context.synthetic),
        "mistakes": draw_mistakes(
            table, images[mistakes], mistakes, f"{context.title}: the surest mistakes", context.synthetic
        ),
    }
    if context.policy:
        pictures["calibration"] = draw_calibration(table, context.policy.prevalence, context.title, context.synthetic)
        balanced = context.policy.operating_points["balanced"]
        pictures["answered"] = draw_answered(table, balanced, context.title, context.synthetic)
    if context.history:
        pictures["training"] = draw_training(context.history, context.title, context.synthetic)
    pngs = {name: png_of(figure) for name, figure in pictures.items()}
    for name, png in pngs.items():
        save_png(png, folder / f"{name}.png")
    save_predictions(table, folder / "predictions.csv")
    write_text(folder / "report.md", _markdown(found, record, context))
    _write_html(found, record, context, pngs, folder / "report.html")
    write_json(folder / "report.json", record)
    plain: dict[str, Any] = json.loads(as_json(record))
    return plain


def _record(
    table: PredictionTable, found: dict[str, Estimate], mistakes: NDArray[np.int64], context: ReportContext
) -> dict[str, Any]:
    classes = len(table.class_names)
    answer = table.answer
    matrix = confusion_matrices(table.label, answer, classes, np.ones((1, len(table))))[0]
    return {
        "title": context.title,
        "split": context.split,
        "synthetic": context.synthetic,
        "notice": NOTICE + (f" {SYNTHETIC_NOTICE}" if context.synthetic else ""),
        "films": len(table),
        "patients": len(set(table.patients)),
        "films_per_class": {n: int((table.label == i).sum()) for i, n in enumerate(table.class_names)},
        "prevalence_of_pneumonia": float((table.label > 0).mean()),
        "threshold": (
            "the most probable class; pneumonia where its probability is at least 0.5"
            if table.threshold is None
            else f"pneumonia where its probability is at least {table.threshold:.4f}; of which kind, the more probable"
        ),
        "interval": {"level": LEVEL, "method": "percentile bootstrap over patients", "resamples": RESAMPLES},
        "confusion_matrix": {"classes": list(table.class_names), "counts": matrix.astype(int).tolist()},
        "measures": {name: asdict(estimate) for name, estimate in found.items()},
        "surest_mistakes": [
            {
                "file": table.paths[i],
                "reference": table.class_names[table.label[i]],
                "answer": table.class_names[answer[i]],
                "probability": round(float(table.probability[i, answer[i]]), 4),
            }
            for i in mistakes
        ],
        "provenance": context.facts,
    }


def _lead(record: dict[str, Any]) -> str:
    return (
        f"{record['films']} {record['split']} films of {record['patients']} patients, "
        f"{100 * record['prevalence_of_pneumonia']:.1f} % with pneumonia. Intervals: 95 %, bootstrap over patients."
    )


def _measure_rows(found: dict[str, Estimate]) -> list[list[str]]:
    return [[words_for(name), _shown(name, estimate)] for name, estimate in found.items()]


def _shown(name: str, estimate: Estimate) -> str:
    """Percent, but an AUC or an error of a probability as a number of its own."""
    if not name.startswith(("auc", "ece", "brier")) or estimate.value != estimate.value:
        return str(estimate)
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def _markdown(found: dict[str, Estimate], record: dict[str, Any], context: ReportContext) -> str:
    matrix = record["confusion_matrix"]
    counts = [[name, *map(str, line)] for name, line in zip(matrix["classes"], matrix["counts"], strict=True)]
    parts = [
        f"# {context.title}, {context.split}",
        f"**{SYNTHETIC_NOTICE}**" if context.synthetic else "",
        f"{NOTICE} {_lead(record)}",
        markdown_table(["measure", "value (95 % interval)"], _measure_rows(found)),
        "Confusion matrix (rows: reference, columns: answer):",
        markdown_table(["", *matrix["classes"]], counts),
        *(f"{words}\n\n{markdown_table(header, rows)}" for _, words, header, rows in _decision_tables(record)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _line(slope: float, intercept: float) -> str:
    return f"{slope:.2f}, {intercept:.2f}" if slope == slope else "undefined: told apart without a mistake"


def _decision_tables(record: dict[str, Any]) -> list[tuple[str, str, list[str], list[list[str]]]]:
    """Title, what it shows, header and rows of each table on a detector's decisions; none for a network alone."""
    if (told := record.get("decisions")) is None:
        return []
    own = told["calibration"].get("at_own_prevalence")
    points = [
        [name, f"{point['threshold']:.3f}", *(str(Estimate(**value)) for value in point["measured"].values())]
        for name, point in told["operating_points"].items()
    ]
    calibration = [
        ["AUC with DeLong's interval", _shown("auc", Estimate(**told["auc_delong"]))],
        [
            "calibration error that chance alone shows, were every probability right",
            _shown("ece", Estimate(**told["calibration"]["ece_by_chance"])),
        ],
        ["prevalence that the probabilities assume", _percent(told["calibration"]["assumed_prevalence"])],
    ]
    if own:
        calibration += [
            ["slope and intercept", _line(told["calibration"]["slope"], told["calibration"]["intercept"])],
            [f"calibration error, told the prevalence of {_percent(own['prevalence'])}", f"{own['ece']:.3f}"],
            ["Brier score, likewise", f"{own['brier']:.3f}"],
        ]
    answered = [[_percent(entry["answered"]), _percent(entry["accuracy"])] for entry in told["answered"]]
    sets = [
        [
            _percent(float(promised)),
            *map(_percent, found["coverage"].values()),
            f"{found['mean_size']:.2f}",
            _percent(found["empty"]),
        ]
        for promised, found in told["conformal"].items()
    ]
    header = ["point", "threshold", "sensitivity", "specificity", "accuracy", "referred", "accuracy of the others"]
    tables = [
        (
            "Operating points",
            "Chosen on validation films. Referred are the films near the threshold and those unlike the films learnt from "
            f"({Estimate(**told['unlike'])}). The input guard rejects {Estimate(**told['rejected'])} of the films; they count "
            "as wrong or right here as if it did not.",
            header,
            points,
        ),
        ("Calibration in numbers", "Of the probability of pneumonia.", ["measure", "value"], calibration),
        (
            "The surest films",
            "Normal or pneumonia, when the least sure films are left out.",
            ["answered", "right"],
            answered,
        ),
        (
            "Prediction sets",
            "How often the set of classes holds the right one, where validation promised it.",
            ["promised", *record["confusion_matrix"]["classes"], "classes per set", "empty sets"],
            sets,
        ),
    ]
    if "styles" in told:
        header = ["style", "normal", "pneumonia", "specificity", "sensitivity", "AUC"]
        rows = [
            [
                str(entry["style"]),
                str(entry["normal"]),
                str(entry["pneumonia"]),
                _percent(entry["specificity"]),
                _percent(entry["sensitivity"]),
                "-" if entry["auc"] is None else f"{entry['auc']:.3f}",
            ]
            for entry in told["styles"]
        ]
        tables.append(("Film styles", "At the balanced point; styles as found in the training films.", header, rows))
    return tables


def _write_html(
    found: dict[str, Estimate],
    record: dict[str, Any],
    context: ReportContext,
    pngs: dict[str, bytes],
    path: Path,
) -> None:
    facts = [[key, str(value)] for key, value in context.facts.items() if not isinstance(value, dict | list)]
    sections = [
        Section("Measures", header=["measure", "value (95 % interval)"], rows=_measure_rows(found)),
        Section(
            "Confusion matrix",
            picture=pngs["confusion-matrix"],
            caption="Counts and shares of each reference class.",
        ),
        Section(
            "ROC curve",
            picture=pngs["roc"],
            caption="Pneumonia against normal; the band holds 95 % of resampled patients.",
        ),
        Section(
            "The surest mistakes",
            picture=pngs["mistakes"],
            caption="Wrong answers with the highest probability.",
        ),
    ]
    if "answered" in pngs:
        sections += [
            Section(
                "Calibration",
                picture=pngs["calibration"],
                caption="What is said against what is so, in tenths of the films; filled: told how frequent pneumonia is.",
            ),
            Section(
                "Leaving films to a person",
                picture=pngs["answered"],
                caption="Accuracy, normal against pneumonia, on the share of films about which the detector is surest.",
            ),
        ]
    sections += [Section(title, [words], header, rows) for title, words, header, rows in _decision_tables(record)]
    if "training" in pngs:
        sections.insert(3, Section("Training", picture=pngs["training"], caption="Loss and accuracy per epoch."))
    sections.append(Section("How this was made", header=["fact", "value"], rows=facts))
    write_page(path, f"{context.title}, {context.split}", _lead(record), sections, context.synthetic)

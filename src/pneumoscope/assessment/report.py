"""Report of an evaluation: report.json, report.md, a self-contained report.html, predictions.csv and figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumoscope.assessment.acceptance import acceptance_tables
from pneumoscope.assessment.decision_tables import Table, decision_tables, format_estimate
from pneumoscope.assessment.figures import (
    draw_accuracy_over_coverage,
    draw_calibration,
    draw_confusion_matrix,
    draw_mistakes,
    draw_roc,
    draw_training,
    most_confident_mistakes,
)
from pneumoscope.decision import DecisionPolicy
from pneumoscope.evaluation.decisions import DecisionOutcomes, measure_decisions
from pneumoscope.evaluation.intervals import LEVEL, RESAMPLES, Estimate, estimate_metrics
from pneumoscope.evaluation.metrics import confusion_matrices
from pneumoscope.evaluation.predictions import PredictionTable, save_predictions
from pneumoscope.files import as_json
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import png_of, save_png
from pneumoscope.types import BINARY, NOTICE, SYNTHETIC_NOTICE, ClassScheme

MISTAKES = 8
_DISPLAY_NAMES = {
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
_METRICS_HEADER = ["measure", "value (95 % interval)"]
# Title and caption of each figure, in the order of the report.
_CAPTIONS = {
    "confusion-matrix": ("Confusion matrix", "Counts and shares of each reference class."),
    "roc": ("ROC curve", "Pneumonia against normal; the band holds 95 % of resampled patients."),
    "training": ("Training", "Loss and accuracy per epoch."),
    "mistakes": ("The surest mistakes", "Wrong predictions with the highest probability."),
    "calibration": (
        "Calibration",
        "Predicted probability against observed frequency, in tenths of the images; filled: with the prevalence of these images.",
    ),
    "answered": (
        "Accuracy over coverage",
        "Accuracy, normal against pneumonia, over the share of images with the most certain predictions.",
    ),
}
# Sentence in place of a figure that has nothing to show.
_WITHOUT = {
    "roc": "All films are of one class: there is no curve.",
    "mistakes": "No prediction is wrong.",
}


@dataclass(frozen=True)
class ReportContext:
    """Content of a report besides its numbers.

    Attributes:
        title: Name of the network.
        split: Split of the images.
        synthetic: Whether the images are phantoms.
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

    @property
    def heading(self) -> str:
        """Heading of the report: title and split."""
        return f"{self.title}, {self.split}"


def display_name(metric: str, scheme: ClassScheme = BINARY) -> str:
    """Name of a metric as reports on some classes show it."""
    if metric in _DISPLAY_NAMES:
        return scheme.named(_DISPLAY_NAMES[metric])
    kind, _, name = metric.partition("_")
    return f"{'AUC' if kind == 'auc' else kind}, {name}"


def measure(table: PredictionTable, context: ReportContext) -> dict[str, Any]:
    """Compute the numbers of a report, as in `report.json`, before anything is drawn or written.

    Args:
        table: Probabilities and labels.
        context: Title and provenance.
    """
    estimates = estimate_metrics(
        table.probability, table.label, table.patients, table.class_names, threshold=table.threshold
    )
    record = _record(table, estimates, context)
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
    """Write predictions, report and figures.

    Args:
        record: Result of `measure` for the same table and context.
        table: Probabilities and labels.
        images: (n, height, width) uint8, in the order of the table; only the mistakes are shown.
        context: Title and provenance.
        folder: Folder of the report.

    Returns:
        The report as it is read back from `report.json`.
    """
    estimates = {name: Estimate(**values) for name, values in record["measures"].items()}
    pngs = {name: png_of(figure) for name, figure in _figures(table, images, estimates["auc"], context).items()}
    for name, png in pngs.items():
        save_png(png, folder / f"{name}.png")
    save_predictions(table, folder / "predictions.csv")
    sections, markdown = _sections(estimates, record, context, pngs), _markdown(estimates, record, context)
    write_report_files(folder / "report", record, context.heading, _lead(record), sections, context.synthetic, markdown)
    plain: dict[str, Any] = json.loads(as_json(record))
    return plain


def _figures(
    table: PredictionTable, images: NDArray[np.uint8], auc: Estimate, context: ReportContext
) -> dict[str, Figure]:
    """Figures of a report by the names of their files."""
    title, synthetic = context.title, context.synthetic
    mistakes = most_confident_mistakes(table, MISTAKES)
    figures = {"confusion-matrix": draw_confusion_matrix(table, context.heading, synthetic)}
    if 0 < (table.label > 0).sum() < len(table):
        figures["roc"] = draw_roc(table, auc, context.heading, synthetic)
    if len(mistakes):
        figures["mistakes"] = draw_mistakes(
            table, images[mistakes], mistakes, f"{title}: the surest mistakes", synthetic
        )
    if context.policy:
        balanced = context.policy.operating_points["balanced"]
        figures["calibration"] = draw_calibration(table, context.policy.prevalence, title, synthetic)
        figures["answered"] = draw_accuracy_over_coverage(table, balanced, title, synthetic)
    if context.history:
        figures["training"] = draw_training(context.history, title, synthetic)
    return figures


def _record(table: PredictionTable, estimates: dict[str, Estimate], context: ReportContext) -> dict[str, Any]:
    matrix = confusion_matrices(table.label, table.predicted, len(table.class_names), np.ones((1, len(table))))[0]
    scheme = ClassScheme(tuple(table.class_names))
    return {
        "title": context.title,
        "split": context.split,
        "synthetic": context.synthetic,
        "notice": NOTICE + (f" {SYNTHETIC_NOTICE}" if context.synthetic else ""),
        "films": len(table),
        "patients": len(set(table.patients)),
        "films_per_class": {n: int((table.label == i).sum()) for i, n in enumerate(table.class_names)},
        _prevalence_of(scheme): float((table.label > 0).mean()),
        "threshold": scheme.named(_describe_threshold(table.threshold)),
        "interval": {"level": LEVEL, "method": "percentile bootstrap over patients", "resamples": RESAMPLES},
        "confusion_matrix": {"classes": list(table.class_names), "counts": matrix.astype(int).tolist()},
        "measures": {name: asdict(estimate) for name, estimate in estimates.items()},
        "surest_mistakes": _mistakes(table),
        "provenance": context.facts,
    }


def _prevalence_of(scheme: ClassScheme) -> str:
    return f"prevalence_of_{scheme.positive}"


def _describe_threshold(threshold: float | None) -> str:
    if threshold is None:
        return "the most probable class; pneumonia where its probability is at least 0.5"
    return f"pneumonia where its probability is at least {threshold:.4f}; of which kind, the more probable"


def _mistakes(table: PredictionTable) -> list[dict[str, Any]]:
    predicted = table.predicted
    return [
        {
            "file": table.paths[i],
            "reference": table.class_names[table.label[i]],
            "prediction": table.class_names[predicted[i]],
            "probability": round(float(table.probability[i, predicted[i]]), 4),
        }
        for i in most_confident_mistakes(table, MISTAKES)
    ]


def _scheme(record: dict[str, Any]) -> ClassScheme:
    return ClassScheme(tuple(record["confusion_matrix"]["classes"]))


def _lead(record: dict[str, Any]) -> str:
    scheme = _scheme(record)
    return (
        f"{record['films']} {'' if record['split'] == 'all' else record['split'] + ' '}films of {record['patients']} patients, "
        f"{100 * record[_prevalence_of(scheme)]:.1f} % with {scheme.positive}. Intervals: 95 %, bootstrap over patients."
    )


def _metric_rows(estimates: dict[str, Estimate], record: dict[str, Any]) -> list[list[str]]:
    return [
        [display_name(name, _scheme(record)), format_estimate(name, estimate)] for name, estimate in estimates.items()
    ]


def _decision_tables(record: dict[str, Any]) -> list[Table]:
    """Tables on a detector's decisions; none for a network alone."""
    tables = acceptance_tables(record["acceptance"], _scheme(record)) if "acceptance" in record else []
    if "decisions" in record:
        tables += decision_tables(record["decisions"], _scheme(record))
    return tables


def _markdown(estimates: dict[str, Estimate], record: dict[str, Any], context: ReportContext) -> str:
    matrix = record["confusion_matrix"]
    counts = [[name, *map(str, line)] for name, line in zip(matrix["classes"], matrix["counts"], strict=True)]
    parts = [
        f"# {context.heading}",
        f"**{SYNTHETIC_NOTICE}**" if context.synthetic else "",
        f"{NOTICE} {_lead(record)}",
        markdown_table(_METRICS_HEADER, _metric_rows(estimates, record)),
        "## Confusion matrix\n\nRows: reference, columns: prediction.",
        markdown_table(["", *matrix["classes"]], counts),
        *(
            f"## {table.title}\n\n{table.description}\n\n{markdown_table(table.header, table.rows)}"
            for table in _decision_tables(record)
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(
    estimates: dict[str, Estimate], record: dict[str, Any], context: ReportContext, pngs: dict[str, bytes]
) -> list[Section]:
    """Sections of `report.html`."""
    facts = [[key, str(value)] for key, value in context.facts.items() if not isinstance(value, dict | list)]
    scheme = _scheme(record)
    shown = [
        Section(heading, picture=pngs[name], caption=scheme.named(caption))
        if name in pngs
        else Section(heading, [_WITHOUT[name]])
        for name, (heading, caption) in _CAPTIONS.items()
        if name in pngs or name in _WITHOUT
    ]
    return [
        Section("Measures", header=_METRICS_HEADER, rows=_metric_rows(estimates, record)),
        *shown,
        *(Section(each.title, [each.description], each.header, each.rows) for each in _decision_tables(record)),
        Section("How this was made", header=["fact", "value"], rows=facts),
    ]

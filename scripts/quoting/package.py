"""Imports from pneumoscope, all in one place."""

from pathlib import Path

import numpy as np

from pneumoscope.assessment.standards import (
    STANDARDS,
    FilledStandard,
    collect_facts,
    fill_standard,
    filled_as_markdown,
    load_standard,
    read_evaluation,
    read_stated,
)
from pneumoscope.bundle import SHIPPED, load_bundle
from pneumoscope.data.cue_report import cue_table
from pneumoscope.data.cues import Cue
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.calibration import ece_under_perfect_calibration
from pneumoscope.evaluation.intervals import (
    Estimate,
    estimate_of,
    interval_of,
    patient_weights,
    range_text,
    wilson_interval,
)
from pneumoscope.evaluation.metrics import compute_metrics
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.study.comparison import HEADER as COMPARISON_HEADER
from pneumoscope.study.comparison import REPRODUCTION_HEADER, reproductions
from pneumoscope.study.comparison import table_row as comparison_row
from pneumoscope.types import Split

__all__ = [
    "COMPARISON_HEADER",
    "REPRODUCTION_HEADER",
    "SHIPPED",
    "STANDARDS",
    "Cue",
    "Estimate",
    "FilledStandard",
    "Split",
    "best_operating_point",
    "collect_facts",
    "comparison_row",
    "cue_table",
    "ece_under_perfect_calibration",
    "estimate_of",
    "fill_standard",
    "filled_as_markdown",
    "interval_of",
    "load_bundle",
    "load_predictions",
    "load_standard",
    "markdown_table",
    "metric_differences",
    "pneumonia_probability",
    "range_text",
    "read_evaluation",
    "read_stated",
    "reproductions",
    "wilson_interval",
]


def metric_differences(
    one: Path, other: Path, thresholds: tuple[float, float], metrics: tuple[str, ...]
) -> dict[str, Estimate]:
    """Differences of metrics between two tables of predictions of the same images, with intervals by one bootstrap over patients.

    Args:
        one: `predictions.csv`.
        other: `predictions.csv` of the same images, whose metrics are taken away.
        thresholds: Probability of pneumonia from which on the prediction is pneumonia, of each.
        metrics: Names of metrics of `compute_metrics`.
    """
    tables = [load_predictions(path) for path in (one, other)]
    drawn = patient_weights(tables[0].patients, np.random.default_rng(0))
    weight = np.concatenate([np.ones((1, drawn.shape[1])), drawn])
    names = ("normal", "bacterial", "viral")
    found = [
        compute_metrics(table.probability, table.label, names, weight, threshold)
        for table, threshold in zip(tables, thresholds, strict=True)
    ]
    apart = {name: found[0][name] - found[1][name] for name in metrics}
    return {name: interval_of(float(values[0]), values[1:]) for name, values in apart.items()}

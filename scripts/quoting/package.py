"""Imports from pneumoscope, all in one place."""

from pneumoscope.bundle import SHIPPED, load_bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.calibration import ece_under_perfect_calibration
from pneumoscope.evaluation.intervals import interval_of
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.study.comparison import HEADER as COMPARISON_HEADER
from pneumoscope.study.comparison import table_row as comparison_row

__all__ = [
    "COMPARISON_HEADER",
    "SHIPPED",
    "best_operating_point",
    "comparison_row",
    "ece_under_perfect_calibration",
    "interval_of",
    "load_bundle",
    "load_predictions",
    "markdown_table",
    "pneumonia_probability",
]

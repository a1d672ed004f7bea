"""Publish the test results of the shipped bundles: into results/detector, and summarised into the package for its page.

    .venv/bin/python scripts/publish_measured.py [evaluation]

Where the folder is named that `pneumoscope evaluate --bundle NAME` wrote into, what is quoted of it is copied to
results/detector first. The summary, src/pneumoscope/bundles/measured.json, is made from results/ alone.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import SHIPPED, find_bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.intervals import interval_of, patient_weights
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.files import write_text

RESULTS = Path("results")
OUT = Path("src/pneumoscope/bundles/measured.json")
KEPT = ("report.json", "predictions.csv")
THRESHOLDS = np.round(np.linspace(0, 1, 101), 2)
MEASURES = ("binary_accuracy", "sensitivity", "specificity", "auc", "accuracy", "ece")
# Measures of each operating point, referrals by the guard included; and those of the balanced one as users get its decisions.
OF_POINTS = ("referred", "accuracy_of_answered")
OF_DECIDED = ("sensitivity", "specificity")
DIGITS = 4


def main() -> None:
    if len(sys.argv) > 1:
        copy_evaluations(Path(sys.argv[1]))
    detectors = {find_bundle(name).sha256: detector(RESULTS / "detector" / name) for name in SHIPPED}
    summary = {"detectors": detectors, "study": study()}
    write_text(OUT, json.dumps(summary, ensure_ascii=False, separators=(",", ":")) + "\n")


def copy_evaluations(evaluations: Path) -> None:
    """Copy the quoted files of each bundle's evaluation on the test images."""
    for name in SHIPPED:
        target = RESULTS / "detector" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copyfile(evaluations / name / "test" / file, target / file)


def detector(folder: Path) -> dict[str, Any]:
    """Summary of one detector: measures, performance at each threshold and operating point, what becomes of the images, calibration curve."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    table = load_predictions(folder / "predictions.csv")
    probability, positive = pneumonia_probability(table.probability), table.label > 0
    weight = patient_weights(table.patients, np.random.default_rng(0))
    provenance = report["provenance"]
    return {
        "title": report["title"],
        "films": report["films"],
        "patients": report["patients"],
        "normal": int((~positive).sum()),
        "pneumonia": int(positive.sum()),
        "measures": {name: rounded(report["measures"][name]) for name in MEASURES},
        "curve": [performance_at(float(threshold), probability, positive, weight) for threshold in THRESHOLDS],
        "points": {
            name: performance_at(point["threshold"], probability, positive, weight)
            | {measure: rounded(point["measured"][measure]) for measure in OF_POINTS}
            for name, point in report["decisions"]["operating_points"].items()
        },
        "balanced": {
            "flow": report["acceptance"]["flow"],
            **{measure: rounded(report["acceptance"]["measures"][measure]) for measure in OF_DECIDED},
        },
        "calibration": report["decisions"]["calibration"]["curve"],
        "commit": provenance["commit"],
        "date": provenance["date"],
    }


def performance_at(
    threshold: float, probability: NDArray[np.float64], positive: NDArray[np.bool_], weight: NDArray[np.float64]
) -> dict[str, Any]:
    """Counts at a threshold; sensitivity and specificity with their intervals over patients."""
    predicted = probability >= threshold
    performance: dict[str, Any] = {
        "threshold": threshold,
        "true_positive": int((predicted & positive).sum()),
        "false_negative": int((~predicted & positive).sum()),
        "false_positive": int((predicted & ~positive).sum()),
        "true_negative": int((~predicted & ~positive).sum()),
    }
    for name, right, among in (("sensitivity", predicted, positive), ("specificity", ~predicted, ~positive)):
        found = interval_of(float(right[among].mean()), (weight @ (right & among)) / (weight @ among))
        performance[name] = rounded({"value": found.value, "low": found.low, "high": found.high})
    return performance


def study() -> list[dict[str, Any]]:
    """Summary of the study's networks, means over the seeds."""
    comparison = json.loads((RESULTS / "study" / "comparison.json").read_text(encoding="utf-8"))
    return [
        {
            "name": model["name"],
            "title": model["title"],
            "seeds": len(model["runs"]),
            **{
                measure: over_seeds(model["over_seeds"], measure)
                for measure in ("binary_accuracy", "sensitivity", "specificity", "auc")
            },
        }
        for model in comparison["models"]
    ]


def over_seeds(measures: dict[str, dict[str, float]], measure: str) -> dict[str, float]:
    """Mean and standard deviation of a measure, rounded."""
    # A network with two classes has one accuracy.
    spread = measures.get(measure) or measures[measure.removeprefix("binary_")]
    return {name: round(spread[name], DIGITS) for name in ("mean", "standard_deviation")}


def rounded(estimate: dict[str, float]) -> dict[str, float]:
    """Estimate and interval, rounded."""
    return {name: round(estimate[name], DIGITS) for name in ("value", "low", "high")}


if __name__ == "__main__":
    main()

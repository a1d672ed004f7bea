"""What was measured of the shipped bundles on the test films, from results/, into the package: for the page that shows it."""

import json
from pathlib import Path

import numpy as np

from pneumoscope.bundle import SHIPPED, find_bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.intervals import interval_of, patient_weights
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.files import write_text

RESULTS = Path("results")
OUT = Path("src/pneumoscope/bundles/measured.json")
THRESHOLDS = np.round(np.linspace(0, 1, 101), 2)
MEASURES = ("binary_accuracy", "sensitivity", "specificity", "auc", "accuracy", "ece")
DIGITS = 4


def main() -> None:
    detectors = {find_bundle(name).sha256: detector(RESULTS / "detector" / name) for name in SHIPPED}
    told = {"detectors": detectors, "study": study()}
    write_text(OUT, json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n")


def detector(folder: Path) -> dict:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    table = load_predictions(folder / "predictions.csv")
    chance, sick = pneumonia_probability(table.probability), table.label > 0
    weight = patient_weights(table.patients, np.random.default_rng(0))
    made = report["provenance"]
    return {
        "title": report["title"],
        "films": report["films"],
        "patients": report["patients"],
        "normal": int((~sick).sum()),
        "pneumonia": int(sick.sum()),
        "measures": {name: rounded(report["measures"][name]) for name in MEASURES},
        "curve": [at(float(threshold), chance, sick, weight) for threshold in THRESHOLDS],
        "calibration": report["decisions"]["calibration"]["curve"],
        "commit": made["commit"],
        "date": made["date"],
    }


def at(threshold: float, chance: np.ndarray, sick: np.ndarray, weight: np.ndarray) -> dict:
    answer = chance >= threshold
    told = {
        "threshold": threshold,
        "true_positive": int((answer & sick).sum()),
        "false_negative": int((~answer & sick).sum()),
        "false_positive": int((answer & ~sick).sum()),
        "true_negative": int((~answer & ~sick).sum()),
    }
    for name, hit, among in (("sensitivity", answer, sick), ("specificity", ~answer, ~sick)):
        found = interval_of(float(hit[among].mean()), (weight @ (hit & among)) / (weight @ among))
        told[name] = rounded({"value": found.value, "low": found.low, "high": found.high})
    return told


def study() -> list:
    held = json.loads((RESULTS / "study" / "comparison.json").read_text(encoding="utf-8"))
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
        for model in held["models"]
    ]


def over_seeds(told: dict, measure: str) -> dict:
    # A network with two classes has one accuracy.
    found = told.get(measure) or told[measure.removeprefix("binary_")]
    return {name: round(found[name], DIGITS) for name in ("mean", "standard_deviation")}


def rounded(estimate: dict) -> dict:
    return {name: round(estimate[name], DIGITS) for name in ("value", "low", "high")}


if __name__ == "__main__":
    main()

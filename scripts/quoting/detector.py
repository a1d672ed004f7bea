"""Blocks of docs/results/recipes.md: how the recipe of the detector was chosen."""

import statistics
from typing import Any

from quoting.formatting import mean, percent, percent_mean, table
from quoting.results import Blocks, provenance, read, source

_COLUMNS = {
    "within_auc": "within AUC",
    "plain_auc": "plain AUC",
    "odd_auc": "minority AUC",
    "odd_specificity": "minority spec.",
    "shifted_auc": "stress AUC",
    "shifted_specificity": "stress spec.",
    "odd_shifted_auc": "both AUC",
    "odd_shifted_specificity": "both spec.",
    "sensitivity": "sens.",
    "three_class": "3 classes",
    "viral_auc": "viral AUC",
}
_VALIDATION_AUC = {
    "plain_auc": "held-out films as they are",
    "odd_auc": "minority normals",
    "shifted_auc": "normals stored like pneumonias",
    "odd_shifted_auc": "minority normals, stored like pneumonias",
    "within_auc": "within clusters",
}


def ablation() -> str:
    """Stress validation of every recipe, the worst first."""
    recipes = read("detector/ablation.json")["recipes"]
    rows = []
    for name, recipe in recipes.items():
        folds = recipe["folds"]
        cells = [
            (mean if measure.endswith("auc") else percent_mean)([fold[measure] for fold in folds])
            for measure in _COLUMNS
        ]
        rows.append([f"`{name}`", str(len(folds)), *cells])
    rows.sort(key=lambda row: row[2])
    newest = max((recipe["made"] for recipe in recipes.values()), key=lambda made: str(made["date"]))
    note = (
        "Mean (range) over networks: three folds of acquisition clusters, one to three seeds each; from the worst within clusters to the best. "
        f"`experiments/ablate.py RECIPE --seeds N`. The newest: {provenance(newest)}"
    )
    return table(["recipe", "networks", *_COLUMNS.values()], rows, note)


def agreement() -> str:
    """Rank correlation of each AUC of the validation with the AUC on the test images."""
    record = read("detector/agreement.json")
    rows = [
        [
            title,
            *(_interval(record["correlations"][measure][over]) for over in ("networks", "recipes", "within_recipes")),
        ]
        for measure, title in _VALIDATION_AUC.items()
    ]
    recipes = {network["recipe"] for network in record["networks"]}
    note = f"{len(record['networks'])} networks of {len(recipes)} recipes; 95 % intervals, bootstrap over recipes. {source(record)}"
    header = ["AUC of the validation", "rank correlation with the test, networks", "means of recipes", "within recipes"]
    return table(header, rows, note)


_TRIED = {
    "within_auc": "within AUC",
    "shifted_auc": "stress AUC",
    "odd_shifted_auc": "minority and stress AUC",
    "viral_auc": "viral AUC",
    "three_class": "3 classes",
}
_FINER = {
    "within_auc": "within AUC",
    "odd_auc": "minority AUC",
    "viral_auc": "viral AUC",
    "three_class": "3 classes",
}


def methods() -> str:
    """Ways to train the small network that no configuration has, the best within clusters first."""
    record = read("detector/methods.json")["methods"]
    rows = [
        [name.split(",")[0], _folds(entry), str(entry["epochs"]), *_means(entry, _TRIED)]
        for name, entry in sorted(record.items(), key=lambda item: -_mean_of(item[1], "within_auc"))
    ]
    newest = max((entry["made"] for entry in record.values()), key=lambda made: str(made["date"]))
    return table(["method", "folds", "epochs", *_TRIED.values()], rows, provenance(newest))


def resolution() -> str:
    """The same images from copies of 224 pixels and from less reduced files."""
    record = read("detector/resolution.json")
    entries = sorted(record["networks"].values(), key=lambda entry: (entry["side"], entry["source"]))
    titles = {"copy": "copy of 224 x 224 pixels", "finer": "256 pixels on the short side"}
    rows = [[str(entry["side"]), titles[entry["source"]], _folds(entry), *_means(entry, _FINER)] for entry in entries]
    newest = max((entry["made"] for entry in entries), key=lambda made: str(made["date"]))
    note = f"{record['films']:,} training images, {entries[0]['epochs']} epochs. {provenance(newest)}"
    return table(["input, pixels", "images", "folds", *_FINER.values()], rows, note)


def _folds(entry: dict[str, Any]) -> str:
    return ", ".join(str(fold["fold"]) for fold in entry["folds"])


def _mean_of(entry: dict[str, Any], measure: str) -> float:
    return statistics.mean(fold[measure] for fold in entry["folds"])


def _means(entry: dict[str, Any], measures: dict[str, str]) -> list[str]:
    return [
        f"{_mean_of(entry, each):.3f}" if each.endswith("auc") else percent(_mean_of(entry, each)) for each in measures
    ]


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


BLOCKS: Blocks = {"ablation": ablation, "agreement": agreement, "methods": methods, "resolution": resolution}

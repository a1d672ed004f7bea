"""Blocks of docs/results/recipes.md: how the recipe of the detector was chosen."""

from collections.abc import Iterable
from typing import Any

from quoting.formatting import interval, mean, percent, percent_interval, percent_mean, table
from quoting.results import Blocks, Record, detector_reports, provenance, read, source

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


_RIM = "outside the central 70 % black"
# A value and the value as it is shown.
Estimate = tuple[float, str]


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
    note = (
        "Mean (range) over networks: three folds of acquisition clusters, one to three seeds each; from the worst within clusters to the best. "
        f"`experiments/ablate.py RECIPE --seeds N`. The newest: {_newest(recipes.values())}"
    )
    return table(["recipe", "networks", *_COLUMNS.values()], rows, note)


def agreement() -> str:
    """Rank correlation of each AUC of the validation with the AUC on the test images."""
    record = read("detector/agreement.json")
    rows = [
        [
            title,
            *(interval(record["correlations"][measure][over], 2) for over in ("networks", "recipes", "within_recipes")),
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
    "within_unaltered_auc": "within AUC, images as they are",
    "odd_auc": "minority AUC",
    "viral_auc": "viral AUC",
    "three_class": "3 classes",
}


def methods() -> str:
    """Ways to train the small network that no configuration has, the best within clusters first."""
    record = read("detector/methods.json")["methods"]
    rows = [
        [name.split(",")[0], str(entry["side"]), _folds(entry), str(entry["epochs"]), *_each(entry, _TRIED)]
        for name, entry in sorted(record.items(), key=lambda item: -item[1]["folds"][0]["within_auc"])
    ]
    return table(["method", "input, pixels", "folds", "epochs", *_TRIED.values()], rows, _newest(record.values()))


def resolution() -> str:
    """The same images from copies of 224 pixels and from less reduced files."""
    record = read("detector/resolution.json")
    entries = sorted(record["networks"].values(), key=lambda entry: (entry["side"], entry["source"]))
    titles = {
        "copy": "copy of 224 x 224 pixels",
        "reduced": "larger file, reduced to 224 x 224",
        "finer": "larger file",
    }
    rows = [[str(entry["side"]), titles[entry["source"]], _folds(entry), *_each(entry, _FINER)] for entry in entries]
    note = f"{record['films']:,} training images, {entries[0]['epochs']} epochs. {_newest(entries)}"
    return table(["input, pixels", "images", "folds", *_FINER.values()], rows, note)


def goals() -> str:
    """Goals of the detectors, their floors, and the figures of each on the official test images and elsewhere."""
    reports = detector_reports()
    measures = {name: report["measures"] for name, report in reports.items()}
    frames = read("robustness/frame-validation.json")["detectors"]
    maps = {name: read(f"detector/evidence-{name}.json") for name in reports}
    rows = []

    def row(
        title: str, goal: float, floor: float | None, found: dict[str, Estimate], digits: int, less: bool = False
    ) -> None:
        """One measure of every detector; those short of the floor are marked."""
        short = {
            name: floor is not None and (value > floor if less else value < floor) for name, (value, _) in found.items()
        }
        cells = [f"{shown}{' †' if short[name] else ''}" for name, (_, shown) in found.items()]
        rows.append([title, f"{goal:.{digits}f}", "" if floor is None else f"{floor:.{digits}f}", *cells])

    def measured(measure: str, scale: int) -> dict[str, Estimate]:
        show = percent_interval if scale == 100 else interval
        return {name: (scale * each[measure]["value"], show(each[measure])) for name, each in measures.items()}

    row("accuracy, two classes, %", 97.0, 96.2, measured("binary_accuracy", 100), 1)
    row("AUC", 0.996, 0.992, measured("auc", 1), 3)
    row("specificity, balanced, %", 96.5, 95.0, measured("specificity", 100), 1)
    row("sensitivity, balanced, %", 96.5, 96.0, measured("sensitivity", 100), 1)
    row("accuracy, three classes, %", 93.0, 92.0, measured("accuracy", 100), 1)
    row("recall of viral pneumonia, %", 88.0, 86.0, measured("recall_viral", 100), 1)
    row("viral against bacterial, AUC", 0.975, 0.969, measured("auc_viral_vs_bacterial", 1), 3)
    tenth = {
        name: min(report["decisions"]["answered"], key=lambda each: abs(each["answered"] - 0.9))["accuracy"]
        for name, report in reports.items()
    }
    row("right without the tenth nearest the threshold, %", 99.0, 98.5, _alone(tenth, 100, 1), 1)
    for cluster, floor in ((0, 0.94), (7, 0.965)):
        found = {name: _cluster(report, cluster)["auc"] for name, report in reports.items()}
        row(f"AUC in acquisition cluster {cluster}", 0.97, floor, _alone(found, 1, 3), 3)
    black = {name: frames[name]["central 80 % black"]["auc"] for name in reports}
    shown = {name: (each["value"], interval(each)) for name, each in black.items()}
    row("AUC with the central 80 % black", 0.65, None, shown, 2, less=True)
    accuracy = {name: {view: each["accuracy"]["value"] for view, each in frames[name].items()} for name in reports}
    lost = {name: each["as it is"] - each[_RIM] for name, each in accuracy.items()}
    row("points of accuracy lost with a black rim", 3.0, None, _alone(lost, 100, 1), 1, less=True)
    for by, words in (("blurred", "blurred"), ("normal", "by normal films")):
        beaten = {
            name: each["deletion"]["pneumonia"][by]["marked_falls_more_than_mean_map"] for name, each in maps.items()
        }
        shown = {name: (100 * each["value"], percent_interval(each)) for name, each in beaten.items()}
        row(f"maps beat the mean map in pneumonias, {words}, %", 85.0, None, shown, 1)
    note = (
        "Official test images, and the validation for the last four rows; 95 % intervals. † short of the floor; that of `nano` is "
        "95.5 % and .990, which it reaches."
    )
    return table(["", "goal", "floor", *(f"`{name}`" for name in reports)], rows, note)


def _alone(values: dict[str, float], scale: int, digits: int) -> dict[str, Estimate]:
    return {name: (scale * value, f"{scale * value:.{digits}f}") for name, value in values.items()}


def _cluster(report: Record, number: int) -> Record:
    return next(each for each in report["decisions"]["styles"] if each["style"] == number)


def _newest(entries: Iterable[Record]) -> str:
    """Provenance of the measurement made last."""
    return provenance(max((entry["made"] for entry in entries), key=lambda made: str(made["date"])))


def _folds(entry: dict[str, Any]) -> str:
    return ", ".join(str(fold["fold"]) for fold in entry["folds"])


def _each(entry: dict[str, Any], measures: dict[str, str]) -> list[str]:
    """Each measure on each fold: folds differ by more than methods do, so that no mean is over some of them."""
    return [
        ", ".join(f"{fold[each]:.3f}" if each.endswith("auc") else percent(fold[each]) for fold in entry["folds"])
        for each in measures
    ]


BLOCKS: Blocks = {
    "ablation": ablation,
    "agreement": agreement,
    "methods": methods,
    "resolution": resolution,
    "goals": goals,
}

"""Comparison of the study's networks with the slides: sentences, tables and a chart over training seeds.

Every training (seed) has an interval of its own, over the patients of the test images. The mean over seeds has none: it says
nothing about other seeds than these few.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pneumoscope.evaluation.intervals import range_text
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import CLASS_COLOURS, drawing, png_of, save_png
from pneumoscope.study.experiments import EXPERIMENTS, experiment
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

_TITLE = "The study's models compared"
_SHOWN = ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc")
HEADER = [
    "model",
    "slides",
    "ours: mean ± s.d. (seeds)",
    "lowest-highest seed",
    "2-class accuracy",
    "sens.",
    "spec.",
    "AUC",
    "epochs",
]
REPRODUCTION_HEADER = ["model", "the slides' accuracy"]
_SEEDS_HEADER = ["model", "seed", "epochs", "minutes", "validation accuracy", "test accuracy (95 % interval)"]
_OURS, _SLIDES = CLASS_COLOURS["normal"], CLASS_COLOURS["bacterial"]


def compare(runs: dict[str, list[RunFolder]], facts: dict[str, Any]) -> dict[str, Any]:
    """Collect what the evaluated runs found, as in `comparison.json`.

    Args:
        runs: Name of an experiment to its evaluated runs, one per seed.
        facts: Facts of the study: data, plan, provenance, `synthetic`.
    """
    notice = NOTICE + (f" {SYNTHETIC_NOTICE}" if facts["synthetic"] else "")
    return {"notice": notice, **facts, "models": [_model_record(name, folders) for name, folders in runs.items()]}


def write_comparison(record: dict[str, Any], out: Path) -> None:
    """Write `comparison.json`, `.md`, `.html` and `.png`.

    Args:
        record: Result of `compare`, or what is read from `comparison.json`.
        out: Folder of the comparison.
    """
    chart = png_of(draw_accuracies(record["models"], record["synthetic"]))
    save_png(chart, out / "comparison.png")
    sections, synthetic = _sections(record, chart), record["synthetic"]
    write_report_files(out / "comparison", record, _TITLE, _lead(record), sections, synthetic, _markdown(record))


def _lead(record: dict[str, Any]) -> str:
    models = record["models"]
    names = {model["name"] for model in models}
    absent = ", ".join(entry.title for entry in EXPERIMENTS if entry.name not in names)
    return (
        f"Accuracy on the {models[0]['films']} test films of {models[0]['patients']} patients. Each network was trained "
        f"{_times(len(models[0]['runs']))}. The 95 % interval of a training is over the patients; "
        f"the mean over the trainings has none.{f' Not trained here: {absent}.' if absent else ''}"
    )


def _times(seeds: int) -> str:
    return "once" if seeds == 1 else f"{seeds} times, with other random numbers each time (seeds 0 to {seeds - 1})"


def _markdown(record: dict[str, Any]) -> str:
    models, synthetic = record["models"], record["synthetic"]
    parts = [
        f"# {_TITLE}",
        f"**{SYNTHETIC_NOTICE}**" if synthetic else "",
        f"{NOTICE} {_lead(record)}",
        markdown_table(REPRODUCTION_HEADER, answers) if (answers := reproductions(record)) else "",
        markdown_table(HEADER, [table_row(model, synthetic) for model in models]),
        markdown_table(_SEEDS_HEADER, _seed_rows(models)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(record: dict[str, Any], chart: bytes) -> list[Section]:
    models, synthetic = record["models"], record["synthetic"]
    title, mark = ("Test accuracy", "") if synthetic else (_QUESTION, " The diamond is the figure on the slides.")
    return [
        Section(
            title,
            header=[] if synthetic else REPRODUCTION_HEADER,
            rows=reproductions(record),
            picture=chart,
            caption="Test accuracy. Each point is one training (seed) with its 95 % interval over patients, "
            f"the line is the mean over the seeds.{mark}",
        ),
        Section(
            "In numbers",
            [
                "In percent, except for the AUC. 2-class accuracy, sensitivity, specificity and AUC are means over the seeds."
            ],
            HEADER,
            [table_row(model, synthetic) for model in models],
        ),
        Section("Every training", header=_SEEDS_HEADER, rows=_seed_rows(models)),
    ]


_QUESTION = "Were the figures on the slides reproduced?"


def reproductions(record: dict[str, Any]) -> list[list[str]]:
    """Whether the slides' figures were reproduced: title and sentence of each model; none for synthetic images.

    Args:
        record: Result of `compare`, or what is read from `comparison.json`.
    """
    return [] if record["synthetic"] else [[model["title"], _reproduction(model)] for model in record["models"]]


def _reproduction(model: dict[str, Any]) -> str:
    slides, runs = model["slides_accuracy"], model["runs"]
    if slides is None:
        return "No figure on the slides."
    values = [run["measures"]["accuracy"]["value"] for run in runs]
    lowest, highest, single = min(values), max(values), len(values) == 1
    ours = "our only training" if single else f"our {len(values)} trainings"
    # The slides give five digits: what is nearer than half an image is the same count of images.
    same = 0.5 / model["films"]
    if lowest - same <= slides <= highest + same:
        inside = f"equals that of {ours}" if single else f"lies inside the range of {ours} ({_range(lowest, highest)})"
        return f"Reproduced. The slides' {_percent(slides)} % {inside}."
    side, nearest = ("below", lowest) if slides < lowest else ("above", highest)
    distance = f"{_points(slides, nearest)} points"
    if not single:
        distance += f" at the least and by {_points(slides, float(np.mean(values)))} on average"
    outcome, intervals = _intervals(runs, slides)
    return (
        f"{outcome}. The slides' {_percent(slides)} % is {side} {'' if single else 'all of '}{ours} "
        f"({_range(lowest, highest)}), by {distance}, {intervals}."
    )


def _intervals(runs: list[dict[str, Any]], slides: float) -> tuple[str, str]:
    """Outcome for a figure outside the range of the seeds, and in which of their intervals it lies, in words."""
    ends = {run["seed"]: _interval(run) for run in runs if _interval(run)[0] is not None}
    if not ends:
        return "Not reproduced", "and without a 95 % interval"
    holding = {seed: each for seed, each in ends.items() if each[0] <= slides <= each[1]}
    every = f"its 95 % interval ({_range(*ends[runs[0]['seed']])})" if len(runs) == 1 else "the 95 % interval of each"
    if not holding:
        return "Not reproduced", f"and outside {every}"
    if len(holding) == len(runs):
        return "Reproduced within the interval", f"but inside {every}"
    named = ", ".join(f"seed {seed} ({_range(*each)})" for seed, each in holding.items())
    return "Partly reproduced", f"but inside the 95 % interval of {named}"


def _interval(run: dict[str, Any]) -> tuple[float, float]:
    accuracy = run["measures"]["accuracy"]
    return accuracy["low"], accuracy["high"]


def _points(one: float, other: float) -> str:
    return f"{100 * abs(one - other):.1f}"


def _range(lowest: float, highest: float) -> str:
    return f"{_percent(lowest)} %" if lowest == highest else f"{range_text(100 * lowest, 100 * highest, 1)} %"


def _model_record(name: str, folders: list[RunFolder]) -> dict[str, Any]:
    entry = experiment(name)
    runs = [_run_record(run) for run in folders]
    return {
        "name": name,
        "title": entry.title,
        "slides_accuracy": entry.slides_accuracy,
        "films": runs[0]["films"],
        "patients": runs[0]["patients"],
        "weights": runs[0]["weights"],
        "over_seeds": _over_seeds(runs),
        "runs": runs,
    }


def _over_seeds(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and values over seeds of each metric that is defined in some run."""
    summary = {}
    for metric in _SHOWN:
        values = [run["measures"][metric]["value"] for run in runs if metric in run["measures"]]
        defined = [value for value in values if value is not None and value == value]
        if defined:
            deviation = float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")
            summary[metric] = {"mean": float(np.mean(defined)), "standard_deviation": deviation, "values": defined}
    return summary


def _run_record(run: RunFolder) -> dict[str, Any]:
    report = json.loads((run.path / "evaluation" / "test" / "report.json").read_text(encoding="utf-8"))
    epochs = run.read_metrics()
    provenance = run.provenance()
    return {
        "seed": provenance["seed"],
        "epochs": len(epochs),
        "seconds_in_epochs": round(sum(epoch["seconds"] for epoch in epochs), 1),
        "films_per_second": round(float(np.median([epoch["films_per_second"] for epoch in epochs])), 1),
        "final_validation_accuracy": epochs[-1]["val_accuracy"],
        "final_validation_loss": epochs[-1]["val_loss"],
        "films": report["films"],
        "patients": report["patients"],
        "weights": provenance["facts"]["weights"],
        "trained_at_commit": provenance["commit"],
        "confusion_matrix": report["confusion_matrix"],
        "measures": report["measures"],
    }


def _percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f}"


def table_row(model: dict[str, Any], synthetic: bool = False) -> list[str]:
    """Row of the comparison table, from a model of `comparison.json`; percent except for the AUC."""
    means = model["over_seeds"]

    def mean(name: str) -> float | None:
        value: float | None = means.get(name, {}).get("mean")
        return value

    deviation = means["accuracy"]["standard_deviation"]
    seeds = len(model["runs"])
    defined = deviation is not None and deviation == deviation
    accuracy = _percent(mean("accuracy"))
    ours = f"{accuracy} ± {_percent(deviation)} ({seeds})" if defined else f"{accuracy} (1)"
    auc = mean("auc")
    epochs = [run["epochs"] for run in model["runs"]]
    return [
        model["title"],
        _percent(None if synthetic else model["slides_accuracy"]),
        ours,
        _percent_range([run["measures"]["accuracy"]["value"] for run in model["runs"]]),
        _percent(mean("binary_accuracy") if "binary_accuracy" in means else mean("accuracy")),
        _percent(mean("sensitivity")),
        _percent(mean("specificity")),
        "–" if auc is None else f"{auc:.3f}",
        f"{min(epochs)}-{max(epochs)}" if min(epochs) != max(epochs) else str(epochs[0]),
    ]


def _percent_range(values: list[float]) -> str:
    lowest, highest = _percent(min(values)), _percent(max(values))
    return lowest if lowest == highest else range_text(100 * min(values), 100 * max(values), 1)


def _seed_rows(models: list[dict[str, Any]]) -> list[list[str]]:
    """Rows of the table of every training."""
    return [
        [
            model["title"],
            str(run["seed"]),
            str(run["epochs"]),
            f"{run['seconds_in_epochs'] / 60:.1f}",
            _percent(run["final_validation_accuracy"]),
            f"{_percent(run['measures']['accuracy']['value'])} ({'-'.join(map(_percent, _interval(run)))})",
        ]
        for model in models
        for run in model["runs"]
    ]


def draw_accuracies(models: list[dict[str, Any]], synthetic: bool) -> Figure:
    """Draw a row per model: its trainings with their intervals, the mean over them, and the slides' figure.

    Args:
        models: Models of a comparison.
        synthetic: Whether the images are phantoms, on which the slides have no figure.
    """
    with drawing(5.4, 1.6 + 0.95 * len(models), synthetic) as figure:
        axes = figure.subplots()
        for row, model in enumerate(models):
            _draw_model(axes, row, model, synthetic)
        seed = Line2D([], [], marker="o", color=_OURS, label="one training, 95 % interval")
        mean = Line2D([], [], marker="|", markersize=14, markeredgewidth=2.5, linestyle="", color=_OURS, label="mean")
        slides = Line2D([], [], marker="D", markersize=7, linestyle="", color=_SLIDES, label="slides")
        axes.set_yticks(range(len(models)), [model["title"].replace(", ", ",\n") for model in models])
        axes.set_ylim(len(models) - 0.4, -0.6)
        axes.set(xlabel=f"accuracy on {'phantom films' if synthetic else 'the official test films'} (%)")
        axes.grid(axis="x", alpha=0.3)
        axes.margins(x=0.08)
        axes.tick_params(axis="both", labelsize=11)
        axes.tick_params(axis="y", length=0)
        handles = [seed, mean] if synthetic else [seed, mean, slides]
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=len(handles),
            fontsize=10,
            columnspacing=1.0,
            handletextpad=0.5,
        )
    return figure


def _draw_model(axes: Axes, row: int, model: dict[str, Any], synthetic: bool) -> None:
    found = [run["measures"]["accuracy"] for run in model["runs"]]
    rows = row + 0.5 * ((np.arange(len(found)) + 0.5) / len(found) - 0.5)
    for at, estimate in zip(rows.tolist(), found, strict=True):
        if estimate["low"] is not None:
            axes.hlines(at, 100 * estimate["low"], 100 * estimate["high"], color=_OURS, linewidth=1.4)
        axes.plot(100 * estimate["value"], at, "o", markersize=5, color=_OURS)
    mean = 100 * model["over_seeds"]["accuracy"]["mean"]
    axes.vlines(mean, row - 0.3, row + 0.3, color=_OURS, linewidth=2.5)
    axes.annotate(
        f"{mean:.1f}", (mean, row - 0.32), ha="center", va="bottom", color=_OURS, fontsize=11, fontweight="bold"
    )
    if model["slides_accuracy"] is not None and not synthetic:
        slides = 100 * model["slides_accuracy"]
        axes.vlines(slides, row - 0.28, row + 0.36, color=_SLIDES, linewidth=1.4, linestyle=(0, (2, 2)))
        axes.plot(slides, row + 0.36, "D", markersize=7, color=_SLIDES)
        axes.annotate(
            f"{slides:.1f}",
            (slides, row + 0.36),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=_SLIDES,
            fontsize=11,
            fontweight="bold",
        )

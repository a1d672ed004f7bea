"""Table and chart that compare the study's networks, over seeds, with the slides."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pneumoscope.files import write_json, write_text
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_page
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, drawing, png_of, save_png
from pneumoscope.study.experiments import EXPERIMENTS, experiment
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

_TITLE = "The study's models compared"
_SHOWN = ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc")
HEADER = [
    "model",
    "slides",
    "ours: mean ± s.d. (seeds)",
    "95 % interval, seed 0",
    "2-class accuracy",
    "sens.",
    "spec.",
    "AUC",
    "epochs",
]


def write_comparison(runs: dict[str, list[RunFolder]], facts: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write `comparison.json`, `.md`, `.html` and `.png`.

    Args:
        runs: Name of an experiment to its evaluated runs, one per seed.
        facts: Facts of the study: data, plan, provenance, `synthetic`.
        out: Folder of the comparison.

    Returns:
        The comparison as plain data.
    """
    models = [_model_record(name, folders) for name, folders in runs.items()]
    synthetic = bool(facts["synthetic"])
    record = {"notice": NOTICE + (f" {SYNTHETIC_NOTICE}" if synthetic else ""), **facts, "models": models}
    chart = png_of(_chart(models, synthetic))
    save_png(chart, out / "comparison.png")
    write_text(out / "comparison.md", _markdown(models, synthetic))
    write_page(out / "comparison.html", _TITLE, _lead(models), _sections(models, chart, synthetic), synthetic)
    write_json(out / "comparison.json", record)
    return record


def _lead(models: list[dict[str, Any]]) -> str:
    return (
        f"Accuracy on the {models[0]['films']} test films of {models[0]['patients']} patients; mean and standard deviation "
        f"over training seeds, and the 95 % interval over patients for the first of them. {_not_trained(models)}{NOTICE}"
    )


def _not_trained(models: list[dict[str, Any]]) -> str:
    absent = [entry.title for entry in EXPERIMENTS if entry.name not in {model["name"] for model in models}]
    return f"Not trained here: {', '.join(absent)}. " if absent else ""


def _markdown(models: list[dict[str, Any]], synthetic: bool) -> str:
    warning = f"**{SYNTHETIC_NOTICE}**\n\n" if synthetic else ""
    table = markdown_table(HEADER, [table_row(model, synthetic) for model in models])
    return f"# {_TITLE}\n\n{warning}{_lead(models)}\n\n{table}\n"


def _sections(models: list[dict[str, Any]], chart: bytes, synthetic: bool) -> list[Section]:
    return [
        Section(
            "Accuracy",
            header=HEADER,
            rows=[table_row(model, synthetic) for model in models],
            picture=chart,
            caption="Test accuracy: the slides' and ours.",
        ),
        Section(
            "Every training",
            header=["model", "seed", "epochs", "minutes", "validation", "test (95 % interval)"],
            rows=[_seed_row(model, run) for model in models for run in model["runs"]],
        ),
    ]


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

    first = model["runs"][0]["measures"]["accuracy"]
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
        f"{_percent(first['value'])} ({_percent(first['low'])}-{_percent(first['high'])})",
        _percent(mean("binary_accuracy") if "binary_accuracy" in means else mean("accuracy")),
        _percent(mean("sensitivity")),
        _percent(mean("specificity")),
        "–" if auc is None else f"{auc:.3f}",
        f"{min(epochs)}-{max(epochs)}" if min(epochs) != max(epochs) else str(epochs[0]),
    ]


def _seed_row(model: dict[str, Any], run: dict[str, Any]) -> list[str]:
    accuracy = run["measures"]["accuracy"]
    return [
        model["title"],
        str(run["seed"]),
        str(run["epochs"]),
        f"{run['seconds_in_epochs'] / 60:.1f}",
        _percent(run["final_validation_accuracy"]),
        f"{_percent(accuracy['value'])} ({_percent(accuracy['low'])}-{_percent(accuracy['high'])})",
    ]


def _chart(models: list[dict[str, Any]], synthetic: bool) -> Figure:
    with drawing(8.6, 4.2, synthetic) as figure:
        axes = figure.subplots()
        shift = 0.0 if synthetic else 0.2  # the slides have no accuracy on phantoms to compare with
        for position, model in enumerate(models):
            slides = model["slides_accuracy"]
            if slides is not None and not synthetic:
                bar = axes.bar(position - shift, 100 * slides, 0.36, color="#BBBBBB")
                axes.bar_label(bar, fmt="%.1f", fontsize=9, color=NEUTRAL, padding=2)
            _draw_ours(axes, position + shift, model)
        seed = Line2D([], [], marker="o", color="black", markerfacecolor="white", label="one seed, 95 % interval")
        bars = [Patch(color=CLASS_COLOURS["normal"], label="ours, mean over seeds")]
        bars += [] if synthetic else [Patch(color="#BBBBBB", label="slides")]
        axes.set_xticks(range(len(models)), [model["title"] for model in models], fontsize=9)
        axes.set_ylim(0, 105)
        images = "phantom films" if synthetic else "the official test films"
        axes.set(ylabel="test accuracy (%)", title=f"The study's models on {images}")
        axes.legend(handles=[*bars, seed], loc="upper center", ncols=3, fontsize=9, bbox_to_anchor=(0.5, -0.08))
    return figure


def _draw_ours(axes: Axes, at: float, model: dict[str, Any]) -> None:
    values = [100 * value for value in model["over_seeds"]["accuracy"]["values"]]
    axes.bar(at, np.mean(values), 0.36, color=CLASS_COLOURS["normal"])
    for number, run in enumerate(model["runs"]):
        estimate = run["measures"]["accuracy"]
        x = at + 0.09 * (number - (len(values) - 1) / 2)
        if estimate["low"] is not None:
            axes.vlines(x, 100 * estimate["low"], 100 * estimate["high"], color="black", linewidth=1)
        axes.plot(x, 100 * estimate["value"], "o", markersize=4, markerfacecolor="white", color="black")
    axes.annotate(f"{np.mean(values):.1f}", (at, 4), ha="center", color="white", fontsize=10, fontweight="bold")

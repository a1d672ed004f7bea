"""The figures of an evaluation: confusion matrix, ROC, training curves, the most confident mistakes."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumoscope.decision import at_prevalence, is_referred, pneumonia_probability
from pneumoscope.evaluation.calibration import calibration_curve
from pneumoscope.evaluation.intervals import Estimate, patient_weights
from pneumoscope.evaluation.metrics import Floats, confusion_matrices, roc_curve
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.evaluation.selective import risk_coverage
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, bare, drawing
from pneumoscope.types import OperatingPoint

_BAND_RESAMPLES = 500


def draw_confusion_matrix(table: PredictionTable, title: str, synthetic: bool) -> Figure:
    """Counts, and shares of each reference class as shades."""
    classes = len(table.class_names)
    matrix = confusion_matrices(table.label, table.answer, classes, np.ones((1, len(table))))[0]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with drawing(2.2 + 1.15 * classes, 1.6 + 1.0 * classes, synthetic) as figure:
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row in range(classes):
            for column in range(classes):
                ink = "white" if share[row, column] > 0.55 else "#222222"
                words = f"{matrix[row, column]:.0f}\n{100 * share[row, column]:.0f} %"
                axes.text(column, row, words, ha="center", va="center", color=ink, fontsize=11)
        axes.set_xticks(range(classes), table.class_names)
        axes.set_yticks(range(classes), [f"{n}\n(n={matrix[i].sum():.0f})" for i, n in enumerate(table.class_names)])
        axes.set(xlabel="answer of the network", ylabel="reference", title=title)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return figure


def draw_roc(table: PredictionTable, auc: Estimate, title: str, synthetic: bool) -> Figure:
    """Pneumonia against normal, with a 95 % band over patients and the operating point."""
    score, positive = pneumonia_probability(table.probability), table.label > 0
    with drawing(5, 4.8, synthetic) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], ":", color=NEUTRAL, linewidth=1)
        if positive.any() and not positive.all():
            _draw_curve(axes, score, positive, table)
            words = f"AUC {auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})"
            axes.text(0.97, 0.32, words, ha="right", transform=axes.transAxes)
            axes.legend(loc="lower right")
        else:
            axes.text(0.5, 0.55, "all films are of one kind: there is no curve", ha="center", color=NEUTRAL)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_aspect("equal")
    return figure


def _draw_curve(axes: Axes, score: Floats, positive: NDArray[np.bool_], table: PredictionTable) -> None:
    grid = np.linspace(0, 1, 201)
    resampled = []
    for row in patient_weights(table.patients, np.random.default_rng(0), _BAND_RESAMPLES).astype(int):
        drawn_score, drawn_positive = np.repeat(score, row), np.repeat(positive, row)
        if drawn_positive.any() and not drawn_positive.all():
            resampled.append(np.interp(grid, *roc_curve(drawn_score, drawn_positive)))
    low, high = np.quantile(np.array(resampled), [0.025, 0.975], axis=0)
    blue = CLASS_COLOURS["normal"]
    axes.fill_between(grid, low, high, color=blue, alpha=0.18, linewidth=0, label="95 % over patients")
    axes.plot(*roc_curve(score, positive), color=blue, linewidth=2)
    threshold = 0.5 if table.threshold is None else table.threshold
    answer = score >= threshold
    point = (answer[~positive].mean(), answer[positive].mean())
    axes.plot(*point, "o", color=CLASS_COLOURS["bacterial"], markersize=8, label=f"threshold {threshold:.2g}")


def draw_calibration(table: PredictionTable, assumed: float, title: str, synthetic: bool) -> Figure:
    """What is said against what is so, as answered and once the prevalence of these images is told.

    Args:
        table: Answers and labels.
        assumed: Prevalence that the probabilities hold for.
        title: Of the figure.
        synthetic: Whether the images are phantoms.
    """
    positive = table.label > 0
    said = {f"as answered, for {100 * assumed:.0f} % ill": (table.probability, "none")}
    if 0 < (own := float(positive.mean())) < 1:
        said[f"told that {100 * own:.0f} % are ill"] = (at_prevalence(table.probability, assumed, own), "full")
    with drawing(5, 4.8, synthetic) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], ":", color=NEUTRAL, linewidth=1)
        for (words, (probability, fill)), colour in zip(said.items(), ("normal", "bacterial"), strict=False):
            curve = calibration_curve(pneumonia_probability(probability), positive)
            axes.plot(
                [point[0] for point in curve],
                [point[1] for point in curve],
                "o-",
                color=CLASS_COLOURS[colour],
                fillstyle=fill,
                linewidth=1.4,
                label=words,
            )
        axes.set(xlabel="probability of pneumonia, mean of a tenth of the films", ylabel="share with pneumonia")
        axes.set(title=f"{title}: calibration", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    return figure


def draw_answered(table: PredictionTable, balanced: OperatingPoint, title: str, synthetic: bool) -> Figure:
    """Accuracy, normal against pneumonia, over the share of images answered, the surest first; the refer bands as points."""
    probability, positive = pneumonia_probability(table.probability), table.label > 0
    coverage, risk = risk_coverage(probability, positive, balanced.threshold)
    with drawing(6, 4, synthetic) as figure:
        axes = figure.subplots()
        # The first few images say nothing: one mistake among ten is ten percent.
        shown = coverage >= min(0.2, coverage[-1])
        axes.plot(100 * coverage[shown], 100 * (1 - risk[shown]), color=CLASS_COLOURS["normal"], linewidth=2)
        kept = ~is_referred(probability, balanced)
        if kept.any():
            right = ((probability >= balanced.threshold) == positive)[kept].mean()
            axes.plot(100 * kept.mean(), 100 * right, "o", color=CLASS_COLOURS["bacterial"], label="refer band")
            axes.legend(loc="lower left")
        axes.set(xlabel="films answered, %", ylabel="of these right, %", title=f"{title}: leaving films to a person")
        axes.grid(alpha=0.25)
    return figure


def draw_training(history: Sequence[dict[str, float]], title: str, synthetic: bool) -> Figure:
    """Loss and accuracy per epoch, training and validation."""
    epochs = [record["epoch"] for record in history]
    with drawing(8.4, 3.5, synthetic) as figure:
        for axes, name, words in zip(
            figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy", "accuracy"), strict=True
        ):
            axes.plot(epochs, [r[name] for r in history], ".-", color=CLASS_COLOURS["normal"], label="training")
            axes.plot(
                epochs,
                [r[f"val_{name}"] for r in history],
                ".-",
                color=CLASS_COLOURS["bacterial"],
                label="validation",
            )
            axes.set(xlabel="epoch", ylabel=words, title=f"{title}: {words}")
            axes.legend()
            axes.grid(alpha=0.25)
            axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def most_confident_mistakes(table: PredictionTable, count: int) -> NDArray[np.int64]:
    """Positions of wrong answers, the surest first, at most `count`."""
    answer = table.answer
    wrong = np.flatnonzero(answer != table.label)
    order = np.argsort(-table.probability[wrong, answer[wrong]], kind="stable")
    return np.asarray(wrong[order][:count], dtype=np.int64)


def draw_mistakes(
    table: PredictionTable, images: NDArray[np.uint8], mistakes: NDArray[np.int64], title: str, synthetic: bool
) -> Figure:
    """The images of the surest wrong answers, with names.

    Args:
        table: Answers.
        images: (mistakes, height, width) uint8, in the order of `mistakes`.
        mistakes: Positions in the table.
        title: Of the figure.
        synthetic: Whether the images are phantoms.
    """
    columns = 4
    lines = max(1, -(-len(mistakes) // columns))
    with drawing(2.35 * columns, 0.5 + 2.75 * lines, synthetic) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for axes, image, i in zip(grid.flat, images, mistakes.tolist(), strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            answer = int(table.answer[i])
            name = PurePosixPath(table.paths[i]).stem
            words = f"{name}\n{table.class_names[table.label[i]]}, called {table.class_names[answer]} {table.probability[i, answer]:.2f}"
            axes.set_title(words, fontsize=7.5, fontweight="normal", loc="center")
    return figure

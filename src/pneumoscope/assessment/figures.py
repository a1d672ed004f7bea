"""Figures of an evaluation: confusion matrix, ROC, calibration, accuracy over coverage, training, confident mistakes."""

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
from pneumoscope.types import ClassScheme, OperatingPoint

_BAND_RESAMPLES = 500


def draw_confusion_matrix(table: PredictionTable, title: str, synthetic: bool) -> Figure:
    """Draw the confusion matrix: counts, shaded by their fraction of the reference class."""
    classes = len(table.class_names)
    matrix = confusion_matrices(table.label, table.predicted, classes, np.ones((1, len(table))))[0]
    fraction = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with drawing(2.2 + 1.15 * classes, 1.6 + 1.0 * classes, synthetic) as figure:
        axes = figure.subplots()
        axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
        for row in range(classes):
            for column in range(classes):
                colour = "white" if fraction[row, column] > 0.55 else "#222222"
                text = f"{matrix[row, column]:.0f}\n{100 * fraction[row, column]:.0f} %"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
        axes.set_xticks(range(classes), table.class_names)
        axes.set_yticks(range(classes), [f"{n}\n(n={matrix[i].sum():.0f})" for i, n in enumerate(table.class_names)])
        axes.set(xlabel="prediction of the network", ylabel="reference", title=title)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return figure


def draw_roc(table: PredictionTable, auc: Estimate, title: str, synthetic: bool) -> Figure:
    """Draw the ROC curve of pneumonia against normal, with a 95 % band over patients and the operating point.

    Args:
        table: Probabilities and labels, with images of both.
        auc: AUC of the table.
        title: Title of the figure.
        synthetic: Whether the images are phantoms.
    """
    with drawing(5, 4.8, synthetic) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], ":", color=NEUTRAL, linewidth=1)
        _draw_curve(axes, pneumonia_probability(table.probability), table.label > 0, table)
        axes.text(0.97, 0.32, f"AUC {auc.as_number()}", ha="right", transform=axes.transAxes)
        axes.legend(loc="lower right")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_aspect("equal")
    return figure


def _draw_curve(axes: Axes, score: Floats, positive: NDArray[np.bool_], table: PredictionTable) -> None:
    grid = np.linspace(0, 1, 201)
    resampled = []
    for row in patient_weights(table.patients, np.random.default_rng(0), _BAND_RESAMPLES).astype(int):
        resampled_score, resampled_positive = np.repeat(score, row), np.repeat(positive, row)
        if resampled_positive.any() and not resampled_positive.all():
            resampled.append(np.interp(grid, *roc_curve(resampled_score, resampled_positive)))
    low, high = np.quantile(np.array(resampled), [0.025, 0.975], axis=0)
    blue = CLASS_COLOURS["normal"]
    axes.fill_between(grid, low, high, color=blue, alpha=0.18, linewidth=0, label="95 % over patients")
    axes.plot(*roc_curve(score, positive), color=blue, linewidth=2)
    threshold = 0.5 if table.threshold is None else table.threshold
    predicted = score >= threshold
    point = (predicted[~positive].mean(), predicted[positive].mean())
    axes.plot(*point, "o", color=CLASS_COLOURS["bacterial"], markersize=8, label=f"threshold {threshold:.2g}")


def draw_calibration(table: PredictionTable, assumed: float, title: str, synthetic: bool) -> Figure:
    """Draw the calibration curve, at the assumed prevalence and at that of these images.

    Args:
        table: Probabilities and labels.
        assumed: Prevalence that the probabilities assume, in (0, 1).
        title: Title of the figure.
        synthetic: Whether the images are phantoms.
    """
    positive = table.label > 0
    variants = {f"for a prevalence of {100 * assumed:.0f} %": (table.probability, "none")}
    if 0 < (own := float(positive.mean())) < 1:
        variants[f"for the prevalence of these images, {100 * own:.0f} %"] = (
            at_prevalence(table.probability, assumed, own),
            "full",
        )
    with drawing(5, 4.8, synthetic) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], ":", color=NEUTRAL, linewidth=1)
        for (label, (probability, fill)), colour in zip(variants.items(), ("normal", "bacterial"), strict=False):
            curve = calibration_curve(pneumonia_probability(probability), positive)
            axes.plot(
                [point[0] for point in curve],
                [point[1] for point in curve],
                "o-",
                color=CLASS_COLOURS[colour],
                fillstyle=fill,
                linewidth=1.4,
                label=label,
            )
        positive_class = ClassScheme(tuple(table.class_names)).positive
        axes.set(
            xlabel=f"probability of {positive_class}, mean of a tenth of the films",
            ylabel=f"fraction with {positive_class}",
        )
        axes.set(title=f"{title}: calibration", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    return figure


def draw_accuracy_over_coverage(
    table: PredictionTable, balanced: OperatingPoint, title: str, synthetic: bool
) -> Figure:
    """Draw the accuracy of normal against pneumonia over the coverage, with the refer band as a point."""
    probability, positive = pneumonia_probability(table.probability), table.label > 0
    coverage, risk = risk_coverage(probability, positive, balanced.threshold)
    with drawing(6, 4, synthetic) as figure:
        axes = figure.subplots()
        # Accuracy over few images is too noisy to show: one mistake among ten is ten percent.
        shown = coverage >= min(0.2, coverage[-1])
        axes.plot(100 * coverage[shown], 100 * (1 - risk[shown]), color=CLASS_COLOURS["normal"], linewidth=2)
        kept = ~is_referred(probability, balanced)
        if kept.any():
            right = ((probability >= balanced.threshold) == positive)[kept].mean()
            axes.plot(100 * kept.mean(), 100 * right, "o", color=CLASS_COLOURS["bacterial"], label="refer band")
            axes.legend(loc="lower left")
        axes.set(
            xlabel="images with a decision, %", ylabel="accuracy of these, %", title=f"{title}: accuracy over coverage"
        )
        axes.grid(alpha=0.25)
    return figure


def draw_training(history: Sequence[dict[str, float]], title: str, synthetic: bool) -> Figure:
    """Draw loss and accuracy per epoch, training and validation."""
    epochs = [record["epoch"] for record in history]
    with drawing(8.4, 3.5, synthetic) as figure:
        for axes, name, label in zip(
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
            axes.set(xlabel="epoch", ylabel=label, title=f"{title}: {label}")
            axes.legend()
            axes.grid(alpha=0.25)
            axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def most_confident_mistakes(table: PredictionTable, count: int) -> NDArray[np.int64]:
    """Positions of wrong predictions by falling probability, at most `count`."""
    predicted = table.predicted
    wrong = np.flatnonzero(predicted != table.label)
    order = np.argsort(-table.probability[wrong, predicted[wrong]], kind="stable")
    return np.asarray(wrong[order][:count], dtype=np.int64)


def draw_mistakes(
    table: PredictionTable, images: NDArray[np.uint8], mistakes: NDArray[np.int64], title: str, synthetic: bool
) -> Figure:
    """Draw the images of the most confident mistakes, with names.

    Args:
        table: Probabilities and labels.
        images: (mistakes, height, width) uint8, in the order of `mistakes`.
        mistakes: (mistakes,) int, positions in the table.
        title: Title of the figure.
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
            predicted = int(table.predicted[i])
            name = PurePosixPath(table.paths[i]).stem
            result = f"called {table.class_names[predicted]} {table.probability[i, predicted]:.2f}"
            text = f"{name}\n{table.class_names[table.label[i]]}, {result}"
            axes.set_title(text, fontsize=7.5, fontweight="normal", loc="center")
    return figure

"""Figures of a stress test: what each property costs, what corruptions cost, and radiographs on which the model decides otherwise."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumoscope.evaluation.intervals import Estimate, number_text
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, bare, drawing
from pneumoscope.stress.battery import Trial, at_strength
from pneumoscope.stress.corruptions import STRENGTHS
from pneumoscope.stress.measuring import StressMeasures
from pneumoscope.stress.radiographs import Radiographs
from pneumoscope.stress.running import Predictions
from pneumoscope.stress.wording import shortened

_SAME, _OTHER = CLASS_COLOURS["normal"], CLASS_COLOURS["bacterial"]
# Columns of the changed radiographs, each of which is two pictures.
_COLUMNS = 2
# Width of a figure, inches: what is wider has letters too small to be read on a telephone.
_WIDTH = 6.2
# Room for a legend between the title and the axes, points; letters of a model's name in the title.
_LEGEND_ROOM, _TITLE = 28, 48


@dataclass(frozen=True)
class ChangedDecision:
    """Radiograph on which a model decides otherwise once it is altered.

    Attributes:
        position: Position of the radiograph.
        trial: Trial in which it does.
        before: Probability for the unaltered radiograph.
        after: Probability for the altered radiograph.
    """

    position: int
    trial: Trial
    before: float
    after: float


def changed_decisions(
    radiographs: Radiographs, trials: Sequence[Trial], predictions: Predictions, threshold: float, count: int
) -> list[ChangedDecision]:
    """Radiographs that were right and become wrong, the largest changes of each trial in turn, each radiograph once.

    Args:
        radiographs: Radiographs of the battery.
        trials: Trials, those that matter most first; the first of `predictions` is of the unaltered radiographs.
        predictions: Probabilities by trial.
        threshold: Probability from which on the model calls a radiograph positive.
        count: Most radiographs.
    """
    plain = next(iter(predictions.values()))
    right = (plain >= threshold) == radiographs.positive
    queues = []
    for trial in trials:
        own = trial.positions(radiographs)
        change = predictions[trial.name] - plain[own]
        wrong = right[own] & ((predictions[trial.name] >= threshold) != radiographs.positive[own])
        order = sorted((int(i) for i in wrong.nonzero()[0]), key=lambda i: -abs(change[i]))
        queues.append(
            [
                ChangedDecision(int(own[i]), trial, float(plain[own[i]]), float(predictions[trial.name][i]))
                for i in order
            ]
        )
    found: list[ChangedDecision] = []
    shown: set[int] = set()
    while len(found) < count and any(queues):
        for queue in queues:
            while queue and queue[0].position in shown:
                queue.pop(0)
            if queue and len(found) < count:
                shown.add(queue[0].position)
                found.append(queue.pop(0))
    return found


def draw_reliance(measures: StressMeasures, title: str, words: dict[str, str], synthetic: bool) -> Figure:
    """Draw, for each property, the balanced accuracy with that of a radiograph of the same and of the other class.

    Args:
        measures: Measures of a stress test.
        title: Name of the model.
        words: Properties in words.
        synthetic: Whether the radiographs are phantoms.
    """
    names = sorted(measures.reliance, key=lambda name: measures.reliance[name].difference.value)
    with drawing(_WIDTH, 1.7 + 0.55 * len(names), synthetic) as figure:
        axes = figure.subplots()
        axes.axvline(50, color="#999999", linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        for row, name in enumerate(names):
            found = measures.reliance[name]
            ends = [100 * found.other.value, 100 * found.same.value]
            # The two lie a little apart, so that neither hides the other where they agree.
            axes.plot(ends, [row - 0.12, row + 0.12], color="#cccccc", linewidth=2, zorder=1)
            _estimate(axes, found.same, row + 0.12, _SAME, "from the same class" if row == 0 else "")
            _estimate(axes, found.other, row - 0.12, _OTHER, "from the other class" if row == 0 else "")
        axes.set_yticks(range(len(names)), [textwrap.fill(_bare(words[name]), 20) for name in names])
        axes.text(50, -0.55, " chance", ha="left", va="bottom", color=NEUTRAL, fontsize=9)
        axes.set(xlim=(-2, 102), ylim=(-0.6, len(names) - 0.4), xlabel="balanced accuracy (%)")
        axes.set_title(shortened(title, _TITLE), pad=_LEGEND_ROOM)
        _legend_above(axes)
    return figure


def draw_corruptions(measures: StressMeasures, title: str, synthetic: bool) -> Figure:
    """Draw the balanced accuracy at each corruption and strength as a table of shades."""
    names = sorted(measures.corruption_error, key=lambda name: measures.corruption_error[name])
    values = [
        [100 * measures.trials[at_strength(name, s)].balanced_accuracy.value for s in STRENGTHS] for name in names
    ]
    with drawing(_WIDTH, 1.4 + 0.27 * len(names), synthetic) as figure:
        axes = figure.subplots()
        axes.imshow(values, cmap="cividis", vmin=40, vmax=100, aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                axes.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    color="white" if value < 75 else "#222222",
                    fontsize=9,
                )
        axes.set_xticks(range(len(STRENGTHS)), [f"{s}" for s in STRENGTHS])
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="strength", title=shortened(title, _TITLE))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return figure


def draw_changed_decisions(radiographs: Radiographs, changed: Sequence[ChangedDecision], synthetic: bool) -> Figure:
    """Draw radiographs unaltered and altered side by side, with the model's probabilities."""
    rows = -(-len(changed) // _COLUMNS)
    with drawing(4.0 * _COLUMNS, 2.7 * rows, synthetic) as figure:
        grid = figure.subplots(rows, 2 * _COLUMNS, squeeze=False)
        for axes in grid.ravel():
            bare(axes)
        for number, each in enumerate(changed):
            row, column = divmod(number, _COLUMNS)
            pair = grid[row][2 * column : 2 * column + 2]
            label = "positive" if radiographs.positive[each.position] else "negative"
            name = PurePosixPath(radiographs.names[each.position]).name
            pictures = (radiographs.images[each.position], each.trial.image(radiographs, each.position))
            words = (
                f"{shortened(name, 22)}\n{label}, {each.before:.2f}",
                f"{textwrap.fill(each.trial.name, 24)}\n{each.after:.2f}",
            )
            for axes, picture, text in zip(pair, pictures, words, strict=True):
                axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
                axes.set_title(text, fontsize=9, loc="left", fontweight="normal")
    return figure


def _estimate(axes: Axes, found: Estimate, row: float, colour: str, label: str) -> None:
    axes.plot([100 * found.low, 100 * found.high], [row, row], color=colour, linewidth=2, zorder=2)
    axes.plot([100 * found.value], [row], "o", color=colour, markersize=7, zorder=3, label=label or None)


def draw_models(models: Sequence[tuple[str, StressMeasures]], words: dict[str, str], synthetic: bool) -> Figure:
    """Draw several models, the first on top: AUC unaltered and stress score, and what each property costs.

    Args:
        models: Name of each model and its measures.
        words: Properties in words.
        synthetic: Whether the radiographs are phantoms.
    """
    rows, names = range(len(models)), list(words)
    labels = [shortened(name, 32) for name, _ in models]
    height = 0.45 * len(models)
    with drawing(1.3 * _WIDTH, 3.4 + 2 * height, synthetic) as figure:
        scores, costs = figure.subplots(2, 1, height_ratios=(height + 1.0, height + 0.6))
        for row, (_, measures) in enumerate(models):
            plain, within = measures.plain.auc, measures.within
            for found, colour, label, at in (
                (plain, _SAME, "unaltered", row - 0.12),
                (within, _OTHER, "stress score", row + 0.12),
            ):
                scores.plot([found.low, found.high], [at, at], color=colour, linewidth=2, zorder=2)
                scores.plot([found.value], [at], "o", color=colour, markersize=7, zorder=3, label="" if row else label)
        scores.set_yticks(rows, labels)
        scores.set(xlabel="AUC (95 % interval over patients)", ylim=(len(models) - 0.4, -0.6))
        _legend_above(scores)
        values = [[100 * measures.reliance[name].difference.value for name in names] for _, measures in models]
        costs.imshow(values, cmap="Oranges", vmin=0, vmax=100, aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                colour = "white" if value > 60 else "#222222"
                text = number_text(value, 0)
                costs.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        costs.set_yticks(rows, labels)
        costs.set_xticks(range(len(names)), [textwrap.fill(_bare(words[name]), 12) for name in names], fontsize=8)
        costs.set_title("balanced accuracy lost, same class to other class, points", fontsize=10, fontweight="normal")
        costs.spines[:].set_visible(False)
        costs.tick_params(length=0)
    return figure


def _legend_above(axes: Axes) -> None:
    """Legend above the axes, where it hides no curve."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9, borderaxespad=0.4, handletextpad=0.4, borderpad=0
    )


def _bare(words: str) -> str:
    """Property in words without its article, for the labels of an axis."""
    return words.removeprefix("the ")

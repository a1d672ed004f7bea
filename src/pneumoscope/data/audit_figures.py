"""Figure of an audit's acquisition clusters: example images of each, and the classes of its images."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumoscope.data.cluster_labels import ClusterLabels
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, bare, drawing

EXAMPLES = 5
# Classes beyond these share the last colour.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_MOST_SHOWN = 12


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Colour of each class: that of the package where all have one, else one of a palette."""
    if set(classes) <= CLASS_COLOURS.keys():
        return {name: CLASS_COLOURS[name] for name in classes}
    if len(classes) <= len(_PALETTE):
        return dict(zip(classes, _PALETTE, strict=False))
    shades = mpl.colormaps["tab20"].resampled(20)
    return {name: mpl.colors.to_hex(shades(number % 20)) for number, name in enumerate(classes)}


def draw_clusters(clusters: ClusterLabels, examples: Sequence[Sequence[NDArray[np.uint8]]], synthetic: bool) -> Figure:
    """Draw a row for each cluster: examples, and bars of the fraction of each class in each split.

    Args:
        clusters: Clusters and their labels.
        examples: Up to five (side, side) uint8 images of each cluster.
        synthetic: Whether the images are phantoms.
    """
    shown = min(len(examples), _MOST_SHOWN)
    colours = class_colours(clusters.classes)
    with drawing(9.6, 0.7 + 1.12 * shown, synthetic) as figure:
        grid = figure.subplots(shown, EXAMPLES + 1, squeeze=False, width_ratios=[1] * EXAMPLES + [4])
        for number, row in enumerate(grid[:shown]):
            for axes in row[:EXAMPLES]:
                bare(axes)
            for axes, image in zip(row, examples[number], strict=False):
                axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            row[0].set_ylabel(f"{number + 1}", rotation=0, labelpad=12, va="center", fontsize=11, fontweight="bold")
            _draw_fractions(row[EXAMPLES], clusters, number, colours)
        handles = [mpl.patches.Patch(color=colour, label=name) for name, colour in colours.items()]
        figure.legend(handles=handles, loc="outside upper right", ncols=min(len(handles), 5), fontsize=9)
    return figure


def _draw_fractions(axes: Axes, clusters: ClusterLabels, number: int, colours: dict[str, str]) -> None:
    """Draw a bar for each split with the fraction of each class in one cluster."""
    names = [f"{split.value}\n({counts[number].sum():,})" for split, counts in clusters.counts.items()]
    for line, counts in enumerate(clusters.counts.values()):
        total, left = max(int(counts[number].sum()), 1), 0.0
        for name, count in zip(clusters.classes, counts[number], strict=True):
            fraction = float(count) / total
            axes.barh(line, fraction, 0.78, left=left, color=colours[name])
            if fraction >= 0.12:
                dark = float(np.dot(mpl.colors.to_rgb(colours[name]), (0.3, 0.6, 0.1))) < 0.5
                colour, text = "white" if dark else "#222222", f"{100 * fraction:.0f} %"
                axes.text(left + fraction / 2, line, text, ha="center", va="center", color=colour, fontsize=8)
            left += fraction
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticks(range(len(names)), names, fontsize=8, color=NEUTRAL)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)

"""Style of all figures: few axis lines, and a palette that colour-blind readers can distinguish."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumoscope.files import atomic_write

# Okabe and Ito's palette.
CLASS_COLOURS = {"normal": "#0072B2", "bacterial": "#D55E00", "viral": "#CC79A7", "pneumonia": "#E69F00"}
NEUTRAL = "#555555"
_RC: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": NEUTRAL,
    "axes.labelcolor": "#222222",
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def drawing(width: float, height: float, synthetic: bool = False) -> Iterator[Figure]:
    """Figure in the package's style, inches; marked at its foot where the images are synthetic."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        if synthetic:
            figure.supxlabel("Synthetic films: this says nothing about accuracy.", fontsize=9, color="#B00020")


def png_of(figure: Figure) -> bytes:
    """PNG bytes of a figure, deterministic."""
    buffer = io.BytesIO()
    with mpl.rc_context(_RC):
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def save_png(png: bytes, path: Path) -> None:
    """Write PNG bytes, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)


def bare(axes: Axes) -> None:
    """Remove ticks and frame, for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)

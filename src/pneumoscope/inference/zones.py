"""Lung zones: how the evidence for pneumonia divides among six zones of the lungs.

Zones are rectangles in the chest frame (`data/alignment.py`), in which lungs lie alike in all radiographs: upper, middle and
lower, right and left of the spine. Right is the patient's, which an image as usual shows on its left. Lungs were not drawn: a zone
includes the hilum, and what lies before or behind the lung, such as the heart.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.types import OUTSIDE_LUNGS

# Rows and columns as fractions of the frame's height and width, from the mean chest.
_ROWS = {"upper": (0.06, 0.33), "middle": (0.33, 0.57), "lower": (0.57, 0.85)}
_COLUMNS = {"right": (0.0, 0.5), "left": (0.5, 1.0)}
# Correlation with the mean chest below which the frame may be off by a zone; 1 % of the public data set's training images.
_MIN_SIMILARITY = 0.70
# Fraction of the evidence from which a zone is named in words.
NAMED = 0.2
_DIGITS = 3


def lung_zones(evidence: NDArray[np.float32], similarity: float) -> dict[str, float] | None:
    """Fractions of the evidence for pneumonia in each lung zone and outside of them, in [0, 1], summing to 1 but for rounding.

    Args:
        evidence: (rows, columns) float32, contributions to the logit of pneumonia against normal within the chest frame;
            contributions to normal are left out.
        similarity: Correlation of the aligned chest with the mean chest, in [-1, 1].

    Returns:
        Fractions by the names in `types.ZONES`; None where the frame is doubtful, or no position speaks for pneumonia.
    """
    positive = np.maximum(evidence, 0).astype(np.float64)
    total = positive.sum()
    if similarity < _MIN_SIMILARITY or not total > 0:
        return None
    rows = {level: _covered(edges, evidence.shape[0]) for level, edges in _ROWS.items()}
    columns = {side: _covered(edges, evidence.shape[1]) for side, edges in _COLUMNS.items()}
    zones = {
        f"{side}_{level}": round(float(row @ positive @ column / total), _DIGITS)
        for side, column in columns.items()
        for level, row in rows.items()
    }
    return zones | {OUTSIDE_LUNGS: round(max(0.0, 1 - sum(zones.values())), _DIGITS)}


def zones_in_words(zones: dict[str, float]) -> str:
    """Zones with at least 20 % of the evidence, largest first, such as `right lower 41 %, right middle 22 %`; else `no zone with 20 %`."""
    named = sorted(((fraction, zone) for zone, fraction in zones.items() if fraction >= NAMED), reverse=True)
    return (
        ", ".join(f"{_in_words(zone)} {(round(1000 * fraction) + 5) // 10} %" for fraction, zone in named)
        or f"no zone with {100 * NAMED:.0f} %"
    )


def _in_words(zone: str) -> str:
    return "outside the lungs" if zone == OUTSIDE_LUNGS else zone.replace("_", " ")


def _covered(edges: tuple[float, float], cells: int) -> NDArray[np.float64]:
    """(cells,) fraction of each cell of a line that lies between two edges."""
    borders = np.arange(cells + 1) / cells
    low, high = edges
    return np.asarray((np.minimum(borders[1:], high) - np.maximum(borders[:-1], low)).clip(0) * cells)

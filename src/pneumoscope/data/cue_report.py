"""Cues as a table and as a figure."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pneumoscope.data.cues import Cue
from pneumoscope.reporting.style import NEUTRAL, drawing
from pneumoscope.types import Split

CUE_DIRECTION = (
    "AUC of one property of the file, without a network. It has one direction: that which it has in the training films, named in the "
    "column “higher in”. 0.5 is chance and 1 perfect separation; below 0.5 in the test films, the property points the other way there."
)
_MARKERS = {
    Split.TRAIN: ("o", "#D55E00", -0.16),
    Split.VALIDATION: ("^", "#009E73", 0.0),
    Split.TEST: ("s", "#0072B2", 0.16),
}


def strongest_first(cues: Sequence[Cue]) -> list[Cue]:
    """Known cues, those of the property with the highest AUC in its first split first."""
    known = [cue for cue in cues if cue.is_known]
    first = {cue.name: cue.auc.value for cue in reversed(known)}
    return sorted(known, key=lambda cue: (-first[cue.name], cue.name, list(Split).index(cue.split)))


def cue_table(cues: Sequence[Cue]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of cues, a row per property; medians where there are two classes."""
    splits = [split for split in Split if any(cue.split is split for cue in cues)]
    classes = list(next((cue.medians for cue in cues if cue.medians), {}))
    of_two = len(classes) == 2
    header = ["property", *([] if of_two else ["class"]), "higher in"]
    header += [f"AUC in {split.value} (95 % interval)" for split in splits]
    header += [f"median in {split.value}: {', '.join(classes)}" for split in splits if of_two]
    rows = []
    for name in dict.fromkeys(cue.name for cue in cues):
        found = {cue.split: cue for cue in cues if cue.name == name}
        known = [cue for cue in found.values() if cue.is_known]
        row = [
            name,
            *([] if of_two else [known[0].target if known else "–"]),
            (known[0].higher_in if known else "") or "–",
        ]
        row += [found[split].auc.as_number() if split in found and found[split].is_known else "–" for split in splits]
        row += [_medians(found.get(split), classes) for split in splits if of_two]
        rows.append(row)
    return header, rows


def _medians(cue: Cue | None, classes: Sequence[str]) -> str:
    return ", ".join(_number(cue.medians[name]) for name in classes) if cue and cue.medians else "–"


def _number(value: float) -> str:
    """Three decimals below 10, none above, a dash for NaN."""
    return "–" if value != value else f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def draw_cues(cues: Sequence[Cue], synthetic: bool) -> Figure | None:
    """Draw the AUC of each property with its interval in each split; None where nothing is known."""
    known = strongest_first(cues)
    names = list(dict.fromkeys(cue.name for cue in known))
    if not names:
        return None
    of_two = len(next((cue.medians for cue in known if cue.medians), {})) <= 2
    first = {cue.name: cue for cue in reversed(known)}
    with drawing(6.4, 1.3 + 0.5 * len(names), synthetic) as figure:
        axes = figure.subplots()
        for split, (marker, colour, shift) in _MARKERS.items():
            of_split = [cue for cue in known if cue.split is split]
            if not of_split:
                continue
            auc = [cue.auc for cue in of_split]
            axes.errorbar(
                [each.value for each in auc],
                [names.index(cue.name) + shift for cue in of_split],
                xerr=[[each.value - each.low for each in auc], [each.high - each.value for each in auc]],
                fmt=marker,
                color=colour,
                label=split.value,
                markersize=6,
            )
        axes.axvline(0.5, color=NEUTRAL, linewidth=0.8)
        axes.set_yticks(range(len(names)), [_label(first[name], of_two) for name in names])
        axes.set_xlim(min(0.48, *(cue.auc.low - 0.02 for cue in known)), 1.01)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x", alpha=0.3)
        axes.set(xlabel="AUC, 95 % interval over patients (0.5: chance)")
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def _label(cue: Cue, of_two: bool) -> str:
    """Name of a property, with the class that it is higher in, or that it predicts."""
    if of_two:
        return f"{cue.name}\n(higher in {cue.higher_in})" if cue.higher_in else cue.name
    return f"{cue.name}\n({'lower in ' if cue.higher_in == 'others' else ''}{cue.target})"

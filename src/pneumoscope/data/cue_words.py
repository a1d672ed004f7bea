"""Cues in words: how far each separates the classes, and the verdict of an audit."""

from collections.abc import Sequence

from pneumoscope.data.cues import NOTICEABLE_AUC, TOGETHER, Cue
from pneumoscope.data.index import Index
from pneumoscope.data.labels import FEWEST, class_counts, class_names
from pneumoscope.errors import listed
from pneumoscope.types import Split

# AUC from which a cue ranks most images by their label.
LEAKING_AUC = 0.80


def describe_cue(cue: Cue, cues: Sequence[Cue], classes: Sequence[str]) -> str:
    """Describe how far a cue separates classes, with its most frequent words.

    Args:
        cue: Cue, in the first split that has it.
        cues: All cues, out of which those of the other splits are described as well.
        classes: Names of the classes.
    """
    values = [f"{100 * part:.0f} % of {count:,} with {word}" for word, count, part in cue.values]
    found = f" ({cue.target}: {'; '.join(values)})" if values else ""
    return f"{_separation(cue, cues, classes)}{found}"


def _separation(cue: Cue, cues: Sequence[Cue], classes: Sequence[str]) -> str:
    """How far a cue separates classes, in words, with what it does in the other splits."""
    what = cue.name if cue.name == TOGETHER else f"{cue.name} alone"
    direction = f", higher in {cue.higher_in}," if cue.higher_in else ""
    rest = classes[0] if len(classes) == 2 else "all others"
    text = f"{what}{direction} separates {cue.target} from {rest} in {cue.split} with AUC {cue.auc.as_number()}"
    for other in cues:
        if other.name == cue.name and other.is_known and other.split is not cue.split:
            text += f", in {other.split} with {other.auc.as_number()}"
            text += ", that is, the other way" if other.auc.value < 0.5 else ""
    return text


def first_known(cues: Sequence[Cue]) -> list[Cue]:
    """Cue of each property in the first split in which it is known."""
    first_of: dict[str, Cue] = {}
    for cue in cues:
        if cue.is_known:
            first_of.setdefault(cue.name, cue)
    return list(first_of.values())


def verdict_of(cues: Sequence[Cue], index: Index, splits: Sequence[Split]) -> str:
    """Summarise cues in words: whether the file alone predicts the label."""
    known = first_known(cues)
    counts = class_counts(index, splits)
    if not known and not any(sorted(found.values())[-2:][0] >= FEWEST for found in counts.values()):
        split, found = next(iter(counts.items()))
        shown = listed(f"{count:,} {name}" for name, count in found.items())
        needed = "each class" if len(found) == 2 else "two classes"
        what = "training films" if split is Split.TRAIN else f"{split.value} films"
        return f"The files were not compared: {FEWEST} {what} of {needed} are needed, found {shown}."
    constant = sorted({cue.name for cue in cues if cue.origin == "file" and cue.medians} - {cue.name for cue in known})
    tail = f" Not to be seen here, being the same for every film or unknown: {', '.join(constant)}." if constant else ""
    strongest = max(
        known, key=lambda cue: (cue.is_predictive and cue.auc.value >= NOTICEABLE_AUC, cue.auc.value), default=None
    )
    if strongest is None:
        return "The files cannot predict the label: nothing about them varies." + tail
    meant = "the lung" if "pneumonia" in class_names(index) else "what the image shows"
    advice = "" if strongest.auc.value < NOTICEABLE_AUC else f" A network can learn this instead of {meant}."
    return f"{_conclusion(strongest)}: {_separation(strongest, cues, class_names(index))}.{advice}{tail}"


def _conclusion(strongest: Cue) -> str:
    """How far the strongest cue predicts the label, in words."""
    source = {"header": "The header", "column": "The table"}.get(strongest.origin, "The file")
    if strongest.auc.value < NOTICEABLE_AUC:
        return f"{source} hardly predicts the label"
    if not strongest.is_predictive:
        return f"{source} may predict the label, and the films are too few to say"
    return f"{source} {'predicts' if strongest.auc.value >= LEAKING_AUC else 'partly predicts'} the label"

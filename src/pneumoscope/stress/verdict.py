"""Verdict of a stress test in three sentences: what the model reads, what its validation is worth, what it withstands."""

from dataclasses import dataclass

from pneumoscope.stress.battery import at_strength
from pneumoscope.stress.measuring import Reliance, StressMeasures
from pneumoscope.stress.wording import in_a_row

# What a model that reads a property is said to read.
READS = {
    "storage": "the file (its compression, sharpness and noise)",
    "geometry": "the geometry (where the chest lies and how it is stretched)",
    "corners": "the corners (markers and edges)",
    "surroundings": "what surrounds the chest",
    "exposure": "the exposure (the grey levels)",
    "lungs": "the lungs",
}
# Properties in words.
NAMES = {
    "storage": "the compression and sharpness",
    "geometry": "the place and stretch of the chest",
    "corners": "the corners",
    "surroundings": "the surroundings of the chest",
    "exposure": "the grey levels",
    "lungs": "the lungs",
}
# Balanced accuracy that a property must cost, beyond chance, for the model to be said to read it.
NOTICEABLE = 0.05
# Loss of balanced accuracy, at the middle strength, that a corruption may cost a model that withstands it.
_WITHSTOOD, _MIDDLE = 0.02, 3
LUNGS, NOTHING, CHANCE = "lungs", "nothing named", "chance"


@dataclass(frozen=True)
class Verdict:
    """Verdict.

    Attributes:
        reads: Property that the model reads most, `chance` where it does not tell the classes, `nothing named` where no property
            that was exchanged matters.
        also: Other properties that it reads, the strongest first.
        sentences: Three sentences.
    """

    reads: str
    also: tuple[str, ...]
    sentences: tuple[str, str, str]


def verdict_on(measures: StressMeasures) -> Verdict:
    """Verdict on the figures of a stress test."""
    read = [name for name in measures.ranked if is_read(measures.reliance[name])]
    tells = measures.plain.auc.low > 0.5
    reads = (read[0] if read else NOTHING) if tells else CHANCE
    also = tuple(read[1:]) if tells else ()
    return Verdict(reads, also, (_reading(measures, reads, also), _validation(measures), _robustness(measures)))


def is_read(reliance: Reliance) -> bool:
    """Whether a model is said to read a property: its exchange costs a noticeable part, by more than chance."""
    return reliance.difference.low > 0 and reliance.difference.value >= NOTICEABLE


def is_excluded(reliance: Reliance) -> bool:
    """Whether a model is said not to read a property: its exchange costs no noticeable part, nor brings one, whatever chance does."""
    return reliance.difference.low > -NOTICEABLE and reliance.difference.high < NOTICEABLE


def _reading(measures: StressMeasures, reads: str, also: tuple[str, ...]) -> str:
    plain = measures.plain.auc.as_number(2)
    if reads == CHANCE:
        return f"On unaltered radiographs its AUC is {plain}: this model is not shown to tell the classes apart."
    if reads == NOTHING:
        return f"Its AUC on unaltered radiographs is {plain}, and {_nothing(measures)}."
    lungs = "" if reads == LUNGS else _lungs(measures.reliance[LUNGS], LUNGS in also)
    others = [f"{NAMES[name]} ({_two(measures.reliance[name])})" for name in also if name != LUNGS]
    too = f"; it also reads {in_a_row(others)}" if others else ""
    return f"{_fall(measures, reads)}: this model reads {READS[reads]}{lungs}{too}."


def _nothing(measures: StressMeasures) -> str:
    """What is known of a model that is not shown to read anything."""
    possible = [NAMES[name] for name in measures.ranked if not is_excluded(measures.reliance[name])]
    points = f"{100 * NOTICEABLE:.0f} points of balanced accuracy"
    if not possible:
        return (
            f"none of {in_a_row(NAMES.values())} of a radiograph of the other class costs it {points}: what it reads was not "
            "exchanged here"
        )
    which = "any of these" if len(possible) == len(NAMES) else in_a_row(possible, "or")
    return (
        f"it is not shown to read {in_a_row(NAMES.values(), 'or')}; more patients are needed to say whether the exchange of {which} costs "
        f"it {points}"
    )


def _lungs(reliance: Reliance, read: bool) -> str:
    """Whether a model that reads something else most reads the lungs."""
    if read:
        return f" and, to a lesser degree, the lungs ({_two(reliance)})"
    if is_excluded(reliance):
        return f", and not the lungs ({_two(reliance)})"
    return f"; whether it also reads the lungs is not shown ({_two(reliance)})"


def _fall(measures: StressMeasures, name: str) -> str:
    found = measures.reliance[name]
    return (
        f"With {NAMES[name]} of another radiograph of the same class its balanced accuracy is {found.same}, with those of a "
        f"radiograph of the other class {found.other}"
    )


def _two(reliance: Reliance) -> str:
    return f"from {100 * reliance.same.value:.0f} to {100 * reliance.other.value:.0f} %"


def _validation(measures: StressMeasures) -> str:
    plain, within = measures.plain, measures.within
    distance = measures.best_accuracy - plain.accuracy.value
    if within.value != within.value:
        apart = (
            ", but acquisition clusters with both classes have too few images, so that nobody can tell what it would be "
            "where the device does not give the class away"
        )
    else:
        negatives, positives = measures.within_images
        where = (
            f"within acquisition clusters ({negatives:,} negatives, {positives:,} positives), "
            if measures.clustered
            else "over all, since they are too few for acquisition clusters, "
        )
        apart = (
            f" and {within.as_number()} {where}with negatives that have the geometry and storage of positives, which is the figure to "
            "expect where these do not give the class away"
        )
    return (
        f"Its AUC is {plain.auc.as_number()} on unaltered radiographs{apart}; its accuracy at its threshold is "
        f"{100 * plain.accuracy.value:.1f} %, {100 * distance:.1f} points below that at the best one."
    )


def _robustness(measures: StressMeasures) -> str:
    if not measures.corruption_error:
        return "No corruptions were tried."
    losses = {
        name: -measures.trials[at_strength(name, _MIDDLE)].balanced_accuracy_change.value
        for name in measures.corruption_error
    }
    withstood = [name for name, loss in losses.items() if loss <= _WITHSTOOD]
    worst = max(losses, key=lambda name: losses[name])
    most = f"{worst} costs most, {100 * losses[worst]:.1f} points" if losses[worst] > 0 else "none costs any"
    return (
        f"Of {len(losses)} corruptions at middle strength it withstands {len(withstood)} (at most {100 * _WITHSTOOD:.0f} points of "
        f"balanced accuracy lost); {most}."
    )

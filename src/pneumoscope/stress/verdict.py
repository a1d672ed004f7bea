"""Verdict of a stress test in three sentences: what the model reads, what its validation is worth, what it withstands."""

from dataclasses import dataclass

from pneumoscope.stress.battery import at_strength
from pneumoscope.stress.measuring import Reliance, StressMeasures

# What a model that reads a property is said to read.
READS = {
    "storage": "the file: its compression, sharpness and noise",
    "geometry": "the geometry: where the chest lies and how it is stretched",
    "corners": "the corners: markers and edges",
    "surroundings": "what surrounds the chest",
    "exposure": "the exposure",
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
# Loss of accuracy, at the middle strength, that a corruption may cost a model that withstands it.
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
    read = [name for name in measures.ranked if _is_read(measures.reliance[name])]
    tells = measures.plain.auc.low > 0.5
    reads = (read[0] if read else NOTHING) if tells else CHANCE
    also = tuple(read[1:]) if tells else ()
    return Verdict(reads, also, (_reading(measures, reads, also), _validation(measures), _robustness(measures)))


def _is_read(reliance: Reliance) -> bool:
    return reliance.difference.low > 0 and reliance.difference.value >= NOTICEABLE


def _reading(measures: StressMeasures, reads: str, also: tuple[str, ...]) -> str:
    plain = measures.plain.auc.as_number(2)
    if reads == CHANCE:
        return f"On unaltered radiographs its AUC is {plain}: this model does not tell the classes."
    if reads == NOTHING:
        return f"Its AUC on unaltered radiographs is {plain}, and none of {', '.join(NAMES.values())} of a radiograph of the other class costs it anything: what it reads was not exchanged here."
    sentence = f"{_fall(measures, reads)}: this model reads {READS[reads]}"
    if reads != LUNGS:
        lungs = measures.reliance[LUNGS]
        sentence += f", and {'less' if LUNGS in also else 'not'} the lungs ({_two(lungs)})"
    others = [f"{NAMES[name]} ({_two(measures.reliance[name])})" for name in also if name != LUNGS]
    return sentence + (f"; it also heeds {' and '.join(others)}." if others else ".")


def _fall(measures: StressMeasures, name: str) -> str:
    found = measures.reliance[name]
    return (
        f"With {NAMES[name]} of a radiograph of the other class {found.other} are right, with those of its own class {found.same} "
        "(both classes counted alike)"
    )


def _two(reliance: Reliance) -> str:
    return f"{100 * reliance.same.value:.0f} to {100 * reliance.other.value:.0f} %"


def _validation(measures: StressMeasures) -> str:
    plain, within = measures.plain, measures.within
    distance = measures.best_accuracy - plain.accuracy.value
    if within.value != within.value:
        apart = (
            "but acquisition clusters with both classes have too few images, so that nobody can tell what it would be "
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
            f"and {within.as_number(3)} {where}with negatives that have the geometry and storage of positives, which is the figure to "
            "expect where these do not give the class away"
        )
    return (
        f"Its AUC is {plain.auc.as_number(3)} on unaltered radiographs {apart}; at its threshold {100 * plain.accuracy.value:.1f} % are "
        f"right, {100 * distance:.1f} points fewer than at the best one."
    )


def _robustness(measures: StressMeasures) -> str:
    if not measures.corruption_error:
        return "No corruptions were tried."
    losses = {
        name: -measures.trials[at_strength(name, _MIDDLE)].accuracy_change.value for name in measures.corruption_error
    }
    withstood = [name for name, loss in losses.items() if loss <= _WITHSTOOD]
    worst = max(losses, key=lambda name: losses[name])
    return (
        f"Of {len(losses)} corruptions at middle strength it withstands {len(withstood)} (at most {100 * _WITHSTOOD:.0f} points of "
        f"accuracy lost); {worst} costs most, {100 * losses[worst]:.1f} points."
    )

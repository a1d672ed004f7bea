"""Search for cues: the AUC of each property of the images of an index, and of all of file and header together (`data/cues.py`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.cues import CLUSTER, Cue
from pneumoscope.data.index import Index
from pneumoscope.data.joint_cue import joint_cues
from pneumoscope.data.labels import FOLDS, Labels
from pneumoscope.data.privacy import MANY_WORDS, are_plain, is_of_people, is_vendor
from pneumoscope.data.properties import UNNAMED, Origin, Property, properties_of
from pneumoscope.evaluation.intervals import LEVEL, Estimate
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.types import Split

# Probability that any property of a data set without cues has a lower bound above 0.5.
FAMILY_LEVEL = 0.01
# Values of a property of words that a report names.
_SHOWN = 4


def find_cues(index: Index, splits: Sequence[Split], clusters: Ints | None = None) -> tuple[Cue, ...]:
    """Find how far each property of an index predicts the labels.

    Args:
        index: Index with measurements.
        splits: (n,) split of each image.
        clusters: (n,) acquisition cluster of each image; None where these are unknown.

    Returns:
        Cues of the training images, then of the validation and the test images.
    """
    labels = Labels.of(index, splits)
    found = _all_properties(index, clusters)
    varying = [each for each in found if each.varies]
    level = 1 - FAMILY_LEVEL / (len(labels.targets) * (len(varying) + 1))
    present = [split for split in Split if labels.of_split(split).any()]
    tables = [_property_cues(each, labels, present, level) for each in found]
    together = joint_cues([each for each in varying if each.origin in ("file", "header")], labels, present, level)
    in_order = (Split.TRAIN, Split.VALIDATION, Split.TEST)
    return tuple(cue for split in in_order for table in [*tables, together] for cue in table if cue.split is split)


def _all_properties(index: Index, clusters: Ints | None) -> list[Property]:
    rows, measurements = index.rows, index.measurements
    numbers: dict[str, tuple[Origin, list[float]]] = {
        "width": ("file", [row.width for row in rows]),
        "height": ("file", [row.height for row in rows]),
        "aspect ratio": ("file", [row.width / row.height for row in rows]),
        "bytes per pixel": ("file", [m.bytes_per_pixel for m in measurements]),
        "JPEG quantisation": ("file", [m.quantisation for m in measurements]),
        "sharpness": ("grey levels", [m.sharpness for m in measurements]),
        "contrast": ("grey levels", [m.contrast for m in measurements]),
        "brightness": ("grey levels", [m.brightness for m in measurements]),
    }
    found = [Property(name, origin, tuple(values), is_number=True) for name, (origin, values) in numbers.items()]
    words = {"image size": [f"{row.width} x {row.height}" for row in rows]}
    found += [Property(name, "file", tuple(values), is_number=False) for name, values in words.items()]
    found = [each for each in found if each.is_number or each.varies]
    found += [each for each in properties_of(index.properties) if each.varies]
    if clusters is not None:
        found.append(Property(CLUSTER, "grey levels", tuple(f"cluster {c + 1}" for c in clusters), is_number=False))
    return found


def _property_cues(found: Property, labels: Labels, present: Sequence[Split], level: float) -> list[Cue]:
    """Cues of one property, a split each; the first split with enough images gives direction, class and frequencies of words."""
    known = _is_known(found)
    reference = labels.reference(present, known)
    if reference is None or not found.varies:
        return [_unknown(found, labels, split, known) for split in present]
    scores = {target: _score(found, labels, target, reference, known) for target in labels.targets}
    among = labels.of_split(reference) & known
    auc = {
        target: labels.estimates(scores[target], target, among, LEVEL, within_folds=not found.is_number)[0].value
        for target in labels.targets
        if labels.are_enough(target, among)
    }
    best = max(auc, key=lambda target: abs(auc[target] - 0.5) if found.is_number else auc[target])
    sign = -1 if found.is_number and auc[best] < 0.5 else 1
    higher_in = _higher_in(labels, best, sign) if found.is_number else ""
    return [
        _cue(found, labels, split, known, best, sign * scores[best], higher_in, level, split is reference)
        if split is reference or present.index(split) > present.index(reference)
        else _unknown(found, labels, split, known)
        for split in present
    ]


def _is_known(found: Property) -> NDArray[np.bool_]:
    if found.is_number:
        return np.isfinite(np.array(found.values, dtype=np.float64))
    return np.array([value != "" for value in found.values], dtype=bool)


def _higher_in(labels: Labels, target: int, sign: int) -> str:
    if len(labels.classes) == 2:
        return labels.classes[1 if sign > 0 else 0]
    return labels.classes[target] if sign > 0 else "others"


def _score(found: Property, labels: Labels, target: int, reference: Split, known: NDArray[np.bool_]) -> Floats:
    """(n,) value of a number; for words how much more frequent each is in a class, by the reference images of other patients."""
    if found.is_number:
        return np.array(found.values, dtype=np.float64)
    _, word = np.unique(np.array(found.values, dtype=object).astype(str), return_inverse=True)
    own, positive = labels.of_split(reference) & known, labels.is_of(target)
    score = _frequency_ratio(word, positive, own)
    for fold in range(FOLDS):
        held_out = own & (labels.fold == fold)
        score[held_out] = _frequency_ratio(word, positive, own & (labels.fold != fold))[held_out]
    return score


def _frequency_ratio(word: Ints, positive: NDArray[np.bool_], among: NDArray[np.bool_]) -> Floats:
    """(n,) difference of the frequencies of each image's word in the two classes over their sum, with one more image of each class.

    A word that does not occur has 0, whatever the fold.
    """
    count = int(word.max()) + 1
    counts = [np.bincount(word[among & own], minlength=count) for own in (positive, ~positive)]
    totals = [max(int(each.sum()), 1) for each in counts]
    first, second = (each / total for each, total in zip(counts, totals, strict=True))
    ratio = (first - second) / (first + second + 1 / totals[0] + 1 / totals[1])
    return np.asarray(ratio[word], dtype=np.float64)


def _cue(
    found: Property,
    labels: Labels,
    split: Split,
    known: NDArray[np.bool_],
    target: int,
    score: Floats,
    higher_in: str,
    level: float,
    is_reference: bool,
) -> Cue:
    own = labels.of_split(split) & known
    if not labels.are_enough(target, own) or len({found.values[i] for i in np.flatnonzero(own)}) < 2:
        return _unknown(found, labels, split, known)
    auc, bound = labels.estimates(score, target, own, level, within_folds=is_reference and not found.is_number)
    values = () if found.is_number else _named_values(found, labels, own, target)
    medians = _medians(found, labels, own)
    return Cue(split, found.name, auc, higher_in, medians, found.origin, labels.classes[target], bound, values)


def _unknown(found: Property, labels: Labels, split: Split, known: NDArray[np.bool_]) -> Cue:
    nothing = Estimate(*[float("nan")] * 3)
    return Cue(split, found.name, nothing, "", _medians(found, labels, labels.of_split(split) & known), found.origin)


def _medians(found: Property, labels: Labels, own: NDArray[np.bool_]) -> dict[str, float]:
    if not found.is_number:
        return {}
    value = np.array(found.values, dtype=np.float64)
    chosen = [value[own & labels.is_of(number)] for number in range(len(labels.classes))]
    return {
        name: _shown_median(float(np.median(each)), found.origin) if len(each) else float("nan")
        for name, each in zip(labels.classes, chosen, strict=True)
    }


def _shown_median(median: float, origin: Origin) -> float:
    """Median; of a table's column rounded, since that of an odd number of images is the value of one of them."""
    return float(f"{median:.2g}") if origin == "column" else median


def _named_values(
    found: Property, labels: Labels, own: NDArray[np.bool_], target: int
) -> tuple[tuple[str, int, float], ...]:
    """Most frequent words, each of several patients; those that may be names or free text numbered."""
    words = np.array(found.values, dtype=object).astype(str)
    names, counts = np.unique(words[own], return_counts=True)
    are_numbered, values = _are_numbered(found, labels, words), []
    for number, i in enumerate(np.argsort(-counts, kind="stable")[:_SHOWN], start=1):
        with_word = own & (words == names[i])
        if labels.are_frequent(with_word):
            hidden = are_numbered or (found.name == "manufacturer" and not is_vendor(str(names[i])))
            shown = f"{'word' if found.origin == 'column' else found.name} {number}" if hidden else str(names[i])
            values.append((shown, int(counts[i]), float(labels.is_of(target)[with_word].mean())))
    return tuple(values)


def _are_numbered(found: Property, labels: Labels, words: NDArray[np.object_] | NDArray[np.str_]) -> bool:
    """Whether the words of a property may be names or free text."""
    if found.origin != "column":
        return found.name in UNNAMED
    different = [str(word) for word in np.unique(words) if word]
    frequent = len(different) <= MANY_WORDS and all(labels.are_frequent(words == word) for word in different)
    return is_of_people(found.name) or not are_plain(different, frequent)

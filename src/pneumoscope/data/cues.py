"""Cues: properties of files, headers and tables that tell the label without what the image shows.

    numbers    AUC of the value, in the direction that it has in the training images
    words      AUC of the category: how much more frequent it is in a class, counted on other patients' images (five folds by patient;
               in the test images, on the training images). A word for every image says nothing, and gets 0.5
    together   AUC of boosted trees over all properties of file and header, fitted to other patients' images in the same way

With more than two classes each is told from all others, and a cue is of the class that it tells best. Many properties are tested: the
lower bound of a cue is that of its interval at a level of 1 - 0.01 / tests (Bonferroni), so that at most one in a hundred data sets
without a cue has a lower bound above 0.5 for any property. A cue is telling where that bound is above 0.5 and the AUC at least 0.65, or
the bound above 0.55; or where the plain 95 % interval is above 0.65, as it is for a clear separation of few patients.

Source: target encoding, Micci-Barreca, SIGKDD Explorations 2001, doi 10.1145/507533.507538; intervals, `intervals.auc_estimate`.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.index import Index
from pneumoscope.data.properties import UNNAMED, Origin, Property, properties_of
from pneumoscope.evaluation.intervals import Estimate, auc_estimate, patient_numbers
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc
from pneumoscope.types import Finding, Split

# Images of a class in a split below which an AUC says nothing.
FEWEST = 10
# AUC from which a cue is worth mentioning.
NOTICEABLE_AUC = 0.65
# Lower bound that counts all properties, above which a cue of a lower AUC tells the label as well.
_LOWEST_BOUND = 0.55
# Probability that any property of a data set without cues has a lower bound above 0.5.
FAMILY_LEVEL = 0.01
CLUSTER = "acquisition cluster"
TOGETHER = "all of file and header"
_FOLDS = 5
# Values of a property of words that a report names, and patients below which none is named.
_SHOWN, _FEWEST_PATIENTS = 4, 5
# Different words of a table's column from which on they may be names or free text.
_MANY_WORDS = 12
# Settings of the trees: shallow ones, since a few properties are all there is.
_TREES: Mapping[str, Any] = {
    "max_iter": 40,
    "max_depth": 3,
    "min_samples_leaf": 10,
    "early_stopping": False,
    "random_state": 0,
}
_MOST_CATEGORIES = 40


@dataclass(frozen=True)
class Cue:
    """Separation of a class from the others by one property, without a network.

    Attributes:
        split: Split of the images.
        name: Name of the property.
        auc: AUC in the direction of `higher_in`, with its 95 % interval over patients; NaN where the property is constant or unknown,
            or a class has fewer than ten images. Below 0.5 the property points the other way than in the training images.
        higher_in: Class with the higher values in the training images, in these where the training images do not tell; of more than
            two classes the one that is told, or `others`; empty for words, and where the AUC is NaN.
        medians: Class to the median of its images, for numbers; NaN where a class has none.
        origin: `file`, `grey levels`, `header` or `column`.
        told: Class that is told from the others; the second of two.
        lower_bound: Lower end of the interval that counts all properties; NaN where the AUC is.
        values: For words the most frequent ones: word, number of images, fraction of them in `told`.
    """

    split: Split
    name: str
    auc: Estimate
    higher_in: str
    medians: Mapping[str, float] = field(default_factory=dict)
    origin: Origin = "file"
    told: str = ""
    lower_bound: float = float("nan")
    values: tuple[tuple[str, int, float], ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the AUC is defined."""
        return self.auc.value == self.auc.value

    @property
    def is_telling(self) -> bool:
        """Whether the property tells the label by more than chance and by more than hardly."""
        proven = self.lower_bound > (0.5 if self.auc.value >= NOTICEABLE_AUC else _LOWEST_BOUND)
        return proven or self.auc.low >= NOTICEABLE_AUC

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        both = {f"{name}_median": self.medians[name] for name in Finding if name in self.medians}
        return {
            "split": self.split,
            "name": self.name,
            "auc": vars(self.auc),
            "higher_in": self.higher_in,
            **both,
            "medians": dict(self.medians),
            "origin": self.origin,
            "told": self.told,
            "lower_bound": self.lower_bound,
            "telling": self.is_telling,
            "values": [list(each) for each in self.values],
        }


def class_names(index: Index) -> list[str]:
    """Classes of an index, the negative one first."""
    found = {row.coarse_label for row in index.rows}
    if found <= set(Finding):
        return [each.value for each in Finding]
    negative = {row.coarse_label for row in index.rows if row.finding is Finding.NORMAL}
    return sorted(found, key=lambda name: (name not in negative, int(name) if name.isdecimal() else 0, name))


@dataclass(frozen=True)
class Labels:
    """Labels, patients and splits of images.

    Attributes:
        classes: Names of the classes, the negative one first.
        label: (n,) int, class of each image.
        patient: (n,) int, patient of each image.
        split: (n,) split of each image.
    """

    classes: Sequence[str]
    label: Ints
    patient: Ints
    split: NDArray[np.object_]

    @classmethod
    def of(cls, index: Index, splits: Sequence[Split]) -> "Labels":
        """Labels of an index."""
        names = class_names(index)
        label = np.array([names.index(row.coarse_label) for row in index.rows], dtype=np.int64)
        patient = patient_numbers([row.patient for row in index.rows]).astype(np.int64)
        return cls(names, label, patient, np.array(splits, dtype=object))

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """Classes that are told from the others: the second of two, each of several."""
        return (1,) if len(self.classes) == 2 else tuple(range(len(self.classes)))

    def of_split(self, split: Split) -> NDArray[np.bool_]:
        """(n,) bool, images of a split."""
        return np.asarray(self.split == split, dtype=bool)

    def told(self, target: int) -> NDArray[np.bool_]:
        """(n,) bool, images of a class."""
        return np.asarray(self.label == target)

    def are_enough(self, target: int, among: NDArray[np.bool_]) -> bool:
        """Whether some images are enough of a class and of the others."""
        positive = self.told(target)[among]
        return min(int(positive.sum()), int((~positive).sum())) >= FEWEST

    @cached_property
    def fold(self) -> Ints:
        """(n,) int, fold of each image within its split, by patient and with as much of each class as can be."""
        from sklearn.model_selection import StratifiedGroupKFold

        fold = np.zeros(len(self.label), dtype=np.int64)
        for split in Split:
            own = np.flatnonzero(self.of_split(split))
            if len(np.unique(self.patient[own])) < _FOLDS or np.bincount(self.label[own]).max(initial=0) < _FOLDS:
                continue
            folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a class with fewer images than folds
                for number, (_, held_out) in enumerate(folds.split(own, self.label[own], self.patient[own])):
                    fold[own[held_out]] = number
        return fold


def find_cues(index: Index, splits: Sequence[Split], clusters: Ints | None = None) -> tuple[Cue, ...]:
    """Find how far each property of an index tells the labels.

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
    together = _together_cues([each for each in varying if each.origin in ("file", "header")], labels, present, level)
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
    reference = _reference(labels, present, known)
    if reference is None or not found.varies:
        return [_unknown(found, labels, split, known) for split in present]
    scores = {target: _score(found, labels, target, reference, known) for target in labels.targets}
    among = labels.of_split(reference) & known
    auc = {
        target: roc_auc(scores[target][among], labels.told(target)[among])
        for target in labels.targets
        if labels.are_enough(target, among)
    }
    best = max(auc, key=lambda target: abs(auc[target] - 0.5) if found.is_number else auc[target])
    sign = -1 if found.is_number and auc[best] < 0.5 else 1
    higher_in = _higher_in(labels, best, sign) if found.is_number else ""
    return [
        _cue(found, labels, split, known, best, sign * scores[best], higher_in, level)
        if split is reference or present.index(split) > present.index(reference)
        else _unknown(found, labels, split, known)
        for split in present
    ]


def _is_known(found: Property) -> NDArray[np.bool_]:
    if found.is_number:
        return np.isfinite(np.array(found.values, dtype=np.float64))
    return np.array([value != "" for value in found.values], dtype=bool)


def _reference(labels: Labels, present: Sequence[Split], known: NDArray[np.bool_]) -> Split | None:
    """First split in which some class and the others have enough images."""
    for split in present:
        among = labels.of_split(split) & known
        if any(labels.are_enough(target, among) for target in labels.targets):
            return split
    return None


def _higher_in(labels: Labels, target: int, sign: int) -> str:
    if len(labels.classes) == 2:
        return labels.classes[1 if sign > 0 else 0]
    return labels.classes[target] if sign > 0 else "others"


def _score(found: Property, labels: Labels, target: int, reference: Split, known: NDArray[np.bool_]) -> Floats:
    """(n,) value of a number; for words how much more frequent each is in a class, by the reference images of other patients."""
    if found.is_number:
        return np.array(found.values, dtype=np.float64)
    _, word = np.unique(np.array(found.values, dtype=object).astype(str), return_inverse=True)
    own, positive = labels.of_split(reference) & known, labels.told(target)
    score = _frequency_ratio(word, positive, own)
    for fold in range(_FOLDS):
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
) -> Cue:
    own = labels.of_split(split) & known
    if not labels.are_enough(target, own) or len({found.values[i] for i in np.flatnonzero(own)}) < 2:
        return _unknown(found, labels, split, known)
    auc, bound = _estimates(score[own], labels.told(target)[own], labels.patient[own], level)
    values = () if found.is_number else _named_values(found, labels, own, target)
    medians = _medians(found, labels, own)
    return Cue(split, found.name, auc, higher_in, medians, found.origin, labels.classes[target], bound, values)


def _estimates(score: Floats, positive: NDArray[np.bool_], patient: Ints, level: float) -> tuple[Estimate, float]:
    patients = patient.tolist()
    return auc_estimate(score, positive, patients), auc_estimate(score, positive, patients, level).low


def _unknown(found: Property, labels: Labels, split: Split, known: NDArray[np.bool_]) -> Cue:
    nothing = Estimate(*[float("nan")] * 3)
    return Cue(split, found.name, nothing, "", _medians(found, labels, labels.of_split(split) & known), found.origin)


def _medians(found: Property, labels: Labels, own: NDArray[np.bool_]) -> dict[str, float]:
    if not found.is_number:
        return {}
    value = np.array(found.values, dtype=np.float64)
    chosen = [value[own & labels.told(number)] for number in range(len(labels.classes))]
    return {
        name: float(np.median(each)) if len(each) else float("nan")
        for name, each in zip(labels.classes, chosen, strict=True)
    }


def _named_values(
    found: Property, labels: Labels, own: NDArray[np.bool_], target: int
) -> tuple[tuple[str, int, float], ...]:
    """Most frequent words, each of several patients; none that may be a name, and numbers in place of those of places."""
    words = np.array(found.values, dtype=object)
    names, counts = np.unique(words[own].astype(str), return_counts=True)
    if found.origin == "column" and len(names) > _MANY_WORDS:
        return ()
    values = []
    for number, i in enumerate(np.argsort(-counts, kind="stable")[:_SHOWN], start=1):
        with_word = own & (words == names[i])
        if len(np.unique(labels.patient[with_word])) >= _FEWEST_PATIENTS:
            shown = f"{found.name} {number}" if found.name in UNNAMED else str(names[i])
            values.append((shown, int(counts[i]), float(labels.told(target)[with_word].mean())))
    return tuple(values)


def _together_cues(found: Sequence[Property], labels: Labels, present: Sequence[Split], level: float) -> list[Cue]:
    """Cues of all properties together; none where there are fewer than two, or too few images."""
    reference = _reference(labels, present, np.ones(len(labels.label), dtype=bool))
    if reference is None or len(found) < 2:
        return []
    own = labels.of_split(reference)
    probability = _probabilities(found, labels, reference, own)
    auc = {
        target: roc_auc(probability[own, target], labels.told(target)[own])
        for target in labels.targets
        if labels.are_enough(target, own)
    }
    best = max(auc, key=lambda target: auc[target])
    cues = []
    for split in present[present.index(reference) :]:
        among = labels.of_split(split)
        if labels.are_enough(best, among):
            estimate, bound = _estimates(
                probability[among, best], labels.told(best)[among], labels.patient[among], level
            )
            cues.append(Cue(split, TOGETHER, estimate, "", {}, "file", labels.classes[best], bound))
    return cues


def _probabilities(found: Sequence[Property], labels: Labels, reference: Split, own: NDArray[np.bool_]) -> Floats:
    """(n, classes) probabilities by trees that are fitted to the reference images of other patients."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = np.stack([_column(each, own) for each in found], axis=1)
    categorical = np.array([not each.is_number for each in found])
    probability = np.zeros((len(columns), len(labels.classes)))
    parts = [(own & (labels.fold != fold), own & (labels.fold == fold)) for fold in range(_FOLDS)]
    if not own.all():
        parts.append((own, ~own))
    for train, held_out in parts:
        if held_out.any() and len(np.unique(labels.label[train])) > 1:
            used = np.isfinite(columns[train]).any(axis=0)
            trees = HistGradientBoostingClassifier(categorical_features=categorical[used], **_TREES)
            trees.fit(columns[train][:, used], labels.label[train])
            probability[np.ix_(held_out, trees.classes_)] = trees.predict_proba(columns[held_out][:, used])
    return probability


def _column(found: Property, own: NDArray[np.bool_]) -> Floats:
    """(n,) numbers, or numbers of words by their frequency; NaN where unknown or rare."""
    if found.is_number:
        return np.array(found.values, dtype=np.float64)
    words = np.array(found.values, dtype=object).astype(str)
    names, counts = np.unique(words[own], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES]
    code = {str(names[i]): float(rank) for rank, i in enumerate(order) if names[i]}
    return np.array([code.get(word, np.nan) for word in words], dtype=np.float64)

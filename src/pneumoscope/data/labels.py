"""Labels, patients, splits and folds of the images of an index, for an audit."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.index import Index
from pneumoscope.data.privacy import FEWEST_IMAGES, FEWEST_PATIENTS
from pneumoscope.evaluation.intervals import Estimate, auc_estimate, patient_numbers
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.types import Finding, Split

# Images of a class in a split below which an AUC says nothing.
FEWEST = 10
FOLDS = 5


def class_names(index: Index) -> list[str]:
    """Classes of an index, the negative one first."""
    found = {row.coarse_label for row in index.rows}
    if found <= set(Finding):
        return [each.value for each in Finding]
    negative = {row.coarse_label for row in index.rows if row.finding is Finding.NORMAL}
    return sorted(found, key=lambda name: (name not in negative, int(name) if name.isdecimal() else 0, name))


def class_counts(index: Index, splits: Sequence[Split]) -> dict[Split, dict[str, int]]:
    """Number of images of each class in each split that has any."""
    names = class_names(index)
    counts = {each: dict.fromkeys(names, 0) for each in Split if each in splits}
    for row, split in zip(index.rows, splits, strict=True):
        counts[split][row.coarse_label] += 1
    return counts


@dataclass(frozen=True)
class Labels:
    """Labels, patients and splits of images.

    Attributes:
        classes: Names of the classes, the negative one first.
        label: (n,) int, class of each image.
        patient: (n,) int, patient of each image.
        split: (n,) split of each image.
        patients_known: Whether the patient of every image is known; else some count as patients of their own.
    """

    classes: Sequence[str]
    label: Ints
    patient: Ints
    split: NDArray[np.object_]
    patients_known: bool = True

    @classmethod
    def of(cls, index: Index, splits: Sequence[Split]) -> "Labels":
        """Labels of an index."""
        names = class_names(index)
        label = np.array([names.index(row.coarse_label) for row in index.rows], dtype=np.int64)
        patient = patient_numbers([row.patient for row in index.rows]).astype(np.int64)
        return cls(names, label, patient, np.array(splits, dtype=object), not index.unknown_names)

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """Classes that are separated from the others: the second of two, each of several."""
        return (1,) if len(self.classes) == 2 else tuple(range(len(self.classes)))

    def are_frequent(self, images: NDArray[np.bool_]) -> bool:
        """Whether some images are of so many patients that what they have in common names none of them."""
        patients = len(np.unique(self.patient[images]))
        return patients >= FEWEST_PATIENTS and (self.patients_known or int(images.sum()) >= FEWEST_IMAGES)

    def of_split(self, split: Split) -> NDArray[np.bool_]:
        """(n,) bool, images of a split."""
        return np.asarray(self.split == split, dtype=bool)

    def is_of(self, target: int) -> NDArray[np.bool_]:
        """(n,) bool, images of a class."""
        return np.asarray(self.label == target)

    def are_enough(self, target: int, among: NDArray[np.bool_]) -> bool:
        """Whether some images are enough of a class and of the others."""
        positive = self.is_of(target)[among]
        return min(int(positive.sum()), int((~positive).sum())) >= FEWEST

    @cached_property
    def fold(self) -> Ints:
        """(n,) int, fold of each image within its split, by patient and with as much of each class as can be."""
        from sklearn.model_selection import StratifiedGroupKFold

        fold = np.zeros(len(self.label), dtype=np.int64)
        for split in Split:
            own = np.flatnonzero(self.of_split(split))
            if len(np.unique(self.patient[own])) < FOLDS or np.bincount(self.label[own]).max(initial=0) < FOLDS:
                continue
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a class with fewer images than folds
                for number, (_, held_out) in enumerate(folds.split(own, self.label[own], self.patient[own])):
                    fold[own[held_out]] = number
        return fold

    def reference(self, present: Sequence[Split], known: NDArray[np.bool_]) -> Split | None:
        """First split in which some class and the others have enough images, out of those that are known; None where there is none."""
        for split in present:
            among = self.of_split(split) & known
            if any(self.are_enough(target, among) for target in self.targets):
                return split
        return None

    def estimates(
        self, score: Floats, target: int, own: NDArray[np.bool_], level: float, within_folds: bool
    ) -> tuple[Estimate, float]:
        """AUC of a (n,) score for a class over some images with its 95 % interval, and the lower end of its interval at a level.

        Within folds images are compared with those of their fold alone, since a score that is fitted to the other folds ranks those of
        several folds the wrong way: a class that is frequent in one is rare in the others.
        """
        positive, patients = self.is_of(target)[own], self.patient[own].tolist()
        folds = self.fold[own] if within_folds else None
        auc = auc_estimate(score[own], positive, patients, groups=folds)
        return auc, auc_estimate(score[own], positive, patients, level, folds).low

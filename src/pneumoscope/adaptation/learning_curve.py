"""Learning curve: AUC on held-out patients against the number of images that a candidate is fitted to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pneumoscope.adaptation.cross_validation import OUTER_FOLDS, Candidate, grouped_folds, positive_probability
from pneumoscope.adaptation.site import SiteImages
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc

_SMALLEST = 25
_REPEATS = 20
# Gain in AUC by the last doubling from which more images are worth labelling, and how many standard errors it must exceed; and the gain
# that must be ruled out, by as many errors, before it is said that more would hardly help.
_WORTHWHILE, _ERRORS, _RULED_OUT = 0.005, 2.0, 0.02


@dataclass(frozen=True)
class LearningCurve:
    """AUC on held-out patients by number of images.

    Attributes:
        images: Numbers of images, ascending.
        auc: (sizes, repeats) AUC of each repeat, in [0, 1].
        candidate: Description of the candidate.
    """

    images: tuple[int, ...]
    auc: Floats
    candidate: str

    @property
    def points(self) -> list[dict[str, float]]:
        """Images, mean AUC and its standard deviation over the repeats, for each size."""
        return [
            {"images": size, "auc": float(values.mean()), "deviation": float(values.std(ddof=1))}
            for size, values in zip(self.images, self.auc, strict=True)
        ]

    @property
    def gain(self) -> tuple[float, float]:
        """Gain in AUC from the last size but one to the last, paired by repeat, and its standard error; NaN for one size."""
        if len(self.images) < 2:
            return float("nan"), float("nan")
        gain = self.auc[-1] - self.auc[-2]
        return float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))

    @property
    def more_would_help(self) -> bool | None:
        """Whether the last step raised the AUC by more than chance and by a worthwhile amount; None where nobody can say.

        A step that may have raised it, as with few images, is no sign that more would not.
        """
        gain, error = self.gain
        if gain > max(_WORTHWHILE, _ERRORS * error):
            return True
        return False if gain + _ERRORS * error < _RULED_OUT else None

    @property
    def answer(self) -> str:
        """Answer in words to whether more images would help."""
        if self.more_would_help is None:
            return "Too few images to say whether more would help."
        first, last = self.images[-2:]
        change = (
            f"from {first} to {last} images the AUC changed by {self.gain[0]:+.3f} (standard error {self.gain[1]:.3f})"
        )
        more = "would help" if self.more_would_help else "would hardly help this method"
        return f"More images {more}: {change}; {self.candidate}."


def learning_curve(images: SiteImages, candidate: Candidate, progress: Callable[[int, int], None]) -> LearningCurve:
    """Learning curve of a candidate; in each repeat smaller samples of patients are parts of larger ones."""
    folds = [grouped_folds(images.label, images.patients, OUTER_FOLDS, seed) for seed in range(_REPEATS)]
    held_out = [repeat % (int(fold.max()) + 1) for repeat, fold in enumerate(folds)]
    largest = min(int((fold != out).sum()) for fold, out in zip(folds, held_out, strict=True))
    sizes = [_SMALLEST]
    while 2 * sizes[-1] <= largest:
        sizes.append(2 * sizes[-1])
    # A last step of less than a quarter is no step.
    sizes = [*sizes, largest] if largest > 1.25 * sizes[-1] else [*sizes[:-1], largest]
    auc = np.zeros((len(sizes), _REPEATS))
    for repeat, (fold, out) in enumerate(zip(folds, held_out, strict=True)):
        train, test = np.flatnonzero(fold != out), np.flatnonzero(fold == out)
        order = _by_patients(images, train, np.random.default_rng(repeat))
        for number, size in enumerate(sizes):
            auc[number, repeat] = _auc(images, candidate, order[:size], test)
        progress(repeat + 1, _REPEATS)
    return LearningCurve(tuple(sizes), auc, candidate.description)


def _by_patients(images: SiteImages, rows: Ints, rng: np.random.Generator) -> Ints:
    """Rows in the order of randomly drawn patients, one of each class first."""
    patients = np.array([images.patients[i] for i in rows], dtype=object)
    drawn = {name: place for place, name in enumerate(rng.permutation(np.unique(patients.astype(str))))}
    order = rows[np.argsort([drawn[name] for name in patients], kind="stable")]
    first = np.unique(images.label[order], return_index=True)[1]
    return np.concatenate([order[first], np.delete(order, first)])


def _auc(images: SiteImages, candidate: Candidate, train: Ints, test: Ints) -> float:
    return roc_auc(positive_probability(candidate.logits(images, train, test)), images.positive[test])

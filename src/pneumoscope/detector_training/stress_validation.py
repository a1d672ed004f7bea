"""A validation that hurts like the test: normals of styles that training knew as pneumonia, and normals stored like pneumonias."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing
from pneumoscope.data.dataset import Dataset, FilmLooks
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.shift import as_pneumonia_files
from pneumoscope.decision import logits_of, pneumonia_probability
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import whole_or_nothing
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.training.precision import Precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.types import Split

_LEAST_OF_A_KIND = 3


@dataclass(frozen=True)
class HardValidation:
    """What a network answers on the validation films, as they are and shifted.

    Attributes:
        positions: (n,) int, of the films in the index.
        label: (n,) int, 0 for normal.
        style: (n,) int, of each film as it is.
        odd: (n,) bool, a normal of a style in which normals are in the minority.
        plain: (n, classes) float64, probabilities for the films as they are.
        shifted: (n, classes) float64, likewise, every normal stored as a pneumonia film is; pneumonias as they are.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    style: NDArray[np.int64]
    odd: NDArray[np.bool_]
    plain: NDArray[np.float64]
    shifted: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Writes an npz file, atomically."""
        with whole_or_nothing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **vars(self))


def load_hard_validation(path: Path) -> HardValidation:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as held:
        return HardValidation(**held)


@dataclass(frozen=True)
class HardSet:
    """Films on which calibration and operating points are fitted, from all folds together.

    Each kind of pneumonia shares half of the weight alike, as they are; a quarter are normals of odd styles as they are; a
    quarter the other normals, stored like pneumonias.

    Attributes:
        logit: (n, classes) float64, logarithms of the probabilities.
        label: (n,) int.
        weight: (n,) float64, mean 1.
    """

    logit: NDArray[np.float64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]


def auc_within_styles(found: HardValidation) -> float:
    """AUC of pneumonias against shifted normals of the same style, the mean over the styles: the style tells nothing here.

    Each style counts by the smaller number of its two kinds; those with fewer than three of either are left out.

    Returns:
        In [0, 1]; NaN where no style has enough films.
    """
    score, ill = pneumonia_probability(found.shifted), found.label > 0
    total = weight = 0.0
    for style in np.unique(found.style):
        own = found.style == style
        smaller = min(int(ill[own].sum()), int((~ill)[own].sum()))
        if smaller >= _LEAST_OF_A_KIND:
            total += smaller * roc_auc(score[own], ill[own])
            weight += smaller
    return total / weight if weight else float("nan")


def hard_set(folds: Sequence[HardValidation]) -> HardSet:
    """The hard set of the held-out answers of all folds.

    Args:
        folds: Each film held out in one of them.
    """
    label, odd = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("label", "odd"))
    plain, shifted = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("plain", "shifted"))
    normal = label == 0
    common = normal & ~odd
    probability = np.where(common[:, None], shifted, plain)
    kinds = np.unique(label[~normal])
    weight = np.zeros(len(label))
    for chosen, share in ((odd, 0.25), (common, 0.25), *((label == kind, 0.5 / len(kinds)) for kind in kinds)):
        weight[chosen] = share / max(1, chosen.sum())
    return HardSet(logits_of(probability), label, weight / weight.mean())


def shifted_films(dataset: Dataset, data: LabelledImages, settings: Preprocessing, seed: int = 0) -> LabelledImages:
    """The same films, the normals among them with stretch, sharpness and compression of the pneumonias among them.

    Args:
        dataset: With its looks.
        data: Films of it, of both kinds.
        settings: The preprocessing, which the altered films go through as any file would.
        seed: Of the draws.
    """
    looks = _looks(dataset)
    squashed = looks.squashed[data.positions]
    films = data.films[data.positions]
    normal = data.labels == 0
    altered = as_pneumonia_files(squashed[normal], squashed[~normal], np.random.default_rng(seed))
    films[normal] = [prepare(film, settings) for film in altered]
    return LabelledImages(films, np.arange(len(films)), data.labels)


def validate_hard(
    model: FilmClassifier, dataset: Dataset, settings: Preprocessing, precision: Precision
) -> HardValidation:
    """Runs a trained network over the validation films of its style fold, as they are and shifted.

    Args:
        model: Trained.
        dataset: Split by style, its films prepared with `settings`.
        settings: The network's preprocessing.
        precision: `fp32` or `bf16`.
    """
    looks = _looks(dataset)
    data = labelled_images(dataset, Split.VALIDATION, len(model.scheme))
    return HardValidation(
        data.positions,
        data.labels,
        looks.styles[data.positions],
        looks.odd_normals(data.positions, data.labels),
        class_probabilities(model, data, precision),
        class_probabilities(model, shifted_films(dataset, data, settings), precision),
    )


def _looks(dataset: Dataset) -> FilmLooks:
    if dataset.looks is None:
        raise InputError("expected a data set split by style, found one split by patient: set split.by to style")
    return dataset.looks

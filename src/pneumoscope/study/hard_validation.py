"""A validation that hurts like the test: styles never seen, and normals stored like pneumonias."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.shift import as_pneumonia_files
from pneumoscope.data.styles import FilmStyles
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.training.batches import LabelledFilms, labelled_films
from pneumoscope.training.precision import Precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.types import Split


@dataclass(frozen=True)
class HardValidation:
    """What a network answers on the validation films, as they are and shifted.

    Attributes:
        positions: (n,) int, of the films in the index.
        label: (n,) int, 0 for normal.
        style: (n,) int, of each film as it is.
        plain: (n, classes) float64, probabilities for the films as they are.
        shifted: (n, classes) float64, likewise, every normal stored as a pneumonia film is; pneumonias as they are.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    style: NDArray[np.int64]
    plain: NDArray[np.float64]
    shifted: NDArray[np.float64]


def shifted_films(data: LabelledFilms, seed: int = 0) -> LabelledFilms:
    """The same films, the normals among them with stretch, sharpness and compression of the pneumonias among them.

    Args:
        data: With films of both kinds.
        seed: Of the draws.
    """
    films = data.films[data.positions]
    normal = data.labels == 0
    films[normal] = as_pneumonia_files(films[normal], films[~normal], np.random.default_rng(seed))
    return LabelledFilms(films, np.arange(len(films)), data.labels)


def validate_hard(model: FilmClassifier, dataset: Dataset, styles: FilmStyles, precision: Precision) -> HardValidation:
    """Runs a trained network over the validation films of its split, as they are and shifted."""
    data = labelled_films(dataset, Split.VALIDATION, len(model.scheme))
    return HardValidation(
        data.positions,
        data.labels,
        styles.of(data.films[data.positions]),
        class_probabilities(model, data, precision),
        class_probabilities(model, shifted_films(data), precision),
    )

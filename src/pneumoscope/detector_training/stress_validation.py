"""A validation that hurts like the test: normals of styles that training knew as pneumonia, and normals stored like pneumonias."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing
from pneumoscope.data.dataset import AcquisitionClusters, Dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.shift import as_pneumonia_files
from pneumoscope.decision import logits_of, pneumonia_probability
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import whole_or_nothing
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.training.precision import Precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.types import Split

_LEAST_OF_A_KIND = 3
# Names of the arrays on disk, where they differ from the attributes.
_STORED = {"cluster": "style", "minority": "odd"}


@dataclass(frozen=True)
class StressValidation:
    """What a network answers on the validation images, as they are and shifted.

    Attributes:
        positions: (n,) int, of the images in the index.
        label: (n,) int, 0 for normal.
        cluster: (n,) int, acquisition cluster of each image as it is.
        minority: (n,) bool, minority normals: normal images of a cluster in which most images are pneumonia.
        plain: (n, classes) float64, probabilities for the images as they are.
        shifted: (n, classes) float64, likewise, every normal stored as a pneumonia image is; pneumonias as they are.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    cluster: NDArray[np.int64]
    minority: NDArray[np.bool_]
    plain: NDArray[np.float64]
    shifted: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Writes an npz file, atomically."""
        with whole_or_nothing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **{_STORED.get(name, name): values for name, values in vars(self).items()})


def load_stress_validation(path: Path) -> StressValidation:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as held:
        stored = {name: key for key, name in _STORED.items()}
        return StressValidation(**{stored.get(name, name): held[name] for name in held.files})


@dataclass(frozen=True)
class StressSet:
    """Images on which calibration and operating points are fitted, from all folds together.

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


def auc_within_clusters(found: StressValidation) -> float:
    """AUC of pneumonias against shifted normals of the same style, the mean over the styles: the style tells nothing here.

    Each style counts by the smaller number of its two kinds; those with fewer than three of either are left out.

    Returns:
        In [0, 1]; NaN where no style has enough images.
    """
    score, positive = pneumonia_probability(found.shifted), found.label > 0
    total = weight = 0.0
    for cluster in np.unique(found.cluster):
        own = found.cluster == cluster
        smaller = min(int(positive[own].sum()), int((~positive)[own].sum()))
        if smaller >= _LEAST_OF_A_KIND:
            total += smaller * roc_auc(score[own], positive[own])
            weight += smaller
    return total / weight if weight else float("nan")


def stress_set(folds: Sequence[StressValidation]) -> StressSet:
    """The hard set of the held-out answers of all folds.

    Args:
        folds: Each image held out in one of them.
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
    return StressSet(logits_of(probability), label, weight / weight.mean())


def shifted_images(dataset: Dataset, data: LabelledImages, settings: Preprocessing, seed: int = 0) -> LabelledImages:
    """The same images, the normals among them with stretch, sharpness and compression of the pneumonias among them.

    Args:
        dataset: With its looks.
        data: Images of it, of both kinds.
        settings: The preprocessing, which the altered images go through as any file would.
        seed: Of the draws.
    """
    clusters = _clusters_of(dataset)
    squashed = clusters.squashed[data.positions]
    images = data.images[data.positions]
    normal = data.labels == 0
    altered = as_pneumonia_files(squashed[normal], squashed[~normal], np.random.default_rng(seed))
    images[normal] = [prepare(image, settings) for image in altered]
    return LabelledImages(images, np.arange(len(images)), data.labels)


def run_stress_validation(
    model: ImageClassifier, dataset: Dataset, settings: Preprocessing, precision: Precision
) -> StressValidation:
    """Runs a trained network over the validation images of its style fold, as they are and shifted.

    Args:
        model: Trained.
        dataset: Split by style, its images prepared with `settings`.
        settings: The network's preprocessing.
        precision: `fp32` or `bf16`.
    """
    clusters = _clusters_of(dataset)
    data = labelled_images(dataset, Split.VALIDATION, len(model.scheme))
    return StressValidation(
        data.positions,
        data.labels,
        clusters.cluster_of[data.positions],
        clusters.minority_normals(data.positions, data.labels),
        class_probabilities(model, data, precision),
        class_probabilities(model, shifted_images(dataset, data, settings), precision),
    )


def _clusters_of(dataset: Dataset) -> AcquisitionClusters:
    if dataset.clusters is None:
        raise InputError("expected a data set split by style, found one split by patient: set split.by to style")
    return dataset.clusters

"""Shortcut stress validation: normals from acquisition clusters seen only as pneumonia.

Training images of some acquisition clusters are nearly all pneumonia, so that a network can learn the cluster instead of the
finding. The minority normals of such clusters are held out of training by folds; the other held-out normals are altered as if
they were stored like pneumonias (`data/stress_images.py`). Calibration and operating points are fitted on both together with
the held-out pneumonias.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing
from pneumoscope.data.dataset import AcquisitionClusters, Dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.stress_images import store_like_pneumonias
from pneumoscope.decision import logits_of, pneumonia_probability, softmax
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import weighted_auc_within
from pneumoscope.evaluation.stacking import fit_member_weights
from pneumoscope.files import atomic_write
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.training.precision import Precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.types import Split

# Attribute to array name in the file, where they differ.
_ARRAY_NAMES = {"cluster": "style", "minority": "odd", "unchanged": "plain", "stressed": "shifted"}


@dataclass(frozen=True)
class StressValidation:
    """Predictions for the validation images of a fold, unchanged and as stress images.

    Attributes:
        positions: (n,) int, positions of the images in the index.
        label: (n,) int classes, 0 for normal.
        cluster: (n,) int, acquisition cluster of each unchanged image.
        minority: (n,) bool, minority normals: normal images of a cluster in which most images are pneumonia.
        unchanged: (n, classes) float64 probabilities of the unchanged images.
        stressed: (n, classes) float64 probabilities with every normal stored like a pneumonia; pneumonias unchanged.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    cluster: NDArray[np.int64]
    minority: NDArray[np.bool_]
    unchanged: NDArray[np.float64]
    stressed: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an npz file, atomically."""
        arrays = {_ARRAY_NAMES.get(name, name): values for name, values in vars(self).items()}
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)


def load_stress_validation(path: Path) -> StressValidation:
    """Read a file that `StressValidation.save` wrote."""
    attributes = {array: attribute for attribute, array in _ARRAY_NAMES.items()}
    with np.load(path, allow_pickle=False) as archive:
        return StressValidation(**{attributes.get(name, name): archive[name] for name in archive.files})


@dataclass(frozen=True)
class StressSet:
    """Out-of-fold predictions of all folds, on which calibration and operating points are fitted.

    Half of the weight is on pneumonias, unchanged, with the same weight for each etiology; a quarter on minority normals,
    unchanged; a quarter on the other normals, as stress images.

    Attributes:
        logit: (n, classes) float64, logarithms of the probabilities.
        label: (n,) int classes, 0 for normal.
        weight: (n,) float64 weights with mean 1.
    """

    logit: NDArray[np.float64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]


def join_members(members: Sequence[StressValidation], weights: Sequence[float]) -> StressValidation:
    """Predictions of an ensemble for the images of a fold: the weighted sum of its members' logits, as probabilities.

    Raises:
        InputError: The members predicted other images.
    """
    first = members[0]
    if any(
        not np.array_equal(getattr(each, name), getattr(first, name))
        for each in members
        for name in ("positions", "label")
    ):
        raise InputError(
            "expected predictions of all members for the same images, found others: use runs of one data set"
        )
    unchanged, stressed = (
        softmax(np.tensordot(weights, [logits_of(getattr(each, name)) for each in members], axes=1))
        for name in ("unchanged", "stressed")
    )
    return replace(first, unchanged=unchanged, stressed=stressed)


def stack_members(members: Sequence[Sequence[StressValidation]]) -> tuple[float, ...]:
    """Fit the weights of an ensemble's members on the stress set.

    Args:
        members: Out-of-fold predictions of each member, by fold; all for the same images.

    Returns:
        Weight of each member, 0 or more, which sum to 1.
    """
    sets = [stress_set(folds) for folds in members]
    return fit_member_weights([each.logit for each in sets], sets[0].label, sets[0].weight)


def auc_within_clusters(validation: StressValidation) -> float:
    """Weighted mean over acquisition clusters of the AUC of pneumonias against stress normals of the same cluster.

    Within a cluster the acquisition does not distinguish the classes; weights as in `weighted_auc_within`.

    Returns:
        AUC in [0, 1]; NaN where no cluster has enough images.
    """
    score, positive = pneumonia_probability(validation.stressed), validation.label > 0
    return float(weighted_auc_within(score, positive, validation.cluster, np.ones((1, len(score))))[0])


def stress_set(folds: Sequence[StressValidation]) -> StressSet:
    """Stress set of the out-of-fold predictions of all folds.

    Args:
        folds: Predictions of each fold; every image is held out in one of them.
    """
    label, minority = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("label", "minority"))
    unchanged, stressed = (
        np.concatenate([getattr(fold, name) for fold in folds]) for name in ("unchanged", "stressed")
    )
    majority = (label == 0) & ~minority
    probability = np.where(majority[:, None], stressed, unchanged)
    return StressSet(logits_of(probability), label, stress_weights(label, minority))


def stress_weights(label: NDArray[np.int64], minority: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) weights with mean 1: half on pneumonias, a quarter each on minority normals and on other normals.

    Args:
        label: (n,) int classes, 0 for normal; each etiology has the same weight.
        minority: (n,) bool, minority normals.
    """
    normal = label == 0
    etiologies = np.unique(label[~normal])
    groups = [
        (minority, 0.25),
        (normal & ~minority, 0.25),
        *((label == each, 0.5 / len(etiologies)) for each in etiologies),
    ]
    weight = np.zeros(len(label))
    for members, fraction in groups:
        weight[members] = fraction / max(1, members.sum())
    return np.asarray(weight / weight.mean())


def make_stress_images(
    dataset: Dataset, data: LabelledImages, settings: Preprocessing, seed: int = 0
) -> LabelledImages:
    """Give the normal images aspect ratio, sharpness and compression of pneumonia images; leave pneumonias unchanged.

    Args:
        dataset: Data set with acquisition clusters.
        data: Normal and pneumonia images of the data set.
        settings: Preprocessing of the network, which the altered images pass through as files do.
        seed: Seed of the random alterations.
    """
    clusters = _clusters_of(dataset)
    squashed = clusters.squashed_images[data.positions]
    images = data.images[data.positions]
    normal = data.labels == 0
    altered = store_like_pneumonias(squashed[normal], squashed[~normal], np.random.default_rng(seed))
    images[normal] = [prepare(image, settings) for image in altered]
    return LabelledImages(images, np.arange(len(images)), data.labels)


def run_stress_validation(
    model: ImageClassifier, dataset: Dataset, settings: Preprocessing, precision: Precision
) -> StressValidation:
    """Predict the validation images of a fold, unchanged and as stress images.

    Args:
        model: Trained network.
        dataset: Data set split by acquisition cluster, its images prepared with `settings`.
        settings: Preprocessing of the network.
        precision: Precision of the computation, `fp32` or `bf16`.
    """
    clusters = _clusters_of(dataset)
    data = labelled_images(dataset, Split.VALIDATION, len(model.scheme))
    return StressValidation(
        data.positions,
        data.labels,
        clusters.cluster_of[data.positions],
        clusters.minority_normals(data.positions, data.labels),
        class_probabilities(model, data, precision),
        class_probabilities(model, make_stress_images(dataset, data, settings), precision),
    )


def _clusters_of(dataset: Dataset) -> AcquisitionClusters:
    if dataset.clusters is None:
        raise InputError("expected a data set split by style, found one split by patient: set split.by to style")
    return dataset.clusters

"""Fitting of an input guard: population and limits from the images that a network was trained and validated on.

references   training images of half of the patients, and an export variant of each
held out     training images of the other patients, and the validation images
altered      the held-out images, altered more than stations differ: still frontal chests, so referred and not rejected
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.bundle import FEATURES
from pneumoscope.config import AugmentationConfig, Preprocessing
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.augmentation import add_lines, augment
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.export_variants import EXPORT_VARIANTS
from pneumoscope.data.preprocessing import chest_square, prepare_with_frame
from pneumoscope.data.stress_images import store_like_pneumonias
from pneumoscope.inference.guard import Guard, fit_guard
from pneumoscope.inference.network import Network
from pneumoscope.inference.population import Descriptions, fit_population
from pneumoscope.progress import Progress, Report, ignored, one, silent
from pneumoscope.types import Finding, Split

# Fraction of the held-out images that may lie outside the population.
_OUTSIDE_FRACTION = 0.02
# References in a bundle: more of them, up to all images, move no figure by a point (lab log).
_REFERENCES = 1000
# Alteration of radiographs, of which the guard may reject nearly none.
_ALTERATION = AugmentationConfig(
    rotation_degrees=12,
    stretch=1.2,
    shift=0.05,
    tone=0.6,
    letters=0.5,
    smallest_resolution=56,
    jpeg_quality=10,
    noise=8,
)


def fit_guard_to(network: Network, dataset: Dataset, settings: Preprocessing, report: Report = silent) -> Guard:
    """Fit the guard of a network to the training and validation images of a data set.

    Args:
        network: Network whose features describe the images.
        dataset: Data set, split as the network's training had it.
        settings: Preprocessing of the network.
        report: Progress of the stages.
    """
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    references, held_out = _halves(dataset)
    rng = np.random.default_rng(0)
    made = one(report, "export variants made")
    exported = [vary(squares[i], rng) for i, vary in zip(references, cycle(EXPORT_VARIANTS.values()))]
    normal = np.array([row.finding is Finding.NORMAL for row in dataset.index.rows])
    pneumonias = squares[references[~normal[references]]]
    restored, held_out_restored = (
        store_like_pneumonias(squares[some[normal[some]]], pneumonias, rng) for some in (references, held_out)
    )
    made()
    population = fit_population(
        describe(network, [*squares[references]], settings, report("references of the guard described")),
        describe(network, [*exported, *restored], settings, report("export variants described")),
        np.concatenate([np.arange(len(references)), np.flatnonzero(normal[references])]),
        describe(network, [*squares[held_out], *held_out_restored], settings, report("held-out images described")),
        _OUTSIDE_FRACTION,
        _REFERENCES,
        rng,
    )
    made = one(report, "altered images made")
    changed = [_alter(squares[i], rng) for i in held_out]
    made()
    altered = describe(network, changed, settings, report("altered images described"))
    validation = dataset.positions(Split.VALIDATION)
    similarity = np.array([load_atlas().locate_chest(chest_square(squares[i])).similarity for i in validation])
    return fit_guard(population, altered, similarity)


def describe(
    network: Network, images: Sequence[NDArray[np.uint8]], settings: Preprocessing, progress: Progress = ignored
) -> Descriptions:
    """Descriptions of images, each (height, width) uint8."""
    prepared, parts = [], []
    for start in range(0, len(images), network.batch):
        batch = [prepare_with_frame(image, settings) for image in images[start : start + network.batch]]
        parts.append(network.run(np.stack([each.image for each in batch]), FEATURES)[0])
        prepared += batch
        progress(len(prepared), len(images))
    features = np.concatenate(parts)
    exposure = np.stack([each.exposure for each in prepared])
    return Descriptions(features, np.stack([each.layout for each in prepared]), exposure)


def _halves(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the training images of half of the patients, and of all other training and validation images."""
    training = dataset.positions(Split.TRAIN)
    patients = np.array(dataset.patients(training))
    drawn = np.random.default_rng(0).permutation(np.unique(patients))
    chosen = np.isin(patients, drawn[: (len(drawn) + 1) // 2])
    return training[chosen], np.concatenate([training[~chosen], dataset.positions(Split.VALIDATION)])


def _alter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    altered = augment(image, _ALTERATION, rng)
    return add_lines(altered, rng) if rng.random() < 0.5 else altered

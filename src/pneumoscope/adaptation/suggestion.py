"""Suggestion of images to label next: those that a bundle is least sure of, and that differ from each other.

Of the pool, twice the wanted number with the probability nearest the threshold (in log odds) is taken; among these, one after the other
the image that is farthest, in the leading principal components of the standardised features, from all that were chosen.

Source: uncertainty sampling, Lewis and Gale, SIGIR 1994, arXiv cmp-lg/9407020; farthest first, Gonzalez, Theoretical Computer Science 1985.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.site import DescribeImages, in_tasks
from pneumoscope.bundle import Bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.errors import DataError
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.evaluation.selective import confidence_margin
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.progress import Progress

# Least sure images among which different ones are chosen, for each that is wanted, and components in which they are compared.
_PER_WANTED, _COMPONENTS = 2, 20


def suggest(
    bundle: Bundle, pool: WorkerPool, files: Sequence[Path], count: int, progress: Progress
) -> list[tuple[str, float]]:
    """Suggest images to label next.

    Args:
        bundle: Bundle of the pool.
        pool: Worker processes.
        files: Unlabelled images; those that the bundle rejects, or was fitted to, are left out.
        count: Largest number of images.
        progress: Callback with the number of images done and their total.

    Returns:
        Path and probability of each image, in the order in which they should be labelled.

    Raises:
        DataError: The bundle rejects all images.
    """
    names, probabilities, features = [], [], []
    batches, done = in_tasks(files), 0
    described = pool.run(DescribeImages([str(file) for file in batch], 0) for batch in batches)
    for batch, found in zip(batches, described, strict=True):
        for file, each in zip(batch, found, strict=True):
            if each.row and not bundle.count_training_images([each.sha256]):
                names.append(str(file))
                probabilities.append(each.row["probability"])
                features.append(each.row["features"])
        done += len(batch)
        progress(done, len(files))
    if not names:
        raise DataError(
            f"expected images that {bundle.manifest.name} accepts and was not fitted to, found none among {len(files)}: name others"
        )
    probability = pneumonia_probability(np.stack(probabilities).astype(np.float64))
    threshold = bundle.manifest.operating_point("balanced").threshold
    chosen = choose_images(probability, threshold, np.stack(features), count)
    return [(names[i], float(probability[i])) for i in chosen]


def choose_images(probability: Floats, threshold: float, features: NDArray[np.floating], count: int) -> Ints:
    """(count,) int, positions of the images to label next, in their order.

    Args:
        probability: (n,) calibrated probability of the positive class.
        threshold: Threshold of the decision, in (0, 1).
        features: (n, channels) features.
        count: Number of images; all of them where there are fewer.
    """
    unsure = np.argsort(confidence_margin(probability, threshold), kind="stable")[: _PER_WANTED * count]
    standard = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    axes = np.linalg.svd(standard, full_matrices=False)[2][:_COMPONENTS]
    points = standard[unsure] @ axes.T
    # The least sure image comes first.
    order, distance = [0], ((points - points[0]) ** 2).sum(axis=1)
    while len(order) < min(count, len(unsure)):
        distance[order[-1]] = -1
        order.append(int(distance.argmax()))
        distance = np.where(distance < 0, -1, np.minimum(distance, ((points - points[order[-1]]) ** 2).sum(axis=1)))
    return unsure[order]

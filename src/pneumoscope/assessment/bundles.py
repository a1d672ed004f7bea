"""Assessment of a bundle: every image goes through the detector as in `predict`. Needs no PyTorch."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope import paths
from pneumoscope.assessment.evaluation import Evaluation, prediction_table
from pneumoscope.assessment.report import ReportContext
from pneumoscope.bundle import Bundle
from pneumoscope.config import SplitConfig
from pneumoscope.data.acquisition_clusters import CLUSTER_COUNT
from pneumoscope.data.dataset import Dataset, acquisition_clusters, load_dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.locate import Location
from pneumoscope.errors import DataError, RunError
from pneumoscope.evaluation.decisions import DecisionOutcomes
from pneumoscope.inference.decide import Decider, ImageScore
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.tasks import ScoreImages
from pneumoscope.progress import Progress, Report
from pneumoscope.provenance import provenance
from pneumoscope.types import OUTSIDE, SCHEMES, Decision, PredictionRequest, Split

_TASK = 32


def evaluate_bundle(
    bundle: Bundle,
    pool: WorkerPool,
    location: Location,
    evaluation: Evaluation,
    report: Report,
    folder: Path,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluate a bundle on one split of a data set; see `assess_bundle`."""
    dataset = load_dataset(
        location.root, bundle.manifest.preprocessing, SplitConfig(), paths.images_directory(), report, skip_unreadable
    )
    return assess_bundle(bundle, pool, dataset, evaluation, folder, report("films judged"))


def assess_bundle(
    bundle: Bundle, pool: WorkerPool, dataset: Dataset, evaluation: Evaluation, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Evaluate a bundle at its balanced operating point and write a report.

    Args:
        bundle: Bundle of the pool.
        pool: Worker processes.
        dataset: Data set with the manifest's preprocessing and images of the wanted split.
        evaluation: Split, purpose and ledger.
        folder: Folder of the report.
        progress: Callback with the number of images done and their total.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: Training image of the bundle among the images.
        DataError: Missing split or class, or image that changed since it was indexed.
    """
    manifest = bundle.manifest
    scheme = SCHEMES[len(manifest.classes)]
    data = labelled_images(dataset, evaluation.split, len(scheme))
    _check_unseen(bundle, dataset, data)
    scores = score_images(pool, dataset, data, progress)
    probability = np.stack([score.class_probability for score in scores if score.class_probability is not None])
    point = manifest.operating_point("balanced")
    table = prediction_table(dataset, data, scheme, probability, point.threshold)
    context = ReportContext(
        f"Detector {manifest.name} {manifest.version}",
        evaluation.split.value,
        evaluation.synthetic,
        [],
        _facts(bundle, dataset) | provenance(),
        manifest.policy,
        _clusters(dataset, data),
        outcomes(bundle, scores),
    )
    return evaluation.write(table, dataset.images[data.positions], context, folder)


def score_images(pool: WorkerPool, dataset: Dataset, data: LabelledImages, progress: Progress) -> list[ImageScore]:
    """Scores of images of a data set as the detector gives them for the files, rejected images included.

    Raises:
        DataError: Unreadable image.
    """
    source, rows = dataset.source, [dataset.index.rows[i] for i in data.positions]
    in_archive = source.layout == "medmnist"
    images = (source.read(row.path) if in_archive else str(source.file_of(row.path)) for row in rows)
    tasks = iter(lambda: list(islice(images, _TASK)), [])
    scores: list[ImageScore] = []
    for batch in pool.run(map(ScoreImages, tasks)):
        scores += batch
        progress(len(scores), len(rows))
    for row, score in zip(rows, scores, strict=True):
        if score.class_probability is None:
            raise DataError(
                f"expected {row.path} as it was indexed, found it unreadable ({score.detail}): "
                "check the file and run the command again"
            )
    return scores


def outcomes(bundle: Bundle, scores: Sequence[ImageScore]) -> DecisionOutcomes:
    """Images that `predict` refers and rejects, at every operating point of a bundle."""
    names = list(bundle.manifest.operating_points)
    predictions = {name: list(map(Decider(bundle, PredictionRequest(name)), scores)) for name in names}
    return DecisionOutcomes(
        {
            name: np.array([each.decision is Decision.REFER for each in of_point], dtype=np.bool_)
            for name, of_point in predictions.items()
        },
        np.array([not set(OUTSIDE).isdisjoint(each.reasons) for each in predictions["balanced"]], dtype=np.bool_),
        np.array([each.decision is Decision.REJECTED for each in predictions["balanced"]], dtype=np.bool_),
    )


def _check_unseen(bundle: Bundle, dataset: Dataset, data: LabelledImages) -> None:
    if count := bundle.count_training_images(dataset.index.rows[i].sha256 for i in data.positions):
        raise RunError(
            f"expected images that the detector {bundle.manifest.name} was not trained on, found {count} of its training "
            "images: evaluate it on --split test, or on images of another origin"
        )


def _facts(bundle: Bundle, dataset: Dataset) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "model": f"{manifest.name} {manifest.version}",
        "bundle": bundle.sha256,
        "config_hash": str(manifest.training.get("config_hash", "")),
        "index_hash": dataset.index.hash,
        "split_hash": dataset.split.hash,
    }


def _clusters(dataset: Dataset, data: LabelledImages) -> Any:
    """(n,) int, acquisition cluster of each image; None where there are too few training images to find clusters."""
    if len(dataset.index.positions(Split.TRAIN)) < CLUSTER_COUNT:
        return None
    return acquisition_clusters(dataset, paths.images_directory()).cluster_of[data.positions]

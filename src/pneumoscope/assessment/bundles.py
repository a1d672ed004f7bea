"""Assessment of a bundle: every image goes through the detector as in `predict`. Needs no PyTorch."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.assessment.acceptance import assess_acceptance, is_outside
from pneumoscope.assessment.evaluation import Evaluation, prediction_table
from pneumoscope.assessment.figures import most_confident_mistakes
from pneumoscope.assessment.report import MISTAKES, ReportContext
from pneumoscope.bundle import Bundle
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.acquisition_clusters import CLUSTER_COUNT
from pneumoscope.data.dataset import Dataset, acquisition_clusters, load_dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images
from pneumoscope.data.locate import Location
from pneumoscope.data.patients import patients_of
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.decision import Floats
from pneumoscope.errors import DataError, RunError
from pneumoscope.evaluation.decisions import DecisionOutcomes
from pneumoscope.evaluation.metrics import Ints
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.files import sha256_or_empty
from pneumoscope.inference.decide import Decider, ImageScore
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.tasks import ScoreImages
from pneumoscope.progress import Progress, Report
from pneumoscope.provenance import provenance
from pneumoscope.types import (
    BINARY,
    ClassScheme,
    Decision,
    Etiology,
    Finding,
    PredictionRequest,
    Split,
)

_TASK = 32
# Side of the images that a report shows, pixels.
REPORT_SIDE = 224


def evaluate_bundle(
    bundle: Bundle,
    pool: WorkerPool,
    location: Location,
    evaluation: Evaluation,
    report: Report,
    folder: Path,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluate a bundle on one split of a data set, or on all images of a site where `evaluation` names no split.

    See `assess_bundle` and `assess_site`.
    """
    if evaluation.split is None:
        scheme = bundle.manifest.scheme
        source = location.open(scheme.positive, scheme.negative)
        # A data set of a site's own classes keeps its test images apart as any other does.
        if scheme.is_own and (test := [image.path for image in source.images if image.split is Split.TEST]):
            source = source.only(test)
        return assess_site(bundle, pool, source, evaluation, folder, report("images assessed"))
    dataset = load_dataset(
        location, bundle.manifest.preprocessing, SplitConfig(), paths.images_directory(), report, skip_unreadable
    )
    return assess_bundle(bundle, pool, dataset, evaluation, folder, report("images assessed"))


def assess_bundle(
    bundle: Bundle,
    pool: WorkerPool,
    dataset: Dataset,
    evaluation: Evaluation,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate a bundle at its balanced operating point and write a report.

    Args:
        bundle: Bundle of the pool.
        pool: Worker processes.
        dataset: Data set with the manifest's preprocessing and images of the wanted split.
        evaluation: Split, purpose, ledger, requirements.
        folder: Folder of the report.
        progress: Callback with the number of images done and their total.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: Training image of the bundle among the images.
        DataError: Missing split or class, or image that changed since it was indexed.
    """
    manifest = bundle.manifest
    scheme = manifest.scheme
    data = labelled_images(dataset, evaluation.split or Split.TEST, len(scheme))
    _check_unseen(bundle, (dataset.index.rows[i].sha256 for i in data.positions))
    scores = score_images(pool, dataset, data, progress)
    probability = np.stack([score.class_probability for score in scores if score.class_probability is not None])
    point = manifest.operating_point("balanced")
    table = prediction_table(dataset, data, scheme, probability, point.threshold)
    context = ReportContext(
        f"Detector {manifest.name} {manifest.version}",
        evaluation.images,
        evaluation.synthetic,
        [],
        _facts(bundle) | {"index_hash": dataset.index.hash, "split_hash": dataset.split.hash} | provenance(),
        manifest.policy,
        _clusters(dataset, data),
        outcomes(bundle, scores, evaluation.accept),
    )
    of_path = {image.path: image.groups for image in dataset.source.images}
    groups = [of_path[path] for path in table.paths]
    acceptance = assess_acceptance(
        bundle, scores, data.labels, table.patients, groups, evaluation.required, evaluation.accept
    )
    return evaluation.write(table, dataset.images[data.positions], context, folder, acceptance)


def assess_site(
    bundle: Bundle,
    pool: WorkerPool,
    source: Source,
    evaluation: Evaluation,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate a bundle on all images of a site and write a report; the acceptance test of a site.

    Images are labelled normal or pneumonia; where all pneumonias have a known etiology, a bundle of three classes is measured
    on these too. Unreadable images count as rejected, and have no part in measures of probabilities.

    Args:
        bundle: Bundle of the pool.
        pool: Worker processes.
        source: Labelled images.
        evaluation: Purpose and requirements.
        folder: Folder of the report.
        progress: Callback with the number of images done and their total.

    Returns:
        The report, as in `report.json`.

    Raises:
        RunError: Training image of the bundle among the images.
        DataError: No readable image of a class.
    """
    manifest, images = bundle.manifest, source.images
    if len({image.finding for image in images}) < 2:
        raise DataError(
            f"expected images of both classes in {source.root}, found those of one: add the other, or name the classes with --class-map"
        )
    in_archive = source.layout == "medmnist"
    if not in_archive and not any(source.file_of(image.path).is_file() for image in images):
        raise DataError(
            f"expected the {len(images)} images of {source.root} at their paths, found none: put the table into the folder of the images"
        )
    if not in_archive:  # before the first is predicted
        _check_unseen(bundle, filter(None, (sha256_or_empty(source.file_of(image.path)) for image in images)))
    scores = _scored(
        pool,
        (source.read(i.path) if in_archive else str(source.file_of(i.path)) for i in images),
        len(images),
        progress,
    )
    patients, _ = patients_of(images, [score.header for score in scores], [score.sha256 for score in scores])
    label, scheme = _site_labels(images, manifest.scheme)
    readable = [i for i, score in enumerate(scores) if score.class_probability is not None]
    if len({int(label[i] > 0) for i in readable}) < 2:
        raise DataError(f"expected readable images of both classes in {source.root}, found those of one: add the other")
    probability = np.stack([_of_scheme(scores[i].class_probability, scheme) for i in readable])
    table = PredictionTable(
        scheme.names,
        tuple(images[i].path for i in readable),
        tuple(patients[i] for i in readable),
        label[readable],
        probability,
        manifest.operating_point("balanced").threshold,
    )
    policy = manifest.policy if len(scheme) == len(manifest.classes) else replace(manifest.policy, conformal={})
    context = ReportContext(
        f"Detector {manifest.name} {manifest.version} on {source.root.name}",
        evaluation.images,
        evaluation.synthetic,
        [],
        _facts(bundle) | provenance(),
        policy,
        None,
        outcomes(bundle, [scores[i] for i in readable], evaluation.accept),
    )
    groups = [image.groups for image in images]
    acceptance = assess_acceptance(bundle, scores, label, patients, groups, evaluation.required, evaluation.accept)
    return evaluation.write(table, _mistaken(source, table), context, folder, acceptance)


def _site_labels(images: Sequence[SourceImage], scheme: ClassScheme) -> tuple[Ints, ClassScheme]:
    """Class of each image, and the classes: two where the etiology of a pneumonia is unknown."""
    if len(scheme) == len(BINARY) or any(image.etiology is Etiology.UNKNOWN for image in images):
        two = scheme if len(scheme) == len(BINARY) else BINARY
        return np.array([int(image.finding is Finding.PNEUMONIA) for image in images]), two
    names = ["normal" if image.finding is Finding.NORMAL else image.etiology.value for image in images]
    return np.array([scheme.names.index(name) for name in names]), scheme


def _of_scheme(probability: Floats | None, scheme: ClassScheme) -> Floats:
    """Class probabilities, those of etiologies added up where the scheme has none."""
    found = np.asarray(probability)
    return found if len(found) == len(scheme) else np.array([found[0], 1 - found[0]])


def _mistaken(source: Source, table: PredictionTable) -> NDArray[np.uint8]:
    """(n, 224, 224) uint8, of which only the images that the report shows are filled."""
    images = np.zeros((len(table), *(2 * (REPORT_SIDE,))), dtype=np.uint8)
    for i in most_confident_mistakes(table, MISTAKES):
        images[i] = prepare(source.read(table.paths[i]), Preprocessing(REPORT_SIDE, REPORT_SIDE))
    return images


def _scored(pool: WorkerPool, images: Iterable[Any], total: int, progress: Progress) -> list[ImageScore]:
    """Scores of images as the detector gives them for the files, those of rejected images included."""
    drawn = iter(images)
    tasks = iter(lambda: list(islice(drawn, _TASK)), [])
    scores: list[ImageScore] = []
    for batch in pool.run(map(ScoreImages, tasks)):
        scores += batch
        progress(len(scores), total)
    return scores


def score_images(pool: WorkerPool, dataset: Dataset, data: LabelledImages, progress: Progress) -> list[ImageScore]:
    """Scores of images of a data set as the detector gives them for the files, rejected images included.

    Raises:
        DataError: Unreadable image.
    """
    source, rows = dataset.source, [dataset.index.rows[i] for i in data.positions]
    in_archive = source.layout == "medmnist"
    images = (source.read(row.path) if in_archive else str(source.file_of(row.path)) for row in rows)
    scores = _scored(pool, images, len(rows), progress)
    for row, score in zip(rows, scores, strict=True):
        if score.class_probability is None:
            raise DataError(
                f"expected {row.path} as it was indexed, found it unreadable ({score.detail}): "
                "check the file and run the command again"
            )
    return scores


def outcomes(bundle: Bundle, scores: Sequence[ImageScore], accept: tuple[str, ...] = ()) -> DecisionOutcomes:
    """Images that `predict` refers and rejects, at every operating point of a bundle."""
    requests = {name: PredictionRequest(name, accept=accept) for name in bundle.manifest.operating_points}
    predictions = {name: list(map(Decider(bundle, request), scores)) for name, request in requests.items()}
    return DecisionOutcomes(
        {
            name: np.array([each.decision is Decision.REFER for each in of_point], dtype=np.bool_)
            for name, of_point in predictions.items()
        },
        np.array([is_outside(each, accept) for each in predictions["balanced"]], dtype=np.bool_),
        np.array([each.decision is Decision.REJECTED for each in predictions["balanced"]], dtype=np.bool_),
    )


def _check_unseen(bundle: Bundle, sha256: Iterable[str]) -> None:
    if count := bundle.count_training_images(sha256):
        raise RunError(
            f"expected images that the detector {bundle.manifest.name} was not trained on, found {count} of its training "
            "images: evaluate it on images that were kept apart (--split test, where there is such a split)"
        )


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "model": f"{manifest.name} {manifest.version}",
        "bundle": bundle.sha256,
        "config_hash": str(manifest.training.get("config_hash", "")),
    }


def _clusters(dataset: Dataset, data: LabelledImages) -> Any:
    """(n,) int, acquisition cluster of each image; None where there are too few training images to find clusters."""
    if len(dataset.index.positions(Split.TRAIN)) < CLUSTER_COUNT:
        return None
    return acquisition_clusters(dataset, paths.images_directory()).cluster_of[data.positions]

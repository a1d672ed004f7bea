"""Predictions for any number of image files, in their order, into a stream or a file.

This module imports neither the network's runtime nor image libraries: the process that hands out the work starts at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import DataError
from pneumoscope.inference.inputs import Inputs
from pneumoscope.inference.journal import Journal, discard
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.tasks import PredictImages
from pneumoscope.types import NamedImage, PredictionRequest, Reason

if TYPE_CHECKING:
    from pneumoscope.bundle import Bundle

# Images per task: enough for the network's batches, few enough that a kill costs little.
_TASK = 32
# Bytes per task, where images come as such: they count for the memory that an image may take.
_TASK_BYTES = 32 * 2**20


@dataclass
class Summary:
    """Number of images by decision and by reason.

    Attributes:
        decisions: Decision to number of images.
        reasons: Reason to number of images.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        """Counts a prediction."""
        self.decisions[prediction.outcome] += 1
        self.reasons.update(reason.value for reason in prediction.reasons)

    @property
    def images(self) -> int:
        """Number of images."""
        return self.decisions.total()

    def check_not_empty(self) -> None:
        """Checks that there was an image.

        Raises:
            DataError: There was none.
        """
        if not self.images:
            raise DataError(
                "expected images, found none: check the paths, and that the files end in .jpeg, .png or .dcm"
            )

    @property
    def unreadable(self) -> int:
        """Number of images that could not be decoded."""
        return count_unreadable(self.reasons)


def count_unreadable(reasons: Mapping[str, int]) -> int:
    """Number of images that could not be decoded, from the number of images for each reason."""
    return reasons.get(Reason.UNREADABLE, 0) + reasons.get(Reason.UNSUPPORTED_DICOM, 0)


def in_tasks(
    images: Iterable[Any], request: PredictionRequest, overlays: Path | None = None
) -> Iterator[PredictImages]:
    """Tasks that predict images, a few dozen each and not too many bytes of them, in their order.

    The first ones are small: a batch that is killed every few seconds has written something each time.
    """
    batch: list[Any] = []
    size, most = 0, 1
    for image in images:
        batch.append(image)
        size += len(image.content) if isinstance(image, NamedImage) else 0
        if len(batch) == most or size >= _TASK_BYTES:
            yield PredictImages(batch, request, overlays)
            batch, size, most = [], 0, min(2 * most, _TASK)
    if batch:
        yield PredictImages(batch, request, overlays)


def predict_files(
    files: Iterable[Any], pool: WorkerPool, request: PredictionRequest | None = None, overlays: Path | None = None
) -> Iterator[list[Prediction]]:
    """Predicts files, a few at a time.

    Args:
        files: Paths, images with their names, or names of images that could not be obtained.
        pool: Worker processes.
        request: Settings of the predictions; the usual ones where None.
        overlays: Folder for overlays of the evidence; none are drawn where None.

    Yields:
        Predictions of the next few files, in their order.

    Raises:
        PneumoscopeError: Bundle, device or settings are not as expected.
    """
    return pool.run(in_tasks(files, request or PredictionRequest(), overlays))


def predict_into(
    out: Path,
    inputs: Inputs,
    bundle: "Bundle",
    pool: WorkerPool,
    request: PredictionRequest | None = None,
    overlays: Path | None = None,
    skip: Callable[[int], None] = lambda earlier: None,
    follow: Callable[[int], None] = lambda more: None,
) -> Summary:
    """Writes the predictions for files; an interrupted batch is resumed behind its last prediction.

    Args:
        out: File to write, JSON lines, CSV or Parquet by its ending; it appears when it is whole.
        inputs: Files, in the order in which they were walked when the batch began.
        bundle: Bundle of the pool.
        pool: Worker processes.
        request: Settings of the predictions; the usual ones where None.
        overlays: Folder for overlays of the evidence; none are drawn where None.
        skip: Callback, called once with the number of predictions of earlier runs.
        follow: Callback, called with the number of new predictions after every few.

    Raises:
        DataError: `out` exists already, or an earlier batch there is of other files, settings or bundle.
        PneumoscopeError: Bundle, device or settings are not as expected.
    """
    request = request or PredictionRequest()
    bundle.manifest.point_shown(request)  # an unknown operating point is an error before a journal is begun
    header = {
        "bundle": bundle.sha256,
        "operating_point": request.operating_point,
        "prevalence": request.prevalence,
        "accept": sorted(request.accept),
        "evidence": str(overlays) if overlays else None,
    }
    files, summary = inputs.walk(), Summary()
    with Journal(out, header, bundle.manifest.scheme) as journal:
        for earlier in journal.done():
            if (expected := next(files, None)) != earlier.file:
                raise DataError(
                    f"expected {expected} next in {journal.path}, found {earlier.file}: the files have changed since that "
                    "batch began; add --overwrite to begin again"
                )
            summary.add(earlier)
        skip(summary.images)
        for predictions in predict_files(files, pool, request, overlays):
            journal.append(predictions)
            for prediction in predictions:
                summary.add(prediction)
            follow(len(predictions))
        if summary.images == 0:
            discard(out)
        summary.check_not_empty()
        journal.finish()
    return summary

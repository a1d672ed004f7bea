"""Any number of image files, judged in their order by several processes.

This module imports neither the network's runtime nor image libraries: the process that hands out the work stays small and starts at once.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from pneumoscope.bundle import Bundle, find_bundle
from pneumoscope.errors import DataError, PneumoscopeError
from pneumoscope.inference.inputs import Inputs
from pneumoscope.inference.journal import Journal, discard
from pneumoscope.processes import worker_processes
from pneumoscope.types import NamedImage, Prediction, Reason, Unread

# Images to a piece of work: enough for the network's batches, few enough that a kill costs little.
_PIECE = 32
# Pieces handed out per process before the first is awaited.
_AHEAD = 3
_ENDED = "its decoding ended the process"
Named = str | NamedImage | Unread
"""A path; or an image's bytes, or why there are none, with its name."""


@dataclass(frozen=True)
class Asked:
    """What decides the predictions.

    Attributes:
        bundle: `default`, `nano`, a bundle's path, or one that is loaded already.
        operating_point: A name in its manifest.
        prevalence: For which the probabilities are shown; the manifest's where None.
        evidence: Folder for the overlays; none are drawn where None.
        device: `cpu`, or `cuda` for a GPU.
    """

    bundle: str | Bundle = "default"
    operating_point: str = "balanced"
    prevalence: float | None = None
    evidence: Path | None = None
    device: str = "cpu"


@dataclass
class Summary:
    """What a batch gave.

    Attributes:
        decisions: Decision to number of images.
        reasons: Reason to number of images.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, record: dict[str, Any]) -> None:
        """Counts a prediction, as plain data."""
        self.decisions[record["decision"]] += 1
        self.reasons.update(record["reasons"])

    @property
    def images(self) -> int:
        """All of them."""
        return self.decisions.total()

    def check_not_empty(self) -> None:
        """Whether there was anything to judge.

        Raises:
            DataError: There was no image.
        """
        if not self.images:
            raise DataError(
                "expected images, found none: check the paths, and that the files end in .jpeg, .png or .dcm"
            )

    @property
    def unreadable(self) -> int:
        """Images that could not be decoded."""
        return count_unreadable(self.reasons)


def count_unreadable(reasons: Mapping[str, int]) -> int:
    """Images that could not be decoded, out of the number of images for each reason."""
    return reasons.get(Reason.UNREADABLE, 0) + reasons.get(Reason.UNSUPPORTED_DICOM, 0)


def predict_into(
    out: Path,
    inputs: Inputs,
    asked: Asked,
    workers: int = 1,
    skip: Callable[[int], None] = lambda earlier: None,
    follow: Callable[[int], None] = lambda more: None,
) -> Summary:
    """Judges files into a table; a batch that was broken off goes on behind its last prediction.

    Args:
        out: JSON lines, CSV or Parquet, by its ending; it appears when it is whole.
        inputs: The files, in the order in which they were walked when the batch began.
        asked: How.
        workers: Processes.
        skip: Told once how many an earlier run has done.
        follow: Told how many more are done, again and again.

    Raises:
        DataError: `out` is there already, or what is left of an earlier batch is of other files, settings or bundle.
        PneumoscopeError: The bundle or what is asked of it is not as expected.
    """
    bundle = find_bundle(asked.bundle)
    bundle.manifest.at(asked.operating_point, asked.prevalence)
    header = {
        "bundle": bundle.sha256,
        "operating_point": asked.operating_point,
        "prevalence": asked.prevalence,
        "evidence": str(asked.evidence) if asked.evidence else None,
    }
    files, summary = inputs.walk(), Summary()
    with Journal(out, header) as journal:
        for record in journal.done():
            if (expected := next(files, None)) != record["file"]:
                raise DataError(
                    f"expected {expected} next in {journal.path}, found {record['file']}: the files have changed since that "
                    "batch began; add --overwrite to begin anew"
                )
            summary.add(record)
        skip(summary.images)
        for predictions in predict_files(files, asked, workers):
            journal.append(predictions)
            for prediction in predictions:
                summary.add(prediction.as_json())
            follow(len(predictions))
        if summary.images == 0:
            discard(out)
        summary.check_not_empty()
        journal.finish()
    return summary


def predict_files(files: Iterable[Named], asked: Asked, workers: int = 1) -> Iterator[list[Prediction]]:
    """Judges files, piece by piece.

    Args:
        files: Paths, images by name, or names of images that could not be had.
        asked: How.
        workers: Processes; with 1 the calling process does the work, with as many threads as there are cores.

    Yields:
        Predictions of the next few files, in their order.

    Raises:
        PneumoscopeError: The bundle or what is asked of it is not as expected.
    """
    if workers <= 1:
        yield from map(_Judge(asked, threads=0).judge, _pieces(files))
        return
    with JudgingPool(asked, workers) as pool:
        yield from pool.predict(files)


class JudgingPool:
    """Processes with a detector each, for one batch after the other.

    An image that ends the process which decodes it is rejected as unreadable, and the others go on.
    """

    def __init__(self, asked: Asked, workers: int) -> None:
        """Starts the processes.

        Raises:
            PneumoscopeError: The bundle or what is asked of it is not as expected.
        """
        # What is wrong with the bundle, or asked of it, is told here, once, and not by each process.
        find_bundle(asked.bundle).manifest.at(asked.operating_point, asked.prevalence)
        self._asked, self._workers = asked, workers
        self._pool = self._start(workers)

    def __enter__(self) -> "JudgingPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def predict(self, files: Iterable[Named]) -> Iterator[list[Prediction]]:
        """Judges files, piece by piece; `files` is drawn from a few pieces ahead.

        Yields:
            Predictions of the next few files, in their order.
        """
        waiting: deque[tuple[list[Named], Future[list[Prediction]]]] = deque()
        for piece in _pieces(files):
            waiting.append((piece, self._submit(piece)))
            if len(waiting) >= self._workers * _AHEAD:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        return worker_processes(workers, _prepare_worker, self._asked)

    def _submit(self, piece: list[Named]) -> "Future[list[Prediction]]":
        try:
            return self._pool.submit(_in_worker, piece)
        except BrokenProcessPool:
            broken: Future[list[Prediction]] = Future()
            broken.set_exception(BrokenProcessPool())
            return broken

    def _next(self, waiting: "deque[tuple[list[Named], Future[list[Prediction]]]]") -> list[Prediction]:
        piece, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            told = self._judge_one_by_one(piece)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start(self._workers)
            others = list(waiting)
            waiting.clear()
            waiting.extend((other, self._submit(other)) for other, _ in others)
            return told

    def _judge_one_by_one(self, piece: list[Named]) -> list[Prediction]:
        """With a process of its own for each image that ends it."""
        told: list[Prediction] = []
        alone = self._start(1)
        try:
            for file in piece:
                try:
                    told += alone.submit(_in_worker, [file]).result()
                except BrokenProcessPool:
                    alone.shutdown(wait=False)
                    alone = self._start(1)
                    name = file if isinstance(file, str) else file.name
                    told += alone.submit(_in_worker, [Unread(name, _ENDED)]).result()
        finally:
            alone.shutdown(wait=False, cancel_futures=True)
        return told


def _pieces(files: Iterable[Named]) -> Iterator[list[Named]]:
    left = iter(files)
    while piece := list(islice(left, _PIECE)):
        yield piece


class _Judge:
    """A detector that answers as asked."""

    def __init__(self, asked: Asked, threads: int) -> None:
        from pneumoscope.inference.detector import load_detector

        self._asked = asked
        self._detector = load_detector(asked.bundle, threads, asked.device)

    def judge(self, piece: list[Named]) -> list[Prediction]:
        asked = self._asked
        predictions = self._detector.predict_many(
            piece, asked.operating_point, asked.prevalence, evidence=asked.evidence is not None
        )
        return [_with_overlay(p, asked.evidence) if asked.evidence else p for p in predictions]


def _with_overlay(prediction: Prediction, folder: Path) -> Prediction:
    """Draws the overlay; what travels between processes is its path alone."""
    if prediction.evidence_map is None or prediction.frame is None:
        return prediction
    from pneumoscope.data.reading import read_grey
    from pneumoscope.files import whole_or_nothing
    from pneumoscope.inference.overlay import overlay_png

    source = Path(prediction.file)
    drawn = overlay_png(read_grey(source), prediction.evidence_map, prediction.frame)
    # Files of one name in several folders keep apart by their contents.
    path = folder / f"{source.stem}-{prediction.sha256[:12]}.png"
    with whole_or_nothing(path) as temporary:
        temporary.write_bytes(drawn)
    return replace(prediction, evidence=str(path), evidence_map=None)


# Of a worker process: its judge, or why it has none, which its first work tells.
_judge: _Judge | PneumoscopeError | None = None


def _prepare_worker(asked: Asked) -> None:
    global _judge
    try:
        _judge = _Judge(asked, threads=1)
    except PneumoscopeError as error:
        _judge = error


def _in_worker(piece: list[Named]) -> list[Prediction]:
    if isinstance(_judge, PneumoscopeError):
        raise _judge
    if _judge is None:
        raise AssertionError("a worker judges before it is prepared")
    return _judge.judge(piece)

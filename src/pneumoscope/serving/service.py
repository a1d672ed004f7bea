"""State that the routes share: the bundle in use, the counters, the history and the adaptations."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from pneumoscope.bundle import Bundle
from pneumoscope.data.patients import origin_of
from pneumoscope.errors import ConfigError, DataError, InputError, PneumoscopeError, UnreadableImage
from pneumoscope.inference.drift import WINDOW
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.tasks import PredictImages, Task
from pneumoscope.pacs import QUEUE_FILE
from pneumoscope.serving.adaptations import Adaptations
from pneumoscope.serving.history import History
from pneumoscope.serving.kept_images import KeptImage, KeptImages
from pneumoscope.serving.monitoring import Monitoring
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.served import ServedBundle
from pneumoscope.serving.settings import Settings
from pneumoscope.serving.sqlite_file import HistoryLockedError
from pneumoscope.serving.studies import Studies
from pneumoscope.serving.uploads import Uploads
from pneumoscope.types import NamedImage, PredictionRequest

if TYPE_CHECKING:
    from pneumoscope.pacs.queue import Queue

_log = logging.getLogger("pneumoscope.serving")


class Service:
    """Bundle in use and records of a running service.

    Attributes:
        served: Bundle in use; a request reads it once, by `in_use` where it hands images to it.
        monitoring: Metrics and request log.
        history: Record of decisions; None where none is kept.
        kept_images: Images kept with the history; None where none is kept.
        node: Queue of a DICOM node on this machine; None where none is watched.
        studies: Studies of the PACS that the node's settings name; None where they name none.
        uploads: Reader of request bodies.
    """

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        """Starts the worker processes and waits for them.

        Args:
            settings: Settings of the service.
            bundle: Bundle that it starts with.

        Raises:
            PneumoscopeError: The bundle, the history or the folder of adaptations is not as expected.
        """
        self._settings, self._original = settings, bundle
        self.history = History(settings.history) if settings.history else None
        self.kept_images = KeptImages(settings.kept_images, settings.kept_bytes) if settings.kept_images else None
        self.node, self.studies = open_node(settings.node, settings.image_bytes) if settings.node else (None, None)
        if self.studies and not settings.is_local and settings.keys is None:
            raise ConfigError(
                f"expected keys, as others than this machine reach {settings.host} and with it the PACS, found none: name a file "
                "with --api-keys, or listen on 127.0.0.1"
            )
        # A decision and its image are kept, and deleted, together.
        self._keeping = asyncio.Lock()
        self._adaptations = Adaptations(settings, bundle) if settings.adaptations else None
        self.uploads = Uploads(settings)
        self.monitoring = Monitoring(bundle, settings.request_log)
        self.served = self._serve(bundle)
        self.served.wait_until_ready()
        # Bundles that were switched away from, until their last request is answered.
        self._leaving: dict[ServedBundle, asyncio.Task[None]] = {}
        self._switching = asyncio.Lock()
        self._replaced_before = 0

    async def start(self) -> None:
        """Opens the queue."""
        await self.served.start()

    async def stop(self) -> None:
        """Ends the processes, once what was accepted is answered."""
        if self.node:
            self.node.close()
        if self.studies:
            await asyncio.to_thread(self.studies.close)
        if self._adaptations:
            await asyncio.to_thread(self._adaptations.close)
        await asyncio.gather(self.served.stop(), *self._leaving.values())
        if self.history:
            self.history.close()

    @property
    def adaptations(self) -> Adaptations:
        """Adaptations of the bundle that the service was started with.

        Raises:
            ProblemError: The service was started without a folder for them.
        """
        if self._adaptations is None:
            raise ProblemError(Problem.ADAPTATIONS_OFF)
        return self._adaptations

    @property
    def accept(self) -> tuple[str, ...]:
        """Reasons for which images are not referred."""
        return self._settings.accept

    @property
    def accepted(self) -> int:
        """Number of images that wait or are at work."""
        return sum(each.queue.accepted for each in (self.served, *self._leaving))

    @property
    def replaced(self) -> int:
        """Number of worker processes replaced so far."""
        return self._replaced_before + sum(each.queue.replaced for each in (self.served, *self._leaving))

    @contextmanager
    def in_use(self) -> Iterator[ServedBundle]:
        """Bundle in use, whose processes stay until the block ends, whatever is switched to meanwhile."""
        served = self.served
        served.requests += 1
        try:
            yield served
        finally:
            served.requests -= 1

    async def switch(self, adaptation: str) -> ServedBundle:
        """Predict with the bundle of an adaptation from the next request on; those before it end with the bundle they began with.

        Args:
            adaptation: Id of the adaptation; empty for the bundle that the service was started with.

        Raises:
            ProblemError: No such adaptation, or it made no bundle, or the bundle is not as it was made, or there is no memory for
                its processes; the bundle in use stays.
        """
        async with self._switching:
            if adaptation == self.served.adaptation:
                return self.served
            # At most two bundles have processes at a time.
            await asyncio.gather(*self._leaving.values())
            try:
                bundle = await asyncio.to_thread(self.adaptations.bundle, adaptation) if adaptation else self._original
                new = await asyncio.to_thread(self._serve, bundle, adaptation)
                await new.start()
            except (PneumoscopeError, OSError) as error:
                raise ProblemError(Problem.ADAPTATION_CONFLICT, str(error)) from error
            old, self.served = self.served, new
            self.monitoring.use(bundle)
            self._leaving[old] = asyncio.create_task(self._leave(old))
            return new

    def _serve(self, bundle: Bundle, adaptation: str = "") -> ServedBundle:
        """Start the processes of a bundle; its drift window has what the history knows of it, or a restart would silence an alarm."""
        served = ServedBundle(bundle, self._settings, adaptation)
        if self.history:
            try:
                known = self.history.statistics(bundle.sha256, WINDOW, lambda sha256: not bundle.was_trained_on(sha256))
            except sqlite3.Error:
                _log.exception("the drift window starts empty: the history cannot be read")
                known = []
            for sha256, statistics in known:
                served.drift.add_image(sha256, statistics)
        return served

    async def _leave(self, old: ServedBundle) -> None:
        await old.stop()
        self._replaced_before += old.queue.replaced
        del self._leaving[old]

    async def delete_adaptation(self, identifier: str) -> None:
        """Cancel an adaptation and delete all of it.

        Raises:
            ProblemError: No such adaptation, or its bundle is in use.
        """
        async with self._switching:
            in_use = {self._original.sha256, self.served.bundle.sha256}
            if identifier == self.served.adaptation or self.adaptations.record(identifier).sha256 in in_use:
                detail = f"expected an adaptation whose bundle is not in use, found {identifier}: switch to another bundle first"
                raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
            await asyncio.to_thread(self.adaptations.delete, identifier)

    def request(
        self, served: ServedBundle, operating_point: str, prevalence: float | None, evidence: bool = False
    ) -> PredictionRequest:
        """Request with these settings, checked before a body is read."""
        request = PredictionRequest(operating_point, prevalence, evidence, self._settings.accept)
        try:
            served.bundle.manifest.point_shown(request)
        except InputError as error:
            raise ProblemError(Problem.UNKNOWN_OPERATING_POINT, str(error)) from error
        return request

    async def predict(
        self, request: Request, served: ServedBundle, images: Sequence[NamedImage], settings: PredictionRequest
    ) -> list[Prediction]:
        """Predictions for images, counted and recorded.

        Raises:
            ProblemError: There is no room for all of them, or the history is required and cannot keep them.
        """
        predictions: list[Prediction] = await served.queue.results(PredictImages(images, settings))
        await self.record(request, served, predictions, images)
        return predictions

    async def record(
        self, request: Request, served: ServedBundle, predictions: list[Prediction], images: Sequence[NamedImage]
    ) -> None:
        """Count predictions, and keep them where a history is kept.

        Raises:
            ProblemError: The history is required and cannot keep them.
        """
        request.state.predictions += predictions
        self.monitoring.predicted(predictions)
        for prediction in predictions:
            # Images that the detector was trained on are nearer to it than others, and say nothing about those.
            if not served.bundle.was_trained_on(prediction.sha256):
                served.drift.add(prediction)
        if self.history:
            await self._keep(self.history, request.state.request_id, predictions, images)

    async def _keep(
        self, history: History, request_id: str, predictions: list[Prediction], images: Sequence[NamedImage]
    ) -> None:
        try:
            if self.kept_images:
                async with self._keeping:
                    await history.add(predictions)
                    contents = [image.content for image in images]
                    if left_out := await self.kept_images.add(zip(map(_to_keep, predictions), contents, strict=True)):
                        _log.warning(
                            "request %s: no room for %d images in the folder of kept ones", request_id, left_out
                        )
            else:
                await history.add(predictions)
        except (sqlite3.Error, HistoryLockedError, DataError) as error:  # such as a full disk
            self.monitoring.lost(len(predictions))
            _log.exception("request %s could not be kept in the history", request_id)
            if self._settings.history_required:
                raise history_unavailable("expected to keep the decision in the history, found no way to") from error
        else:
            self.monitoring.kept(len(predictions))

    async def forget(self, number: int | None = None) -> int:
        """Delete a decision on record, or all where None, with the readings and the image that no other decision has; gives how many.

        Raises:
            ProblemError: Nothing is kept.
            HistoryLockedError: The file stayed locked.
        """
        if self.history is None:
            raise ProblemError(Problem.HISTORY_OFF)
        async with self._keeping:
            deleted = await self.history.delete(number)
            if self.kept_images:
                await self.kept_images.keep_only(await self.history.hashes())
        return deleted

    async def result(self, served: ServedBundle, task: Task[Any]) -> Any:
        """Result of a task of one image that is no prediction."""
        [found] = await served.queue.results(task)
        if isinstance(found, UnreadableImage):
            raise ProblemError(Problem.UNREADABLE, str(found))
        return found


def _to_keep(prediction: Prediction) -> KeptImage:
    return KeptImage(prediction.sha256, *origin_of(prediction.file, prediction.header))


def open_node(path: Path, image_bytes: int) -> "tuple[Queue | None, Studies | None]":
    """Queue of a DICOM node, where it has one on this machine, and studies of the DICOMweb server in its settings, where they name one.

    Args:
        path: Settings file, or the folder of a node on this machine.
        image_bytes: Size of the largest image, bytes.

    Raises:
        ConfigError: Neither, settings that are not as expected, or the extra `pacs` is not installed.
    """
    from pneumoscope.pacs.queue import Queue

    folder, studies = path, None
    if path.is_file():
        from pneumoscope.pacs.settings import read_settings

        node = read_settings(path)
        folder = Path(node.folder)
        studies = Studies(node, image_bytes) if node.dicomweb else None
    queue = Queue(folder) if (folder / QUEUE_FILE).is_file() else None
    if queue is None and studies is None:
        raise ConfigError(
            f"expected the settings file or the folder of a DICOM node at {path}, found none: name another with --node, "
            "start the node first, or name a server in [dicomweb]"
        )
    return queue, studies


def history_unavailable(detail: str) -> ProblemError:
    """Problem of a history file that cannot be used now, with the time to come back."""
    return ProblemError(Problem.HISTORY_UNAVAILABLE, detail, {"Retry-After": "5"})

"""State that the routes share: the bundle, the queue, the counters and the history."""

import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from pneumoscope.bundle import Bundle
from pneumoscope.errors import InputError, UnreadableImage
from pneumoscope.inference.tasks import PredictImages, Task
from pneumoscope.serving.history import History, HistoryLockedError
from pneumoscope.serving.monitoring import Monitoring
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.queueing import PredictionQueue
from pneumoscope.serving.uploads import Uploads
from pneumoscope.types import NamedImage, Prediction, PredictionRequest

_log = logging.getLogger("pneumoscope.serving")


class Service:
    """Bundle, queue and records of a running service.

    Attributes:
        bundle: Bundle that makes the predictions.
        queue: Queue in front of the worker pool.
        monitoring: Metrics, request log and drift window.
        history: Record of decisions; None where none is kept.
        uploads: Reader of request bodies.
    """

    def __init__(
        self,
        bundle: Bundle,
        queue: PredictionQueue,
        monitoring: Monitoring,
        history: History | None,
        uploads: Uploads,
        history_required: bool = False,
        accept: tuple[str, ...] = (),
    ) -> None:
        """Combines the parts.

        Args:
            bundle: Bundle of the queue.
            queue: Queue in front of the worker pool.
            monitoring: Metrics, request log and drift window.
            history: Record of decisions; None where none is kept.
            uploads: Reader of request bodies.
            history_required: Whether a prediction that the history cannot keep is refused.
            accept: Reasons out of `types.OUTSIDE` for which images are not referred.
        """
        self._accept = accept
        self.bundle, self.queue, self.monitoring = bundle, queue, monitoring
        self.history, self.uploads, self._history_required = history, uploads, history_required

    def request(self, operating_point: str, prevalence: float | None, evidence: bool = False) -> PredictionRequest:
        """Request with these settings, checked before a body is read."""
        request = PredictionRequest(operating_point, prevalence, evidence, self._accept)
        try:
            self.bundle.manifest.point_shown(request)
        except InputError as error:
            raise ProblemError(Problem.UNKNOWN_OPERATING_POINT, str(error)) from error
        return request

    async def predict(
        self, request: Request, images: Sequence[NamedImage], settings: PredictionRequest
    ) -> list[Prediction]:
        """Predictions for images, counted and recorded.

        Raises:
            ProblemError: There is no room for all of them, or the history is required and cannot keep them.
        """
        predictions: list[Prediction] = await self.queue.results(PredictImages(images, settings))
        request.state.predictions += predictions
        self.monitoring.predicted(predictions)
        if self.history:
            await self._keep(self.history, request.state.request_id, predictions)
        return predictions

    async def _keep(self, history: History, request_id: str, predictions: list[Prediction]) -> None:
        try:
            await history.add(predictions)
        except (sqlite3.Error, HistoryLockedError) as error:  # such as a full disk
            self.monitoring.lost(len(predictions))
            _log.exception("request %s could not be kept in the history", request_id)
            if self._history_required:
                raise history_unavailable("expected to keep the decision in the history, found no way to") from error
        else:
            self.monitoring.kept(len(predictions))

    async def result(self, task: Task[Any]) -> Any:
        """Result of a task of one image that is no prediction."""
        [found] = await self.queue.results(task)
        if isinstance(found, UnreadableImage):
            raise ProblemError(Problem.UNREADABLE, str(found))
        return found


def history_unavailable(detail: str) -> ProblemError:
    """Problem of a history file that cannot be used now, with the time to come back."""
    return ProblemError(Problem.HISTORY_UNAVAILABLE, detail, {"Retry-After": "5"})

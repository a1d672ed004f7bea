"""State that the routes share: the bundle, the queue, the counters and the history."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from pneumoscope.bundle import Bundle
from pneumoscope.errors import InputError, UnreadableImage
from pneumoscope.inference.tasks import PredictImages, Task
from pneumoscope.serving.history import History
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
        self, bundle: Bundle, queue: PredictionQueue, monitoring: Monitoring, history: History | None, uploads: Uploads
    ) -> None:
        """Combines the parts."""
        self.bundle, self.queue, self.monitoring = bundle, queue, monitoring
        self.history, self.uploads = history, uploads

    def request(self, operating_point: str, prevalence: float | None, evidence: bool = False) -> PredictionRequest:
        """Request with these settings, checked before a body is read."""
        request = PredictionRequest(operating_point, prevalence, evidence)
        try:
            self.bundle.manifest.point_shown(request)
        except InputError as error:
            raise ProblemError(Problem.UNKNOWN_OPERATING_POINT, str(error)) from error
        return request

    async def predict(
        self, request: Request, images: Sequence[NamedImage], asked: PredictionRequest
    ) -> list[Prediction]:
        """Predictions for images, counted and recorded."""
        predictions: list[Prediction] = await self.queue.results(PredictImages(images, asked))
        request.state.predictions += predictions
        self.monitoring.judged(predictions)
        if self.history:
            try:
                await asyncio.to_thread(self.history.add, predictions)
            except sqlite3.Error:  # a full disk keeps nothing, and hinders nobody
                _log.exception("request %s could not be kept in the history", request.state.request_id)
        return predictions

    async def result(self, task: Task[Any]) -> Any:
        """Result of a task of one image that is no prediction."""
        [found] = await self.queue.results(task)
        if isinstance(found, UnreadableImage):
            raise ProblemError(Problem.UNREADABLE, str(found))
        return found

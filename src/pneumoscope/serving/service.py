"""What the routes share: the bundle, the judging processes, what is counted and kept."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from pneumoscope.bundle import Bundle
from pneumoscope.errors import InputError, UnreadableImage
from pneumoscope.serving.history import History
from pneumoscope.serving.judging import Judging
from pneumoscope.serving.monitoring import Monitoring
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.uploads import Uploads
from pneumoscope.serving.work import Judge, Question, Task
from pneumoscope.types import NamedImage, Prediction

_log = logging.getLogger("pneumoscope.serving")


class Service:
    """Answers for images.

    Attributes:
        bundle: That judges.
        judging: Its processes.
        monitoring: What is counted.
        history: What is kept; None for nothing.
        uploads: Reads bodies.
    """

    def __init__(
        self, bundle: Bundle, judging: Judging, monitoring: Monitoring, history: History | None, uploads: Uploads
    ) -> None:
        """Of these parts."""
        self.bundle, self.judging, self.monitoring = bundle, judging, monitoring
        self.history, self.uploads = history, uploads

    def question(self, operating_point: str, prevalence: float | None, evidence: bool = False) -> Question:
        """Checked before a body is read."""
        try:
            self.bundle.manifest.at(operating_point, prevalence)
        except InputError as error:
            raise ProblemError(Problem.UNKNOWN_OPERATING_POINT, str(error)) from error
        return Question(operating_point, prevalence, evidence)

    async def judge(self, request: Request, images: Sequence[NamedImage], question: Question) -> list[Prediction]:
        """Asks, and takes note."""
        answers = await self.judging.ask([Judge(image, question) for image in images])
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        request.state.predictions += predictions
        self.monitoring.judged(predictions)
        if self.history:
            try:
                await asyncio.to_thread(self.history.add, predictions)
            except sqlite3.Error:  # a full disk keeps nothing, and hinders nobody
                _log.exception("request %s could not be kept in the history", request.state.request_id)
        return predictions

    async def draw(self, task: Task) -> Any:
        """One answer that is no prediction."""
        [answer] = await self.judging.ask([task])
        if isinstance(answer, UnreadableImage):
            raise ProblemError(Problem.UNREADABLE, str(answer))
        return answer

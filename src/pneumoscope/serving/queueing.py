"""Bounded queue in front of the worker pool: images wait here, off the event loop's way, until a process is free.

A process that becomes free takes what waits, up to a few small images at once; nothing waits for others to come.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.tasks import PredictImages, Task
from pneumoscope.serving.problems import Problem, ProblemError

# Images per task, and no more bytes of them: enough to save on passing them over, few enough to wait little.
_TOGETHER, _TOGETHER_BYTES = 4, 2**20
# Tasks handed to the pool per process before the first is done: while it works on one, the next lies ready.
_AHEAD = 2


@dataclass(frozen=True)
class _Waiting:
    """A task of one image, and the future of who waits for its result."""

    task: Task[Any]
    future: "asyncio.Future[Any]"


class PredictionQueue:
    """Queue of images before a worker pool."""

    def __init__(self, pool: WorkerPool, workers: int, length: int) -> None:
        """Prepares a queue; `start` opens it.

        Args:
            pool: Worker processes; closed by `stop`.
            workers: Number of the pool's processes.
            length: Number of images that may wait beyond those at work.
        """
        self._pool, self._workers = pool, workers
        self._room = length + workers
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._accepted = 0
        self._open = False
        self._feeders: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Waits until the processes have loaded the bundle, and opens the queue.

        Raises:
            PneumoscopeError: The bundle is not as expected.
        """
        await asyncio.to_thread(self._pool.wait_until_ready)
        self._feeders = [asyncio.create_task(self._feed()) for _ in range(self._workers * _AHEAD)]
        self._open = True

    async def stop(self) -> None:
        """Closes the queue, finishes what was accepted, and ends the processes."""
        self._open = False
        while self._accepted:
            await asyncio.sleep(0.01)
        for task in self._feeders:
            task.cancel()
        await asyncio.gather(*self._feeders, return_exceptions=True)
        await asyncio.to_thread(self._pool.close)

    @property
    def is_ready(self) -> bool:
        """Whether an image would be accepted now."""
        return self._open and self._accepted < self._room and self._pool.is_working

    @property
    def accepted(self) -> int:
        """Number of images that wait or are at work."""
        return self._accepted

    @property
    def replaced(self) -> int:
        """Number of processes replaced so far."""
        return self._pool.replaced

    def check_room(self, images: int = 1) -> None:
        """Checks that so many more images would be accepted now; called before a body is read, too.

        Raises:
            ProblemError: They would not.
        """
        if not self._open:
            raise ProblemError(Problem.STOPPING, headers={"Retry-After": "5"})
        if self._accepted + images > self._room:
            raise ProblemError(
                Problem.BUSY, f"expected room for {images}, found {self._accepted} images waiting", {"Retry-After": "1"}
            )

    async def results(self, task: Task[Any]) -> list[Any]:
        """Results of a task, one for each of its images.

        Raises:
            ProblemError: There is no room for all of them.
        """
        singles = task.split()
        self.check_room(len(singles))
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(single, loop.create_future()) for single in singles]
        self._accepted += len(waiting)
        for each in waiting:
            each.future.add_done_callback(self._leave)
            self._waiting.put_nowait(each)
        return await asyncio.gather(*(each.future for each in waiting))

    def _leave(self, future: "asyncio.Future[Any]") -> None:
        self._accepted -= 1

    async def _feed(self) -> None:
        while True:
            for alike in _alike(await self._take()):
                await self._work(alike)

    async def _work(self, waiting: Sequence[_Waiting]) -> None:
        """Hands images to the pool as one task, and the results to those who wait."""
        task = waiting[0].task if len(waiting) == 1 else _together([each.task for each in waiting])
        try:
            results = await asyncio.wrap_future(self._pool.submit(task))
        except Exception as error:  # handed to those who wait; the next may fare better
            for each in waiting:
                if not each.future.done():
                    each.future.set_exception(error)
            return
        for each, result in zip(waiting, results, strict=True):
            if not each.future.done():
                each.future.set_result(result)

    async def _take(self) -> list[_Waiting]:
        """The next few images whose callers still wait."""
        taken: list[_Waiting] = []
        size = 0
        while not taken or (len(taken) < _TOGETHER and size < _TOGETHER_BYTES and not self._waiting.empty()):
            each = await self._waiting.get()
            if not each.future.done():
                taken.append(each)
                size += len(each.task.images[0].content)
        return taken


def _alike(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Neighbours whose predictions have the same settings together; they go through the network together."""
    found = groupby(waiting, lambda each: each.task.request if isinstance(each.task, PredictImages) else each)
    return [list(group) for _, group in found]


def _together(tasks: Sequence[Task[Any]]) -> Task[Any]:
    """One task of several that differ in their images alone."""
    return replace(tasks[0], images=[image for task in tasks for image in task.images])

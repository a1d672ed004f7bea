"""Images wait in a bounded queue for processes that judge them, off the event loop.

A process takes what waits when it becomes free, up to a few small images at once; nothing waits for others to come. A
process that an image ends, or holds up, is replaced; the images that were with it are asked again one by one, and the one
that does it again is refused. All the others never learn of it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from pneumoscope.errors import UnreadableImage
from pneumoscope.processes import worker_processes
from pneumoscope.serving import work
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.work import Answer, Task
from pneumoscope.types import NamedImage

# Images to a process at once, and no more bytes of them: enough to save on passing them over, few enough to wait little.
_TOGETHER, _TOGETHER_BYTES = 4, 2**20
# Pieces of work handed to a process before the first is done.
_AHEAD = 2


class Judging:
    """Processes with a detector each, behind a queue.

    Attributes:
        replaced: How many processes were replaced so far.
    """

    def __init__(self, bundle: str, workers: int, queue: int, patience: float) -> None:
        """Nothing is started yet.

        Args:
            bundle: `default`, `nano`, or a bundle's path.
            workers: Processes.
            queue: Images that may wait beyond those being judged.
            patience: Seconds for one image.
        """
        self.replaced = 0
        self._bundle, self._workers, self._patience = bundle, workers, patience
        self._room = queue + workers
        self._waiting: asyncio.Queue[tuple[Task, asyncio.Future[Answer]]] = asyncio.Queue()
        self._accepted = 0
        self._stopping = False
        self._at_work: list[asyncio.Task[None]] = []
        self._processes: list[_Process] = []

    async def start(self) -> None:
        """Starts the processes and waits until they can judge."""
        processes = [_Process(self._bundle, self._patience) for _ in range(self._workers)]
        await asyncio.gather(*(process.start() for process in processes))
        # Two for each process: while one piece of work is judged the next lies ready.
        self._at_work = [asyncio.create_task(self._judge_with(process)) for process in processes for _ in range(_AHEAD)]
        self._processes = processes

    async def stop(self) -> None:
        """Judges what was accepted, then ends the processes."""
        self._stopping = True
        while self._accepted:
            await asyncio.sleep(0.01)
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await asyncio.gather(*(process.end() for process in self._processes))
        self._processes = []

    @property
    def is_ready(self) -> bool:
        """Whether an image would be accepted now."""
        return bool(self._processes) and not self._stopping and self._accepted < self._room

    @property
    def accepted(self) -> int:
        """Images that wait or are being judged."""
        return self._accepted

    def check_room(self, images: int = 1) -> None:
        """Whether so many more images would be accepted now; asked before a body is read, too.

        Raises:
            ProblemError: They would not.
        """
        if self._stopping or not self._processes:
            raise ProblemError(Problem.STOPPING, headers={"Retry-After": "5"})
        if self._accepted + images > self._room:
            raise ProblemError(
                Problem.BUSY, f"expected room for {images}, found {self._accepted} images waiting", {"Retry-After": "1"}
            )

    async def ask(self, tasks: Sequence[Task]) -> list[Answer]:
        """An answer for each task.

        Raises:
            ProblemError: There is no room for all of them.
        """
        self.check_room(len(tasks))
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in tasks]
        self._accepted += len(tasks)
        for task, future in zip(tasks, futures, strict=True):
            future.add_done_callback(self._leave)
            self._waiting.put_nowait((task, future))
        return await asyncio.gather(*futures)

    def _leave(self, future: "asyncio.Future[Answer]") -> None:
        self._accepted -= 1

    async def _judge_with(self, process: "_Process") -> None:
        while True:
            taken = await self._take()
            answers: list[Any]
            try:
                answers = await self._answers(process, [task for task, _ in taken])
            except Exception as error:  # told to those who wait; the next may fare better
                answers = [error] * len(taken)
            for (_, future), answer in zip(taken, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception) and not isinstance(answer, UnreadableImage):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _take(self) -> list[tuple[Task, "asyncio.Future[Answer]"]]:
        """The next few whose callers still wait."""
        taken: list[tuple[Task, asyncio.Future[Answer]]] = []
        size = 0
        while not taken or (len(taken) < _TOGETHER and size < _TOGETHER_BYTES and not self._waiting.empty()):
            task, future = await self._waiting.get()
            if not future.done():
                taken.append((task, future))
                size += len(task.image.content)
        return taken

    async def _answers(self, process: "_Process", tasks: list[Task]) -> list[Answer]:
        generation = process.generation
        try:
            return await process.work(tasks)
        except (BrokenProcessPool, TimeoutError):
            # Nobody else hands anything to the process now: the image that ends it is found among these alone.
            async with process.alone:
                if process.generation == generation:
                    await self._replace(process)
                return [await self._answer_alone(process, task) for task in tasks]

    async def _answer_alone(self, process: "_Process", task: Task) -> Answer:
        try:
            [answer] = await process.work_alone([task])
        except (BrokenProcessPool, TimeoutError):
            await self._replace(process)
            answer = await process.refuse(task)
        return answer

    async def _replace(self, process: "_Process") -> None:
        self.replaced += 1
        await process.replace()


class _Process:
    """One process with a detector.

    Attributes:
        generation: How many times it was replaced.
        alone: Held by who alone may hand it work.
    """

    def __init__(self, bundle: str, patience: float) -> None:
        self.generation, self.alone = 0, asyncio.Lock()
        self._bundle, self._patience = bundle, patience
        self._pid = 0
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return worker_processes(1, work.prepare, self._bundle)

    async def start(self) -> None:
        self._pid = await asyncio.wrap_future(self._pool.submit(work.ready))

    async def work(self, tasks: list[Task]) -> list[Answer]:
        async with self.alone:
            future = asyncio.wrap_future(self._pool.submit(work.work, tasks))
        # What was handed over before comes first.
        return await asyncio.wait_for(future, self._patience * (len(tasks) + (_AHEAD - 1) * _TOGETHER))

    async def work_alone(self, tasks: list[Task]) -> list[Answer]:
        future = asyncio.wrap_future(self._pool.submit(work.work, tasks))
        return await asyncio.wait_for(future, self._patience * len(tasks))

    async def refuse(self, task: Task) -> Answer:
        # What ended a process is not handed to the next.
        without = replace(task, image=NamedImage(task.image.name, b""))
        return await asyncio.wrap_future(self._pool.submit(work.refuse, without))

    async def replace(self) -> None:
        self.generation += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        # What it was still to do ends as broken, not as cancelled: those who wait for it go on.
        self._pool.shutdown(wait=False)
        self._pool = self._new()
        await self.start()

    async def end(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

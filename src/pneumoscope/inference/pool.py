"""The worker pool behind every interface: processes with a detector each, which an image can crash, hang or exhaust.

Each process is driven by a thread of the caller's process. A process that an image has ended is replaced; the task it had is
repeated image by image, and the image that ends a process again is rejected. All others never learn of it.

This module imports neither the network's runtime nor image libraries: the process that hands out tasks starts at once.
"""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pneumoscope.errors import RunError
from pneumoscope.inference.limits import ImageLimits
from pneumoscope.inference.tasks import Task
from pneumoscope.inference.worker import WorkerFault, worker_main

if TYPE_CHECKING:
    from pneumoscope.bundle import Bundle

Result = TypeVar("Result")
# Tasks handed to a process before the first is done: while it works on one, the next lies ready.
_AHEAD = 2
# Tasks per process that `run` draws before it waits for the first: enough for all processes to be busy meanwhile.
_DRAWN_AHEAD = 3
# Processes that end one after the other before they are ready, as where memory is short, until the pool gives up.
_STARTS = 3
_CANNOT_START = (
    "worker processes end as soon as they start, as where memory is short: use fewer --workers or free memory"
)
# A GPU has memory of its own, and loads its programs with the first images.
_ON_GPU = ImageLimits(processor_seconds=60, wall_seconds=120.0, memory_bytes=None)
# The new process finds modules where this one does, and none of the program that started this one.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "from pneumoscope.inference.worker import worker_main; worker_main(int(sys.argv[2]))"
)


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker process.

    Attributes:
        bundle: `default`, `nano`, `best`, a bundle's path, or a loaded bundle.
        device: `cpu`, or `cuda` for a GPU.
        threads: Threads for one image or batch; 0 for as many as there are cores.
        limits: Limits of one image.
    """

    bundle: "str | Path | Bundle" = "default"
    device: str = "cpu"
    threads: int = 1
    limits: ImageLimits = field(default_factory=ImageLimits)


class WorkerPool:
    """Processes that work on tasks."""

    def __init__(
        self,
        bundle: "str | Path | Bundle" = "default",
        workers: int = 1,
        device: str = "cpu",
        limits: ImageLimits | None = None,
    ) -> None:
        """Starts the processes; they load the bundle while the caller goes on.

        Args:
            bundle: `default`, `nano`, `best`, a bundle's path, or a loaded bundle.
            workers: Number of processes, at least 1; a single one uses all cores.
            device: `cpu`, or `cuda` for a GPU.
            limits: Limits of one image; the usual ones where None.
        """
        usual = _ON_GPU if device == "cuda" else ImageLimits()
        settings = WorkerSettings(bundle, device, 1 if workers > 1 else 0, limits or usual)
        self._tasks: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._living = _Living()
        try:
            for _ in range(workers):
                self._workers.append(_Worker(settings, self._tasks, self._living))
        except BaseException:
            self.close(wait=False)
            raise

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=error_type is None)

    @property
    def replaced(self) -> int:
        """Number of processes replaced so far."""
        return sum(worker.replaced for worker in self._workers)

    @property
    def is_working(self) -> bool:
        """Whether there is a process to work on tasks."""
        return self._living.count > 0

    def wait_until_ready(self) -> None:
        """Waits until every process has loaded the bundle.

        Raises:
            PneumoscopeError: The bundle or the device is not as expected.
        """
        for worker in self._workers:
            worker.ready.result()

    def submit(self, task: Task[Result]) -> "Future[list[Result]]":
        """Future with the task's results, one for each image; raises what is wrong with bundle, device or settings."""
        job = _Job(task, Future())
        self._tasks.put(job)
        return job.future

    def run(self, tasks: Iterable[Task[Result]]) -> Iterator[list[Result]]:
        """Results of tasks, in their order; `tasks` is drawn from a few tasks ahead.

        Raises:
            PneumoscopeError: Bundle, device or settings are not as expected.
        """
        waiting: deque[Future[list[Result]]] = deque()
        for task in tasks:
            waiting.append(self.submit(task))
            if len(waiting) >= len(self._workers) * _DRAWN_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self, wait: bool = True) -> None:
        """Ends the processes; with `wait`, once what was submitted is done."""
        if not wait:
            for worker in self._workers:
                worker.kill()
            self._cancel_waiting()
        for _ in self._workers:
            self._tasks.put(None)
        if wait:
            for worker in self._workers:
                worker.join()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (job := self._tasks.get_nowait()) is not None:
                    job.future.cancel()


@dataclass(frozen=True)
class _Job:
    task: Task[Any]
    future: "Future[list[Any]]"


class _Ended(Exception):
    """A worker process has ended, for a cause in words; `by_network` where no image is to blame."""

    def __init__(self, cause: str, by_network: bool = False) -> None:
        super().__init__(cause)
        self.by_network = by_network


class _Living:
    """Number of workers of a pool that can still work."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def change(self, difference: int) -> int:
        with self.lock:
            self.count += difference
            return self.count


class _Worker(threading.Thread):
    """A thread that drives one process: hands it tasks, collects results, replaces it.

    Attributes:
        ready: Done once the process has loaded the bundle; raises where it cannot.
        replaced: Number of times that the process was replaced.
    """

    def __init__(self, settings: WorkerSettings, tasks: "queue.SimpleQueue[_Job | None]", living: _Living) -> None:
        super().__init__(daemon=True)
        self._living = living
        living.change(+1)
        self.ready: Future[None] = Future()
        self.replaced = 0
        self._killed = False
        self._settings, self._tasks = settings, tasks
        self._process = _Process(settings)
        self.start()

    def run(self) -> None:
        handed: deque[_Job] = deque()
        try:
            self._wait_until_loaded()
            self.ready.set_result(None)
            self._work(handed)
        except Exception as error:  # whoever waits for a result has to learn of it
            self._fail(handed, error)
        finally:
            self._process.close()

    def kill(self) -> None:
        """Ends the process at once, and with it the thread; tasks in work fail."""
        self._killed = True
        self._process.kill()

    def _work(self, handed: "deque[_Job]") -> None:
        """Works on tasks until the queue says that no more will come."""
        ending = False
        while handed or not ending:
            try:
                while len(handed) < _AHEAD and not ending and (job := self._next(wait=not handed)) is not _NOTHING:
                    if job is None:
                        ending = True
                    elif job.future.set_running_or_notify_cancel():
                        handed.append(job)
                        self._process.send(job.task)
                if handed:
                    found = self._process.receive()
                    _settle(handed.popleft(), found)
            except _Ended:
                self._recover(handed)

    def _next(self, wait: bool) -> Any:
        try:
            return self._tasks.get(block=wait)
        except queue.Empty:
            return _NOTHING

    def _recover(self, handed: "deque[_Job]") -> None:
        """The process has ended: its first task is repeated image by image, the others are handed over again."""
        self._replace()
        if handed:
            _settle(handed[0], self._singly(handed[0].task))
            handed.popleft()
        for job in handed:
            self._process.send(job.task)

    def _singly(self, task: Task[Any]) -> Any:
        """Results of a task, worked on image by image; or what is wrong with its settings."""
        results: list[Any] = []
        for single in task.split():
            found = self._alone(single)
            if isinstance(found, Exception):
                return found
            results += found
        return results

    def _alone(self, single: Task[Any]) -> Any:
        """Results of a task of one image, which is rejected where it ends the process."""
        try:
            self._process.send(single)
            return self._process.receive()
        except _Ended as error:
            cause = str(error)
            if error.by_network:
                self._replace()
                return RunError(f"the network failed in a fresh process too ({cause}): see `pneumoscope bundle verify`")
        for _ in range(_STARTS):
            self._replace()
            try:
                self._process.reject(single, cause)
                return self._process.receive()
            except _Ended:
                continue
        raise RunError(_CANNOT_START)

    def _replace(self) -> None:
        if self._killed:
            raise RunError("the worker pool was closed before its tasks were done")
        self.replaced += 1
        self._renew()
        self._wait_until_loaded()

    def _renew(self) -> None:
        self._process.close()
        self._process = _Process(self._settings)
        if self._killed:  # meanwhile
            self._process.kill()

    def _wait_until_loaded(self) -> None:
        for attempt in range(_STARTS):
            try:
                self._process.load()
                return
            except _Ended:
                if self._killed or attempt == _STARTS - 1:
                    break
                self._renew()
        raise RunError(_CANNOT_START)

    def _fail(self, handed: "deque[_Job]", error: Exception) -> None:
        """Fails the tasks in hand, and where no other worker is left every task that comes."""
        if not self.ready.done():
            self.ready.set_exception(error)
        for job in handed:
            _settle(job, error)
        if self._living.change(-1):
            return  # the others go on
        while not self._killed and (waiting := self._tasks.get()) is not None:
            if waiting.future.set_running_or_notify_cancel():
                _settle(waiting, error)


_NOTHING: Any = object()


def _settle(job: _Job, found: Any) -> None:
    if isinstance(found, Exception):
        job.future.set_exception(found)
    else:
        job.future.set_result(found)


class _Process:
    """A worker process and the connection to it."""

    def __init__(self, settings: WorkerSettings) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _forked(ours, theirs) if _may_fork() else _spawned(theirs)
        self._connection = Connection(ours.detach())
        self._settings = settings

    def load(self) -> None:
        """Has the process load the bundle; raises what it raises. Called by the worker's thread: a bundle takes a while."""
        settings = self._settings
        self._hand_over((settings.bundle, settings.device, settings.threads, settings.limits))
        if (error := self.receive()) is not None:
            raise error

    def send(self, task: Task[Any]) -> None:
        """Hands over a task."""
        self._hand_over(("", task))

    def reject(self, task: Task[Any], cause: str) -> None:
        """Hands over a task whose images are rejected; their content is not handed to another process."""
        self._hand_over((cause, task.without_content()))

    def _hand_over(self, message: Any) -> None:
        # Where the process has ended, `receive` tells.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def receive(self) -> Any:
        """The next results; raises `_Ended` where the process has ended, or ends for want of memory or the like."""
        try:
            found = self._connection.recv()
        except (EOFError, OSError) as error:
            raise _Ended(self._settings.limits.cause(self._process.wait())) from error
        if isinstance(found, WorkerFault):
            raise _Ended(f"decoding it failed: {found}", found.by_network)
        return found

    def close(self) -> None:
        """Closes the connection, at which the process ends, and waits for that."""
        self._connection.close()
        self._process.wait()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()


def _spawned(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    """Starts a new interpreter, in its own process group: only the caller is to get Ctrl-C from the terminal."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())]
    return subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603


def _may_fork() -> bool:
    """Whether a fork is safe and cheap: no other thread, and no library that starts any has been loaded yet.

    The first process of a command starts like this, which saves a tenth of the time to the first prediction.
    """
    return threading.active_count() == 1 and not {"numpy", "onnxruntime", "torch", "ray"} & set(sys.modules)


class _Forked:
    """A forked process, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self._pid, self._exit_code = pid, 0
        # Of a process that is no more than a zombie, the number is not given to another one.
        self._reaping = threading.Lock()

    def wait(self) -> int:
        if self._pid:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
            with self._reaping:
                self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
                self._pid = 0
        return self._exit_code

    def kill(self) -> None:
        with self._reaping:
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)


def _forked(ours: socket.socket, theirs: socket.socket) -> _Forked:
    if pid := os.fork():
        return _Forked(pid)
    try:
        os.setpgid(0, 0)
        ours.close()
        worker_main(theirs.fileno())
    finally:
        # What the parent has registered for its own end is not this process's to do.
        os._exit(0)

"""A worker process: loads a detector, then works on tasks until the process that started it closes the connection.

parent --(bundle, device, threads, limits)--> worker --None, or why it cannot start--> parent
parent --Task--> worker --results, or what the task raised--> parent
"""

import os
import pickle
import queue
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.limits import ImageLimits

# Exit code of a process that cannot go on; apart from 1, with which the watchdog of `ImageLimits` ends it.
_FAILED = 70


class WorkerFault(Exception):
    """A task failed in a worker for another reason than a setting, such as memory.

    Attributes:
        by_network: Whether the network failed, whose inputs are all alike; else the image is to blame.
    """

    def __init__(self, cause: str, by_network: bool = False) -> None:
        super().__init__(cause, by_network)
        self.by_network = by_network

    def __str__(self) -> str:
        return str(self.args[0])


def worker_main(file_descriptor: int) -> None:
    """Serves tasks from a connection that the parent has opened."""
    # The parent handles Ctrl-C; warnings of libraries about an image do not reach the user.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    connection = Connection(file_descriptor)
    try:
        bundle, device, threads, limits = connection.recv()
        detector = _load(bundle, device, threads)
        failed = isinstance(detector, Exception)
        connection.send(detector if failed else None)
        if not failed:
            limits.limit_memory()
            _serve(connection, detector, limits)
    except (EOFError, OSError):
        pass  # the parent has gone
    except BaseException:
        os._exit(_FAILED)


def _load(bundle: Any, device: str, threads: int) -> Any:
    """The detector, or the exception that says why there is none, such as a package that is not installed."""
    try:
        from pneumoscope.inference.detector import load_detector

        return load_detector(bundle, threads, device)
    except Exception as error:  # raised again where the results are waited for
        return error


def _serve(connection: Connection, detector: Any, limits: ImageLimits) -> None:
    inbox = _Inbox(connection)

    def each(images: Iterable[Any]) -> Iterator[Any]:
        for image in limits.each(images):
            if inbox.closed:
                raise EOFError
            yield image

    while (task := inbox.next()) is not None:
        try:
            found = _results(task, detector, each)
            connection.send_bytes(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
        except (EOFError, OSError):
            raise
        except Exception as error:  # a library ran out of memory, or something worse: the image is to blame
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            connection.send(WorkerFault(cause, type(error).__name__ == "NetworkFailure"))
            return  # a process that starts afresh is in a known state
        finally:
            # An iterator over images that an exception has left behind may not have ended yet.
            limits.lift()


def _results(task: Any, detector: Any, each: Any) -> Any:
    """Results of a task, or the exception that says what is wrong with its settings."""
    cause, work = task
    try:
        return work.reject(detector, cause) if cause else work.run(detector, each)
    except PneumoscopeError as error:
        return error.with_traceback(None)


class _Inbox:
    """Tasks that have arrived. A thread receives them: the parent may send while results are on their way to it."""

    def __init__(self, connection: Connection) -> None:
        self.closed = False
        self._connection = connection
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._receive, daemon=True).start()

    def next(self) -> Any:
        """The next task; None once the parent has closed the connection."""
        return self._tasks.get()

    def _receive(self) -> None:
        try:
            while True:
                self._tasks.put(self._connection.recv())
        except (EOFError, OSError):
            self.closed = True
            self._tasks.put(None)
        except BaseException:  # such as memory that the image in work has taken; nothing could be received any more
            os._exit(_FAILED)

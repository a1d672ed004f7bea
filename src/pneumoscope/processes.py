"""Processes that work for another, and end with it; imports nothing that takes time."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any


def worker_processes(count: int, prepare: Callable[..., None], *given: Any) -> ProcessPoolExecutor:
    """Processes that have called `prepare` with what is given before their first work.

    Ctrl-C is their parent's to answer, and a parent that is killed leaves none of them behind.
    """
    return ProcessPoolExecutor(count, _Context(), initializer=_prepare, initargs=(prepare, *given))


class _Process(SpawnProcess):
    """Starts without the program's main module, which would be imported again and of which nothing is needed."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        told = vars(sys.modules["__main__"])
        kept: dict[str, Any] = {name: told.pop(name) for name in ("__spec__", "__file__") if name in told}
        told["__spec__"] = None
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            told |= kept


class _Context(SpawnContext):
    """Spawned, not forked: the runtime's threads, and an event loop, do not survive a fork."""

    Process = _Process


def _prepare(prepare: Callable[..., None], *given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

"""Pool of worker processes for trainings, which end with their parent; imports only the standard library."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any


def worker_processes(count: int, prepare: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Pool of processes that call `prepare` before their first task.

    Processes are spawned, since PyTorch's threads do not survive a fork. They ignore Ctrl-C, which their parent handles, and
    exit when the parent is killed.

    Args:
        count: Number of processes.
        prepare: Function of a module, called once in each process.
        *arguments: Arguments of `prepare`.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(prepare, *arguments))


def _prepare(prepare: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

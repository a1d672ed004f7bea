"""Processes that train for another, and end with it; imports nothing that takes time."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any


def worker_processes(count: int, prepare: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Pool of processes that have called `prepare` before their first task.

    They are spawned, not forked: the threads of PyTorch do not survive a fork. Ctrl-C is their parent's to answer, and a
    parent that is killed leaves none of them behind.
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

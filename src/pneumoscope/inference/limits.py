"""Limits of one image in a worker process: processor time, wall-clock time and memory, kept by the system.

A decoder may hang or take any amount of memory without returning to Python, so the limits do not depend on Python: past the
processor time the kernel ends the process (SIGXCPU), past the wall-clock time a thread in C does, past the memory allocations
fail. The pool that started the process rejects the image and goes on with a new one.
"""

import faulthandler
import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

# Exit code of `faulthandler`'s watchdog.
_TIMED_OUT = 1


@dataclass(frozen=True)
class ImageLimits:
    """Limits of one image.

    Attributes:
        processor_seconds: Processor time of all threads, seconds; the kernel counts in whole seconds.
        wall_seconds: Wall-clock time, seconds.
        memory_bytes: Memory beyond that of the process before its first image; None for no limit.
    """

    processor_seconds: int = 5
    wall_seconds: float = 20.0
    memory_bytes: int | None = 900_000_000

    def limit_memory(self) -> None:
        """Limits the memory of this process, until it ends, to its present memory and `memory_bytes` more."""
        _set_soft_limit(resource.RLIMIT_CORE, 0)
        if self.memory_bytes is not None and (used := _private_bytes()):
            _set_soft_limit(resource.RLIMIT_DATA, used + self.memory_bytes)

    def each(self, images: Iterable[Item]) -> Iterator[Item]:
        """Iterates over images; each has the full time, from when it is drawn until the next one is."""
        with open(os.devnull, "w", encoding="utf-8") as null:
            try:
                for image in images:
                    self._restart(null.fileno())
                    yield image
            finally:
                self.lift()

    def lift(self) -> None:
        """Stops both clocks: no image is in work."""
        faulthandler.cancel_dump_traceback_later()
        _set_soft_limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)

    def _restart(self, null: int) -> None:
        """Restarts both clocks; `null` is a file descriptor for the watchdog's traceback, which nobody needs."""
        faulthandler.dump_traceback_later(self.wall_seconds, exit=True, file=null)
        _set_soft_limit(resource.RLIMIT_CPU, int(time.process_time()) + self.processor_seconds)

    def cause(self, exit_code: int) -> str:
        """Cause in words for the end of a worker process that had an image."""
        if exit_code == -signal.SIGXCPU:
            return f"decoding it took more than {self.processor_seconds} s of processor time"
        if exit_code == _TIMED_OUT:
            return f"decoding it took more than {self.wall_seconds:g} s"
        return "decoding it ended the process"


def _set_soft_limit(limit: int, value: int) -> None:
    """Sets a limit of this process, as far as its hard limit allows, such as one of `ulimit`."""
    hard = resource.getrlimit(limit)[1]
    soft = value if hard == resource.RLIM_INFINITY else hard if value == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (soft, hard))


def _private_bytes() -> int:
    """Memory of this process that counts for RLIMIT_DATA, bytes; 0 where the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):
        return 0

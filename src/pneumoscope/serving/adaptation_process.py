"""Process of an adaptation, apart from the service: at low priority, with memory of its own, and gone when the service is.

service --AdaptationJob--> process --AdaptationProgress, ..., AdaptationOutcome--> service

The service closes the connection to end the process, and so does its own end, however it comes.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pneumoscope.bundle import Bundle
from pneumoscope.errors import PneumoscopeError
from pneumoscope.progress import Progress

# Predictions come first.
_NICENESS = 10
_SECONDS_BETWEEN_MESSAGES = 0.1
# The new process finds modules where this one does.
_PROGRAM = (
    f"import json, os, sys; os.nice({_NICENESS}); sys.path[:] = json.loads(sys.argv[1])\n"
    "from pneumoscope.serving.adaptation_process import adaptation_main; adaptation_main(int(sys.argv[2]))"
)


@dataclass(frozen=True)
class AdaptationJob:
    """Work of an adaptation process.

    Attributes:
        parent: Bundle that is adapted.
        table: Table of the labelled images.
        out: File of the new bundle; the report lies beside it.
        classes: Names of the negative and of the positive class.
        name: Name of the new detector.
        workers: Number of worker processes that describe the images.
    """

    parent: Bundle
    table: Path
    out: Path
    classes: tuple[str, str]
    name: str
    workers: int


@dataclass(frozen=True)
class AdaptationProgress:
    """Progress of an adaptation.

    Attributes:
        stage: Name of the stage.
        done: Number of finished parts.
        total: Number of parts.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class AdaptationOutcome:
    """End of an adaptation.

    Attributes:
        problem: Reason why there is no result; empty where there is one.
        sha256: Hash of the new bundle; empty where none was made.
        result: Result as `Adaptation.to_dict` gives it.
    """

    problem: str = ""
    sha256: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class AdaptationProcess(threading.Thread):
    """Thread that drives an adaptation process."""

    def __init__(
        self,
        job: AdaptationJob,
        progress: Callable[[AdaptationProgress], None],
        done: Callable[[AdaptationOutcome], None],
    ) -> None:
        """Starts the process.

        Args:
            job: Work of the process.
            progress: Called with each progress.
            done: Called once, when the process has ended, with its outcome.
        """
        super().__init__(daemon=True)
        self._job, self._progress, self._done = job, progress, done
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())]
        with theirs:
            # Only the service is to get Ctrl-C from the terminal.
            self._process = subprocess.Popen(  # noqa: S603
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, process_group=0
            )
        self._connection = Connection(ours.detach())
        self.start()

    def run(self) -> None:
        """Hands over the work, and what comes of it."""
        outcome = self._follow()
        self._connection.close()
        code = self._process.wait()
        self._done(outcome or AdaptationOutcome(_ended(code)))

    def kill(self) -> None:
        """Ends the process at once, and waits for that and for the call of `done`."""
        self._process.kill()
        self.join()

    def _follow(self) -> AdaptationOutcome | None:
        """Outcome of the process; None where it ended without one."""
        with contextlib.suppress(EOFError, OSError):
            self._connection.send(self._job)
            while not isinstance(message := self._connection.recv(), AdaptationOutcome):
                self._progress(message)
            return message
        return None


def _ended(code: int) -> str:
    cause = f"signal {-code}, as where memory is short" if code < 0 else f"code {code}, see the service's log"
    return f"the adaptation ended without a result ({cause}): begin another"


def adaptation_main(file_descriptor: int) -> None:
    """Does the work that comes over a connection, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    connection = Connection(file_descriptor)
    job: AdaptationJob = connection.recv()
    threading.Thread(target=_end_with_service, args=(connection,), daemon=True).start()
    connection.send(_outcome(job, connection.send))


def _end_with_service(connection: Connection) -> None:
    # The service sends nothing more: this returns when it closes the connection.
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def _outcome(job: AdaptationJob, send: Callable[[AdaptationProgress], None]) -> AdaptationOutcome:
    from pneumoscope.adaptation.bundling import SiteDescription
    from pneumoscope.adaptation.pipeline import adapt_site
    from pneumoscope.config import DetectorConfig
    from pneumoscope.data.sources import open_source

    negative, positive = job.classes
    try:
        source = open_source(job.table, positive, negative)
        description = SiteDescription(job.name, "1", "", "", job.name)
        found, made = adapt_site(
            job.parent,
            source,
            job.out,
            description,
            DetectorConfig(),
            job.workers,
            lambda stage: _progress(stage, send),
        )
    except PneumoscopeError as error:
        return AdaptationOutcome(str(error))
    return AdaptationOutcome("", made.sha256 if made else "", found.to_dict())


def _progress(stage: str, send: Callable[[AdaptationProgress], None]) -> Progress:
    """Progress callback of a stage, which sends no more than the service needs."""
    sent = 0.0

    def follow(done: int, total: int) -> None:
        nonlocal sent
        if done == total or time.monotonic() - sent > _SECONDS_BETWEEN_MESSAGES:
            sent = time.monotonic()
            send(AdaptationProgress(stage, done, total))

    send(AdaptationProgress(stage, 0, 0))
    return follow

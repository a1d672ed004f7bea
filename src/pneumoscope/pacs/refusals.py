"""Refused associations in both logs: each kind at once, what repeats as a number, so that no scanner fills the disk."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.queue import Queue

_log = logging.getLogger(__name__)
# Pause between two lines on one title, address and reason, seconds.
_EVERY = 60.0
# Lines of their own at a time: of all, and of the titles of one address, that none of them crowds out the others.
_MOST, _MOST_TITLES = 100, 10


@dataclass
class _Repeated:
    """Refusals of one title at one address for one reason since its last line, and the time of that line."""

    since: float
    number: int = 0


class Refusals:
    """Log and number of refused associations. Of use to several threads."""

    def __init__(self, queue: Queue, audit: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with none.

        Args:
            queue: Queue that keeps the number.
            audit: Log.
            clock: Clock, seconds.
        """
        self._queue, self._audit, self._clock = queue, audit, clock
        self._lock = threading.Lock()
        # Of title, address and reason; of many titles of an address without the title, of many addresses of the reason alone.
        self._repeated: dict[tuple[str, str, str], _Repeated] = {}
        self._uncounted = 0

    def add(self, ae_title: str, address: str, reason: str, message: str) -> None:
        """Logs a refusal: the first of a title, address and reason at once, others by `summarise`.

        Args:
            ae_title: AE title of the sender; empty where it is not known.
            address: Address of the sender.
            reason: Code of the reason for the audit log.
            message: Description for the node's log: what was expected, what was found, and what to do.

        Raises:
            StorageError: The audit log cannot be written.
        """
        with self._lock:
            self._uncounted += 1
            if (known := self._known(ae_title, address, reason)) is not None:
                known.number += 1
                return
            self._repeated[ae_title, address, reason] = _Repeated(self._clock())
        _log.warning("an association is refused: %s", message)
        self._audit.append(AuditEntry(AuditEvent.ASSOCIATION_REFUSED, ae_title, address, reason=reason))

    def _known(self, ae_title: str, address: str, reason: str) -> _Repeated | None:
        """What a refusal is counted with; None where it gets a line of its own."""
        if (known := self._repeated.get((ae_title, address, reason))) is not None:
            return known
        if sum(key[1:] == (address, reason) for key in self._repeated) >= _MOST_TITLES:
            key = ("", address, reason)
        elif len(self._repeated) >= _MOST:
            key = ("", "", reason)
        else:
            return None
        return self._repeated.setdefault(key, _Repeated(self._clock()))

    def summarise(self, at_once: bool = False) -> None:
        """Counts what was refused, and logs what was repeated: once a minute for each title, address and reason, or at once.

        Raises:
            StorageError: The log cannot be written.
        """
        with self._lock:
            uncounted, self._uncounted = self._uncounted, 0
            now = self._clock()
            due = {key: each for key, each in self._repeated.items() if at_once or now >= each.since + _EVERY}
            for key, each in due.items():
                # What was repeated may go on: its next line comes in a minute.
                self._repeated.pop(key)
                if each.number:
                    self._repeated[key] = _Repeated(now)
        if uncounted:
            self._queue.count("refused: association", uncounted)
        entries = [
            AuditEntry(AuditEvent.ASSOCIATION_REFUSED, ae_title, address, reason=reason, count=each.number)
            for (ae_title, address, reason), each in due.items()
            if each.number
        ]
        if entries:
            self._audit.append(*entries)

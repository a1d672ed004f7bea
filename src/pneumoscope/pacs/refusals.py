"""Refused associations in the audit log: each kind at once, what repeats as a number, so that no scanner fills the disk."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.queue import Queue

# Pause between two lines on one address and reason, seconds; and addresses with lines of their own at a time.
_EVERY, _MOST_ADDRESSES = 60.0, 100


@dataclass
class _Repeated:
    """Refusals of one address for one reason since its last line, and the time of that line."""

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
        # Of address and reason; of many addresses at once, of the reason alone.
        self._repeated: dict[tuple[str, str], _Repeated] = {}
        self._uncounted = 0

    def add(self, ae_title: str, address: str, reason: str) -> None:
        """Logs a refusal: the first of an address and reason at once, others by `summarise`.

        Raises:
            StorageError: The log cannot be written.
        """
        with self._lock:
            self._uncounted += 1
            known = self._repeated.get((address, reason))
            if known is None and len(self._repeated) >= _MOST_ADDRESSES:
                known = self._repeated.setdefault(("", reason), _Repeated(self._clock()))
            if known is not None:
                known.number += 1
                return
            self._repeated[address, reason] = _Repeated(self._clock())
        self._audit.append(AuditEntry(AuditEvent.ASSOCIATION_REFUSED, ae_title, address, reason=reason))

    def summarise(self, at_once: bool = False) -> None:
        """Counts what was refused, and logs what was repeated: once a minute for each address and reason, or at once.

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
            AuditEntry(AuditEvent.ASSOCIATION_REFUSED, address=address, reason=reason, count=each.number)
            for (address, reason), each in due.items()
            if each.number
        ]
        if entries:
            self._audit.append(*entries)

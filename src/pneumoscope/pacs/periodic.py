"""Work that is done again and again on a thread of its own, with growing pauses while it fails."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable

from pneumoscope.errors import PneumoscopeError

_log = logging.getLogger("pneumoscope.pacs")
# Longest pause after failures, seconds, unless the usual one is longer.
_LONGEST_PAUSE = 300.0
# Failed attempts end a step once they have taken so long together: those that wait for a server in vain, or fill a full disk.
_LONGEST_IN_VAIN = 60.0


def pause_after(failures: int, every_seconds: float, longest: float = _LONGEST_PAUSE) -> float:
    """Pause before the next attempt, seconds: the usual one, doubled with each failure in a row, up to the longest, five minutes."""
    return min(every_seconds * 2.0 ** min(failures, 30), max(every_seconds, longest))


class Postponed:
    """Items that failed, each until its next attempt, after growing pauses; and items that are left alone.

    An item's pauses are longer than those of the step in which it fails alone: it is not due again in the next one.
    """

    def __init__(self, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with none.

        Args:
            every_seconds: Pause before the first new attempt is four times this, seconds.
            clock: Clock, seconds.
        """
        self._every_seconds, self._clock = every_seconds, clock
        # Number of failures and time of the next attempt.
        self._items: dict[str, tuple[int, float]] = {}

    def try_each(
        self, items: Iterable[str], attempt: Callable[[str], bool], is_over: Callable[[], bool] = lambda: False
    ) -> None:
        """Tries what is due: items that never failed, in their order, then the others by the time of their next attempt.

        An item that fails is postponed, and the next one tried, until the failures have taken a minute together.

        Args:
            items: Items, of which some may be postponed.
            attempt: Function that tries an item, and gives whether it is done.
            is_over: Function that gives whether to end before the next item.

        Raises:
            Exception: First failure, where items failed and none was done.
        """
        failures: list[Exception] = []
        any_done, in_vain = False, 0.0
        for item in sorted(filter(self._is_due, items), key=self._next_attempt):
            if is_over() or in_vain >= _LONGEST_IN_VAIN:
                break
            begun = self._clock()
            try:
                any_done |= attempt(item)
            except Exception as error:
                self.postpone(item)
                failures.append(error)
                in_vain += self._clock() - begun
        if failures and not any_done:
            raise failures[0]

    def postpone(self, item: str) -> None:
        """Counts a failure of an item, and puts its next attempt off."""
        failures = self._items.get(item, (0, 0.0))[0] + 1
        self._items[item] = failures, self._clock() + pause_after(failures + 1, self._every_seconds)

    def leave_alone(self, item: str) -> None:
        """Puts the next attempt off for good."""
        self._items[item] = 0, float("inf")

    def keep_only(self, items: Container[str]) -> None:
        """Forgets all but these items."""
        self._items = {item: entry for item, entry in self._items.items() if item in items}

    def _next_attempt(self, item: str) -> float:
        return self._items[item][1] if item in self._items else float("-inf")

    def _is_due(self, item: str) -> bool:
        return self._next_attempt(item) <= self._clock()


class Periodic(ABC):
    """Step that a thread repeats: at intervals while it succeeds, after growing pauses while it fails.

    Attributes:
        every_seconds: Pause between two steps, seconds.
        failures: Number of failures in a row.
        error: Reason of the last failure; empty while the step succeeds.
    """

    def __init__(self, name: str, every_seconds: float) -> None:
        """Prepares the thread.

        Args:
            name: Name of the thread, which log lines begin with.
            every_seconds: Pause between two steps, seconds.
        """
        self.every_seconds, self.failures, self.error = every_seconds, 0, ""
        self._name, self._stopping = name, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def step(self) -> None:
        """Does the work once; an exception is a failure."""

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: a step returns as soon as it can."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Starts the thread, whose first step begins at once."""
        self._thread.start()

    def stop(self, wait_seconds: float = 5.0) -> bool:
        """Ends the thread after the item at hand; gives whether it has ended within `wait_seconds`."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.stopping:
            try:
                self.step()
            except Exception as error:
                if not self.stopping:
                    self._failed(error)
            else:
                if self.failures:
                    _log.warning("%s: works again", self._name)
                self.failures, self.error = 0, ""
            self._stopping.wait(pause_after(self.failures, self.every_seconds))

    def _failed(self, error: Exception) -> None:
        """Counts a failure and logs its reason once; no reason holds the name of a file, which may be a patient's."""
        known = isinstance(error, PneumoscopeError | OSError)
        reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        if not known:
            _log.error("%s: unexpected error", self._name, exc_info=error)
        elif reason != self.error:
            _log.warning("%s: %s", self._name, reason)
        self.failures, self.error = self.failures + 1, reason

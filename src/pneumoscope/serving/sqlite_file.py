"""SQLite file that many requests use at a time: connections on which work waits its turn, and is tried again while the file is locked.

Only the owner can read the file. Where another program has locked it, the work is tried again for a while, off the event loop: other
requests go on.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

# Seconds for which work on a locked file is tried; each try waits for the lock, the next comes after a pause.
PATIENCE_SECONDS, TRY_SECONDS, PAUSE_SECONDS = 30.0, 1.0, 0.1
_OWNER_ONLY = 0o600
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_T = TypeVar("_T")


class HistoryLockedError(Exception):
    """History file that another program kept locked for longer than the service waits."""


class BusyError(Exception):
    """A checkpoint that another program prevents, which SQLite answers with a number and no error."""


class SerialConnection:
    """One connection, for one piece of work at a time; the others wait for their turn in the order they came."""

    def __init__(self, path: Path, *setup: str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        for statements in (*setup, f"PRAGMA busy_timeout={int(1000 * TRY_SECONDS)};"):
            self.connection.executescript(statements)
        self.lock = threading.Lock()
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Result of blocking work, which is tried again while the file is locked.

        Raises:
            HistoryLockedError: The file stayed locked.
            sqlite3.Error: The work failed for another reason.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + PATIENCE_SECONDS
        message = f"expected the history file within {PATIENCE_SECONDS:g} seconds, found it locked by another program"
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError as error:
            raise HistoryLockedError(message) from error
        try:
            while True:
                try:
                    return await asyncio.to_thread(work)
                except (sqlite3.OperationalError, BusyError) as error:
                    if isinstance(error, sqlite3.Error) and not _is_locked(error):
                        raise
                    if clock() > deadline:
                        raise HistoryLockedError(message) from error
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._turn.release()


def create_file(path: Path) -> None:
    """Create the file where there is none; SQLite gives the files beside it the same rights."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))


def narrow_rights(path: Path) -> None:
    """Take the rights of others away from a file of before, and from those that SQLite keeps beside it."""
    for each in (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        if each.is_file() and each.stat().st_mode & 0o777 & ~_OWNER_ONLY:
            each.chmod(_OWNER_ONLY)


def _is_locked(error: sqlite3.Error) -> bool:
    # The lower byte is the kind; the upper ones say more of it.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED

"""History of decisions in an SQLite file, where the user wants one: to search, and to delete.

The file holds no images, but the names that files were sent under, so only its owner can read it. Where another program has
locked it, the work is tried again for a while, off the event loop: other requests go on.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pneumoscope.errors import ConfigError
from pneumoscope.inference.prediction import Prediction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    file TEXT NOT NULL,
    decision TEXT NOT NULL,
    prediction TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_decision ON decisions (decision, id);
CREATE INDEX IF NOT EXISTS by_hash ON decisions (sha256);
"""
# Seconds for which work on a locked file is tried; each try waits for the lock, the next comes after a pause.
PATIENCE_SECONDS, TRY_SECONDS, PAUSE_SECONDS = 30.0, 1.0, 0.1
_OWNER_ONLY = 0o600
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_T = TypeVar("_T")
# Fields that predictions of earlier versions lack.
_LATER_FIELDS: dict[str, Any] = {"zones": None}
_ESCAPE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


@dataclass(frozen=True)
class Entry:
    """Decision on record.

    Attributes:
        id: Number of the entry, rising with time.
        time: Time of the decision, UTC, ISO 8601.
        prediction: Prediction as plain data.
    """

    id: int
    time: str
    prediction: dict[str, Any]


class HistoryLockedError(Exception):
    """History file that another program kept locked for longer than the service waits."""


class _Busy(Exception):
    """A checkpoint that another program prevents, which SQLite answers with a number and no error."""


class _SerialConnection:
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
                except (sqlite3.OperationalError, _Busy) as error:
                    if isinstance(error, sqlite3.Error) and not _is_locked(error):
                        raise
                    if clock() > deadline:
                        raise HistoryLockedError(message) from error
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._turn.release()


class History:
    """History file; its methods may be called by many requests at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, readable and writable by its owner alone.

        Raises:
            ConfigError: The file cannot be opened, or is no SQLite file.
        """
        try:
            path = path.resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path)
            # What is deleted is overwritten; readers and the writer do not wait for each other.
            self._writing = _SerialConnection(
                path, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;", _SCHEMA
            )
            self._reading = _SerialConnection(path, "PRAGMA query_only=ON;")
            _narrow(path)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"expected an SQLite file at {path}, found: {error}: name another with --history"
            ) from error

    async def add(self, predictions: list[Prediction]) -> None:
        """Keep decisions, all or none.

        Raises:
            HistoryLockedError: The file stayed locked.
            sqlite3.Error: The file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [(now, p.sha256, p.file, p.outcome, json.dumps(p.to_dict())) for p in predictions]

        def insert() -> None:
            with self._writing.lock, self._writing.connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT INTO decisions (time, sha256, file, decision, prediction) VALUES (?, ?, ?, ?, ?)", rows
                )

        await self._writing.run(insert)

    async def search(
        self, text: str = "", decision: str = "", before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        """Entries, the newest first.

        Args:
            text: Part of the file's name, or the beginning of its hash; all where empty.
            decision: Decision; all where empty.
            before: Id below which entries are returned: the page after the one that ended there.
            limit: Largest number of entries.

        Raises:
            HistoryLockedError: The file stayed locked.
        """
        plain = text.translate(_ESCAPE)

        def select() -> list[tuple[int, str, str]]:
            with self._reading.lock:
                return self._reading.connection.execute(
                    "SELECT id, time, prediction FROM decisions WHERE (? = '' OR decision = ?) AND (? IS NULL OR id < ?)"
                    " AND (file LIKE ? ESCAPE '\\' OR sha256 LIKE ? ESCAPE '\\') ORDER BY id DESC LIMIT ?",
                    (decision, decision, before, before, f"%{plain}%", f"{plain}%", limit),
                ).fetchall()

        return [
            Entry(number, time, _LATER_FIELDS | json.loads(record))
            for number, time, record in await self._reading.run(select)
        ]

    async def delete(self, number: int | None = None) -> int:
        """Delete an entry, or all where None; gives how many there were. Nothing of them stays in the file.

        Raises:
            HistoryLockedError: The file stayed locked.
        """

        def remove() -> int:
            execute = self._writing.connection.execute
            # Nobody of this process reads meanwhile: a reader would keep what was deleted in the write-ahead log.
            with self._writing.lock, self._reading.lock:
                if number is None:
                    gone = execute("DELETE FROM decisions").rowcount
                else:
                    gone = execute("DELETE FROM decisions WHERE id = ?", (number,)).rowcount
            return gone

        def checkpoint() -> None:
            with self._writing.lock, self._reading.lock:
                (busy, *_) = self._writing.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise _Busy

        gone = await self._writing.run(remove)
        await self._writing.run(checkpoint)
        return gone

    def close(self) -> None:
        """Ends the use of the file."""
        for each in (self._reading, self._writing):
            with each.lock:
                each.connection.close()


def _create(path: Path) -> None:
    """Create the file where there is none; SQLite gives the files beside it the same rights."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))


def _narrow(path: Path) -> None:
    """Take the rights of others away from a file of before, and from those that SQLite keeps beside it."""
    for each in (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        if each.is_file() and each.stat().st_mode & 0o777 & ~_OWNER_ONLY:
            each.chmod(_OWNER_ONLY)


def _is_locked(error: sqlite3.Error) -> bool:
    # The lower byte is the kind; the upper ones say more of it.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED

"""History of decisions in an SQLite file, where the user wants one: to search, and to delete; with the readings of the same images.

The file holds no images, but the names that files were sent under, so only its owner can read it.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from pneumoscope.errors import ConfigError
from pneumoscope.inference.drift import was_decoded
from pneumoscope.inference.prediction import Prediction
from pneumoscope.serving.readings import READINGS_SCHEMA, Readings
from pneumoscope.serving.sqlite_file import BusyError, SerialConnection, create_file, narrow_rights
from pneumoscope.types import ImageStatistics

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    file TEXT NOT NULL,
    decision TEXT NOT NULL,
    prediction TEXT NOT NULL,
    statistics TEXT
);
CREATE INDEX IF NOT EXISTS by_decision ON decisions (decision, id);
CREATE INDEX IF NOT EXISTS by_hash ON decisions (sha256);
CREATE INDEX IF NOT EXISTS by_time ON decisions (time, decision);
"""
# After the column, which files of before lack. NULL there: of before, or not decoded; a rejected image has the JSON null.
_ADD_STATISTICS = "ALTER TABLE decisions ADD COLUMN statistics TEXT;"
_BY_BUNDLE = """
CREATE INDEX IF NOT EXISTS by_bundle ON decisions (json_extract(prediction, '$.bundle.sha256'), id) WHERE statistics IS NOT NULL;
"""
_STATISTICS = """
SELECT sha256, statistics FROM decisions WHERE statistics IS NOT NULL AND json_extract(prediction, '$.bundle.sha256') = ? ORDER BY id DESC
"""
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


class Step(StrEnum):
    """Length of the periods of a timeline."""

    HOUR = "hour"
    DAY = "day"


# Length of a period, the beginning that the times of its decisions share, and the rest of its start.
_PERIODS = {
    Step.HOUR: (timedelta(hours=1), "%Y-%m-%dT%H", ":00:00Z"),
    Step.DAY: (timedelta(days=1), "%Y-%m-%d", "T00:00:00Z"),
}


@dataclass(frozen=True)
class Period:
    """Decisions of an hour or a day.

    Attributes:
        start: Start of the period, UTC, ISO 8601.
        decisions: Decision, `refer` or `rejected` to the number of decisions on record; empty where there are none.
    """

    start: str
    decisions: dict[str, int]


class History:
    """History file; its methods may be called by many requests at a time.

    Attributes:
        readings: Findings of readers in the same file.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file, readable and writable by its owner alone.

        Raises:
            ConfigError: The file cannot be opened, is no SQLite file, or that of another program.
        """
        try:
            path = path.resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            create_file(path)
            _check_ours(path)
            # What is deleted is overwritten; readers and the writer do not wait for each other.
            self._writing = SerialConnection(
                path,
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;",
                _SCHEMA + READINGS_SCHEMA,
            )
            columns = {name for _, name, *_ in self._writing.connection.execute("PRAGMA table_info(decisions)")}
            self._writing.connection.executescript(("" if "statistics" in columns else _ADD_STATISTICS) + _BY_BUNDLE)
            self._reading = SerialConnection(path, "PRAGMA query_only=ON;")
            narrow_rights(path)
            self.readings = Readings(self._writing, self._reading)
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
        rows = [(now, p.sha256, p.file, p.outcome, json.dumps(p.to_dict()), _statistics(p)) for p in predictions]

        def insert() -> None:
            with self._writing.lock, self._writing.connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT INTO decisions (time, sha256, file, decision, prediction, statistics) VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )

        await self._writing.run(insert)

    def statistics(
        self, bundle: str, number: int, counts: Callable[[str], bool]
    ) -> list[tuple[str, ImageStatistics | None]]:
        """Find the drift statistics of the images that a bundle has decided last.

        Args:
            bundle: SHA-256 of the bundle.
            number: Largest number of images.
            counts: Whether an image, by its SHA-256, is to be among them.

        Returns:
            SHA-256 and statistics (None for a rejected image) of decoded images, each once, in the order of the newest decisions on them.

        Raises:
            sqlite3.Error: The file cannot be read, such as while another program has locked it.
        """
        found: dict[str, ImageStatistics | None] = {}
        with self._reading.lock, contextlib.closing(self._reading.connection.execute(_STATISTICS, (bundle,))) as rows:
            for sha256, record in rows:
                if len(found) == number:
                    break
                if sha256 not in found and counts(sha256):
                    values = json.loads(record)
                    found[sha256] = ImageStatistics(**values) if values else None
        return list(reversed(found.items()))

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

        return [_entry(*columns) for columns in await self._reading.run(select)]

    async def timeline(self, step: Step, periods: int) -> list[Period]:
        """Counts of decisions over time.

        Args:
            step: Length of a period.
            periods: Number of periods, 1 or more; the last one is the present one.

        Returns:
            All periods, the earliest first, those without decisions included.

        Raises:
            HistoryLockedError: The file stayed locked.
        """
        length, shared, rest = _PERIODS[step]
        now = datetime.now(UTC)
        starts = [(now - place * length).strftime(shared) for place in reversed(range(periods))]

        def select() -> list[tuple[str, str, int]]:
            with self._reading.lock:
                return self._reading.connection.execute(
                    "SELECT substr(time, 1, ?) AS start, decision, COUNT(*) FROM decisions WHERE time >= ? GROUP BY start, decision",
                    (len(starts[0]), starts[0]),
                ).fetchall()

        counts: dict[str, dict[str, int]] = {start: {} for start in starts}
        for start, decision, count in await self._reading.run(select):
            if start in counts:  # a decision may have been made since
                counts[start][decision] = count
        return [Period(start + rest, decisions) for start, decisions in counts.items()]

    async def latest(self, limit: int) -> dict[str, Entry]:
        """Find the newest decision on each image, by its SHA-256, in the order of these decisions; of more than `limit` images the newest.

        Raises:
            HistoryLockedError: The file stayed locked.
        """

        def select() -> list[tuple[str, int, str, str]]:
            with self._reading.lock:
                return self._reading.connection.execute(
                    "SELECT sha256, id, time, prediction FROM decisions WHERE id IN"
                    " (SELECT MAX(id) FROM decisions GROUP BY sha256 ORDER BY MAX(id) DESC LIMIT ?) ORDER BY id",
                    (limit,),
                ).fetchall()

        return {
            sha256: _entry(number, time, record) for sha256, number, time, record in await self._reading.run(select)
        }

    async def hashes(self) -> set[str]:
        """List the SHA-256 of all images with a decision on record.

        Raises:
            HistoryLockedError: The file stayed locked.
        """

        def select() -> set[str]:
            with self._reading.lock:
                return {
                    sha256 for (sha256,) in self._reading.connection.execute("SELECT DISTINCT sha256 FROM decisions")
                }

        return await self._reading.run(select)

    async def delete(self, number: int | None = None) -> int:
        """Delete an entry, or all where None; gives how many there were. Nothing of them stays in the file.

        Readings of an image are deleted with the last decision on it.

        Raises:
            HistoryLockedError: The file stayed locked.
        """

        def remove() -> int:
            execute = self._writing.connection.execute
            # Nobody of this process reads meanwhile: a reader would keep what was deleted in the write-ahead log.
            with self._writing.lock, self._reading.lock, self._writing.connection:
                execute("BEGIN IMMEDIATE")
                if number is None:
                    gone = execute("DELETE FROM decisions").rowcount
                    execute("DELETE FROM readings")
                else:
                    hashes = execute("SELECT sha256 FROM decisions WHERE id = ?", (number,)).fetchall()
                    gone = execute("DELETE FROM decisions WHERE id = ?", (number,)).rowcount
                    for (sha256,) in hashes:
                        execute(
                            "DELETE FROM readings WHERE sha256 = ? AND sha256 NOT IN (SELECT sha256 FROM decisions)",
                            (sha256,),
                        )
            return gone

        def checkpoint() -> None:
            with self._writing.lock, self._reading.lock:
                (busy, *_) = self._writing.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise BusyError

        gone = await self._writing.run(remove)
        await self._writing.run(checkpoint)
        return gone

    def close(self) -> None:
        """Ends the use of the file."""
        for each in (self._reading, self._writing):
            with each.lock:
                each.connection.close()


def _statistics(prediction: Prediction) -> str | None:
    """Drift statistics as JSON; None where the image was not decoded, and does not count."""
    if not was_decoded(prediction):
        return None
    return json.dumps(asdict(prediction.statistics) if prediction.statistics else None)


def _entry(number: int, time: str, record: str) -> Entry:
    return Entry(number, time, _LATER_FIELDS | json.loads(record))


def _check_ours(path: Path) -> None:
    """Check that a file has no tables of another program."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "decisions" not in tables:
        raise ConfigError(
            f"expected a file of decisions at {path}, found one of another program: name another with --history"
        )

"""What was decided, in an SQLite file on this machine, where the user asks for one: to search, and to delete.

Images are never in it; the names that files were sent under are.
"""

import json
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscope.errors import ConfigError
from pneumoscope.types import Prediction

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
_ESCAPE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


@dataclass(frozen=True)
class Entry:
    """One decision.

    Attributes:
        id: Rising with time.
        time: UTC, ISO 8601.
        prediction: As plain data.
    """

    id: int
    time: str
    prediction: dict[str, Any]


class History:
    """The file; its methods block, and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            ConfigError: It cannot be, or is something else.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            # What is deleted is overwritten; readers and the writer do not wait for each other.
            self._held.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;")
            self._held.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"expected an SQLite file at {path}, found: {error}: name another with --history"
            ) from error
        self._lock = threading.Lock()

    def add(self, predictions: list[Prediction]) -> None:
        """Keeps decisions."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [(now, p.sha256, p.file, p.decision.value, json.dumps(p.as_json())) for p in predictions]
        with self._lock, self._held:
            self._held.execute("BEGIN")
            self._held.executemany(
                "INSERT INTO decisions (time, sha256, file, decision, prediction) VALUES (?, ?, ?, ?, ?)", rows
            )

    def search(self, text: str = "", decision: str = "", before: int | None = None, limit: int = 100) -> list[Entry]:
        """The newest first.

        Args:
            text: Part of the file's name, or the beginning of its hash; all where empty.
            decision: All where empty.
            before: Only entries with a smaller id: the page after the one that ended there.
            limit: Most entries.
        """
        plain = text.translate(_ESCAPE)
        with self._lock:
            rows = self._held.execute(
                "SELECT id, time, prediction FROM decisions WHERE (? = '' OR decision = ?) AND (? IS NULL OR id < ?)"
                " AND (file LIKE ? ESCAPE '\\' OR sha256 LIKE ? ESCAPE '\\') ORDER BY id DESC LIMIT ?",
                (decision, decision, before, before, f"%{plain}%", f"{plain}%", limit),
            ).fetchall()
        return [Entry(number, time, json.loads(told)) for number, time, told in rows]

    def delete(self, number: int | None = None) -> int:
        """Deletes an entry, or all where None; gives how many there were. Nothing of them stays in the file."""
        with self._lock:
            if number is None:
                gone = self._held.execute("DELETE FROM decisions").rowcount
            else:
                gone = self._held.execute("DELETE FROM decisions WHERE id = ?", (number,)).rowcount
            self._held.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    def close(self) -> None:
        """Ends the use of the file."""
        with self._lock:
            self._held.close()

"""Findings of readers on the images of the history, in the same SQLite file: the reference standard of a site, as it is read."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum

from pneumoscope.serving.sqlite_file import SerialConnection

READINGS_SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    sha256 TEXT NOT NULL,
    reader TEXT NOT NULL,
    finding TEXT NOT NULL,
    reason TEXT NOT NULL,
    comment TEXT NOT NULL,
    blinded INTEGER NOT NULL,
    time TEXT NOT NULL,
    PRIMARY KEY (sha256, reader)
) WITHOUT ROWID;
"""


class ReaderFinding(StrEnum):
    """Finding of a reader, by the class it stands for; a withdrawn one is kept as such, or a machine that still has it would give it back."""

    NEGATIVE = "negative"
    POSITIVE = "positive"
    UNDECIDED = "undecided"
    WITHDRAWN = "withdrawn"


class ReadingReason(StrEnum):
    """Reason of a finding that needs one: why the reader cannot say, or disagrees."""

    NONE = ""
    IMAGE_QUALITY = "image_quality"
    POSITIONING = "positioning"
    SUBTLE = "subtle"
    OTHER_DISEASE = "other_disease"
    CLINICAL = "clinical_information"


@dataclass(frozen=True)
class Reading:
    """Finding of one reader on one image.

    Attributes:
        sha256: SHA-256 of the image's file, 64 hex digits.
        reader: Name of the reader.
        finding: Negative or positive class, undecided, or withdrawn.
        reason: Reason out of a list; empty where none is given.
        comment: Comment of the reader.
        blinded: Whether the finding was given before the detector's decision was shown.
        time: Time of the finding, UTC, ISO 8601.
    """

    sha256: str
    reader: str
    finding: ReaderFinding
    reason: ReadingReason
    comment: str
    blinded: bool
    time: str


_PUT = """
INSERT INTO readings (sha256, reader, finding, reason, comment, blinded, time) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sha256, reader) DO UPDATE SET finding = excluded.finding, reason = excluded.reason, comment = excluded.comment,
    blinded = excluded.blinded, time = excluded.time
WHERE excluded.time >= readings.time
"""
_ALL = "SELECT sha256, reader, finding, reason, comment, blinded, time FROM readings ORDER BY reader, time, sha256"


class Readings:
    """Readings in the history's file; its methods may be called by many requests at a time."""

    def __init__(self, writing: SerialConnection, reading: SerialConnection) -> None:
        """Use connections to a file that has `READINGS_SCHEMA`."""
        self._writing, self._reading = writing, reading

    async def put(self, readings: Sequence[Reading]) -> None:
        """Keep readings, all or none; of two by one reader on one image the later one.

        Raises:
            HistoryLockedError: The file stayed locked.
            sqlite3.Error: The file cannot be written.
        """
        rows = [astuple(reading) for reading in readings]

        def insert() -> None:
            with self._writing.lock, self._writing.connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_PUT, rows)

        await self._writing.run(insert)

    async def search(self) -> list[Reading]:
        """List all readings, by reader and time.

        Raises:
            HistoryLockedError: The file stayed locked.
        """

        def select() -> list[tuple[str, str, str, str, str, int, str]]:
            with self._reading.lock:
                return self._reading.connection.execute(_ALL).fetchall()

        return [
            Reading(sha256, reader, ReaderFinding(finding), ReadingReason(reason), comment, bool(blinded), time)
            for sha256, reader, finding, reason, comment, blinded, time in await self._reading.run(select)
        ]

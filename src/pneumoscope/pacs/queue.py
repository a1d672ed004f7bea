"""Durable queue of the node: what has been acknowledged is answered, whatever ends the process meanwhile.

    waiting   --answered-->   answered   --every delivery done-->   delivered
       |                         |
       +--answered, in silent mode----->   kept: the decision alone; nothing was sent
       |                         |
       +------ too many tries ---+---->   dead: kept, and tried again when somebody says so

An image is on disk, and its row committed, before it is acknowledged. Each step can be repeated: the same image gives the same
identifiers of its answers. A row outlives its files, which are deleted when the last answer is delivered.
"""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pneumoscope.errors import ConfigError
from pneumoscope.pacs import FHIR, KINDS, QUEUE_FILE
from pneumoscope.pacs.comparison import SilentAnswer
from pneumoscope.pacs.periodic import pause_after

_FOLDER_RIGHTS, _FILE_RIGHTS = 0o700, 0o600
# Pauses between tries grow from the first to the longest, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0
# A node may be switched off over nights and weekends: its clock has not jumped then. Seconds.
_LONGEST_AWAY = 7 * 86400.0
_SETUP = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA secure_delete=ON;
PRAGMA foreign_keys=ON;
PRAGMA busy_timeout=10000;
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sop_uid TEXT NOT NULL UNIQUE,
    study_uid TEXT NOT NULL,
    accession TEXT NOT NULL,
    patient TEXT NOT NULL,
    study_date TEXT NOT NULL,
    sender TEXT NOT NULL,
    file TEXT NOT NULL,
    state TEXT NOT NULL,
    received TEXT NOT NULL,
    resent TEXT,
    answered TEXT,
    delivered TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    prediction TEXT
);
CREATE INDEX IF NOT EXISTS images_state ON images (state, id);
CREATE INDEX IF NOT EXISTS images_answered ON images (answered);
CREATE TABLE IF NOT EXISTS deliveries (
    image INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (image, destination)
);
CREATE TABLE IF NOT EXISTS acts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    act TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    destination TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS left_out (sop_uid TEXT PRIMARY KEY, since TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS forgetting (only INTEGER PRIMARY KEY, last REAL NOT NULL, resume REAL NOT NULL);
"""


class State(StrEnum):
    """State of an image: `waiting` for its answer, `answered`, `delivered`, `kept` in silent mode, or `dead` after too many tries."""

    WAITING = "waiting"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    KEPT = "kept"
    DEAD = "dead"


@dataclass(frozen=True)
class Arrival:
    """What is kept of an image that arrives.

    Attributes:
        sop_uid: SOP Instance UID.
        study_uid: Study Instance UID.
        accession: Accession number; empty where there is none.
        patient: Key of the patient, 16 hex digits; empty where it is not known.
        study_date: Date of the study, ISO 8601; empty where it is not known.
        sender: AE title of the sender, `dicomweb` or `folder`.
    """

    sop_uid: str
    study_uid: str
    accession: str
    patient: str
    study_date: str
    sender: str


@dataclass(frozen=True)
class QueuedImage:
    """Image in the queue.

    Attributes:
        id: Number of the image, rising with time.
        sop_uid: SOP Instance UID.
        file: File of the image.
        sender: AE title of the sender, `dicomweb` or `folder`.
        state: State.
        received: Time of arrival, UTC, ISO 8601.
        attempts: Tries in vain.
        error: Description of the last failure; empty where there was none.
        prediction: Prediction as plain data; None before the answer.
    """

    id: int
    sop_uid: str
    file: Path
    sender: str
    state: State
    received: str
    attempts: int
    error: str
    prediction: dict[str, Any] | None

    def answer(self, kind: str) -> Path:
        """File of an answer of some kind."""
        return self.file.with_suffix(f".{kind}")


@dataclass(frozen=True)
class Delivery:
    """Answers that are to go somewhere.

    Attributes:
        image: Image that is answered.
        destination: Name of where they go.
        attempts: Tries in vain.
    """

    image: QueuedImage
    destination: str
    attempts: int


@dataclass(frozen=True)
class Act:
    """Act of a person on what was set aside, for the audit log of the node, which another process writes.

    Attributes:
        id: Number of the act, rising with time.
        act: `replayed` or `dropped`.
        sop_uid: SOP Instance UID of the image.
        destination: Name of where its answers are to go once more; empty for the image itself.
    """

    id: int
    act: Literal["replayed", "dropped"]
    sop_uid: str
    destination: str


@dataclass(frozen=True)
class Answered:
    """Answer to an image, without anything that says whose it is.

    Attributes:
        sender: AE title of the sender, `dicomweb` or `folder`.
        received: Time of arrival, UTC, ISO 8601.
        answered: Time of the answer.
        delivered: Time at which the last destination had it; None before.
        kept: Whether it goes nowhere, as in silent mode.
        decision: normal, pneumonia, refer or rejected.
        reasons: Reasons of a referral or rejection.
    """

    sender: str
    received: str
    answered: str
    delivered: str | None
    kept: bool
    decision: str
    reasons: list[str]


@dataclass(frozen=True)
class QueueStatus:
    """Status of the queue.

    Attributes:
        counts: Numbers as `Queue.counts` gives them.
        oldest: Time of arrival of the oldest image that is not delivered, UTC, ISO 8601; None for none.
        last_hour: Images that were answered in the last hour.
        last_day: Images that were answered in the last 24 hours.
        latest: Last answers, the newest first.
    """

    counts: dict[str, int]
    oldest: str | None
    last_hour: int
    last_day: int
    latest: list[Answered]


_COLUMNS = "id, sop_uid, file, sender, state, received, attempts, error, prediction"


class Queue:
    """Queue in a folder: an SQLite file, and the files of images and answers on their way. Of use to several threads."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or create the queue.

        Args:
            folder: Folder of the node.
            clock: Time in seconds since 1970.

        Raises:
            ConfigError: The folder cannot be used.
        """
        self._files = folder / "images"
        self._clock = clock
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._changes = 0
        try:
            self._files.mkdir(parents=True, exist_ok=True, mode=_FOLDER_RIGHTS)
            path = folder / QUEUE_FILE
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, _FILE_RIGHTS))
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.executescript(_SETUP)
            self._connection.execute("INSERT OR IGNORE INTO forgetting VALUES (1, ?, 0)", (clock(),))
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"expected a folder for the node at {folder}, found: {error}: name another") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def delete_orphans(self) -> None:
        """Delete files that no image has, as a killed process leaves them; for the process that adds images, before it does."""
        with self._lock:
            known = {
                Path(name).stem for (name,) in self._connection.execute("SELECT file FROM images WHERE file != ''")
            }
        for file in self._files.iterdir():
            if file.stem not in known:
                file.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
            self._changes += 1
            self._changed.notify_all()

    def add(self, content: bytes, arrival: Arrival, if_unknown: bool = False) -> bool:
        """Keep an image; on return it is on disk. Gives False where its answers are on their way already.

        An image that was answered before is answered again: whoever sends it again misses the answer, or has corrected the header.

        Args:
            content: Bytes of the DICOM file.
            arrival: Identifiers and sender of the image.
            if_unknown: Whether to keep it only where `is_known` says no, for images that nobody sent.

        Raises:
            OSError: The disk is full, or the like; nothing is kept.
            sqlite3.Error: The same.
        """
        file = f"{secrets.token_hex(16)}.dcm"
        self._write(self._files / file, content)
        try:
            with self._transaction() as connection:
                row = connection.execute(
                    "SELECT id, state, file FROM images WHERE sop_uid = ?", (arrival.sop_uid,)
                ).fetchone()
                is_on_its_way = (
                    row and row[1] == State.ANSWERED and self._is_on_its_way(connection, row[0], row[2], content)
                )
                if is_on_its_way or (if_unknown and self.is_known(arrival.sop_uid)):
                    unused, is_new = file, False
                else:
                    unused, is_new = (row[2] if row else ""), True
                    self._put(connection, row[0] if row else None, file, arrival)
        except BaseException:
            (self._files / file).unlink(missing_ok=True)
            raise
        if unused:
            self._delete_files(unused)
        return is_new

    def _is_on_its_way(self, connection: sqlite3.Connection, number: int, file: str, content: bytes) -> bool:
        """Whether the answers to the same bytes are still to be delivered, and none was set aside."""
        dead = connection.execute("SELECT 1 FROM deliveries WHERE image = ? AND dead", (number,)).fetchone()
        try:
            return not dead and (self._files / file).read_bytes() == content
        except OSError:
            return False

    def _put(self, connection: sqlite3.Connection, number: int | None, file: str, arrival: Arrival) -> None:
        """A new row, with the answer of the former one until there is another."""
        now = self._now()
        values: dict[str, str | None] = {
            "sop_uid": arrival.sop_uid,
            "study_uid": arrival.study_uid,
            "accession": arrival.accession,
            "patient": arrival.patient,
            "study_date": arrival.study_date,
            "sender": arrival.sender,
            "file": file,
            "state": State.WAITING,
            "received": now,
        }
        if number is not None:
            kept = ("received", "answered", "prediction")
            former = connection.execute(f"SELECT {', '.join(kept)} FROM images WHERE id = ?", (number,)).fetchone()  # noqa: S608
            if former[1] is not None:
                values |= dict(zip(kept, former, strict=True)) | {"resent": now}
            connection.execute("DELETE FROM images WHERE id = ?", (number,))
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO images ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608

    def _write(self, path: Path, content: bytes) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_RIGHTS)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            self._sync_folder()
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _sync_folder(self) -> None:
        descriptor = os.open(self._files, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _delete_files(self, file: str) -> None:
        if file:
            for kind in ("dcm", *KINDS, FHIR):
                (self._files / file).with_suffix(f".{kind}").unlink(missing_ok=True)

    def is_waiting(self, image: QueuedImage) -> bool:
        """Whether an image still waits for its answer, and was not sent again meanwhile."""
        with self._lock:
            return bool(
                self._connection.execute(
                    "SELECT 1 FROM images WHERE id = ? AND state = 'waiting'", (image.id,)
                ).fetchone()
            )

    def is_known(self, sop_uid: str) -> bool:
        """Whether an image of this SOP Instance UID was taken before, or left out or dropped."""
        with self._lock:
            return bool(
                self._connection.execute(
                    "SELECT 1 FROM images WHERE sop_uid = ?1 UNION SELECT 1 FROM left_out WHERE sop_uid = ?1",
                    (sop_uid,),
                ).fetchone()
            )

    def leave_out(self, sop_uid: str) -> None:
        """Have an image known that is not for the detector, so that it is not fetched again; whoever sends it can still have it kept."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO left_out VALUES (?, ?)", (sop_uid, self._now()))

    def waiting(self, most: int, but: Sequence[int] = ()) -> list[QueuedImage]:
        """Images to analyse now, the oldest first, without those of some numbers."""
        return self._select(
            f"state = 'waiting' AND {_due('due')} AND id NOT IN ({', '.join(map(str, but))})", self._due_values(), most
        )

    def deliveries(self, destination: str, most: int, but: Sequence[int] = ()) -> list[Delivery]:
        """Answers to deliver to a destination now, the oldest first, without those to images of some numbers."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT image, attempts FROM deliveries WHERE destination = ? AND NOT dead AND {_due('due')}"  # noqa: S608
                f" AND image NOT IN ({', '.join(map(str, but))}) ORDER BY image LIMIT ?",
                (destination, *self._due_values(), most),
            ).fetchall()
            images = {
                each.id: each for each in self._select(f"id IN ({', '.join(str(row[0]) for row in rows)})", (), most)
            }
        return [Delivery(images[number], destination, attempts) for number, attempts in rows]

    def answered(self, image: QueuedImage, prediction: Mapping[str, Any], destinations: Sequence[str]) -> bool:
        """Record the answer to an image, whose files lie beside its own; gives False where it was sent again meanwhile.

        An image that was sent again, and gets the answer of the same bundle, keeps the times of the first one.
        """
        bundle = prediction.get("bundle")
        with self._transaction() as connection:
            now = self._now()
            row = connection.execute(
                "SELECT received, answered, resent, prediction FROM images WHERE id = ?", (image.id,)
            ).fetchone()
            if row is None:
                received, answered = now, now
            elif row[3] and (former := json.loads(row[3])).get("bundle") == bundle:
                received, answered = row[0], row[1]
                if not destinations:  # what was sent before may have been seen, though nothing is now
                    prediction = {**prediction, "answers": former.get("answers", [])}
            else:
                received, answered = row[2] or row[0], now
            changed = connection.execute(
                "UPDATE images SET state = ?, received = ?, answered = ?, delivered = ?, prediction = ?, attempts = 0, error = '',"
                " file = ? WHERE id = ? AND state = 'waiting'",
                (
                    State.ANSWERED if destinations else State.KEPT,
                    received,
                    answered,
                    None if destinations else now,
                    json.dumps(prediction),
                    image.file.name if destinations else "",
                    image.id,
                ),
            ).rowcount
            if changed:
                connection.executemany(
                    "INSERT INTO deliveries (image, destination) VALUES (?, ?)",
                    [(image.id, each) for each in destinations],
                )
        if not changed or not destinations:
            self._delete_files(image.file.name)
        return bool(changed)

    def failed(self, image: QueuedImage, error: str, attempts: int | None) -> bool:
        """Record a try to analyse an image in vain; gives whether it is dead now, after so many attempts; never where None."""
        dead = attempts is not None and image.attempts + 1 >= attempts
        with self._transaction() as connection:
            connection.execute(
                "UPDATE images SET attempts = attempts + 1, due = ?, error = ?, state = ? WHERE id = ? AND state = 'waiting'",
                (self._after(image.attempts), error, State.DEAD if dead else State.WAITING, image.id),
            )
        return dead

    def delivered(self, delivery: Delivery) -> bool:
        """Record a delivery; gives whether it was the last of its image, whose files are then deleted."""
        number, file = delivery.image.id, delivery.image.file.name
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM deliveries WHERE image = ? AND destination = ?", (number, delivery.destination)
            )
            left = connection.execute("SELECT COUNT(*) FROM deliveries WHERE image = ?", (number,)).fetchone()[0]
            # An image that is to be answered again keeps its file.
            is_last = not left and bool(
                connection.execute(
                    "UPDATE images SET state = ?, delivered = ?, file = '' WHERE id = ? AND state = 'answered'",
                    (State.DELIVERED, self._now(), number),
                ).rowcount
            )
        if is_last:
            self._delete_files(file)
        return is_last

    def not_delivered(self, delivery: Delivery, error: str, attempts: int | None) -> bool:
        """Record a delivery in vain; gives whether it is dead now, after so many attempts; never where None."""
        dead = attempts is not None and delivery.attempts + 1 >= attempts
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ?, error = ?, dead = ? WHERE image = ? AND destination = ?",
                (self._after(delivery.attempts), error, dead, delivery.image.id, delivery.destination),
            )
        return dead

    def readdress(self, destinations: Sequence[str]) -> int:
        """Have answers that were to go elsewhere go to these destinations; gives to how many images.

        For a node whose settings name others than before: nobody would ever deliver them.
        """
        gone = f"destination NOT IN ({', '.join('?' * len(destinations))})"
        with self._transaction() as connection:
            images = connection.execute(
                f"SELECT DISTINCT image FROM deliveries WHERE {gone}",  # noqa: S608
                destinations,
            ).fetchall()
            connection.execute(f"DELETE FROM deliveries WHERE {gone}", destinations)  # noqa: S608
            connection.executemany(
                "INSERT OR IGNORE INTO deliveries (image, destination) VALUES (?, ?)",
                [(number, each) for (number,) in images for each in destinations],
            )
        return len(images)

    def again(self, image: QueuedImage) -> None:
        """Have an image answered again whose answers are lost."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE image = ?", (image.id,))
            connection.execute("UPDATE images SET state = 'waiting' WHERE id = ? AND state = 'answered'", (image.id,))

    @property
    def changes(self) -> int:
        """Number of changes so far, for `wait`."""
        return self._changes

    def wait(self, changes: int, seconds: float) -> None:
        """Wait until something changes after so many changes, for some seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, seconds)

    def dead(self) -> list[tuple[QueuedImage, str]]:
        """Images that were set aside, each with the destination that its answers did not reach; empty where it has no answer."""
        with self._lock:
            images = self._select("state = 'dead'", ())
            rows = self._connection.execute(
                "SELECT image, destination, error FROM deliveries WHERE dead ORDER BY image, destination"
            ).fetchall()
            of_delivery = {
                each.id: each for each in self._select(f"id IN ({', '.join(str(row[0]) for row in rows)})", ())
            }
        undelivered = [(_with_error(of_delivery[number], error), destination) for number, destination, error in rows]
        return sorted([*((image, "") for image in images), *undelivered], key=lambda found: found[0].id)

    def replay(self, numbers: Sequence[int] | None = None) -> int:
        """Try images that were set aside again, all where None; gives how many."""
        chosen = "" if numbers is None else f" AND {{}} IN ({', '.join(map(str, numbers))})"
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO acts (act, sop_uid) SELECT 'replayed', sop_uid FROM images WHERE state = 'dead'"  # noqa: S608
                + chosen.format("id")
            )
            connection.execute(
                "INSERT INTO acts (act, sop_uid, destination) SELECT 'replayed', sop_uid, destination"  # noqa: S608
                " FROM deliveries JOIN images ON id = image WHERE dead" + chosen.format("image")
            )
            analysed = connection.execute(
                "UPDATE images SET state = 'waiting', attempts = 0, due = 0 WHERE state = 'dead'" + chosen.format("id")  # noqa: S608
            ).rowcount
            delivered = connection.execute(
                "UPDATE deliveries SET dead = 0, attempts = 0, due = 0 WHERE dead" + chosen.format("image")  # noqa: S608
            ).rowcount
        return analysed + delivered

    def drop(self, numbers: Sequence[int]) -> int:
        """Give up images that were set aside, with their files; gives how many."""
        with self._transaction() as connection:
            wanted = {image.id: image for image, _ in self.dead() if image.id in set(numbers)}
            connection.executemany(
                "INSERT INTO acts (act, sop_uid) VALUES ('dropped', ?)", [(image.sop_uid,) for image in wanted.values()]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO left_out VALUES (?, ?)",
                [(image.sop_uid, self._now()) for image in wanted.values()],
            )
            connection.executemany("DELETE FROM images WHERE id = ?", [(number,) for number in wanted])
        for image in wanted.values():
            self._delete_files(image.file.name)
        return len(wanted)

    def acts(self) -> list[Act]:
        """Acts that are not in the audit log yet, the oldest first."""
        with self._lock:
            rows = self._connection.execute("SELECT id, act, sop_uid, destination FROM acts ORDER BY id").fetchall()
        return [Act(*row) for row in rows]

    def audited(self, acts: Sequence[Act]) -> None:
        """Record that acts are in the audit log."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM acts WHERE id = ?", [(act.id,) for act in acts])

    def forget(self, days: float) -> int:
        """Delete the records of images that were delivered, or kept, longer ago; gives how many. Those left out are forgotten as well.

        Where the clock has moved by more than half of the days since the last call, a week at least, in either direction, it was put
        right, or wrong: no time of a record can be trusted. Then nothing is deleted until the days have passed once more.
        """
        now, seconds = self._clock(), 86400 * days
        before = self._time(now - seconds)
        with self._transaction() as connection:
            last, resume = connection.execute("SELECT last, resume FROM forgetting").fetchone()
            if abs(now - last) > max(seconds / 2, _LONGEST_AWAY):
                resume = now + seconds
            connection.execute("UPDATE forgetting SET last = ?, resume = ?", (now, resume))
            if now < resume:
                return 0
            connection.execute("DELETE FROM left_out WHERE since < ?", (before,))
            return connection.execute(
                "DELETE FROM images WHERE state IN ('delivered', 'kept') AND delivered < ?", (before,)
            ).rowcount

    def count(self, name: str, number: int = 1) -> None:
        """Count something that leaves no image, such as one that was refused."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = number + excluded.number",
                (name, number),
            )

    def counts(self) -> dict[str, int]:
        """Numbers of images by state, of deliveries by destination (`to NAME`, `dead to NAME`), and of what was counted."""
        with self._lock:
            states = dict(self._connection.execute("SELECT state, COUNT(*) FROM images GROUP BY state"))
            waiting = self._connection.execute(
                "SELECT destination, dead, COUNT(*) FROM deliveries GROUP BY destination, dead"
            ).fetchall()
            counted = dict(self._connection.execute("SELECT name, number FROM counts"))
        of_destination = {f"{'dead to' if dead else 'to'} {name}": number for name, dead, number in waiting}
        return {state.value: states.get(state.value, 0) for state in State} | of_destination | counted

    def silent_answers(self) -> list[SilentAnswer]:
        """Every answer as `comparison.compare` takes it, the oldest first."""
        return [
            SilentAnswer(
                found["accession"],
                found["study_uid"],
                found["sop_uid"],
                found["patient"],
                found["study_date"],
                datetime.fromisoformat(found["received"]),
                datetime.fromisoformat(found["answered"]),
                found["prediction"]["stands_for"],
                found["prediction"].get("pneumonia_probability", found["prediction"].get("probability")),
                tuple(found["prediction"]["reasons"]),
                found["prediction"]["outside"],
                found["prediction"]["bundle"]["sha256"],
                bool(found["prediction"]["answers"]),
            )
            for found in self.answers()
        ]

    def status(self, most: int = 20) -> QueueStatus:
        """Status of the queue, with so many of the last answers."""
        with self._lock:
            oldest = self._connection.execute(
                "SELECT MIN(received) FROM images WHERE state IN ('waiting', 'answered')"
            ).fetchone()[0]
            since = [self._time(self._clock() - seconds) for seconds in (3600, 86400)]
            hour, day = (
                self._connection.execute("SELECT COUNT(*) FROM images WHERE answered > ?", (each,)).fetchone()[0]
                for each in since
            )
            rows = self._connection.execute(
                "SELECT sender, received, answered, delivered, state, prediction FROM images WHERE answered IS NOT NULL"
                " ORDER BY answered DESC LIMIT ?",
                (most,),
            ).fetchall()
        latest = []
        for sender, received, answered, delivered, state, prediction in rows:
            found, kept = json.loads(prediction), state == State.KEPT
            times = (received, answered, None if kept else delivered)
            latest.append(Answered(sender, *times, kept, found["stands_for"], found["reasons"]))
        return QueueStatus(self.counts(), oldest, hour, day, latest)

    def answers(self) -> Iterator[dict[str, Any]]:
        """Every answer with what it is known by, as plain data, the oldest first."""
        names = ("sop_uid", "study_uid", "accession", "patient", "study_date", "received", "answered", "prediction")
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {', '.join(names)} FROM images WHERE prediction IS NOT NULL ORDER BY answered"  # noqa: S608
            ).fetchall()
        for row in rows:
            found = dict(zip(names, row, strict=True))
            yield found | {"prediction": json.loads(found["prediction"])}

    def _select(self, where: str, values: Sequence[Any], most: int = -1) -> list[QueuedImage]:
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM images WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608
                (*values, most),
            ).fetchall()
        return [
            QueuedImage(
                number,
                sop_uid,
                self._files / file,
                sender,
                State(state),
                received,
                attempts,
                error,
                json.loads(prediction) if prediction else None,
            )
            for number, sop_uid, file, sender, state, received, attempts, error, prediction in rows
        ]

    def _now(self) -> str:
        return self._time(self._clock())

    @staticmethod
    def _time(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

    def _after(self, attempts: int) -> float:
        """Time of the next try, seconds since 1970; pauses vary, so that not all come back together."""
        pause = pause_after(attempts, FIRST_PAUSE, LONGEST_PAUSE)
        return self._clock() + pause * (0.75 + 0.5 * secrets.randbelow(1000) / 1000)

    def _due_values(self) -> tuple[float, float]:
        # A time further ahead than the longest pause was set before the clock went back.
        now = self._clock()
        return now, now + 2 * LONGEST_PAUSE


def _due(column: str) -> str:
    return f"({column} <= ? OR {column} > ?)"


def _with_error(image: QueuedImage, error: str) -> QueuedImage:
    return replace(image, error=error)

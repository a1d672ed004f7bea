"""Audit log of the node: one line of JSON per event, each with the hash of the line before it.

Line k ends in `"previous":"h(k-1)","hash":"h(k)"}`, where h(k) is the SHA-256 of all bytes of the line before `,"hash"` and h(0) is
zeros. So a line that is changed, removed, inserted or moved breaks the chain at that line. What the chain alone cannot show is an
end that was cut off, or a log that was written again from its first line on: keep a head, the hash of the last line, elsewhere.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pneumoscope.errors import DataError, InputError, StorageError
from pneumoscope.types import Decision

_NO_LINE = "0" * 64
_HASH = re.compile(r"[0-9a-f]{64}")
_END = re.compile(rb',"hash":"([0-9a-f]{64})"\}\n')
_END_LENGTH = len(b',"hash":""}\n') + 64
# First block read from the end of a log; far above the length of a line.
_BLOCK = 1 << 16
# Characters of an AE title (PS3.5, table 6.2-1), and of an address.
_AE_TITLE, _ADDRESS = 16, 100


class AuditEvent(StrEnum):
    """Event at the node."""

    STARTED = "started"
    STOPPED = "stopped"
    ASSOCIATION_REFUSED = "association_refused"
    RECEIVED = "received"
    REFUSED = "refused"
    IGNORED = "ignored"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    DEAD = "dead"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    INCOMPLETE_LINE = "incomplete_line"


@dataclass(frozen=True)
class AuditEntry:
    """Event to be written; it has no room for names, identifiers or free text.

    Attributes:
        event: Event.
        ae_title: AE title of the sender or receiver; the first 16 characters are written.
        address: Address of the sender or receiver, without a path; the first 100 characters are written.
        sop_uid: SOP Instance UID of the image; its SHA-256 is written, and nothing else of it.
        decision: Decision of the answer; None where there is none.
        bundle_sha256: Hash of the bundle that answered, 64 hex digits; empty for none.
        reason: Code of a reason such as `modality`, of lower-case letters, digits, underscores and commas; empty for none.
        count: Number of events that the line stands for; written where it is more than 1.

    Raises:
        InputError: A hash or code of another form.
    """

    event: AuditEvent
    ae_title: str = ""
    address: str = ""
    sop_uid: str = ""
    decision: Decision | None = None
    bundle_sha256: str = ""
    reason: str = ""
    count: int = 1

    def __post_init__(self) -> None:
        if self.bundle_sha256 and not _HASH.fullmatch(self.bundle_sha256):
            raise InputError(f"expected the SHA-256 of a bundle, 64 hex digits, found {self.bundle_sha256!r}: name it")
        if not re.fullmatch(r"[a-z0-9_,]{0,200}", self.reason):
            raise InputError(f"expected a code of lower-case letters as reason, found {self.reason!r}: name a code")

    def fields(self) -> dict[str, Any]:
        """Fields of the line, empty ones left out."""
        fields = {
            "event": self.event.value,
            "ae_title": self.ae_title[:_AE_TITLE],
            "address": self.address[:_ADDRESS],
            "sop_sha256": sop_hash(self.sop_uid) if self.sop_uid else "",
            "decision": self.decision.value if self.decision else "",
            "bundle_sha256": self.bundle_sha256,
            "reason": self.reason,
            "count": self.count if self.count > 1 else 0,
        }
        return {name: value for name, value in fields.items() if value}


def sop_hash(sop_uid: str) -> str:
    """SHA-256 of a SOP Instance UID, 64 hex digits: finds the lines on an image that one knows."""
    return hashlib.sha256(sop_uid.encode()).hexdigest()


class AuditLog:
    """Append-only log in a file that its owner alone reads, for one process and all its threads.

    Attributes:
        path: File of the log.
    """

    def __init__(self, path: Path) -> None:
        """Opens a log, a new one or one to be continued, and locks it until it is closed or the process ends.

        An incomplete last line, as a killed process leaves it, stays where it is; a line of its own says so.

        Raises:
            DataError: Another process writes this log.
            StorageError: The file cannot be read or written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._number, self._head = 0, _NO_LINE
        # Whether the end of the file is as the fields above have it; false until read, and after a failed write.
        self._known = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = io.FileIO(path, "a+", opener=_open_private)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._claim()
            with self._lock:
                self._recover()
                self._keep_name()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "AuditLog":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def head(self) -> str:
        """Hash of the last line, 64 hex digits; zeros before the first."""
        with self._lock:
            return self._head

    def append(self, *entries: AuditEntry) -> None:
        """Appends a line for each entry; they are on disk when this returns.

        Raises:
            StorageError: The disk is full or fails. What was written of the lines stays, and the next call goes on behind it.
        """
        with self._lock:
            if not self._known:
                self._recover()
            self._write([entry.fields() for entry in entries])

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        with self._lock:
            self._stream.close()

    def _claim(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"expected the audit log {self.path} to belong to this node alone, found another process writing it: "
                "stop that one, or name another folder"
            ) from error

    def _keep_name(self) -> None:
        """Writes the folder's entry of a new file to disk: without it a loss of power takes the whole file."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._failed(error) from error

    def _recover(self) -> None:
        """Reads the end of the file; what lies behind the last whole line is noted in a line of its own."""
        try:
            if not _ends_in_line_end(self._stream):
                self._stream.write(b"\n")
            last, rest = _last_record(self._stream)
        except OSError as error:
            raise self._failed(error) from error
        self._number, self._head = (last["number"], last["hash"]) if last else (0, _NO_LINE)
        self._known = True
        if rest:
            self._write([{"event": AuditEvent.INCOMPLETE_LINE.value, "bytes": len(rest), "rest_sha256": _sha256(rest)}])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        number, head, content = self._number, self._head, b""
        for fields in lines:
            number += 1
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            head, line = _line({"number": number, "time": now} | fields | {"previous": head})
            content += line
        self._known = False
        try:
            while content:
                content = content[self._stream.write(content) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._number, self._head, self._known = number, head, True

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"expected to write the audit log {self.path}, found {error.strerror or error}: make room, or check the folder"
        )


def is_written(path: Path) -> bool:
    """Whether a process, such as a node that runs, writes a log now."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class AuditReport:
    """Result of verifying a log.

    Attributes:
        lines: Number of lines up to the first break.
        head: Hash of the last of these lines, 64 hex digits; keep it elsewhere, to find an end that is cut off later.
        broken_at: Number of the first line that is wrong or missing; None where there is none.
        noted: Numbers of the lines that note an incomplete line before them.
        sentence: Result in words.
    """

    lines: int
    head: str
    broken_at: int | None
    noted: tuple[int, ...]
    sentence: str

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.broken_at is None


def verify(path: Path, expected_head: str = "") -> AuditReport:
    """Verify each line of a log, and find the first that was changed, removed, inserted or moved.

    A log whose end was cut off, and one that was written again as a whole, look intact: these are found only by a head that was kept
    elsewhere. An end that was changed before the node started again is among the incomplete lines that the report counts.

    Args:
        path: Log.
        expected_head: Head of an earlier report, 64 hex digits, which one line has to have; empty for none.

    Raises:
        InputError: A head of another form.
        DataError: The log cannot be read.
    """
    if expected_head and not _HASH.fullmatch(expected_head):
        raise InputError(f"expected a head of 64 hex digits, found {expected_head!r}: copy it from an earlier report")
    try:
        with path.open("rb") as stream:
            return _verified(stream, expected_head)
    except OSError as error:
        raise DataError(
            f"expected an audit log at {path}, found {error.strerror or error}: name the file of the log"
        ) from error


def _verified(stream: BinaryIO, expected_head: str) -> AuditReport:
    number, head, noted = 0, _NO_LINE, list[int]()
    at_head = 0 if expected_head == head else None
    loose = _Loose()
    # Parts of at most a block, so that a line without an end does not fill the memory.
    while part := stream.readline(_BLOCK):
        record = _record(part)
        if record is None:
            loose.add(part)
            continue
        if problem := _problem(record, number, head, loose):
            return AuditReport(number, head, number + 1, tuple(noted), problem)
        number, head = number + 1, record["hash"]
        if loose.bytes:
            noted.append(number)
            loose = _Loose()
        if head == expected_head:
            at_head = number
    if loose.bytes:
        sentence = (
            f"Line {number + 1} is incomplete or was changed; lines 1 to {number} are intact."
            if number
            else "No line of an audit log was found: the file is another, or its first line is incomplete or was changed."
        )
        return AuditReport(number, head, number + 1, tuple(noted), sentence)
    if expected_head and at_head is None:
        sentence = f"No line has the head that is expected: the end was cut off after line {number}, or the log was written again."
        return AuditReport(number, head, number + 1, tuple(noted), sentence)
    return AuditReport(number, head, None, tuple(noted), _intact(number, noted, at_head))


def _intact(lines: int, noted: list[int], at_head: int | None) -> str:
    parts = [f"{lines:,} lines, all intact"]
    if at_head is not None:
        parts.append(f"the expected head is line {at_head:,}")
    if noted:
        parts.append(f"an incomplete line is noted in line {', '.join(map(str, noted[:20]))}")
    return "; ".join(parts) + "."


class _Loose:
    """Bytes since the last record that are no record.

    Attributes:
        bytes: Number of bytes.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._digest = hashlib.sha256()

    def add(self, part: bytes) -> None:
        self.bytes += len(part)
        self._digest.update(part)

    def is_noted_by(self, record: Mapping[str, Any]) -> bool:
        """Whether a record describes these bytes: none by any other event than an incomplete line."""
        if record["event"] != AuditEvent.INCOMPLETE_LINE:
            return not self.bytes
        return (record.get("bytes"), record.get("rest_sha256")) == (self.bytes, self._digest.hexdigest())


def _problem(record: Mapping[str, Any], number: int, head: str, loose: _Loose) -> str:
    """Problem of a record behind line `number` in words; empty where it continues the chain."""
    expected = number + 1
    if record["number"] != expected:
        if loose.bytes:
            return f"Line {expected} was changed."
        return f"Line {expected} is missing; line {record['number']} is in its position: lines were removed, inserted or moved."
    if record["previous"] != head:
        return f"Line {expected} does not continue line {number}: one of the two was replaced."
    if not loose.is_noted_by(record):
        return f"What is before line {expected} was inserted, removed or changed."
    return ""


def _line(fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """Hash and bytes of a line."""
    body = json.dumps(fields, separators=(",", ":")).encode()[:-1]
    digest = _sha256(body)
    return digest, body + f',"hash":"{digest}"}}\n'.encode()


def _record(line: bytes) -> dict[str, Any] | None:
    """Fields of a whole line with its own right hash; None for any other."""
    body, end = line[:-_END_LENGTH], _END.fullmatch(line[-_END_LENGTH:])
    if end is None or _sha256(body) != end[1].decode():
        return None
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return record if {"number", "event", "previous", "hash"} <= record.keys() else None


def _last_record(stream: BinaryIO) -> tuple[dict[str, Any] | None, bytes]:
    """Last record of a log that ends in a line end, and what lies behind it; None and the whole file where there is none."""
    size, block = stream.seek(0, os.SEEK_END), _BLOCK
    while True:
        start = max(0, size - block)
        stream.seek(start)
        lines = [line + b"\n" for line in stream.read().split(b"\n")[:-1]]
        # The first line of a block that begins within the file may be cut.
        for index in range(len(lines) - 1, -1 if start == 0 else 0, -1):
            if record := _record(lines[index]):
                return record, b"".join(lines[index + 1 :])
        if start == 0:
            return None, b"".join(lines)
        block *= 4


def _ends_in_line_end(stream: BinaryIO) -> bool:
    """Whether a file ends in a line end, or is empty."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 1))
    return stream.read() in (b"", b"\n")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _open_private(path: str, flags: int) -> int:
    """File descriptor of a file that its owner alone may read and write."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor

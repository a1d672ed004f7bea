"""The audit log: what is changed is found, what is killed goes on, and nobody is named in it."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoscope.errors import DataError, InputError, StorageError
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog, sop_hash, verify
from pneumoscope.types import Decision

UID = "1.2.840.113619.2.55.3.604688119"
BUNDLE = "b" * 64


def received(number=0):
    return AuditEntry(AuditEvent.RECEIVED, "MODALITY", "10.0.0.7", f"{UID}.{number}")


def answered(number=0):
    return AuditEntry(AuditEvent.ANSWERED, sop_uid=f"{UID}.{number}", decision=Decision.PNEUMONIA, bundle_sha256=BUNDLE)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Bytes of a log of seven lines."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    with AuditLog(path) as log:
        log.append(AuditEntry(AuditEvent.STARTED))
        for number in range(3):
            log.append(received(number), answered(number))
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "audit.jsonl"


def report_of(path, content, **options):
    path.write_bytes(content)
    return verify(path, **options)


def test_lines_say_who_sent_what_and_what_was_answered(tmp_path):
    path = tmp_path / "node" / "audit.jsonl"
    with AuditLog(path) as log:
        log.append(received(), answered())
        head = log.head
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["number"], first["event"]) == (1, "received")
    assert (first["ae_title"], first["address"]) == ("MODALITY", "10.0.0.7")
    assert first["time"].endswith("+00:00")
    assert (second["decision"], second["bundle_sha256"], second["previous"]) == ("pneumonia", BUNDLE, first["hash"])
    assert first["sop_sha256"] == second["sop_sha256"] == sop_hash(f"{UID}.0")
    assert UID not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    report = verify(path)
    assert (report.lines, report.head, report.intact, report.sentence) == (2, head, True, "2 lines, all intact.")


def test_entry_has_no_room_for_free_text():
    with pytest.raises(InputError, match="code of lower-case letters"):
        AuditEntry(AuditEvent.REFUSED, reason="Jane Doe, born 1970")
    with pytest.raises(InputError, match="SHA-256 of a bundle"):
        AuditEntry(AuditEvent.ANSWERED, bundle_sha256="default")
    assert AuditEntry(AuditEvent.ASSOCIATION_REFUSED, ae_title="A" * 1000).fields()["ae_title"] == "A" * 16


def test_log_goes_on_where_it_ended(tmp_path):
    for number in range(3):
        with AuditLog(tmp_path / "audit.jsonl") as log:
            log.append(received(number))
    assert verify(tmp_path / "audit.jsonl").lines == 3


@given(st.data())
def test_changed_byte_is_found(written, scratch, data):
    at = data.draw(st.integers(0, len(written) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != written[at]))
    report = report_of(scratch, written[:at] + bytes([byte]) + written[at + 1 :])
    assert not report.intact
    assert report.broken_at == written[:at].count(b"\n") + 1, report.sentence
    assert str(report.broken_at) in report.sentence


@given(st.integers(0, 5))
def test_removed_line_is_found(written, scratch, index):
    lines = written.splitlines(keepends=True)
    report = report_of(scratch, b"".join(lines[:index] + lines[index + 1 :]))
    assert report.broken_at == index + 1
    assert f"Line {index + 1} is missing" in report.sentence


@given(st.lists(st.integers(0, 6), min_size=2, max_size=2, unique=True))
def test_swapped_lines_are_found(written, scratch, pair):
    lines = written.splitlines(keepends=True)
    one, other = sorted(pair)
    lines[one], lines[other] = lines[other], lines[one]
    assert report_of(scratch, b"".join(lines)).broken_at == one + 1


@given(st.integers(0, 6), st.binary(max_size=20), st.booleans())
def test_inserted_line_is_found(written, scratch, index, junk, copied):
    lines = written.splitlines(keepends=True)
    lines.insert(index, lines[0] if copied else junk + b"\n")
    report = report_of(scratch, b"".join(lines))
    assert report.broken_at == (index or copied) + 1


def test_line_of_another_log_is_found(written, scratch, tmp_path):
    with AuditLog(tmp_path / "other.jsonl") as log:
        log.append(AuditEntry(AuditEvent.STARTED), answered())
    lines = written.splitlines(keepends=True)
    lines[1] = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)[1]
    report = report_of(scratch, b"".join(lines))
    assert (report.broken_at, report.sentence) == (
        2,
        "Line 2 does not continue line 1: one of the two was replaced.",
    )


def test_end_that_is_cut_off_is_found_by_a_head(written, scratch):
    lines = written.splitlines(keepends=True)
    head = report_of(scratch, written).head
    short = b"".join(lines[:4])
    assert report_of(scratch, short).intact  # as the docstring says
    report = verify(scratch, expected_head=head)
    assert report.broken_at == 5
    assert "cut off after line 4" in report.sentence
    early = verify(scratch).head
    assert "expected head is line 4" in report_of(scratch, written, expected_head=early).sentence
    assert report_of(scratch, b"", expected_head=head).broken_at == 1
    with pytest.raises(InputError, match="64 hex digits"):
        verify(scratch, expected_head="abc")


@given(st.data())
def test_line_that_is_cut_short_stays_and_is_noted(written, scratch, data):
    content = written[: data.draw(st.integers(0, len(written) - 1))]
    whole = content.count(b"\n")
    torn = bool(content) and not content.endswith(b"\n")
    lacks_line_end = written[len(content) : len(content) + 1] == b"\n"
    assert report_of(scratch, content).broken_at == (whole + 1 if torn else None)
    with AuditLog(scratch) as log:
        log.append(received(9))
    report = verify(scratch)
    assert report.intact, report.sentence
    assert report.noted == ((whole + 1,) if torn and not lacks_line_end else ())
    assert scratch.read_bytes().startswith(content)
    # Killed once more, while the note is written.
    again = scratch.read_bytes()[: data.draw(st.integers(len(content), scratch.stat().st_size))]
    scratch.write_bytes(again)
    with AuditLog(scratch) as log:
        log.append(received(9))
    report = verify(scratch)
    assert report.intact, report.sentence
    assert scratch.read_bytes().startswith(again)


def test_incomplete_line_cannot_be_changed_later(written, scratch):
    scratch.write_bytes(written[:-30])
    AuditLog(scratch).close()
    content = scratch.read_bytes()
    at = len(written) - 40
    changed = content[:at] + b"#" + content[at + 1 :]
    assert report_of(scratch, changed).broken_at == 7
    lines = content.splitlines(keepends=True)
    assert report_of(scratch, b"".join(lines[:6] + lines[7:])).broken_at == 7
    assert "7" in report_of(scratch, content).sentence


def test_second_writer_is_refused(tmp_path):
    path = tmp_path / "audit.jsonl"
    with AuditLog(path), pytest.raises(DataError, match="another process writing it: stop that one"):
        AuditLog(path)
    AuditLog(path).close()


def test_threads_share_a_log(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl") as log:
        threads = [threading.Thread(target=lambda: [log.append(received()) for _ in range(25)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (verify(tmp_path / "audit.jsonl").lines, verify(tmp_path / "audit.jsonl").intact) == (100, True)


def test_file_that_cannot_be_opened_is_a_message(tmp_path):
    with pytest.raises(StorageError, match="audit log"):
        AuditLog(tmp_path)
    with pytest.raises(DataError, match="expected an audit log"):
        verify(tmp_path / "none.jsonl")


def test_full_disk_is_a_message_and_the_log_goes_on(tmp_path):
    """A limit on the file's size cuts a line short as a full disk does."""
    path = tmp_path / "audit.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with AuditLog(path) as log:
        log.append(received())
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(StorageError, match="File too large: make room"):
                    log.append(answered())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.append(answered())
    report = verify(path)
    assert (report.lines, report.noted, report.intact) == (3, (2,), True)


WRITER = """
import sys
from pathlib import Path
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
log = AuditLog(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    log.append(AuditEntry(AuditEvent.RECEIVED, "A" * 16, "127.0.0.1", f"1.2.{number}"))
    print(number, flush=True)
"""


def test_killed_writers_leave_a_log_that_verifies(tmp_path):
    path, acknowledged = tmp_path / "audit.jsonl", 0
    for kill in range(6):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            said = [process.stdout.readline() for _ in range(10 + 7 * kill)]
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.readlines()
        acknowledged += len([line for line in said if line.endswith("\n")])
    AuditLog(path).close()
    report = verify(path)
    assert report.intact, report.sentence
    # A line may be on disk that was not acknowledged any more; none that was is missing.
    assert acknowledged <= report.lines - len(report.noted) <= acknowledged + 6

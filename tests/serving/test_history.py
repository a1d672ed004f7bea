"""The history's file: who may read it, and what happens while another program holds it."""

import asyncio
import contextlib
import io
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from pneumoscope.errors import ConfigError
from pneumoscope.inference.detector import load_detector
from pneumoscope.serving.history import History
from pneumoscope.serving.settings import Settings
from serving.conftest import running
from serving.test_service import problem_of

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def modes(path):
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}


@contextlib.contextmanager
def another_process_holds(path):
    """Until the block ends, or the value's `release` is called."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder.stdin.close


def counted(service, name):
    return float(re.search(rf"^pneumoscope_history_{name}_total (\S+)$", service.get("/metrics").text, re.MULTILINE)[1])


def test_a_new_file_is_its_owners_alone(tmp_path, phantom_bundle, films):
    file = tmp_path / "new" / "history.sqlite"
    before = os.umask(0)
    try:
        with running(bundle=str(phantom_bundle), history=file) as service:
            service.post("/v1/predict?file=name", content=films[0].read_bytes())
            assert modes(file) == {f"history.sqlite{ending}": 0o600 for ending in ("", "-wal", "-shm")}
    finally:
        os.umask(before)


def test_a_new_file_is_its_owners_alone_before_anything_is_written(tmp_path, monkeypatch):
    seen = []

    def connect(path, **options):
        seen.append(modes(tmp_path / "h"))
        raise sqlite3.OperationalError("not now")

    monkeypatch.setattr("sqlite3.connect", connect)
    before = os.umask(0)
    try:
        with pytest.raises(ConfigError, match="not now"):
            History(tmp_path / "h")
    finally:
        os.umask(before)
    assert seen == [{"h": 0o600}]


def test_a_wider_file_of_before_is_narrowed(tmp_path):
    file, link = tmp_path / "history.sqlite", tmp_path / "link" / "history.sqlite"
    link.parent.mkdir()
    link.symlink_to(file)
    for opened in (link, file, link):
        history = History(opened)
        found = {name: mode for name, mode in modes(file).items() if name != "link"}
        assert found == {f"history.sqlite{ending}": 0o600 for ending in ("", "-wal", "-shm")}
        history.close()
        file.chmod(0o644)


def test_a_file_that_is_no_history_keeps_its_rights(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no database " * 100)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="expected an SQLite file"):
        History(file)
    assert modes(file) == {"notes.txt": 0o644}


def test_a_file_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    file = tmp_path / "other.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="found one of another program"):
        History(file)
    assert file.read_bytes() == before


def test_nothing_is_lost_while_another_process_holds_the_file(tmp_path, phantom_bundle, films, monkeypatch):
    monkeypatch.setattr("pneumoscope.serving.sqlite_file.PATIENCE_SECONDS", 120.0)
    file = tmp_path / "history.sqlite"
    film = films[0].read_bytes()
    with running(bundle=str(phantom_bundle), history=file) as service, another_process_holds(file) as release:
        with ThreadPoolExecutor(20) as callers:
            answers = [callers.submit(service.post, f"/v1/predict?file={number}", content=film) for number in range(20)]
            time.sleep(2)  # longer than one try
            # What needs no lock goes on, and does not wait for those who do: they would wait for longer than this client.
            assert service.get("/v1/health").status_code == 200
            assert service.post("/v1/film", content=film).status_code == 200
            assert service.get("/v1/history").json() == {"entries": []}
            release()
            assert [answer.result().status_code for answer in answers] == [200] * 20
        entries = service.get("/v1/history").json()["entries"]
        assert {entry["prediction"]["file"] for entry in entries} == set(map(str, range(20)))
        assert (counted(service, "rows"), counted(service, "failures")) == (20, 0)


def test_a_lock_without_end_is_given_up_counted_and_logged(tmp_path, phantom_bundle, films, monkeypatch, caplog):
    monkeypatch.setattr("pneumoscope.serving.sqlite_file.PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr("pneumoscope.serving.sqlite_file.TRY_SECONDS", 0.1)
    file, film = tmp_path / "history.sqlite", films[0].read_bytes()
    with running(bundle=str(phantom_bundle), history=file) as service:
        with another_process_holds(file):
            with ThreadPoolExecutor(4) as callers:
                answers = list(callers.map(lambda _: service.post("/v1/predict", content=film).status_code, range(4)))
            assert answers == [200] * 4
            deleting = service.delete("/v1/history")
        assert problem_of(deleting) == "history_unavailable"
        assert deleting.headers["retry-after"] == "5"
        assert (counted(service, "rows"), counted(service, "failures")) == (0, 4)
        assert caplog.text.count("could not be kept in the history") == 4
        assert service.post("/v1/predict", content=film).status_code == 200
        assert counted(service, "rows") == 1


def test_where_the_history_is_required_what_it_cannot_keep_is_refused(tmp_path, phantom_bundle, films, monkeypatch):
    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    form = [("files", (film.name, film.read_bytes())) for film in films[:3]]
    settings = {"bundle": str(phantom_bundle), "history": tmp_path / "h", "history_required": True}
    with running(**settings) as service:
        with monkeypatch.context() as patched:
            patched.setattr("pneumoscope.serving.history.History.add", full)
            alone = service.post("/v1/predict", content=films[0].read_bytes())
            several = service.post("/v1/predict/batch", files=form)
        for answer in (alone, several):
            assert answer.status_code == 503
            assert problem_of(answer) == "history_unavailable"
            assert answer.headers["retry-after"] == "5"
        assert (counted(service, "rows"), counted(service, "failures")) == (0, 4)
        assert service.post("/v1/predict/batch", files=form).status_code == 200
        assert counted(service, "rows") == 3


def test_without_it_what_is_lost_is_counted(service, films, monkeypatch):
    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    before = counted(service, "failures")
    monkeypatch.setattr("pneumoscope.serving.history.History.add", full)
    assert service.post("/v1/predict", content=films[0].read_bytes()).status_code == 200
    assert counted(service, "failures") == before + 1


def test_a_required_history_needs_a_file(pneumoscope):
    with pytest.raises(ConfigError, match="expected a history file"):
        Settings(history_required=True)
    code, _, told = pneumoscope("serve", "--history-required")
    assert code == 1
    assert "--history" in told


def test_what_is_deleted_is_in_none_of_the_files(tmp_path, phantom_bundle, films):
    file = tmp_path / "history.sqlite"
    with running(bundle=str(phantom_bundle), history=file) as service:
        service.post("/v1/predict?file=Anna-Muster", content=films[0].read_bytes())
        assert any(b"Anna-Muster" in one.read_bytes() for one in tmp_path.iterdir())
        service.get("/v1/history")
        assert service.delete("/v1/history").json() == {"deleted": 1}
        assert not any(b"Anna-Muster" in one.read_bytes() for one in tmp_path.iterdir())


def picture(levels):
    """PNG file of grey levels."""
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


def test_a_restart_does_not_silence_the_drift_alarm(tmp_path, phantom_bundle, films):
    told = {"bundle": str(phantom_bundle), "history": tmp_path / "h"}
    grey = picture(np.full((256, 256), 128, dtype=np.uint8))
    with running(**told) as service:
        for content in (films[0].read_bytes(), *(film.read_bytes() for film in films), grey, b"no image"):
            service.post("/v1/predict", content=content)
        drift = service.get("/v1/drift").json()
    assert (drift["images"], drift["rejected"]) == (len(films) + 1, 1)
    with running(**told) as service:
        assert service.get("/v1/drift").json() == drift
        [broken, rejected, *_] = service.get("/v1/history").json()["entries"]
        assert "statistics" not in rejected["prediction"]
        for entry in (broken, rejected):
            service.delete(f"/v1/history/{entry['id']}")
    with running(**told) as service:
        known = service.get("/v1/drift").json()
        assert (known["images"], known["rejected"]) == (len(films), 0)


def test_the_drift_window_is_filled_with_the_newest_of_the_same_bundle(tmp_path, phantom_bundle, films):
    detector = load_detector(phantom_bundle)
    predictions = [detector.predict(film.read_bytes()) for film in films[:5]]
    foreign = replace(predictions[4], bundle=replace(predictions[4].bundle, sha256="0" * 64))
    hashes = [each.sha256 for each in predictions]
    history = History(tmp_path / "h")

    async def keep():
        for some in (predictions[:4], [foreign, detector.predict(b"no image")], predictions[:1]):
            await history.add(some)

    asyncio.run(keep())
    found = history.statistics(detector.bundle.sha256, 3, lambda sha256: sha256 != hashes[2])
    history.close()
    assert found == [(each.sha256, each.statistics) for each in (predictions[1], predictions[3], predictions[0])]


def test_a_file_of_before_gets_the_column_and_counts_from_then_on(tmp_path, phantom_bundle, films):
    told = {"bundle": str(phantom_bundle), "history": tmp_path / "h"}
    with running(**told) as service:
        service.post("/v1/predict", content=films[0].read_bytes())
    with contextlib.closing(sqlite3.connect(tmp_path / "h")) as connection, connection:
        connection.execute("DROP INDEX by_bundle")
        connection.execute("ALTER TABLE decisions DROP COLUMN statistics")
    with running(**told) as service:
        assert service.get("/v1/drift").json()["images"] == 0
        assert len(service.get("/v1/history").json()["entries"]) == 1
        service.post("/v1/predict", content=films[1].read_bytes())
    with running(**told) as service:
        assert service.get("/v1/drift").json()["images"] == 1


def test_decisions_are_counted_by_day_and_hour(tmp_path, phantom_bundle, films):
    file = tmp_path / "history.sqlite"
    with running(bundle=str(phantom_bundle), history=file) as service:
        assert all(period["decisions"] == {} for period in service.get("/v1/history/timeline").json()["periods"])
        outcomes = [service.post("/v1/predict", content=film.read_bytes()).json()["decision"] for film in films[:5]]
        outcomes.append(service.post("/v1/predict", content=b"no image").json()["decision"])
        now = datetime.now(UTC)
        ages = [
            timedelta(0),
            timedelta(0),
            timedelta(days=1),
            timedelta(days=1),
            timedelta(days=29),
            timedelta(days=30),
        ]
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            for number, age in enumerate(ages, 1):
                at = (now - age).isoformat(timespec="milliseconds")
                connection.execute("UPDATE decisions SET time = ? WHERE id = ?", (at, number))
        days = service.get("/v1/history/timeline").json()["periods"]
        assert [day["start"] for day in days] == [
            (now - timedelta(days=29 - place)).strftime("%Y-%m-%dT00:00:00Z") for place in range(30)
        ]
        found = {place: day["decisions"] for place, day in enumerate(days) if day["decisions"]}
        assert found == {29: Counter(outcomes[:2]), 28: Counter(outcomes[2:4]), 0: Counter(outcomes[4:5])}
        hours = service.get("/v1/history/timeline?step=hour&periods=25").json()["periods"]
        assert [hours[0]["start"], hours[-1]["start"]] == [
            at.strftime("%Y-%m-%dT%H:00:00Z") for at in (now - timedelta(days=1), now)
        ]
        assert [hours[0]["decisions"], hours[-1]["decisions"]] == [Counter(outcomes[2:4]), Counter(outcomes[:2])]
        assert problem_of(service.get("/v1/history/timeline?periods=0")) == "invalid_request"
    with running(bundle=str(phantom_bundle)) as service:
        assert problem_of(service.get("/v1/history/timeline")) == "history_off"

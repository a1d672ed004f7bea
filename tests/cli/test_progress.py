"""Progress of commands whose stderr is no terminal."""

import threading
import time

from pneumoscope.cli import progress
from pneumoscope.cli.progress import display


def test_a_long_stage_is_not_silent(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SILENCE", 0.1)
    monkeypatch.setattr(progress, "_SILENCE_FRACTION", 0.0)
    before = set(threading.enumerate())
    with display() as shown:
        follow = shown.report("films indexed")
        started = set(threading.enumerate()) - before
        follow(3, 1200)
        until = time.monotonic() + 20
        while "films indexed: 3 of 1,200" not in (said := capsys.readouterr().err):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert said.splitlines()[-1].endswith(" s")
        follow(1200, 1200)
        assert "1,200 films indexed in" in capsys.readouterr().err
    assert [thread.is_alive() for thread in started] == [False]


def test_a_batch_has_no_other_thread_before_its_first_image():
    """Worker processes start sooner so."""
    before = set(threading.enumerate())
    with display() as shown:
        shown.stage("images predicted", 10)
        assert set(threading.enumerate()) <= before
        shown.advance(1)
        assert len(set(threading.enumerate()) - before) == 1

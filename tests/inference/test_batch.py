import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pneumoscope.errors import BundleError, ConfigError, DataError, InputError
from pneumoscope.inference import batch
from pneumoscope.inference.batch import Asked, predict_files, predict_into
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.inputs import open_inputs


@pytest.fixture(scope="module")
def listed(phantoms, tmp_path_factory):
    """A table of 180 images, some of which cannot be read."""
    films = sorted(map(str, phantoms.rglob("*.jpeg"))) * 3
    films = films[:179]
    table = tmp_path_factory.mktemp("table") / "films.csv"
    broken = table.parent / "broken.jpeg"
    broken.write_bytes(b"\xff\xd8 and no more")
    films.insert(77, str(broken))
    table.write_text("path\n" + "\n".join(films) + "\n")
    return table


@pytest.fixture(scope="module")
def asked(phantom_bundle):
    return Asked(str(phantom_bundle))


@pytest.fixture(scope="module")
def undisturbed(listed, asked, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "p.jsonl"
    summary = predict_into(out, open_inputs([str(listed)]), asked)
    assert summary.images == 180
    assert summary.unreadable == 1
    return out


def test_one_process_and_several_give_the_same(listed, asked, undisturbed, tmp_path):
    followed = []
    predict_into(tmp_path / "p.jsonl", open_inputs([str(listed)]), asked, 2, follow=followed.append)
    assert (tmp_path / "p.jsonl").read_bytes() == undisturbed.read_bytes()
    assert sum(followed) == 180
    assert len(followed) > 3


def test_a_batch_gives_what_the_detector_gives(listed, asked, undisturbed):
    detector = load_detector(asked.bundle)
    files = list(open_inputs([str(listed)]).walk())
    told = [p.as_json() for predictions in predict_files(files[:40], asked) for p in predictions]
    assert told == [p.as_json() for p in detector.predict_many(files[:40])]


def test_killed_again_and_again_it_loses_nothing_and_does_nothing_twice(listed, asked, undisturbed, tmp_path):
    out = tmp_path / "p.jsonl"
    command = [sys.executable, "-m", "pneumoscope", "predict", str(listed), "--out", str(out)]
    command += ["--bundle", asked.bundle, "--workers", "1"]
    rng, kills = random.Random(0), 0
    while not out.exists():
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kills < 6:
            # Until something is written, and a bit longer: a moment within the work, whatever the machine's speed.
            journal = out.with_name("p.jsonl.journal")
            before = journal.stat().st_size if journal.exists() else 0
            while run.poll() is None and not (journal.exists() and journal.stat().st_size > before):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
    assert kills >= 2
    assert out.read_bytes() == undisturbed.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_other_files_than_before_are_not_gone_on_with(listed, asked, tmp_path, monkeypatch):
    files = list(open_inputs([str(listed)]).walk())

    def break_off(*_):
        raise KeyboardInterrupt

    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predict_into(out, open_inputs([str(listed)]), asked, follow=break_off)
    other = tmp_path / "other.csv"
    other.write_text("path\n" + "\n".join([files[1], *files]) + "\n")
    with pytest.raises(DataError, match="the files have changed since that batch began"):
        predict_into(out, open_inputs([str(other)]), asked)
    told = []
    predict_into(out, open_inputs([str(listed)]), asked, skip=told.append)
    assert told == [32]


def test_an_image_that_ends_the_process_is_rejected_and_the_others_answered(listed, asked, undisturbed, monkeypatch):
    """The worker is told by its environment to die at one file, as a decoder that crashes would make it."""
    files = list(open_inputs([str(listed)]).walk())[:70]
    files.insert(40, "poison.jpeg")
    monkeypatch.setattr(batch, "_in_worker", _die_at_poison)
    told = [p for predictions in predict_files(files, asked, 2) for p in predictions]
    assert [p.file for p in told] == files
    assert told[40].reasons == ("unreadable",)
    assert "its decoding ended the process" in told[40].detail
    assert sum(p.reasons == ("unreadable",) for p in told) == 1


def _die_at_poison(piece):
    if "poison.jpeg" in piece:
        os._exit(11)
    return batch._in_worker(piece)


def test_what_a_worker_cannot_load_is_told_once(listed, phantom_bundle):
    files = open_inputs([str(listed)])
    with pytest.raises(ConfigError, match="expected a runtime for the device cuda"):
        list(predict_files(files.walk(), Asked(str(phantom_bundle), device="cuda"), 2))


def test_overlays_are_drawn_beside_the_answers(listed, phantom_bundle, tmp_path):
    asked = Asked(str(phantom_bundle), evidence=tmp_path / "maps")
    files = list(open_inputs([str(listed)]).walk())[76:79]
    told = [p for predictions in predict_files(files, asked, 2) for p in predictions]
    assert [p.evidence is None for p in told] == [False, True, False]
    drawn = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert drawn == sorted(p.evidence.rpartition("/")[2] for p in told if p.evidence)
    assert all(p.evidence_map is None for p in told)


def test_what_is_wrong_with_the_question_is_told_once_and_leaves_nothing(listed, phantom_bundle, tmp_path):
    inputs = open_inputs([str(listed)])
    for workers in (1, 2):
        with pytest.raises(InputError, match="expected an operating point out of balanced"):
            predict_into(tmp_path / "p.csv", inputs, Asked(str(phantom_bundle), "best"), workers)
        with pytest.raises(BundleError, match="expected a bundle"):
            predict_into(tmp_path / "p.csv", inputs, Asked(str(tmp_path / "gone.zip")), workers)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected images, found none"):
        predict_into(tmp_path / "p.csv", open_inputs([str(tmp_path / "empty")]), Asked(str(phantom_bundle)))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]

import random
import signal
import subprocess
import sys
import time

import pytest

from pneumoscope.bundle import find_bundle
from pneumoscope.errors import DataError, InputError
from pneumoscope.inference.batch import predict_files, predict_into
from pneumoscope.inference.detector import Detector
from pneumoscope.inference.inputs import open_inputs
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.types import PredictionRequest


@pytest.fixture(scope="module")
def listed(phantoms, tmp_path_factory):
    """A table of 180 images, some of which cannot be read."""
    images = sorted(map(str, phantoms.rglob("*.jpeg"))) * 3
    images = images[:179]
    table = tmp_path_factory.mktemp("table") / "films.csv"
    broken = table.parent / "broken.jpeg"
    broken.write_bytes(b"\xff\xd8 and no more")
    images.insert(77, str(broken))
    table.write_text("path\n" + "\n".join(images) + "\n")
    return table


@pytest.fixture(scope="module")
def bundle(phantom_bundle):
    return find_bundle(phantom_bundle)


@pytest.fixture(scope="module")
def pool(bundle):
    with WorkerPool(bundle, 1) as processes:
        yield processes


@pytest.fixture(scope="module")
def undisturbed(listed, bundle, pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "p.jsonl"
    summary = predict_into(out, open_inputs([str(listed)]), bundle, pool)
    assert summary.images == 180
    assert summary.unreadable == 1
    return out


def test_one_process_and_several_give_the_same(listed, bundle, undisturbed, tmp_path):
    followed = []
    with WorkerPool(bundle, 2) as processes:
        predict_into(tmp_path / "p.jsonl", open_inputs([str(listed)]), bundle, processes, follow=followed.append)
    assert (tmp_path / "p.jsonl").read_bytes() == undisturbed.read_bytes()
    assert sum(followed) == 180
    assert len(followed) > 3


def test_a_batch_gives_what_the_detector_gives(listed, bundle, pool):
    detector = Detector(bundle)
    files = list(open_inputs([str(listed)]).walk())
    found = [p.to_dict() for predictions in predict_files(files[:40], pool) for p in predictions]
    assert found == [p.to_dict() for p in detector.predict_many(files[:40])]


@pytest.mark.integration
def test_killed_again_and_again_it_loses_nothing_and_does_nothing_twice(listed, phantom_bundle, undisturbed, tmp_path):
    out = tmp_path / "p.jsonl"
    command = [sys.executable, "-m", "pneumoscope", "predict", str(listed), "--out", str(out)]
    command += ["--bundle", str(phantom_bundle), "--workers", "1"]
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


def test_other_files_than_before_are_not_gone_on_with(listed, bundle, pool, tmp_path):
    files = list(open_inputs([str(listed)]).walk())

    def break_off(*_):
        raise KeyboardInterrupt

    out = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        predict_into(out, open_inputs([str(listed)]), bundle, pool, follow=break_off)
    other = tmp_path / "other.csv"
    other.write_text("path\n" + "\n".join([files[1], *files]) + "\n")
    with pytest.raises(DataError, match="the files have changed since that batch began"):
        predict_into(out, open_inputs([str(other)]), bundle, pool)
    skipped = []
    predict_into(out, open_inputs([str(listed)]), bundle, pool, skip=skipped.append)
    assert skipped == [1]


def test_overlays_are_drawn_beside_the_answers(listed, pool, tmp_path):
    files = list(open_inputs([str(listed)]).walk())[76:79]
    found = [p for predictions in predict_files(files, pool, overlays=tmp_path / "maps") for p in predictions]
    assert [p.evidence is None for p in found] == [False, True, False]
    drawn = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert drawn == sorted(p.evidence.rpartition("/")[2] for p in found if p.evidence)
    assert all(p.evidence_map is None for p in found)


def test_what_is_wrong_with_the_settings_is_told_once_and_leaves_nothing(listed, bundle, pool, tmp_path):
    inputs, out = open_inputs([str(listed)]), tmp_path / "p.csv"
    with pytest.raises(InputError, match="expected an operating point out of balanced"):
        predict_into(out, inputs, bundle, pool, PredictionRequest("best"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected images, found none"):
        predict_into(out, open_inputs([str(tmp_path / "empty")]), bundle, pool)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]

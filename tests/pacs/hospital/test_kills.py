"""The node killed at random moments, and the PACS away in between: every image that was acknowledged is answered once."""

import json
import random
import threading
import time
from collections import Counter

import pytest

from films import ROOT, pictures, write_film
from node_process import NodeProcess, until
from orthanc import Orthanc, storescu
from pneumoscope.pacs.audit import verify

TOGETHER = 20


def films_in(folder, count):
    stored = pictures(12, height=160)
    return [write_film(folder / f"{n}.dcm", stored[n % len(stored)], n) for n in range(1, count + 1)]


def send(node, films):
    """Sends all films, as a modality does: what was not acknowledged is sent again."""
    for start in range(0, len(films), TOGETHER):
        part = films[start : start + TOGETHER]
        while storescu(*part, port=node.port, called="PNEUMOSCOPE").returncode != 0:
            time.sleep(0.2)


@pytest.mark.parametrize(("images", "kills"), [(80, 5), pytest.param(500, 30, marks=pytest.mark.slow)])
def test_every_image_is_answered_exactly_once(tmp_path, images, kills):
    chance, films = random.Random(20), films_in(tmp_path / "films", images)
    # Answers that Orthanc has already would be refused by it as duplicates, where it is told so, or replace themselves.
    with Orthanc(tmp_path / "orthanc", settings={"OverwriteInstances": False}) as pacs:
        node = NodeProcess(tmp_path)
        node.start()
        sender = threading.Thread(target=send, args=(node, films), daemon=True)
        sender.start()
        for kill in range(kills):
            time.sleep(chance.uniform(0.1, 2.5))
            node.kill()
            if kill % 6 == 2:
                pacs.stop()
            if kill % 6 == 4:
                pacs.start()
            node.start()
        sender.join(300)
        assert not sender.is_alive()
        assert until(lambda: len(pacs.get("/instances")) >= 2 * images, 300), node.command("queue", "show").stdout
        assert until(lambda: not list((tmp_path / "node" / "images").iterdir()), 60)
        counts = json.loads(node.command("queue", "show", "--json").stdout)["counts"]
        node.stop()
        found = Counter(
            (
                series["MainDicomTags"]["Modality"],
                pacs.get(f"/studies/{series['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"],
            )
            for series in pacs.series()
            for _ in series["Instances"]
        )
        assert found == {(kind, f"{ROOT}.1.{n}"): 1 for kind in ("SR", "OT") for n in range(1, images + 1)}
    assert (counts["delivered"], counts["waiting"], counts["answered"], counts["dead"]) == (images, 0, 0, 0)
    report = verify(tmp_path / "node" / "audit.jsonl")
    assert report.intact, report
    events = Counter(json.loads(line)["event"] for line in (tmp_path / "node" / "audit.jsonl").read_text().splitlines())
    assert events["started"] == kills + 1
    assert events["delivered"] >= images

"""The DICOM node on the service: its queue as JSON, for Prometheus, and on the page."""

import json
import re
from importlib.resources import files

import pytest
from playwright.sync_api import expect

from pneumoscope.pacs.audit import AuditLog
from pneumoscope.pacs.intake import Refusal
from pneumoscope.pacs.queue import Arrival, Queue
from pneumoscope.pacs.refusals import Refusals
from serving.conftest import running
from serving.test_page_reading import opened, run_axe
from serving.test_service import problem_of

NAMES = ("PATIENT", "ACC", "1.2.")


@pytest.fixture
def folder(tmp_path):
    """A node that has answered two films, of which one is delivered, and one silently; one waits, one was set aside; others were not taken."""
    queue = Queue(tmp_path / "node")
    for number in range(1, 5):
        queue.add(b"film", Arrival(f"1.2.{number}", "1.2", f"ACC{number}", "PATIENT", "2024-01-02", "ROOM1"))
    for image, decision in zip(queue.waiting(2), ("pneumonia", "refer"), strict=True):
        prediction = {"stands_for": decision, "reasons": ["outside_age"] * (decision == "refer")}
        queue.answered(image, prediction | {"answers": [], "outside": False}, ["PACS"])
    [delivery] = queue.deliveries("PACS", 1)
    queue.delivered(delivery)
    [image, _] = queue.waiting(2)
    queue.failed(image, "why", 1)
    queue.add(b"film", Arrival("1.2.5", "1.2", "ACC5", "PATIENT", "2024-01-02", "ROOM1"))
    [silent] = [image for image in queue.waiting(9) if image.sop_uid == "1.2.5"]
    queue.answered(silent, {"stands_for": "normal", "reasons": [], "answers": [], "outside": False}, [])
    queue.count("ignored")
    queue.count("refused: not_understood")
    queue.close()
    return tmp_path / "node"


def test_the_queue_is_told_without_who_it_is(folder, phantom_bundle):
    with running(bundle=str(phantom_bundle), node=folder) as service:
        found = service.get("/v1/node").json()
        metrics = service.get("/metrics").text
    assert {
        name: found["counts"][name]
        for name in ("waiting", "answered", "delivered", "kept", "dead", "to PACS", "ignored")
    } == {
        "waiting": 1,
        "answered": 1,
        "delivered": 1,
        "kept": 1,
        "dead": 1,
        "to PACS": 1,
        "ignored": 1,
    }
    assert (found["last_hour"], found["last_day"]) == (3, 3)
    assert [each["decision"] for each in found["latest"]] == ["normal", "refer", "pneumonia"]
    assert [each["delivered"] is None for each in found["latest"]] == [True, True, False]
    assert [each["kept"] for each in found["latest"]] == [True, False, False]
    assert found["oldest"] < found["latest"][0]["answered"]
    assert not any(name in json.dumps(found) for name in NAMES)
    assert 'pneumoscope_node_images{state="waiting"} 1.0' in metrics
    assert 'pneumoscope_node_images{state="refused: not_understood"} 1.0' in metrics


def test_without_a_node_there_is_none(phantom_bundle, tmp_path, pneumoscope):
    with running(bundle=str(phantom_bundle)) as service:
        assert problem_of(service.get("/v1/node")) == "node_off"
        assert "pneumoscope_node_images{" not in service.get("/metrics").text
    code, _, err = pneumoscope("serve", "--node", tmp_path, "--port", 0)
    assert code == 1
    assert "expected the settings file or the folder of a DICOM node at" in err
    assert not (tmp_path / "queue.sqlite").exists()


def test_both_languages_have_words_for_each_kind_of_refusal(folder, tmp_path):
    queue = Queue(folder)
    with AuditLog(tmp_path / "audit.jsonl") as log:
        refusals = Refusals(queue, log)
        refusals.add("UNKNOWN", "127.0.0.1", "unknown_calling_title", "expected a peer, found another: name it")
        refusals.summarise(at_once=True)
    counted = {name.removeprefix("refused: ") for name in queue.counts() if name.startswith("refused")}
    queue.close()
    words = (files("pneumoscope") / "serving" / "page" / "words.js").read_text(encoding="utf-8")
    for kind in counted | set(Refusal) | {"ignored"}:
        assert words.count(f'"node.{kind}": "') == 2, kind


@pytest.mark.integration
def test_the_page_shows_the_queue_and_what_somebody_has_to_look_at(folder, phantom_bundle, browser):
    with running(bundle=str(phantom_bundle), node=folder) as service:
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, locale="en-GB")
        with opened(context, service) as page:
            page.click("nav a[href='#watch']")
            part = page.locator("#page-watch")
            expect(part).to_contain_text("An answer was set aside after too many tries")
            expect(part.locator(".tile").first).to_have_text(re.compile("1.*wait for their answer", re.DOTALL))
            expect(part).to_contain_text("Not analysed: 1 not for the detector, 1 no DICOM object that can be read.")
            expect(part.locator("tbody .decision.pneumonia")).to_have_count(1)
            expect(part).to_contain_text("not yet")
            expect(part).to_contain_text("kept, not sent")
            run_axe(page)
            page.set_viewport_size({"width": 390, "height": 900})
            wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0
            page.set_viewport_size({"width": 1280, "height": 1000})
        context.close()

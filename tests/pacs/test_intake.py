"""Intake: what is for the detector is on disk before it is acknowledged, and everything leaves a line in the audit log."""

import json

import pytest

from dicom_objects import written
from films import ROOT, film, pictures
from pneumoscope.errors import StorageError
from pneumoscope.pacs import DICOMWEB, FOLDER, MANUFACTURER
from pneumoscope.pacs.audit import AuditLog, sop_hash
from pneumoscope.pacs.intake import NO_IMAGES, Intake, Refusal, RefusedError
from pneumoscope.pacs.queue import Queue
from pneumoscope.pacs.rules import USUAL_RULES, Action, Rule

RULES = (Rule(Action.REFUSE, modality=("CT",)), *USUAL_RULES)


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "node")
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl") as opened:
        yield opened


@pytest.fixture
def intake(queue, log):
    return Intake(queue, log, RULES, 200_000)


def content(number=1, **attributes):
    return written(film(pictures(1, 64)[0], number, **attributes))


def lines(log):
    found = [json.loads(line) for line in log.path.read_text().splitlines()]
    return [(each["event"], each.get("ae_title"), each.get("sop_sha256"), each.get("reason")) for each in found]


def test_a_chest_film_is_kept_with_what_it_is_known_by(intake, queue, log):
    assert intake.take(content(), "PACS", "10.0.0.1") is Action.ANALYSE
    [image] = queue.waiting(10)
    assert image.file.read_bytes() == content()
    assert (image.sop_uid, image.sender) == (f"{ROOT}.3.1", "PACS")
    assert queue.is_known(f"{ROOT}.3.1")
    assert not queue.is_known(f"{ROOT}.3.2")
    assert lines(log) == [("received", "PACS", sop_hash(f"{ROOT}.3.1"), None)]


@pytest.mark.parametrize(
    "attributes",
    [{"BodyPartExamined": "HAND"}, {"Manufacturer": MANUFACTURER}, *({"SOPClassUID": uid} for uid in NO_IMAGES)],
    ids=["another part", "an answer", "another's report", "another's presentation state"],
)
def test_what_is_not_for_us_is_acknowledged_and_not_kept(intake, queue, log, attributes):
    assert intake.take(content(**attributes), "PACS") is Action.ACCEPT
    assert queue.waiting(10) == []
    assert queue.counts()["ignored"] == 1
    assert [event for event, *_ in lines(log)] == ["ignored"]


@pytest.mark.parametrize("attributes", [{"BodyPartExamined": "HAND"}, {"Modality": "CT"}], ids=["ignored", "refused"])
def test_what_is_found_and_not_for_us_is_not_fetched_again(intake, queue, attributes):
    intake.take_from(FOLDER)(content(**attributes))
    assert not queue.is_known(f"{ROOT}.3.1"), "rules may tell senders apart"
    intake.take_from(DICOMWEB)(content(**attributes))
    assert queue.is_known(f"{ROOT}.3.1")


def test_an_image_that_is_sent_while_it_is_fetched_is_kept_once(intake, queue):
    intake.take(content(), "PACS")
    [image] = queue.waiting(10)
    assert intake.take_from(DICOMWEB)(content()) == ""
    assert [(each.id, each.sender) for each in queue.waiting(10)] == [(image.id, "PACS")]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (content(Modality="CT"), Refusal.BY_RULE),
        (content() + bytes(300_000), Refusal.TOO_LARGE),
        (b"no image at all" * 100, Refusal.NOT_UNDERSTOOD),
        (b"", Refusal.NOT_UNDERSTOOD),
        (content(StudyInstanceUID=""), Refusal.NOT_UNDERSTOOD),
        (content(SeriesInstanceUID="../../etc"), Refusal.NOT_UNDERSTOOD),
    ],
    ids=["rule", "size", "noise", "nothing", "no study", "no uid"],
)
def test_what_is_refused_is_counted_and_not_kept(intake, queue, log, sent, reason):
    with pytest.raises(RefusedError) as raised:
        intake.take(sent, "PACS")
    assert raised.value.reason is reason
    assert "\n" not in str(raised.value)
    assert queue.waiting(10) == []
    assert queue.counts()[f"refused: {reason}"] == 1
    assert [(event, why) for event, _, _, why in lines(log)] == [("refused", reason.value)]
    assert intake.take_from(FOLDER)(sent) == str(raised.value)


def test_a_full_disk_is_no_refusal_for_good(intake, queue, monkeypatch):
    monkeypatch.setattr(queue, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RefusedError) as raised:
        intake.take(content(), "PACS")
    assert raised.value.reason is Refusal.NO_ROOM
    with pytest.raises(StorageError, match="No space left"):
        intake.take_from(FOLDER)(content())
    monkeypatch.undo()
    assert intake.take_from(FOLDER)(content()) == ""
    assert len(queue.waiting(10)) == 1


def test_files_are_their_owners_alone(intake, queue):
    intake.take(content(), "PACS")
    [image] = queue.waiting(1)
    assert image.file.stat().st_mode & 0o077 == 0
    assert (image.file.parents[1] / "queue.sqlite").stat().st_mode & 0o077 == 0

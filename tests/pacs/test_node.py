"""The node in one process, without a PACS: start, faults in the making of answers, and the end."""

import json
import resource
import threading
from pathlib import Path

import pytest
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import build_context

from archive import Archive
from dicom_objects import written
from films import film, pictures
from node_process import until
from pneumoscope.cli.pacs import _ways
from pneumoscope.errors import ConfigError, DataError, PneumoscopeError
from pneumoscope.inference.pool import _Ended, _Process
from pneumoscope.pacs.audit import sop_hash
from pneumoscope.pacs.node import Node
from pneumoscope.pacs.settings import NodeSettings, Peer
from pneumoscope.pacs.watching import WatchSettings

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def archive():
    opened = Archive()
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path, archive, phantom_bundle):
    def make(**more):
        told = {"folder": str(tmp_path / "node"), "port": 0, "bundle": str(phantom_bundle), "workers": 1, "seconds": 10}
        return NodeSettings(**told | {"peers": (Peer("ARCHIVE", "127.0.0.1", archive.port),)} | more)

    return make


def sent(number=1, **attributes):
    return written(film(pictures(1, 96)[0], number, **attributes))


def audited(node):
    return [json.loads(line) for line in node.audit.path.read_text().splitlines()]


def test_a_film_is_answered_and_the_same_film_gets_the_same_answers(settings, archive):
    with Node(settings()) as node:
        for times in (1, 2):
            node.intake.take(sent(), "ARCHIVE")
            assert until(lambda times=times: len(archive.stored) == 2 * times)
        assert until(lambda: node.queue.counts()["delivered"] == 1)
        assert len(set(archive.stored)) == 2
        assert [each["event"] for each in audited(node)] == ["started", *2 * ["received", "answered", "delivered"]]


def test_a_film_that_is_sent_again_while_it_is_analysed_is_no_fault(settings, archive, monkeypatch, caplog):
    with Node(settings()) as node:
        submit, submitted = node._pool.submit, []

        def sent_again(task):
            submitted.append(task)
            if len(submitted) == 1:  # its file is gone before a process reads it
                node.intake.take(sent(), "ARCHIVE")
            return submit(task)

        monkeypatch.setattr(node._pool, "submit", sent_again)
        node.intake.take(sent(), "ARCHIVE")
        assert until(lambda: node.queue.counts()["delivered"] == 1)
        assert [each["event"] for each in audited(node)] == ["started", "received", "received", "answered", "delivered"]
    assert len(submitted) == 2
    assert [each for each in caplog.messages if each.startswith("image ")] == []


def test_each_answer_goes_once_over_one_of_several_associations(settings, archive):
    peer = Peer("ARCHIVE", "127.0.0.1", archive.port, connections=3)
    with Node(settings(peers=(peer,))) as node:
        for number in range(1, 7):
            node.intake.take(sent(number), "ARCHIVE")
        assert until(lambda: node.queue.counts()["delivered"] == 6)
        threads = {each.name for each in threading.enumerate()}
    assert {f"delivery {number} to ARCHIVE" for number in (1, 2, 3)} <= threads
    assert len(archive.stored) == len(set(archive.stored)) == 12


def test_an_answer_over_which_the_association_ends_holds_no_other_up_and_is_set_aside(settings, archive):
    with Node(settings(attempts=2)) as node:
        node.intake.take(sent(1), "ARCHIVE")
        assert until(lambda: len(archive.stored) == 2)
        archive.ended_by = {uid for _, uid, _ in archive.stored}
        node.intake.take(sent(1), "ARCHIVE")
        assert until(lambda: archive.ended)
        for number in range(2, 8):
            node.intake.take(sent(number), "ARCHIVE")
            assert until(lambda number=number: len(archive.stored) == 2 * number)
        assert until(lambda: archive.ended >= 3 or node.queue.counts().get("dead to ARCHIVE"))
        node.intake.take(sent(8), "ARCHIVE")
        assert until(lambda: node.queue.counts().get("dead to ARCHIVE") == 1)
        assert until(lambda: node.queue.counts()["delivered"] == 7)


def test_a_peer_that_rejects_the_node_is_logged_with_the_reason_and_again_where_that_changes(settings, caplog):
    archive = Archive(require_calling_aet=["OTHER"])
    try:
        with Node(settings(peers=(Peer("PACS", "127.0.0.1", archive.port),))) as node:
            node.intake.take(sent(), "PACS")
            assert until(lambda: lost(caplog))
            archive.entity.require_called_aet = True
            assert until(lambda: len(lost(caplog)) > 1)
    finally:
        archive.close()
    for message, reason in zip(lost(caplog), ("Calling", "Called"), strict=True):
        known = f"expected an association with PACS at 127.0.0.1:{archive.port}, found a rejection"
        assert message.startswith(f"{known} ({reason} AE title not recognised): ")
        assert message.endswith("; it is tried again without end")


def lost(caplog):
    return [each for each in caplog.messages if each.startswith("expected an association")]


def test_a_picture_goes_to_an_archive_that_takes_no_reports(settings):
    archive = Archive([build_context(SecondaryCaptureImageStorage)])
    try:
        peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
        with Node(settings(attempts=1, peers=(peer,))) as node:
            node.intake.take(sent(), "ARCHIVE")
            assert until(lambda: node.queue.counts().get("dead to ARCHIVE") == 1)
            assert [modality for modality, *_ in archive.stored] == ["OT"]
            assert node.queue.dead()[0][0].error == "expected ARCHIVE to take sr, found that it does not"
    finally:
        archive.close()


def test_a_node_whose_processes_cannot_start_any_more_says_so_and_sets_no_image_aside(settings, monkeypatch):
    with Node(settings()) as node:
        monkeypatch.setattr(_Process, "load", _cannot_load)
        [worker] = node._pool._workers
        worker._process.kill()
        node.intake.take(sent(), "ARCHIVE")
        assert until(lambda: node.failure)
        assert "expected processes that predict, found none" in str(node.failure)
        assert node.queue.counts() | {"waiting": 1, "dead": 0} == node.queue.counts()


def _cannot_load(self):
    raise _Ended("memory is short")


def test_a_full_disk_is_not_the_images_fault(settings, tmp_path, monkeypatch):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Node(settings(attempts=1)) as node:
        [worker] = node._pool._workers
        resource.prlimit(worker._process._process.pid, resource.RLIMIT_FSIZE, (5_000, usual[1]))
        node.intake.take(sent(), "ARCHIVE")
        assert until(lambda: node.queue.waiting(1) == [] and node.queue.counts()["waiting"] == 1)
        resource.prlimit(worker._process._process.pid, resource.RLIMIT_FSIZE, usual)
        assert until(lambda: node.queue.counts()["delivered"] == 1)


def test_what_waits_at_the_end_is_answered_after_the_next_start(settings, archive, monkeypatch):
    with Node(settings()) as node:
        monkeypatch.setattr(node, "_record", lambda *_: None)  # as if it were killed before
        node.intake.take(sent(), "ARCHIVE")
        assert until(lambda: node.queue.counts()["waiting"] == 1)
    monkeypatch.undo()
    with Node(settings()):
        assert until(lambda: len(archive.stored) == 2)


def test_an_answer_that_is_refused_is_set_aside_and_others_are_not_held_up(settings, archive):
    archive.status = {"SR": 0xA700}
    with Node(settings(attempts=1)) as node:
        node.intake.take(sent(1), "ARCHIVE")
        assert until(lambda: node.queue.counts().get("dead to ARCHIVE") == 1)
        archive.status = {}
        node.intake.take(sent(2), "ARCHIVE")
        assert until(lambda: len(archive.stored) == 3), "the picture of the first, and both of the second"
        [(image, destination)] = node.queue.dead()
        assert (destination, image.error) == ("ARCHIVE", "expected ARCHIVE to take sr, found status A700")
        assert "dead" in {each["event"] for each in audited(node)}
        node.queue.replay()
        assert until(lambda: len(archive.stored) == 5)


def test_what_a_person_replays_or_drops_is_in_the_audit_log(settings, archive, pneumoscope):
    archive.status = {"SR": 0xA700}
    config = settings().folder + ".toml"
    Path(config).write_text(f'folder = "{settings().folder}"\n')
    with Node(settings(attempts=1)) as node:
        for number in (1, 2):
            node.intake.take(sent(number), "ARCHIVE")
        assert until(lambda: node.queue.counts().get("dead to ARCHIVE") == 2)
        [first, second] = [image for image, _ in node.queue.dead()]
        assert pneumoscope("pacs", "queue", "drop", first.id, "--config", config)[1] == "1 deleted\n"
        assert until(lambda: acts(node) == [("dropped", None, sop_hash(first.sop_uid))])
    # While no node runs, the next one writes it.
    assert pneumoscope("pacs", "queue", "replay", "--config", config)[1] == "1 tried again\n"
    archive.status = {}
    with Node(settings(attempts=1)) as node:
        assert until(lambda: acts(node)[1:] == [("replayed", "ARCHIVE", sop_hash(second.sop_uid))])
        assert until(lambda: node.queue.counts()["delivered"] == 1)
        assert len(acts(node)) == 2


def acts(node):
    known = [(each["event"], each.get("ae_title"), each.get("sop_sha256")) for each in audited(node)]
    return [each for each in known if each[0] in ("replayed", "dropped")]


def test_a_warning_is_no_refusal(settings, archive):
    archive.status = {"SR": 0xB000, "OT": 0xB007}
    with Node(settings()) as node:
        node.intake.take(sent(), "ARCHIVE")
        assert until(lambda: node.queue.counts()["delivered"] == 1)


def test_files_of_answers_that_are_lost_or_damaged_hold_nobody_up(settings, archive):
    archive.status = {"SR": 0xA700}
    with Node(settings(attempts=3)) as node:
        node.intake.take(sent(1), "ARCHIVE")
        assert until(lambda: node.queue.counts().get("to ARCHIVE") == 1)
        assert archive.asked.wait(20)
        [report] = (node.audit.path.parent / "images").glob("*.sr")
        report.unlink()
        archive.status = {}
        assert until(lambda: "SR" in {modality for modality, *_ in archive.stored}), "the answers were made again"
    archive.status = {"SR": 0xA700}
    with Node(settings(attempts=2)) as node:
        archive.asked.clear()
        node.intake.take(sent(2), "ARCHIVE")
        assert archive.asked.wait(20)
        [report] = (node.audit.path.parent / "images").glob("*.sr")
        report.write_bytes(b"damaged")
        archive.status = {}
        archive.stored.clear()
        node.intake.take(sent(3), "ARCHIVE")
        assert until(lambda: [modality for modality, *_ in archive.stored].count("SR") == 1)
        assert until(lambda: node.queue.counts().get("dead to ARCHIVE") == 1)
        assert "cannot be sent" in node.queue.dead()[0][0].error


def test_a_damaged_film_is_answered_that_there_is_no_answer(settings, archive):
    with Node(settings()) as node:
        node.intake.take(sent(PixelData=b"\0\0"), "ARCHIVE")
        assert until(lambda: len(archive.stored) == 2)
        [answered] = node.queue.answers()
        assert (answered["prediction"]["decision"], answered["prediction"]["reasons"]) == ("rejected", ["unreadable"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"peers": ()}, r"expected a peer with a port|at least one of \[\[peers\]\]"),
        ({"peers": (Peer("ROOM1"),)}, "expected a peer with a port, where answers go"),
        ({"operating_point": "bold"}, "bold"),
        ({"bundle": "nowhere.zip"}, "nowhere.zip"),
        ({"host": "203.0.113.7"}, "expected a free address 203.0.113.7"),
        ({"peers": (Peer("A", "no.such.host.invalid", 104),)}, "expected an address of a peer"),
        ({"watch": WatchSettings("no-such-folder")}, "expected a folder as watch.folder, found none"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(settings, more, message):
    with pytest.raises(PneumoscopeError, match=message) as raised:
        Node(settings(**more))
    assert "\n" not in str(raised.value).strip()


def test_a_watched_folder_needs_no_peer_and_opens_no_port(settings, tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    with Node(settings(peers=(), silent=True, watch=WatchSettings(str(folder), every_seconds=0.1))) as node:
        (folder / "film.dcm").write_bytes(sent())
        (folder / "readme.txt").write_text("hello")
        assert until(lambda: node.queue.counts()["kept"] == 1)
        assert until(lambda: node.queue.counts().get("refused: not_understood") == 1)
        assert node.port == 0
        assert not [each for each in threading.enumerate() if "AssociationServer" in each.name]


def test_a_start_says_where_answers_go(settings):
    assert _ways(settings(), ["ARCHIVE"]) == "Images come from ARCHIVE. Answers go to ARCHIVE."
    silent = settings(silent=True)
    assert f"Decisions are kept in {silent.folder}; no report or picture is made" in _ways(silent, [])


def test_two_nodes_cannot_use_one_folder(settings):
    with Node(settings()), pytest.raises((DataError, ConfigError), match="another"):
        Node(settings())

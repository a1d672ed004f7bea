"""Refused associations: the audit log says each kind at once and how often it was repeated, and does not grow with a scanner."""

import json
import socket
from collections import Counter

import pytest
from pynetdicom import AE

from clock import Clock
from node_process import until
from pneumoscope.pacs import refusals
from pneumoscope.pacs.audit import AuditLog, verify
from pneumoscope.pacs.node import Node
from pneumoscope.pacs.queue import Queue
from pneumoscope.pacs.refusals import Refusals
from pneumoscope.pacs.settings import NodeSettings, Peer

REFUSED = "association_refused"


def lines(path):
    found = map(json.loads, path.read_text().splitlines())
    names = ("ae_title", "address", "reason", "count")
    return [tuple(each.get(name) for name in names) for each in found if each["event"] == REFUSED]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl") as opened:
        yield opened


def test_what_repeats_is_one_line_a_minute_with_its_number(queue, log, clock):
    found = Refusals(queue, log, clock)
    for _ in range(5):
        found.add("SCANNER", "192.0.2.1", "unknown_calling_title", "said")
    found.add("", "192.0.2.1", "unknown_address", "said")
    first = [("SCANNER", "192.0.2.1", "unknown_calling_title", None), (None, "192.0.2.1", "unknown_address", None)]
    assert lines(log.path) == first
    clock.now = 59
    found.summarise()
    assert lines(log.path) == first
    assert queue.counts()["refused: association"] == 6
    clock.now = 60
    found.summarise()
    assert lines(log.path) == [*first, ("SCANNER", "192.0.2.1", "unknown_calling_title", 4)]
    for clock.now in (61, 119):
        found.add("SCANNER", "192.0.2.1", "unknown_calling_title", "said")
        found.summarise()
    assert len(lines(log.path)) == 3
    clock.now = 120
    found.summarise()
    assert lines(log.path)[3:] == [("SCANNER", "192.0.2.1", "unknown_calling_title", 2)]
    clock.now = 180
    found.summarise()
    found.add("SCANNER", "192.0.2.1", "unknown_calling_title", "said")
    assert lines(log.path)[4:] == [("SCANNER", "192.0.2.1", "unknown_calling_title", None)], (
        "after a quiet minute at once again"
    )
    found.summarise()
    assert queue.counts()["refused: association"] == 9


def test_each_title_of_an_address_is_named_and_many_are_counted_together(queue, log, clock, caplog):
    found = Refusals(queue, log, clock)
    for _ in range(3):
        for number in range(30):
            found.add(f"ROOM{number}", "192.0.2.1", "unknown_calling_title", f"expected a peer, found ROOM{number}")
    found.add("PACS", "192.0.2.2", "unknown_calling_title", "expected a peer, found PACS")
    named = [f"ROOM{number}" for number in range(refusals._MOST_TITLES)] + ["PACS"]
    assert [each[0] for each in lines(log.path)] == named
    assert caplog.messages == [f"an association is refused: expected a peer, found {title}" for title in named]
    clock.now = 60
    found.summarise()
    repeated = lines(log.path)[len(named) :]
    assert (None, "192.0.2.1", "unknown_calling_title", 3 * 20) in repeated
    assert sum(each[3] for each in repeated) == 3 * 30 - refusals._MOST_TITLES


def test_many_addresses_are_counted_together(queue, log, clock):
    found = Refusals(queue, log, clock)
    for _ in range(3):
        for number in range(1000):
            found.add("", f"2001:db8::{number:x}", "unknown_address", "said")
    assert len(lines(log.path)) == refusals._MOST
    clock.now = 60
    found.summarise()
    [together] = [each for each in lines(log.path) if each[1] is None]
    assert together == (None, None, "unknown_address", 3 * 900)
    assert len(lines(log.path)) == 2 * refusals._MOST + 1
    assert sum(each[3] or 1 for each in lines(log.path)) == queue.counts()["refused: association"] == 3000


@pytest.mark.filterwarnings("ignore")
def test_a_scanner_does_not_fill_the_disk_and_each_refusal_is_counted(tmp_path, phantom_bundle):
    peers = (Peer("ROOM1", "127.0.0.1"), Peer("ROOM2", "127.0.0.2"))
    known = {"folder": str(tmp_path / "node"), "bundle": str(phantom_bundle), "workers": 1, "seconds": 5}
    with Node(NodeSettings(port=0, silent=True, peers=peers, **known)) as node:
        for _ in range(200):
            with socket.socket() as scanner:
                scanner.bind(("127.0.0.3", 0))
                scanner.connect(("127.0.0.1", node.port))
                assert scanner.recv(1) == b""
        stranger = AE("STRANGER")
        stranger.add_requested_context("1.2.840.10008.1.1")
        for _ in range(5):
            assert stranger.associate("127.0.0.1", node.port, ae_title="PNEUMOSCOPE").is_rejected
        assert until(lambda: node.queue.counts().get("refused: association") == 205, 20)
        assert Counter(lines(node.audit.path)) == {
            (None, "127.0.0.3", "unknown_address", None): 1,
            ("STRANGER", "127.0.0.1", "unknown_calling_title", None): 1,
        }
    assert lines(node.audit.path)[2:] == [
        (None, "127.0.0.3", "unknown_address", 199),
        ("STRANGER", "127.0.0.1", "unknown_calling_title", 4),
    ]
    assert verify(node.audit.path).intact

"""Addresses of the peers: one that moves is let in without a restart, and nobody waits long for a name server."""

import json
import socket
import threading
import time

import pytest
from pynetdicom import AE

from clock import Clock
from pneumoscope.pacs.addresses import PeerAddresses
from pneumoscope.pacs.node import Node
from pneumoscope.pacs.settings import NodeSettings, Peer

VERIFICATION = "1.2.840.10008.1.1"


class NameServer:
    """Name server for `pacs.example`: the tests cannot change this machine's."""

    def __init__(self, monkeypatch):
        self.address, self.asked, self.waits = "192.0.2.1", 0, None
        real = socket.getaddrinfo

        def look_up(host, *arguments, **options):
            if host != "pacs.example":
                return real(host, *arguments, **options)
            self.asked += 1
            if self.waits:
                self.waits.wait(20)
            if not self.address:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return real(self.address, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def names(monkeypatch):
    return NameServer(monkeypatch)


def test_names_are_looked_up_again_once_a_minute_at_most(names):
    clock = Clock()
    addresses = PeerAddresses((Peer("PACS", "pacs.example"), Peer("ROOM1", "192.0.2.7")), clock)
    assert addresses.fits("192.0.2.1")
    assert names.asked == 1
    names.address = "192.0.2.2"
    assert not addresses.fits("192.0.2.2", "ROOM1")
    assert addresses.fits("192.0.2.2", "PACS")
    assert not addresses.fits("192.0.2.1"), "the address that it had"
    assert names.asked == 2
    names.address = "192.0.2.3"
    clock.now = 59
    assert not addresses.fits("192.0.2.3")
    clock.now = 61
    assert addresses.fits("192.0.2.3", "PACS")
    assert not addresses.fits("192.0.2.3", "ROOM1")
    assert names.asked == 3


def test_the_last_known_addresses_hold_while_the_name_server_is_away(names, caplog):
    addresses = PeerAddresses((Peer("PACS", "pacs.example"),))
    names.address = ""
    assert not addresses.fits("192.0.2.2")
    assert addresses.fits("192.0.2.1")
    assert "Temporary failure in name resolution" in caplog.text


def test_a_slow_name_server_holds_nobody_up(names):
    addresses = PeerAddresses((Peer("PACS", "pacs.example"),))
    names.waits, names.address = threading.Event(), "192.0.2.2"
    begun = time.monotonic()
    for _ in range(20):
        assert not addresses.fits("192.0.2.2")
    assert time.monotonic() - begun < 5
    assert addresses.fits("192.0.2.1")
    names.waits.set()
    deadline = time.monotonic() + 60
    while not addresses.fits("192.0.2.2"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def settings(tmp_path, phantom_bundle):
    def make(*peers):
        known = {"folder": str(tmp_path / "node"), "bundle": str(phantom_bundle), "workers": 1, "seconds": 10}
        return NodeSettings(port=0, silent=True, peers=peers, **known)

    return make


def is_let_in(node, title):
    entity = AE(title)
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", node.port, ae_title="PNEUMOSCOPE")
    found = association.is_established
    if found:
        association.release()
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("others", [(), (Peer("ROOM1"),)], ids=["at the door", "under its title"])
def test_a_peer_whose_address_changes_is_let_in_without_a_restart(names, settings, others):
    with Node(settings(Peer("PACS", "pacs.example"), *others)) as node:
        names.address = "127.0.0.1"
        assert is_let_in(node, "PACS")
    assert names.asked == 2


@pytest.mark.filterwarnings("ignore")
def test_a_title_is_let_in_from_its_own_address_alone(settings):
    with Node(settings(Peer("PACS", "192.0.2.1"), Peer("ROOM1", "127.0.0.1"))) as node:
        assert not is_let_in(node, "PACS")
        assert not is_let_in(node, "STRANGER")
        assert is_let_in(node, "ROOM1")
        lines = [json.loads(line) for line in node.audit.path.read_text().splitlines()]
    assert [(each["ae_title"], each["reason"]) for each in lines if each["event"] == "association_refused"] == [
        ("PACS", "unknown_address"),
        ("STRANGER", "unknown_calling_title"),
    ]

"""Receiver in this process: connections that say nothing, objects beyond the bounds, and addresses."""

import contextlib
import socket
import threading
import time

import pytest
from pynetdicom import AE

from certificates import Authority
from pneumoscope.pacs.audit import AuditLog
from pneumoscope.pacs.intake import Intake
from pneumoscope.pacs.queue import Queue
from pneumoscope.pacs.receiver import Receiver
from pneumoscope.pacs.settings import NodeSettings, Peer, TlsSettings
from pneumoscope.pacs.tls import client_context

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def queue(tmp_path):
    with contextlib.closing(Queue(tmp_path / "node")) as opened:
        yield opened


@pytest.fixture
def receiver(tmp_path, queue):
    """Function that starts a receiver, whose settings are then its attribute `settings`; it is closed afterwards."""
    opened = []

    def start(**more):
        told = {"host": "127.0.0.1", "port": 0, "seconds": 5, "peers": (Peer("PACS", "127.0.0.1"),)}
        settings = NodeSettings(folder=str(tmp_path), **told | more)
        intake = Intake(queue, log, settings.rules, settings.megabytes * 1_000_000)
        started = Receiver(settings, intake, log)
        started.settings = settings
        opened.append(started)
        return started

    with AuditLog(tmp_path / "audit.jsonl") as log:
        yield start
        for each in opened:
            assert closes(each)


def closes(receiver, seconds=3.0):
    """Whether a receiver ends in time, once, and leaves no thread that a process would wait for."""
    if receiver is None or not hasattr(receiver, "settings"):
        return True
    del receiver.settings
    thread = threading.Thread(target=receiver.close, daemon=True)
    thread.start()
    thread.join(seconds)
    left = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    return not thread.is_alive() and not left


@contextlib.contextmanager
def association(receiver, host="127.0.0.1", context=VERIFICATION, syntax=None):
    settings = receiver.settings
    entity = AE("PACS")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.add_requested_context(context, syntax)
    tls = (client_context(settings.tls), host) if settings.tls else None
    opened = entity.associate(host, receiver.port, ae_title="PNEUMOSCOPE", tls_args=tls)
    try:
        yield opened
        if opened.is_established:
            opened.release()
    finally:
        opened.kill()
        if opened.dul.socket.socket is not None:  # an aborted association leaves it open
            opened.dul.socket.socket.close()


def is_served(receiver, host="127.0.0.1"):
    with association(receiver, host) as opened:
        return opened.is_established and opened.send_c_echo().Status == 0


@pytest.fixture
def tls(tmp_path):
    authority = Authority(tmp_path)
    return TlsSettings(*map(str, authority.issue("node")), str(authority.file))


def connect(receiver, said=b"", source="127.0.0.1"):
    opened = socket.create_connection(("127.0.0.1", receiver.port), 10, (source, 0))
    opened.sendall(said)
    opened.settimeout(10)
    return opened


# The first bytes of TLS's record with a ClientHello of 200 bytes.
HALF_A_HANDSHAKE = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"


@pytest.mark.parametrize(
    ("encrypted", "said"),
    [(False, b""), (False, b"\x01\x00\x00\x00"), (True, b""), (True, HALF_A_HANDSHAKE)],
    ids=["plain", "half a unit", "tls", "half a handshake"],
)
def test_connections_that_say_nothing_hold_up_nobody_and_not_the_end(receiver, tls, encrypted, said):
    started = receiver(tls=tls if encrypted else TlsSettings())
    with contextlib.ExitStack() as stack:
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            stack.enter_context(connect(started, said if source == "127.0.0.1" else b"", source))
        begun = time.monotonic()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(is_served(started)), daemon=True)
        thread.start()
        thread.join(10)
        assert answers == [True]
        assert time.monotonic() - begun < 3
        assert closes(started)


@pytest.mark.parametrize("said", [b"", HALF_A_HANDSHAKE], ids=["nothing", "half a handshake"])
def test_a_handshake_that_does_not_end_is_given_up_in_time(receiver, tls, said):
    started = receiver(tls=tls, seconds=1)
    with connect(started, said) as opened:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while opened.recv(4096):
                pass
        assert 0.5 < time.monotonic() - begun < 4


def test_by_tls_only_who_shows_a_certificate_is_served(receiver, tls, tmp_path):
    started = receiver(tls=tls)
    assert is_served(started)
    authority = Authority(tmp_path, "another")
    others = TlsSettings(*map(str, authority.issue("somebody")), tls.authority)
    plain, started.settings = started.settings, NodeSettings(tls=others)
    with association(started) as opened:
        assert not opened.is_established
    started.settings = NodeSettings()
    with association(started) as opened:
        assert not opened.is_established
    started.settings = plain
    assert is_served(started)


@pytest.mark.parametrize("host", ["::", "127.0.0.1"])
def test_a_peer_is_known_by_its_ipv4_address_whatever_the_node_listens_on(receiver, host):
    started = receiver(host=host, peers=(Peer("PACS", "127.0.0.1"),))
    assert is_served(started)
    with connect(started, source="127.0.0.2") as opened, contextlib.suppress(ConnectionError):
        assert opened.recv(1) == b""
    assert '"127.0.0.2"' in started._audit.path.read_text()

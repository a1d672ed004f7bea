"""Peers that send what no peer should: the node goes on, does not grow, and serves the others meanwhile."""

import contextlib
import io
import json
import random
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from films import DIGITAL, film, pictures
from node_process import NodeProcess, until

pytestmark = pytest.mark.integration
GROWTH_KB = 50 * 1024


@pytest.fixture
def node(tmp_path, free_port):
    more = "silent = true\nassociations = 6\nmegabytes = 8\nworkers = 1"
    with NodeProcess(tmp_path, free_port, more=more) as started:
        yield started


@pytest.fixture
def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def encoded(number, height=96):
    return encode(film(pictures(1, height)[0], number), False, True)


@contextlib.contextmanager
def association(node, calling="STORESCU"):
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(DIGITAL, [ExplicitVRLittleEndian])
    opened = entity.associate("127.0.0.1", node.port, ae_title="PNEUMOSCOPE")
    try:
        assert opened.is_established
        yield opened
        if opened.is_established:
            opened.release()
    finally:
        opened.kill()
        if opened.dul.socket.socket is not None:  # an aborted association leaves it open
            opened.dul.socket.socket.close()


def store(opened, content, uid):
    """Status of a C-STORE of bytes that need be no dataset; None where the association has ended."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = DIGITAL
    request.AffectedSOPInstanceUID = uid
    request.Priority = 2
    request.DataSet = io.BytesIO(content)
    # As `send_c_store` does, lest the thread of the association takes the answer.
    opened._reactor_checkpoint.clear()
    while not opened._is_paused:
        time.sleep(0.001)
    try:
        opened.dimse.send_msg(request, opened.accepted_contexts[0].context_id)
        _, answer = opened.dimse.get_msg(block=True)
    finally:
        opened._reactor_checkpoint.set()
    if answer is None:
        opened.abort()
        return None
    return answer.Status


def mutated(content, chance):
    """Bytes with a few changes: flipped, cut off, inserted, repeated, lengths that lie."""
    found = bytearray(content)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(found))
        kind = chance.randrange(5)
        if kind == 0:
            found[place] = chance.randrange(256)
        elif kind == 1:
            del found[place : place + chance.randrange(1, 64)]
        elif kind == 2:
            found[place:place] = chance.randbytes(chance.randrange(1, 64))
        elif kind == 3:
            found[place : place + 4] = struct.pack("<I", chance.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]))
        else:
            del found[max(2, place) :]
        if len(found) < 2:
            found += b"\0\0"
    return bytes(found)


def resident_kb(process):
    """Resident memory of a process and its children, KB."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    total = 0
    for pid in (process.pid, *children):
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split("VmRSS:")[1].split()[0])
    return total


def counts(node):
    return json.loads(node.command("queue", "show", "--json").stdout)["counts"]


def is_served(node, number):
    with association(node) as opened:
        return store(opened, encoded(number), f"1.2.3.{number}") == 0


@pytest.mark.parametrize("objects", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_objects_are_answered_or_refused_and_nothing_grows(node, objects):
    chance = random.Random(3)
    content = encoded(1)
    known, grown = set(), 0
    assert is_served(node, 900_001)
    before = None
    number = 0
    while number < objects:
        with association(node) as opened:
            while number < objects and opened.is_established:
                number += 1
                status = store(opened, mutated(content, chance), f"1.2.3.{number}")
                known.add(status)
                if number == objects // 4:
                    before = resident_kb(node.process)
    assert known <= {0x0000, 0xC000, 0xA700, None}, known
    assert {0x0000, 0xC000} <= known
    assert is_served(node, 900_002)
    assert until(lambda: counts(node)["waiting"] == 0, 600), counts(node)
    grown = resident_kb(node.process) - before
    assert grown < GROWTH_KB
    assert node.process.poll() is None
    assert not list((node.folder / "node" / "images").iterdir())
    assert "Traceback" not in node.log.read_text()


def connect(node):
    opened = socket.create_connection(("127.0.0.1", node.port), 10)
    opened.settimeout(30)
    return opened


def request_of(called=b"PNEUMOSCOPE"):
    """A-ASSOCIATE-RQ without any presentation context that is known."""
    context = b"\x10\x00" + struct.pack(">H", 21) + b"1.2.840.10008.3.1.1.1"
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + b"STORESCU".ljust(16) + bytes(32) + context
    return b"\x01\x00" + struct.pack(">I", len(body)) + body


LIES = {
    "nothing at all": b"",
    "half a header": b"\x01\x00\x00",
    "a unit of four gigabytes": b"\x04\x00\xff\xff\xff\xff" + bytes(1000),
    "a request of four gigabytes": b"\x01\x00\xff\xff\xff\xff" + bytes(1000),
    "an unknown unit": b"\x63\x00\x00\x00\x00\x04abcd",
    "http": b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    "half a request": request_of()[:60],
    "a request whose items lie": request_of()[:-20] + b"\xff" * 20,
    "noise": random.Random(1).randbytes(5000),
}


@pytest.mark.parametrize("said", LIES.values(), ids=LIES.keys())
def test_a_peer_that_lies_or_stalls_is_dropped_in_time(node, said):
    with connect(node) as opened:
        opened.sendall(said)
        assert is_served(node, 1), "others are served meanwhile"
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError, TimeoutError):
            while opened.recv(4096):
                pass
        assert time.monotonic() - begun < 25
    assert node.process.poll() is None
    assert is_served(node, 2)


def test_peers_that_hold_all_associations_give_way(node):
    """More connections than the node takes: the rest are refused, and when the first are dropped others are served."""
    held = [connect(node) for _ in range(30)]
    begun = time.monotonic()
    assert until(lambda: _try_served(node), 40, 1.0)
    assert time.monotonic() - begun < 40
    for each in held:
        each.close()
    assert is_served(node, 5)


def _try_served(node):
    try:
        return is_served(node, 4)
    except AssertionError:
        return False


def test_an_object_that_is_too_large_is_not_taken_and_others_are(node):
    with association(node) as opened:
        status = store(opened, encoded(1) + bytes(9_500_000), "1.2.3.1")
        assert status == 0xC000, "an error after which it is not sent again"
        assert store(opened, encoded(3), "1.2.3.3") == 0
    assert is_served(node, 2)


def test_associations_that_end_in_the_middle_leave_nothing(node):
    threads = []
    for number in range(8):

        def broken(number=number):
            with contextlib.suppress(Exception), association(node) as opened:
                request = C_STORE()
                request.MessageID, request.Priority = 1, 2
                request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = DIGITAL, f"1.2.3.{number}"
                request.DataSet = io.BytesIO(encoded(number, 400))
                opened.dimse.send_msg(request, opened.accepted_contexts[0].context_id)
                opened.abort()

        threads.append(threading.Thread(target=broken))
        threads[-1].start()
        if len(threads) % 4 == 0:
            for thread in threads:
                thread.join()
    assert is_served(node, 99)
    assert until(lambda: counts(node)["waiting"] == 0, 120)
    assert not list((node.folder / "node" / "images").iterdir())

"""Receiver in this process: connections that say nothing, objects beyond the bounds, and addresses."""

import contextlib
import gc
import io
import json
import socket
import threading
import time

import pytest
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider

from certificates import Authority
from films import DIGITAL, film, pictures
from node_process import until
from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs import receiver as receiver_module
from pneumoscope.pacs.audit import AuditLog
from pneumoscope.pacs.intake import NO_IMAGES, Intake
from pneumoscope.pacs.queue import Queue
from pneumoscope.pacs.receiver import Receiver
from pneumoscope.pacs.refusals import Refusals
from pneumoscope.pacs.settings import NodeSettings, Peer, TlsSettings
from pneumoscope.pacs.tls import client_context

VERIFICATION_CONTEXT = build_context("1.2.840.10008.1.1")


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
        refusals = Refusals(queue, log)
        started = Receiver(settings, intake, refusals)
        started.settings, started.log, started.refusals = settings, log, refusals
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
    left = [each for each in threading.enumerate() if isinstance(each, DULServiceProvider) and each.assoc.is_acceptor]
    return not thread.is_alive() and not left


@contextlib.contextmanager
def association(receiver, host="127.0.0.1", contexts=(VERIFICATION_CONTEXT,)):
    settings = receiver.settings
    entity = AE("PACS")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.requested_contexts = list(contexts)
    tls = (client_context(settings.tls), host) if settings.tls else None
    opened = entity.associate(host, receiver.port, ae_title="PNEUMOSCOPE", tls_args=tls)
    try:
        yield opened
        if opened.is_established:
            opened.release()
    finally:
        if opened.is_established:
            opened.abort()
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


def test_by_tls_only_who_shows_a_certificate_is_served_and_others_are_counted(receiver, queue, tls, tmp_path, caplog):
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
    [message] = [each for each in caplog.messages if each.startswith("an association is refused")]
    assert "expected TLS with a certificate of the authority, found none from 127.0.0.1 (" in message
    started.refusals.summarise(at_once=True)
    assert queue.counts()["refused: association"] == 2
    assert associations_refused(started) == [(None, "no_tls"), (None, "no_tls")]


def test_who_is_refused_is_named_with_the_reason(receiver, caplog):
    started = receiver(associations=1)
    for calling, called in (("NOBODY", "PNEUMOSCOPE"), ("PACS", "WRONG"), ("NOBODY", "WRONG")):
        entity = AE(calling)
        entity.requested_contexts = [VERIFICATION_CONTEXT]
        assert entity.associate("127.0.0.1", started.port, ae_title=called).is_rejected
        # Two connections at a time: that of a rejected association takes a moment to end.
        assert until(lambda: not started._entity.active_associations, 10)
    with association(started), association(started) as another:
        assert another.is_rejected
        with connect(started) as third, contextlib.suppress(ConnectionError):
            assert third.recv(1) == b""
    found = [("NOBODY", "unknown_calling_title"), ("PACS", "wrong_called_title"), ("NOBODY", "wrong_called_title")]
    assert associations_refused(started)[:4] == [*found, ("PACS", "too_many")]
    named = [each.partition(": expected ")[2] for each in caplog.messages if each.startswith("an association is")]
    assert (
        named[0] == "the AE title of a peer, found 'NOBODY' at 127.0.0.1: name it in [[peers]], or correct the sender"
    )
    assert named[1].startswith("a call of 'PNEUMOSCOPE', found 'PACS' at 127.0.0.1 that calls 'WRONG': ")
    assert named[3].startswith("at most 1 associations at a time, found another, from 127.0.0.1: ")


def associations_refused(receiver):
    lines = [json.loads(line) for line in receiver.log.path.read_text().splitlines()]
    return [(each.get("ae_title"), each["reason"]) for each in lines if each["event"] == "association_refused"]


@pytest.mark.parametrize("host", ["::", "127.0.0.1"])
def test_a_peer_is_known_by_its_ipv4_address_whatever_the_node_listens_on(receiver, host):
    started = receiver(host=host, peers=(Peer("PACS", "127.0.0.1"),))
    assert is_served(started)
    with connect(started, source="127.0.0.2") as opened, contextlib.suppress(ConnectionError):
        assert opened.recv(1) == b""
    assert '"127.0.0.2"' in started.log.path.read_text()


def fragments(opened, megabytes):
    """What a C-STORE of zeros is sent as, once the association's own thread leaves the answer to `answer`."""
    opened._reactor_checkpoint.clear()
    while not opened._is_paused:
        time.sleep(0.001)
    request, message = C_STORE(), C_STORE_RQ()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = DIGITAL, "1.2.3"
    request.DataSet = io.BytesIO(bytes(round(megabytes * 1_000_000)))
    message.primitive_to_message(request)
    return list(message.encode_msg(opened.accepted_contexts[0].context_id, 1 << 17))


def send(opened, some, pause=0.0):
    for fragment in some:
        opened.dul.send_pdu(fragment)
        time.sleep(pause)


def answer(opened):
    """Status; None where the association has ended."""
    _, found = opened.dimse.get_msg(block=True)
    opened._reactor_checkpoint.set()
    return None if found is None else found.Status


def store(opened, megabytes, pause=0.0):
    send(opened, fragments(opened, megabytes), pause)
    return answer(opened)


def storing(receiver):
    return association(receiver, contexts=[build_context(DIGITAL, ExplicitVRLittleEndian)])


def refused(receiver):
    lines = [json.loads(line) for line in receiver.log.path.read_text().splitlines()]
    return [each["reason"] for each in lines if each["event"] == "refused"]


def test_a_whole_study_with_answers_and_another_report_is_taken_and_the_film_alone_is_kept(receiver, queue):
    started = receiver()
    stored = pictures(1, 64)[0]
    study = [
        film(stored, 1),
        film(stored, 2, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", Manufacturer=MANUFACTURER),
        *(film(stored, number, SOPClassUID=uid, Manufacturer=MANUFACTURER) for number, uid in enumerate(NO_IMAGES, 3)),
        film(stored, 5, SOPClassUID=NO_IMAGES[0], Modality="SR"),
    ]
    contexts = [build_context(each.SOPClassUID, ExplicitVRLittleEndian) for each in study[:4]]
    with association(started, contexts=contexts) as opened:
        assert opened.rejected_contexts == []
        assert [opened.send_c_store(each).Status for each in study] == [0] * 5
    assert [image.sop_uid for image in queue.waiting(9)] == [study[0].SOPInstanceUID]
    assert queue.counts()["ignored"] == 4


@pytest.mark.parametrize("megabytes", [2.1, 3.5, 7.5])
def test_a_larger_object_gets_a_status_after_which_it_is_not_sent_again(receiver, megabytes):
    started = receiver(megabytes=2)
    with storing(started) as opened:
        assert store(opened, megabytes) == 0xC000
        assert store(opened, 1.0) == 0xC000, "zeros are no image"
        assert opened.is_established
    assert refused(started) == ["too_large", "not_understood"]


def test_an_object_of_many_times_the_largest_ends_the_association(receiver):
    started = receiver(megabytes=2)
    with storing(started) as opened:
        assert store(opened, 10.0) is None
    assert is_served(started)


def test_the_rest_of_a_larger_object_comes_in_time_or_not_at_all(receiver):
    started = receiver(megabytes=1, seconds=2)
    with storing(started) as opened:
        assert store(opened, 0.9, pause=0.3) == 0xC000, "a small one may take its time"
        assert store(opened, 3.9, pause=0.2) is None


@contextlib.contextmanager
def unfinished(receiver, count):
    """Associations that have each sent nine tenths of an object of nearly the largest size, with the rest."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            each = stack.enter_context(storing(receiver))
            stack.callback(each.abort)
            whole = fragments(each, 0.99 * receiver.settings.megabytes)
            cut = round(0.9 * len(whole))
            send(each, whole[:cut])
            opened.append((each, whole[cut:]))
        yield opened


def kept(receiver):
    """Bytes that the receiver keeps of objects."""
    messages = [each.dimse.message for each in receiver._entity.active_associations]
    return sum(each.data_set.tell() for each in messages if each is not None)


def test_all_associations_together_keep_no_more_than_eight_of_the_largest(receiver):
    started = receiver(megabytes=2, associations=16, seconds=90)
    with unfinished(started, 12) as opened:
        assert until(lambda: kept(started) > 9_000_000, 60)
        time.sleep(0.5)
        assert kept(started) <= 16_000_000
        with storing(started) as another:
            assert store(another, 0.4) == 0xC000, "small objects are served meanwhile"
        for each, rest in opened:
            send(each, rest)
        assert [answer(each) for each, _ in opened] == [0xC000] * 12, "who has a place goes on, and then others do"
        assert refused(started) == ["not_understood"] * 13
        assert kept(started) == 0


def test_a_large_object_that_finds_no_place_in_time_may_be_sent_again(receiver):
    started = receiver(megabytes=2, associations=16, seconds=4)
    with unfinished(started, 4) as opened:
        assert until(lambda: kept(started) > 6_500_000, 5)
        with storing(started) as another:
            assert store(another, 1.8) == 0xA700
        assert refused(started) == ["no_room"]
        assert until(lambda: len(started._entity.active_associations) == 0, 60), "who stalls loses the place"
        with storing(started) as another:
            assert store(another, 1.8) == 0xC000
        assert refused(started) == ["no_room", "not_understood"]
        assert len(opened) == 4


def test_who_takes_too_long_over_a_large_object_loses_the_place(receiver, monkeypatch):
    monkeypatch.setattr(receiver_module, "_LARGE_WITHIN", 2)
    started = receiver(megabytes=2, associations=16, seconds=1)
    with storing(started) as opened:
        assert store(opened, 1.9, pause=0.3) is None
    assert refused(started) == []


def test_associations_that_end_in_the_middle_give_back_what_they_hold(receiver):
    started = receiver(megabytes=2, associations=16)
    for _ in range(3):
        with unfinished(started, 4):
            assert until(lambda: kept(started) > 6_500_000, 5)
            messages = [each.dimse.message for each in started._entity.active_associations]
        assert until(lambda: not started._entity.active_associations, 60)
        assert len(messages) == 4
        assert not any(each.data_set.getvalue() for each in messages)
    with storing(started) as another:
        assert store(another, 1.8) == 0xC000
    assert refused(started) == ["not_understood"]


def test_associations_that_have_ended_take_no_memory(receiver):
    started = receiver()
    assert all(is_served(started) for _ in range(5))
    assert until(lambda: not started._entity.active_associations, 60)

    def left():
        gc.collect()
        found = [each for each in gc.get_objects() if issubclass(type(each), Association)]
        return [each for each in found if each.is_acceptor and each.acceptor.port == started.port]

    assert until(lambda: not left(), 60)


def test_who_sends_objects_without_waiting_for_answers_is_ended(receiver):
    started = receiver(megabytes=2)
    with storing(started) as opened, started._copying:  # the first is not answered meanwhile
        for _ in range(2):
            send(opened, fragments(opened, 0.1))
        begun = time.monotonic()
        assert answer(opened) is None
        assert time.monotonic() - begun < 4
    assert is_served(started)


def test_the_end_does_not_wait_for_who_waits_for_a_place(receiver):
    started = receiver(megabytes=2, associations=16, seconds=60)
    with unfinished(started, 10):
        assert until(lambda: kept(started) > 9_000_000, 60)
        assert closes(started)

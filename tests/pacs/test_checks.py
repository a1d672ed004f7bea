"""`pacs start --check`: a line for all that a start needs; what fails is named, and the rest is checked all the same."""

import re
import socket

import pytest
from pynetdicom.presentation import VerificationPresentationContexts, build_context

from archive import Archive
from certificates import Authority
from pneumoscope.pacs.checks import check_node
from pneumoscope.pacs.dicomweb import DicomWebSettings
from pneumoscope.pacs.fhir import FhirSettings
from pneumoscope.pacs.node import Node
from pneumoscope.pacs.settings import NodeSettings, Peer, TlsSettings
from pneumoscope.pacs.tls import server_context
from pneumoscope.pacs.watching import WatchSettings
from web_server import Server

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def archive():
    opened = Archive()
    yield opened
    opened.close()


@pytest.fixture
def server():
    running = Server()
    running.answers["GET /dicom-web/studies"] = (200, {}, b"[]")
    running.answers["GET /r4/metadata"] = (200, {}, b'{"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}')
    yield running
    running.close()


def r4(server):
    return server.url.replace("dicom-web", "r4")


@pytest.fixture
def settings(tmp_path, archive, server, phantom_bundle):
    (tmp_path / "inbox").mkdir()
    certificate, key = (authority := Authority(tmp_path)).issue("node")

    def make(**more):
        known = {
            "folder": str(tmp_path / "node"),
            "port": 0,
            "bundle": str(phantom_bundle),
            "workers": 1,
            "seconds": 5,
            "peers": (Peer("ARCHIVE", "127.0.0.1", archive.port), Peer("ROOM1")),
            "tls": TlsSettings(str(certificate), str(key), str(authority.file)),
            "dicomweb": DicomWebSettings(server.url, timeout_seconds=5.0, every_seconds=600.0),
            "fhir": FhirSettings(r4(server), timeout_seconds=5.0),
            "watch": WatchSettings(str(tmp_path / "inbox")),
        }
        return NodeSettings(**known | more)

    return make


def test_all_that_a_start_needs_is_checked_and_nothing_is_made(settings, tmp_path, archive, server):
    found = list(check_node(settings()))
    assert all(each.passed for each in found), found
    assert [each.sentence for each in found if "bundle" not in each.sentence] == [
        "settings can be read",
        f"folder {tmp_path / 'node'} can be written",
        "address 127.0.0.1:0 is free",
        "certificate, key and authority of [tls] can be read",
        f"ARCHIVE 127.0.0.1:{archive.port} takes associations",
        "ROOM1 may send from anywhere",
        f"DICOMweb server {server.url} answers",
        f"FHIR server {r4(server)} answers",
        f"watched folder {tmp_path / 'inbox'} can be read and written",
    ]
    assert len(found) == 10
    assert archive.stored == []
    assert not (tmp_path / "node").exists()


FAULTS = {
    "no way in": ({"peers": (), "dicomweb": None, "watch": None}, "expected at least one of"),
    "no bundle": ({"bundle": "nowhere.zip"}, "nowhere.zip"),
    "no operating point": ({"operating_point": "bold"}, "found 'bold'"),
    "a file as folder": ({"folder": __file__}, "expected a folder for the node at .*, found a file"),
    "a folder below a file": ({"folder": f"{__file__}/node"}, "expected a folder for the node at .*, found a file in"),
    "another's address": ({"host": "203.0.113.7"}, "expected a free address 203.0.113.7"),
    "no certificates": (
        {"tls": TlsSettings("a", "b", "c"), "peers": (Peer("A", "127.0.0.1", 1, tls=True),)},
        "expected certificate, key and authority in PEM files, found: No such file or directory at a: correct",
    ),
    "no such host": (
        {"peers": (Peer("A", "no.such.host.invalid", 104),)},
        "expected an address of a peer, found 'no.such",
    ),
    "no host's name": (
        {"peers": (Peer("A", "a..b"),)},
        "expected an address of a peer, found 'a..b': no name of a host",
    ),
    "nobody there": (
        {"peers": (Peer("A", "127.0.0.1", 1),)},
        r"^expected an association with A at 127.0.0.1:1, found no connection \(Connection refused\): check that the peer runs",
    ),
    "no web server": (
        {"dicomweb": DicomWebSettings("http://127.0.0.1:1")},
        "expected an answer from http://127.0.0.1:1",
    ),
    "no FHIR server": ({"fhir": FhirSettings("http://127.0.0.1:1")}, "expected an answer from http://127.0.0.1:1"),
    "no watched folder": (
        {"watch": WatchSettings("nowhere")},
        "expected a folder as watch.folder, found none at nowhere",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_is_named_in_one_line_and_the_rest_is_checked(settings, fault):
    more, message = FAULTS[fault]
    found = list(check_node(settings(**more)))
    [failed] = [each for each in found if not each.passed]
    assert re.search(message, failed.sentence), failed.sentence
    assert "\n" not in failed.sentence
    assert len(found) >= 3


def test_rights_that_lack_are_found(settings, tmp_path, monkeypatch):
    """The tests' user may be root, whom no right is denied."""
    monkeypatch.setattr("os.access", lambda path, mode: mode == 0)
    failed = [each.sentence for each in check_node(settings()) if not each.passed]
    assert [sentence.split(",")[0] for sentence in failed] == [
        f"expected a folder for the node at {tmp_path / 'node'}",
        f"expected to read and write watch.folder {tmp_path / 'inbox'}",
    ]


def test_a_peer_that_takes_no_report_is_named(settings):
    pictures = build_context("1.2.840.10008.5.1.4.1.1.7")
    for contexts, lacking in (([pictures], "sr"), (VerificationPresentationContexts, "sr and sc")):
        other = Archive(contexts)
        try:
            found = list(check_node(settings(peers=(Peer("OTHER", "127.0.0.1", other.port),))))
        finally:
            other.close()
        [failed] = [each for each in found if not each.passed]
        assert failed.sentence.startswith(f"expected OTHER to take {lacking}, found that it does not")


REFUSALS = {
    "another's title": (
        {"require_called_aet": True},
        r"a rejection \(Called AE title not recognised\): correct ae_title",
    ),
    "an unknown node": (
        {"require_calling_aet": ["OTHER"]},
        r"a rejection \(Calling AE title not recognised\): enter the node's AE title",
    ),
    "tls left out": (
        {"tls": "ours"},
        "a connection, but neither acceptance nor rejection: check port and tls of this peer",
    ),
    "no tls there": ({}, r"a fault of TLS \(\w+\): check that the peer takes TLS"),
    "another authority": (
        {"tls": "others"},
        r"a certificate that does not fit \(.*\): correct host .* authority in \[tls\]",
    ),
    "another host": ({"tls": "ours"}, r"a certificate that does not fit \(.*'127.0.0.2'.*\): correct host"),
    "not trusted there": ({"tls": "strict"}, "a fault of TLS .* that its authority signed the node's certificate"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_peer_without_an_association_is_named_with_the_reason_and_what_to_do(settings, tmp_path, case):
    attributes, message = REFUSALS[case]
    ours, others = (Authority(tmp_path, name) for name in ("authority", "others"))
    known = TlsSettings(*map(str, ours.issue("node")), str(ours.file))
    contexts = {
        None: None,
        "ours": server_context(known),
        "others": server_context(TlsSettings(*map(str, others.issue("stranger")), str(others.file))),
        "strict": server_context(TlsSettings(known.certificate, known.key, str(others.file))),
    }
    host = "127.0.0.2" if case == "another host" else "127.0.0.1"
    archive = Archive(host=host, **attributes | {"tls": contexts[attributes.get("tls")]})
    uses_tls = case not in ("another's title", "an unknown node", "tls left out")
    try:
        peer = Peer("PACS", host, archive.port, tls=uses_tls)
        found = list(check_node(settings(peers=(peer,), tls=known, seconds=3)))
    finally:
        archive.close()
    [failed] = [each.sentence for each in found if not each.passed]
    assert re.match(f"expected an association with PACS at {host}:{archive.port}, found {message}", failed), failed


def test_a_port_of_another_protocol_is_named(settings, server):
    port = int(server.url.split(":")[2].partition("/")[0])
    [failed] = [
        each.sentence for each in check_node(settings(peers=(Peer("A", "127.0.0.1", port),))) if not each.passed
    ]
    assert f"A at 127.0.0.1:{port}, found a connection, but neither acceptance nor rejection: check port" in failed


def test_a_node_that_runs_holds_its_address_and_another_program_is_a_fault(settings):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        [failed] = [each for each in check_node(settings(port=port)) if not each.passed]
        assert failed.sentence.startswith(f"expected a free address 127.0.0.1:{port}, found: ")
    with Node(settings(port=port)):
        found = list(check_node(settings(port=port)))
    assert all(each.passed for each in found), found
    assert f"address 127.0.0.1:{port} is held by the node that runs" in [each.sentence for each in found]
    assert found[2].sentence.endswith(", and a node uses it now")


def test_the_command_ends_with_1_where_something_fails(pneumoscope, tmp_path, phantom_bundle):
    (tmp_path / "inbox").mkdir()
    text = f'bundle = "{phantom_bundle}"\nsilent = true\n[watch]\nfolder = "inbox"\n'
    (tmp_path / "node.toml").write_text(text)
    code, out, err = pneumoscope("pacs", "start", "--check")
    assert (code, err, len(out.splitlines())) == (0, "", 4)
    (tmp_path / "node.toml").write_text(f'host = "0.0.0.0"\nport = 0\n{text}[[peers]]\nae_title = "ROOM1"\n')
    code, _, err = pneumoscope("pacs", "start", "--check")
    assert (code, err) == (0, "Images travel unencrypted over the network; [tls] encrypts them.\n")
    (tmp_path / "node.toml").write_text(text)
    (tmp_path / "inbox").rmdir()
    code, out, err = pneumoscope("pacs", "start", "--check")
    assert (code, len(out.splitlines())) == (1, 3)
    assert err.startswith("error: expected a folder as watch.folder, found none at ")
    assert pneumoscope("pacs", "start")[0] == 1

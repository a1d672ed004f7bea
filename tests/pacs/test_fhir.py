"""FHIR: what the node sends to a server is a transaction of R4 that may be sent again; what the server answers is checked."""

import json
import threading
import time
from urllib.parse import unquote

import pytest
from fhir.resources.R4B.bundle import Bundle

from archive import Archive
from dicom_objects import written
from films import ROOT, film, pictures
from node_process import until
from pneumoscope.config import from_table
from pneumoscope.errors import ConfigError, DataError, StorageError
from pneumoscope.pacs.fhir import FhirServer, FhirSettings
from pneumoscope.pacs.node import Node
from pneumoscope.pacs.settings import NodeSettings, Peer
from web_server import Server

JSON = {"Content-Type": "application/fhir+json"}
POST, METADATA = "POST /r4", "GET /r4/metadata"


class Store:
    """A FHIR server's store: resources by type and identifier, of transactions that fhir.resources finds valid."""

    def __init__(self):
        self.resources, self.transactions, self.status = {}, [], 200

    def __call__(self, request):
        assert request.headers["Content-Type"] == request.headers["Accept"] == "application/fhir+json"
        if self.status != 200:
            return self.status, JSON, outcome("too-costly")
        bundle = Bundle.model_validate_json(request.body)
        self.transactions.append(json.loads(request.body))
        answers, addresses = [], {}
        for entry in bundle.entry:
            name, _, value = entry.request.ifNoneExist.partition("=")
            resource = entry.resource
            key = (entry.request.url, unquote(value))
            assert (entry.request.method, name) == ("POST", "identifier")
            assert key == (
                resource.get_resource_type(),
                f"{resource.identifier[0].system}|{resource.identifier[0].value}",
            )
            assert resource.id is None, "the server names it"
            answers.append({"response": {"status": "200 OK" if key in self.resources else "201 Created"}})
            self.resources.setdefault(key, resource)
            addresses[entry.fullUrl] = key
        for resource in (entry.resource for entry in bundle.entry):
            for reference in [*(getattr(resource, "result", None) or []), getattr(resource, "device", None)]:
                assert reference is None or reference.reference in addresses, "within the transaction"
        return 200, JSON, response(*answers)

    def of(self, kind):
        return [resource for (each, _), resource in self.resources.items() if each == kind]


def response(*entries):
    return json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": list(entries)}).encode()


def outcome(*codes, text="Muster^Kind"):
    issues = [{"severity": "error", "code": code, "diagnostics": text} for code in codes]
    return json.dumps({"resourceType": "OperationOutcome", "issue": issues}).encode()


@pytest.fixture
def server():
    running = Server("/r4")
    yield running
    running.close()


@pytest.fixture
def store(server):
    server.answers[POST] = found = Store()
    return found


@pytest.fixture
def settings(tmp_path, server, phantom_bundle):
    def make(**more):
        known = {
            "folder": str(tmp_path / "node"),
            "port": 0,
            "bundle": str(phantom_bundle),
            "workers": 1,
            "seconds": 10,
        }
        known |= {"peers": (Peer("ROOM1"),), "fhir": FhirSettings(server.url, timeout_seconds=5.0)}
        return NodeSettings(**known | more)

    return make


def sent(number=1, **attributes):
    return written(film(pictures(1, 96)[0], number, **attributes))


@pytest.mark.filterwarnings("ignore")
def test_each_answer_is_a_transaction_and_what_is_sent_again_makes_no_duplicate(settings, store):
    with Node(settings()) as node:
        for number, sends in ((1, 1), (1, 2), (2, 3)):
            node.intake.take(sent(number), "ROOM1")
            assert until(lambda sends=sends: len(store.transactions) == sends)
        assert until(lambda: node.queue.counts()["delivered"] == 2)
        assert until(lambda: not list((node.audit.path.parent / "images").iterdir()))
        audited = [json.loads(line) for line in node.audit.path.read_text().splitlines()]
    assert [each["ae_title"] for each in audited if each["event"] == "delivered"] == ["fhir"] * 3
    assert {kind: len(store.of(kind)) for kind in ("DiagnosticReport", "Observation", "Device")} == {
        "DiagnosticReport": 2,
        "Observation": 2,
        "Device": 1,
    }
    first = store.of("DiagnosticReport")[0]
    assert (first.status, first.subject.identifier.value) == ("preliminary", "PATIENT1")
    assert first.imagingStudy[0].identifier.value == f"urn:oid:{ROOT}.1.1"


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_away_holds_up_no_other_destination(settings, store):
    archive = Archive()
    store.status = 503
    try:
        with Node(settings(peers=(Peer("ARCHIVE", "127.0.0.1", archive.port),))) as node:
            node.intake.take(sent(), "ARCHIVE")
            assert until(lambda: len(archive.stored) == 2)
            assert {modality for modality, *_ in archive.stored} == {"SR", "OT"}
            assert until(lambda: "to ARCHIVE" not in node.queue.counts())
            assert node.queue.counts()["to fhir"] == 1
            store.status = 200
            assert until(lambda: node.queue.counts()["delivered"] == 1)
        assert len(store.transactions) == 1
    finally:
        archive.close()


@pytest.mark.filterwarnings("ignore")
def test_an_answer_that_is_not_taken_is_set_aside_without_what_the_server_says_of_it(settings, store):
    store.status = 422
    with Node(settings(attempts=1)) as node:
        node.intake.take(sent(), "ROOM1")
        assert until(lambda: node.queue.counts().get("dead to fhir") == 1)
        [(image, _)] = node.queue.dead()
    assert image.error == "expected the FHIR server to store an answer, found status 422 (too-costly): see its log"


def client(server, **more):
    return FhirServer(FhirSettings(server.url, **({"timeout_seconds": 5.0} | more)))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((400, JSON, outcome("invalid", "Muster^Kind", 7)), DataError, r"found status 400 \(invalid\): see its log"),
        ((412, JSON, b"[]"), DataError, "found status 412: see its log"),
        ((500, JSON, b'{"issue": [3]}'), DataError, "found status 500: see its log"),
        ((503, {}, b""), StorageError, "to be ready, found status 503"),
        ((401, {}, b""), StorageError, "to be let in .* fhir.token_file"),
        ((404, {}, b""), StorageError, "to take transactions of FHIR R4, found status 404: check fhir.url"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), StorageError, "found status 302"),
        ((200, {}, b"<html>Welcome</html>"), StorageError, "to answer a transaction of FHIR R4, found something else"),
        ((200, JSON, outcome("informational")), StorageError, "found something else"),
        ((200, JSON, response()), DataError, "to store all of an answer, found that it did not"),
        ((200, JSON, response({"response": {"status": "201"}}, {})), DataError, "found that it did not"),
        ((200, JSON, response({"response": {"status": "400 Bad Request"}})), DataError, "found that it did not"),
        ((200, JSON, b'{"type": "transaction-response", "entry": 3}'), DataError, "found that it did not"),
    ],
)
def test_what_is_no_confirmation_is_an_error(server, answer, error, message):
    server.answers[POST] = answer
    with client(server) as fhir, pytest.raises(error, match=message) as raised:
        fhir.store(b"{}")
    assert type(raised.value) is error
    assert "Muster" not in str(raised.value)


def test_an_answer_without_end_is_not_read_to_its_end(server):
    written = []

    def endless(request):
        request.send_response(200)
        request.end_headers()
        with pytest.raises(OSError):  # noqa: PT012
            while sum(written) < 500_000_000:
                written.append(request.wfile.write(bytes(100_000)))

    server.answers[POST] = endless
    with client(server) as fhir, pytest.raises(DataError, match="expected at most 32 MB from the FHIR server"):
        fhir.store(b"{}")
    assert sum(written) < 100_000_000


def test_a_silent_server_costs_no_more_than_the_time_allowed(server):
    over = threading.Event()
    server.answers[POST] = lambda _: over.wait(60)
    begun = time.monotonic()
    with client(server, timeout_seconds=0.1) as fhir, pytest.raises(StorageError, match="expected an answer from"):
        fhir.store(b"{}")
    assert time.monotonic() - begun < 15
    over.set()


def test_ping_knows_a_server_of_r4(server, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with client(server, token_file=str(tmp_path / "token")) as fhir:
        for version in ("4.0.1", "4.3.0"):
            described = {"resourceType": "CapabilityStatement", "fhirVersion": version}
            server.answers[METADATA] = (200, JSON, json.dumps(described).encode())
            fhir.ping()
        for body, found in (
            (b'{"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}', "version 5.0.0"),
            (b'{"fhirVersion": "4.0.1"}', "version 4.0.1"),
            (b"<html/>", "status 200"),
        ):
            server.answers[METADATA] = (200, JSON, body)
            with pytest.raises(
                DataError, match=f"expected a server of FHIR R4 at .*/r4, found {found}: check fhir.url"
            ):
                fhir.ping()
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer secret"}


def test_settings_are_checked(tmp_path):
    found = from_table(FhirSettings, {"url": "https://fhir.example/r4", "login_file": "login"}, "node.toml")
    assert found.within(tmp_path).login_file == str(tmp_path / "login")
    for change, message in (
        ({"url": ""}, "expected fhir.url to be an address such as https://fhir.example/r4"),
        ({"url": "ftp://fhir.example"}, "expected fhir.url"),
        ({"url": "https://a:b@fhir.example"}, "into the file that fhir.login_file names"),
        ({"token_file": "token"}, "expected fhir.token_file or fhir.login_file, found both"),
        ({"timeout_seconds": 0}, "expected fhir.timeout_seconds above 0"),
        ({"modality": ["CR"]}, "expected known keys"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_table(FhirSettings, {"url": "https://fhir.example/r4", "login_file": "login"} | change, "node.toml")

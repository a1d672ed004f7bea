"""DICOMweb against a server that misbehaves; `hospital/test_dicomweb.py` is against one that does not."""

import base64
import gzip
import json
import ssl
import threading
import time
from datetime import date, timedelta

import pytest

from certificates import Authority
from pneumoscope.config import from_table
from pneumoscope.errors import ConfigError, DataError, InputError, StorageError
from pneumoscope.pacs.dicomweb import DicomWeb, DicomWebSettings, Instance, Poller, StoreResult
from radiographs import radiograph, write_dicom
from web_server import Server

DX = "1.2.840.10008.5.1.4.1.1.1.1"
JSON = {"Content-Type": "application/dicom+json"}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """File of the instance 1.2.3."""
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    write_dicom(path, radiograph("normal", 14, 64), PatientName="Test^One", Manufacturer="Acme")
    return path.read_bytes()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


def client(server, **settings):
    return DicomWeb(DicomWebSettings(server.url, **({"timeout_seconds": 5.0} | settings)))


def record(uid="1.2.3", sop_class=DX, **values):
    """Record of a search in DICOM JSON."""
    found = {"00080016": sop_class, "00080018": uid, "0020000D": "1.2", "0020000E": "1.2.1"} | values
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in found.items()}


def listing(*records):
    """Answers that page as limit and offset say."""

    def answer(request):
        offset, limit = (int(request.query[name][0]) for name in ("offset", "limit"))
        return 200, JSON, json.dumps(records[offset : offset + limit]).encode()

    return answer


def related(*parts, boundary="xyz", end=b"--\r\n"):
    """Multipart message of some parts."""
    pieces = [b"\r\n--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts]
    body = b"".join(pieces)[2:] + b"\r\n--" + boundary.encode() + end
    return 200, {"Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"'}, body


INSTANCE = Instance("1.2", "1.2.1", "1.2.3")
WADO = "GET /dicom-web/studies/1.2/series/1.2.1/instances/1.2.3"
QIDO, STOW = "GET /dicom-web/instances", "POST /dicom-web/studies"


def test_find_asks_by_modality_body_part_and_day(server):
    server.answers[QIDO] = listing(record())
    with client(server, modality=("CR", "DX"), body_part=("CHEST", "THORAX"), days=3) as web:
        assert list(web.find()) == [INSTANCE] * 4
    asked = [request.query for request in server.requests if request.query["offset"] == ["0"]]
    assert [(each["Modality"], each["BodyPartExamined"]) for each in asked] == [
        ([modality], [part]) for modality in ("CR", "DX") for part in ("CHEST", "THORAX")
    ]
    assert {each["StudyDate"][0] for each in asked} == {f"{date.today() - timedelta(days=3):%Y%m%d}-"}
    assert {request.headers["Accept"] for request in server.requests} == {"application/dicom+json"}


def test_search_goes_through_all_pages(server):
    server.answers[QIDO] = listing(*[record(f"1.2.{number}") for number in range(1203)])
    with client(server) as web:
        found = list(web.search("instances", {}))
        assert len({each["SOPInstanceUID"] for each in found}) == len(found) == 1203
        assert len(list(web.search("instances", {}, most=7))) == 7


def test_search_ends_where_a_server_knows_no_pages_or_sends_smaller_ones(server):
    everything = json.dumps([record(f"1.2.{number}") for number in range(800)]).encode()
    server.answers[QIDO] = (200, JSON, everything)
    with client(server) as web:
        assert len(list(web.search("instances", {}))) == 800
    assert len(server.requests) == 2

    def small(request):
        offset = int(request.query["offset"][0])
        return (
            200,
            JSON,
            json.dumps([record(f"1.2.{number}") for number in range(offset, min(offset + 3, 10))]).encode(),
        )

    server.answers[QIDO] = small
    with client(server) as web:
        assert len(list(web.search("instances", {}))) == 10


def test_search_reads_names_numbers_and_several_values_and_skips_what_is_none(server):
    odd = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "00280010": {"vr": "US", "Value": [64]},
        "00080061": {"vr": "CS", "Value": ["DX", "SR"]},
        "00100020": {"vr": "LO"},
        "zzzz": 3,
        "00080020": {"Value": "20260101"},
        "00080030": {"Value": [None, {}, []]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
    }
    server.answers["GET /dicom-web/studies"] = (200, JSON, json.dumps([odd, 7, None, "x", [], {}]).encode())
    with client(server) as web:
        assert list(web.search("studies", {"PatientID": "a&b=c"}, ["PatientName"])) == [
            {"PatientName": "Doe^Jane", "Rows": "64", "ModalitiesInStudy": "DX\\SR", "StudyInstanceUID": "1.2"}
        ]
        assert server.requests[0].query["PatientID"] == ["a&b=c"]
        list(web.search("studies", {"PatientName": "M*?ü, ^"}))
        assert "PatientName=M*?%C3%BC,%20%5E&" in server.requests[-1].path
        with pytest.raises(InputError, match=r"expected keywords of DICOM, found 'Nope'"):
            list(web.search("studies", {"Nope": "1"}))


def test_find_leaves_out_answers_and_what_is_no_image(server):
    report = "1.2.840.10008.5.1.4.1.1.88.34"
    server.answers[QIDO] = listing(
        record("1.1", **{"00080070": "The pneumoscope maintainers"}), record("1.2", report), record("1.3"), record("")
    )
    with client(server, modality=("DX",)) as web:
        assert [each.uid for each in web.find()] == ["1.3"]


GARBAGE = {
    "no JSON": (200, JSON, b"<html>", DataError, "found something else"),
    "no list": (200, JSON, b'{"a": 1}', DataError, "found something else"),
    "deep": (200, JSON, b"[" * 100_000, DataError, "found something else"),
    "not UTF-8": (200, JSON, b"\xff\xfe[]", DataError, "found something else"),
    "no gzip": (200, JSON | {"Content-Encoding": "gzip"}, b"plain", DataError, "in the encoding that it names"),
    "bomb": (200, JSON | {"Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000)), DataError, "at most 32 MB"),
    "401": (401, {}, b"Doe^Jane", StorageError, "found status 401: check dicomweb.token_file"),
    "403": (403, {}, b"Doe^Jane", StorageError, "found status 403: check dicomweb.token_file"),
    "404": (404, {}, b"Doe^Jane", StorageError, "found status 404: check dicomweb.url"),
    "500": (500, {}, b"Doe^Jane", StorageError, "found status 500"),
    "503": (503, {}, b"Doe^Jane", StorageError, "found status 503: it is tried again later"),
    "elsewhere": (302, {"Location": "http://127.0.0.1:1/"}, b"", StorageError, "found status 302"),
    "cut": (200, JSON | {"Content-Length": "1000"}, b"[", StorageError, "check server and network"),
    "long header": (200, {"X": "a" * 200_000}, b"[]", StorageError, "check server and network"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_for_a_list_is_an_error_of_one_line(server, name):
    *answer, error, message = GARBAGE[name]
    if name == "cut":
        answer = _then_closes(answer)
    server.answers[QIDO] = answer if callable(answer) else tuple(answer)
    with client(server) as web, pytest.raises(error, match=message) as caught:
        list(web.search("instances", {}))
    assert "\n" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def _then_closes(answer):
    def write(request):
        status, headers, body = answer
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return write


def test_nothing_in_a_list_is_no_error(server):
    with client(server) as web:
        for answer in ((204, {}, b""), (200, JSON, b"[]")):
            server.answers[QIDO] = server.answers["GET /dicom-web/studies"] = answer
            assert list(web.find()) == []
            web.ping()


def test_server_that_is_not_there_is_an_error(server):
    server.close()
    with client(server) as web, pytest.raises(StorageError, match=r"expected an answer from .*Connection refused"):
        web.ping()


def test_instance_is_retrieved_as_it_is(server, film):
    server.answers[WADO] = related(film)
    with client(server) as web:
        assert web.retrieve(INSTANCE) == film
        [request] = server.requests
        assert request.headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
        assert request.headers["Accept-Encoding"] == "identity"
        server.answers[WADO] = (200, {"Content-Type": "application/dicom"}, film)
        assert web.retrieve(INSTANCE) == film
        status, headers, body = related(film)
        server.answers[WADO] = (status, headers, b"preamble\r\n" + body + b"epilogue")
        assert web.retrieve(INSTANCE) == film
        server.answers[WADO] = (status, headers | {"Content-Encoding": "gzip"}, gzip.compress(body))
        assert web.retrieve(INSTANCE) == film


def _bad_instances(film):
    status, headers, body = related(film)
    return {
        "no end": (status, headers, body[:-6]),
        "cut within": (status, headers, body[: len(body) // 2]),
        "end cut": related(film, end=b"\r\n"),
        "two parts": related(film, film),
        "no part": related(),
        "no header": (status, headers, b"--xyz" + film + b"\r\n--xyz--"),
        "no boundary": (status, {"Content-Type": "multipart/related"}, body),
        "a page": (200, {"Content-Type": "text/html"}, b"<html>"),
        "no type": (200, {}, b""),
        "no DICOM": related(b"x" * 1000),
        "another": related(film.replace(b"1.2.3\0", b"1.2.4\0")),
        "empty": related(b""),
        "not there": (404, {}, b""),
        "in trouble": (500, {}, b""),
        "too large": (200, {"Content-Type": "application/dicom"}, film + bytes(1_100_000)),
    }


@pytest.mark.parametrize("name", _bad_instances(b""))
def test_what_is_not_the_instance_is_an_error(server, film, name):
    server.answers[WADO] = _bad_instances(film)[name]
    with client(server, megabytes=1) as web, pytest.raises(DataError) as caught:
        web.retrieve(INSTANCE)
    assert type(caught.value) is DataError


def test_body_without_end_is_not_read_to_its_end(server):
    sent = []

    def endless(request):
        request.send_response(200)
        request.send_header("Content-Type", "application/dicom")
        request.end_headers()
        with pytest.raises(OSError):  # noqa: PT012
            while sum(sent) < 500_000_000:
                sent.append(request.wfile.write(bytes(100_000)))

    server.answers[WADO] = endless
    with client(server, megabytes=1) as web, pytest.raises(DataError, match=r"at most 1 MB"):
        web.retrieve(INSTANCE)
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize("uid", ["", "../../admin", "1.2?x=1", "1" * 65, "1.2/3"])
def test_uid_that_is_none_is_never_part_of_an_address(server, uid):
    with client(server) as web, pytest.raises(DataError, match=r"expected UIDs"):
        web.retrieve(Instance("1.2", "1.2.1", uid))
    assert server.requests == []


@pytest.mark.parametrize("silent", [True, False])
def test_slow_server_costs_no_more_than_the_time_allowed(server, silent):
    """Silent, or sending a byte of its header now and then, which no time-out of a single read ends."""
    over = threading.Event()

    def answer(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.02):
            if not silent:
                request.wfile.write(b"x")
                request.wfile.flush()

    server.answers[QIDO] = answer
    began = time.monotonic()
    with client(server, timeout_seconds=0.1) as web, pytest.raises(StorageError):
        list(web.search("instances", {}))
    over.set()
    assert 0.05 < time.monotonic() - began < 15


def stored(*uids, warnings=None, failed=None):
    """Answer of a server that stored some, and did not store others for a reason."""
    references = [
        {"00081155": {"Value": [uid]}}
        | ({"00081196": {"Value": [code]}} if (code := (warnings or {}).get(uid)) else {})
        for uid in uids
    ]
    failures = [
        {"00081155": {"Value": [uid]}} | ({"00081197": {"Value": [reason]}} if reason else {})
        for uid, reason in (failed or {}).items()
    ]
    answer = {"00081199": {"vr": "SQ", "Value": references}, "00081198": {"vr": "SQ", "Value": failures}}
    return json.dumps(answer).encode()


def test_store_gives_what_became_of_each(server, film, tmp_path):
    files = [tmp_path / f"{number}.dcm" for number in range(1, 6)]
    for number, file in enumerate(files, start=1):
        write_dicom(file, radiograph("normal", 14, 64), SOPInstanceUID=f"1.9.{number}")
    body = stored("1.9.1", "1.9.2", warnings={"1.9.2": 0xB000}, failed={"1.9.3": 0xA702, "1.9.4": 0x0111})
    server.answers[STOW] = (202, {"Content-Type": "application/dicom+json; charset=utf-8"}, body)
    with client(server) as web:
        results = web.store([files[0].read_bytes(), *files[1:]])
    assert results == [
        StoreResult("1.9.1", True),
        StoreResult("1.9.2", True, "0xB000"),
        StoreResult("1.9.3", False, "0xA702 (out of resources)"),
        StoreResult("1.9.4", True, "0x0111"),
        StoreResult("1.9.5", False, "the server's answer, of status 202, does not name the instance"),
    ]
    [request] = server.requests
    assert "Transfer-Encoding" not in request.headers
    boundary = request.headers["Content-Type"].rpartition("boundary=")[2]
    assert request.headers["Content-Type"] == f'multipart/related; type="application/dicom"; boundary={boundary}'
    parts = request.body.split(f"--{boundary}".encode())
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]] == [file.read_bytes() for file in files]


@pytest.mark.parametrize("body", [b"", b"<xml/>", b"[]", b"7", b'{"00081199": 3}', b'{"00081199": {"Value": [3, {}]}}'])
@pytest.mark.parametrize("status", [200, 400, 409])
def test_store_counts_as_done_only_what_the_server_names(server, film, status, body):
    server.answers[STOW] = (status, {}, body)
    with client(server) as web:
        [result] = web.store([film])
    assert (result.uid, result.stored) == ("1.2.3", False)
    assert str(status) in result.detail


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (0x0110, "0x0110 (processing failure)"),
        (0xA9F1, "0xA9F1 (the object does not match its SOP class)"),
        (0xC122, "0xC122 (the transfer syntax is not supported)"),
        (0xC0DE, "0xC0DE (the object cannot be understood)"),
        (0x7777, "0x7777"),
        ("Doe^Jane", "the server gives no reason"),
        (None, "the server gives no reason"),
    ],
)
def test_store_says_why_not(server, film, reason, text):
    server.answers[STOW] = (409, JSON, stored(failed={"1.2.3": reason}))
    with client(server) as web:
        assert web.store([film]) == [StoreResult("1.2.3", False, text)]


@pytest.mark.parametrize("status", [401, 404, 413, 500, 503])
def test_store_that_fails_as_a_whole_is_an_error_that_passes(server, film, status):
    server.answers[STOW] = (status, {}, b"")
    with client(server) as web, pytest.raises(StorageError, match=f"found status {status}"):
        web.store([film])


def test_store_sends_nothing_that_is_no_dicom(server, film):
    with client(server) as web, pytest.raises(DataError, match=r"expected DICOM files to store"):
        web.store([film, b"garbage"])
    assert server.requests == []


def test_credentials_are_read_at_each_request(server, tmp_path):
    server.answers["GET /dicom-web/studies"] = (200, JSON, b"[]")
    token = tmp_path / "token"
    token.write_text("first\n")
    with client(server, token_file=str(token)) as web:
        web.ping()
        token.write_text("second\n")
        web.ping()
        token.write_text("no\ntoken")
        with pytest.raises(ConfigError, match=r"expected a token of printable ASCII"):
            web.ping()
        token.unlink()
        with pytest.raises(ConfigError, match=r"expected credentials in .*token, found none"):
            web.ping()
    login = tmp_path / "login"
    login.write_text("jürgen:geheim:1")
    with client(server, login_file=str(login)) as web:
        web.ping()
        login.write_text("no colon")
        with pytest.raises(ConfigError, match=r"expected USER:PASSWORD"):
            web.ping()
    sent = [request.headers["Authorization"] for request in server.requests]
    basic = base64.b64encode("jürgen:geheim:1".encode()).decode()
    assert sent == ["Bearer first", "Bearer second", f"Basic {basic}"]


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.answers["GET /dicom-web/studies"] = (200, JSON, b"[]")
    with client(server) as web:
        web.ping()


def test_https_on_a_server_without_tls_says_what_to_do(server):
    with (
        DicomWeb(DicomWebSettings(server.url.replace("http:", "https:"))) as web,
        pytest.raises(StorageError, match=r"expected TLS at https:.*, found none: use http://"),
    ):
        web.ping()


def test_tls_checks_both_sides(tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("client")
    other = stranger.issue("other")
    server = Server(tls=context)
    server.answers["GET /dicom-web/studies"] = (200, JSON, b"[]")
    try:
        settings = {"authority": str(authority.file), "certificate": str(certificate), "key": str(key)}
        with client(server, **settings) as web:
            web.ping()
        for changed in (
            {"authority": ""},
            {"authority": str(stranger.file)},
            {"certificate": str(other[0]), "key": str(other[1])},
        ):
            with (
                client(server, **(settings | changed)) as web,
                pytest.raises(StorageError, match=r"expected an answer"),
            ):
                web.ping()
        assert len(server.requests) == 1
        for missing in ({"authority": str(tmp_path / "no.pem")}, {"key": str(certificate)}):
            with pytest.raises(ConfigError, match=r"expected certificates \(PEM\)") as raised:
                client(server, **(settings | missing))
            assert "key" in missing or "no.pem" in str(raised.value)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "pacs.example"}, "expected dicomweb.url to be an address"),
        ({"url": "ftp://pacs.example"}, "expected dicomweb.url to be an address"),
        ({"url": "http://"}, "expected dicomweb.url to be an address"),
        ({"url": "http://user:secret@pacs.example/dicom-web"}, "user and password belong into the file"),
        ({"url": "http://pacs.example/dicom-web?x=1"}, "expected dicomweb.url to be an address"),
        ({"token_file": "a", "login_file": "b"}, "found both"),
        ({"modality": ()}, "expected modalities"),
        ({"days": 0}, "expected dicomweb.days above 0"),
        ({"timeout_seconds": float("nan")}, "expected dicomweb.timeout_seconds above 0"),
        ({"megabyte": 1}, "did you mean megabytes?"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_table(DicomWebSettings, {"url": "https://pacs.example/dicom-web"} | change, "node.toml")
    assert "secret" not in str(caught.value)


def test_relative_paths_are_those_of_the_settings_file(tmp_path):
    found = DicomWebSettings("http://pacs/dicom-web/", token_file="token", authority="/etc/ca.pem").within(tmp_path)
    assert (found.token_file, found.authority, found.key) == (str(tmp_path / "token"), "/etc/ca.pem", "")


class Queue:
    """Keeps what it is handed."""

    def __init__(self):
        self.contents, self.reason, self.error = [], "", None

    def take(self, content):
        if self.error:
            raise self.error
        if not self.reason:
            self.contents.append(content)
        return self.reason


def polling(server, queue, known=lambda uid: False, **settings):
    web = client(server, **({"modality": ("DX",), "every_seconds": 0.01} | settings))
    return Poller(web, known, queue.take)


def test_poller_hands_over_what_is_not_known_once(server, film):
    server.answers[QIDO] = listing(record("1.2.3"), record("1.2.4"))
    server.answers[WADO] = related(film)
    queue = Queue()
    poller = polling(server, queue, known="1.2.4".__eq__)
    for _ in range(3):
        poller.step()
    assert queue.contents == [film]
    assert [request.path for request in server.requests if "studies" in request.path] == [WADO[4:]]
    assert (poller.taken, poller.refused) == (1, 0)
    poller.stop()


def test_poller_leaves_alone_what_is_refused(server, film):
    server.answers[QIDO] = listing(record("1.2.3"))
    queue = Queue()
    queue.reason = "not for us"
    server.answers[WADO] = related(film)
    poller = polling(server, queue)
    poller.step()
    poller.step()
    assert (poller.taken, poller.refused) == (0, 1)
    assert sum("studies" in request.path for request in server.requests) == 1
    poller.stop()


def test_poller_never_hands_over_an_answer_that_the_list_does_not_tell(server, tmp_path):
    write_dicom(tmp_path / "answer.dcm", radiograph("normal", 14, 64), Manufacturer="The pneumoscope maintainers")
    server.answers[QIDO] = listing(record("1.2.3"))
    server.answers[WADO] = related((tmp_path / "answer.dcm").read_bytes())
    queue = Queue()
    poller = polling(server, queue)
    poller.step()
    poller.step()
    assert queue.contents == []
    assert sum("studies" in request.path for request in server.requests) == 1
    poller.stop()


def test_poller_is_not_held_up_by_an_instance_that_fails(server, film):
    """One that is garbage, and one for which the server breaks off."""
    uids = ("1.2.1", "1.2.2", "1.2.3")
    server.answers[QIDO] = listing(*map(record, uids))
    server.answers[WADO.replace("1.2.3", "1.2.1")] = related(b"garbage")
    server.answers[WADO.replace("1.2.3", "1.2.2")] = lambda request: None
    server.answers[WADO] = related(film)
    queue = Queue()
    poller = polling(server, queue, every_seconds=60.0)
    poller.step()
    assert queue.contents == [film]
    poller.step()
    poller.step()
    assert sum("studies" in request.path for request in server.requests) == 3
    poller.stop()


def test_poller_reports_that_all_instances_fail(server, film):
    server.answers[QIDO] = listing(record("1.2.3"), record("1.2.4"))
    server.answers[WADO] = server.answers[WADO.replace("1.2.3", "1.2.4")] = (403, {}, b"")
    poller = polling(server, Queue(), every_seconds=60.0)
    with pytest.raises(StorageError, match="found status 403"):
        poller.step()
    assert sum("studies" in request.path for request in server.requests) == 2
    poller.stop()


def test_poller_survives_all_that_a_server_does(server, film, caplog):
    answers = [answer for *answer, _, _ in GARBAGE.values() if answer[2:] != [b"["]]
    good = listing(record("1.2.3"))
    rounds = []

    def varying(request):
        rounds.append(request)
        number = len(rounds) - 1
        return tuple(answers[number]) if number < len(answers) else good(request)

    server.answers[QIDO] = varying
    server.answers[WADO] = related(film)
    queue = Queue()
    queue.error = OSError(28, "No space left on device")
    poller = polling(server, queue, every_seconds=0.001)

    for _ in answers:
        with pytest.raises(DataError):  # StorageError is one
            poller.step()
    with pytest.raises(OSError, match="No space"):
        poller.step()
    queue.error = None
    _until(lambda: poller.step() or queue.contents)
    assert queue.contents == [film]
    assert "Doe" not in caplog.text
    poller.stop()


def test_poller_comes_back_with_the_server_after_growing_pauses(server, film, caplog):
    server.answers[QIDO] = (500, {}, b"")
    server.answers[WADO] = related(film)
    queue = Queue()
    poller = polling(server, queue, every_seconds=0.02)
    poller.start()
    _until(lambda: poller.failures >= 4)
    times = len(server.requests)
    assert times <= 5
    assert "found status 500" in poller.error
    server.answers[QIDO] = listing(record("1.2.3"))
    _until(lambda: queue.contents)
    _until(lambda: not poller.error)
    assert poller.stop()
    assert caplog.messages[-1] == "DICOMweb: works again"


@pytest.mark.parametrize("path", [QIDO, WADO])
def test_poller_stops_at_once_while_the_server_is_silent(server, path):
    reached, over = threading.Event(), threading.Event()

    def silent(request):
        reached.set()
        over.wait(30)

    server.answers[QIDO] = listing(record("1.2.3"))
    server.answers[path] = silent
    queue = Queue()
    poller = polling(server, queue, timeout_seconds=30.0)
    poller.start()
    assert reached.wait(60)
    began = time.monotonic()
    assert poller.stop(60)
    assert time.monotonic() - began < 15, "it waits for the server, whose time is 30 seconds"
    over.set()
    assert queue.contents == []
    assert poller.failures == 0


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)

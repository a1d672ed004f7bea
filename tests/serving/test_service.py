import contextlib
import hashlib
import io
import json
import re
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.overlay import evidence_layer, overlay_png
from pneumoscope.serving.problems import PROBLEM_JSON, Problem
from pneumoscope.types import NOTICE
from serving.conftest import running

JPEG = {"Content-Type": "image/jpeg"}


def is_closed(connection):
    try:
        return not connection.recv(100)
    except ConnectionResetError:
        return True


def problem_of(answer):
    told = answer.json()
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert told["status"] == answer.status_code
    assert told["instance"] == answer.headers["x-request-id"]
    assert told["advice"]
    return told["type"].removeprefix("/v1/problems/")


def test_an_answer_equals_the_command_lines_to_the_bit(service, films, phantom_bundle, pneumoscope):
    code, out, _ = pneumoscope("predict", *films, "--bundle", phantom_bundle, "--json", "--prevalence", 0.2)
    assert code == 0
    for film, line in zip(films, out.splitlines(), strict=True):
        query = {"file": str(film), "prevalence": 0.2}
        answer = service.post("/v1/predict", params=query, content=film.read_bytes(), headers=JPEG)
        assert answer.status_code == 200
        assert answer.json() == json.loads(line)


def test_several_images_of_one_form_are_answered_for_in_their_order(service, films, phantom_bundle):
    images = [*films[:3], films[0]]
    answer = service.post("/v1/predict/batch", files=[("files", (film.name, film.read_bytes())) for film in images])
    detector = load_detector(phantom_bundle)
    expected = [detector.predict(film.read_bytes()).to_dict() | {"file": film.name} for film in images]
    assert answer.json() == expected


def test_what_cannot_be_predicted_is_rejected_with_its_reason(service):
    broken = service.post("/v1/predict", params={"file": "a.jpeg"}, content=b"\xff\xd8 no more", headers=JPEG).json()
    assert (broken["decision"], broken["reasons"]) == ("rejected", ["unreadable"])
    assert "a.jpeg" in broken["detail"]
    tiny = io.BytesIO()
    Image.new("L", (20, 20)).save(tiny, "PNG")
    assert service.post("/v1/predict", content=tiny.getvalue()).json()["reasons"] == ["too_small"]
    colour = get_testdata_file("examples_rgb_color.dcm", download=False)
    with open(colour, "rb") as stream:
        told = service.post("/v1/predict", content=stream.read(), headers={"Content-Type": "application/dicom"}).json()
    assert told["reasons"] == ["unsupported_dicom"]


def test_evidence_is_given_as_numbers_and_as_a_picture(service, films, phantom_bundle):
    film = films[2]
    expected = load_detector(phantom_bundle).predict(film, evidence=True)
    told = service.post("/v1/predict?evidence=true", content=film.read_bytes()).json()["evidence_map"]
    assert np.array_equal(np.array(told["map"], dtype=np.float32), expected.evidence_map)
    assert tuple(told["frame"]) == expected.frame
    drawn = service.post("/v1/evidence", content=film.read_bytes())
    assert drawn.headers["content-type"] == "image/png"
    assert drawn.content == overlay_png(read_grey(film), expected.evidence_map, expected.frame)
    assert json.loads(drawn.headers.get("lung-zones", "null")) == expected.zones
    alone = service.post("/v1/evidence?alone=true", content=film.read_bytes()).content
    with Image.open(io.BytesIO(alone)) as picture:
        assert picture.mode == "RGBA"
        expected_layer = evidence_layer(expected.evidence_map, expected.frame, *read_grey(film).shape)
        assert np.array_equal(np.asarray(picture), np.asarray(expected_layer))
    assert problem_of(service.post("/v1/evidence", content=b"nothing")) == "unreadable"


@pytest.mark.parametrize("name", ["film.jpeg", "MR_small.dcm"])
def test_a_film_comes_back_as_the_detector_reads_it(service, films, name):
    file = films[0] if name == "film.jpeg" else get_testdata_file(name, download=False)
    with open(file, "rb") as stream:
        content = stream.read()
    answer = service.post("/v1/film", content=content)
    expected = read_grey(films[0], content)
    bits = int(answer.headers["film-bits"])
    assert bits == expected.itemsize * 8
    shape = int(answer.headers["film-height"]), int(answer.headers["film-width"])
    assert np.array_equal(np.frombuffer(answer.content, f"<u{bits // 8}").reshape(shape), expected)
    assert problem_of(service.post("/v1/film", content=b"nothing")) == "unreadable"


@pytest.mark.parametrize(
    ("method", "path", "request_", "problem"),
    [
        ("POST", "/v1/predict?prevalence=0", {"content": b"x"}, Problem.INVALID_REQUEST),
        ("POST", "/v1/predict", {}, Problem.INVALID_REQUEST),
        ("POST", "/v1/predict?evidence=perhaps", {"content": b"x"}, Problem.INVALID_REQUEST),
        ("POST", "/v1/predict?operating_point=bold", {"content": b"x"}, Problem.UNKNOWN_OPERATING_POINT),
        (
            "POST",
            "/v1/predict",
            {"content": b"x", "headers": {"Content-Type": "text/html"}},
            Problem.UNSUPPORTED_MEDIA_TYPE,
        ),
        ("POST", "/v1/predict", {"files": {"files": b"x"}}, Problem.UNSUPPORTED_MEDIA_TYPE),
        ("POST", "/v1/predict", {"content": bytes(2_000_001)}, Problem.TOO_LARGE),
        ("POST", "/v1/predict", {"content": iter([bytes(1_500_000)] * 2)}, Problem.TOO_LARGE),
        ("POST", "/v1/predict/batch", {"content": b"x"}, Problem.UNSUPPORTED_MEDIA_TYPE),
        ("POST", "/v1/predict/batch", {"files": [("files", b"x")] * 5}, Problem.TOO_MANY_IMAGES),
        ("POST", "/v1/predict/batch", {"files": [("files", b"x")] * 9}, Problem.TOO_MANY_IMAGES),
        ("POST", "/v1/predict/batch", {"files": [("file", b"x")]}, Problem.INVALID_REQUEST),
        ("POST", "/v1/predict/batch", {"files": [("files", bytes(2_000_001))]}, Problem.TOO_LARGE),
        (
            "POST",
            "/v1/predict/batch",
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            Problem.BAD_REQUEST,
        ),
        (
            "POST",
            "/v1/predict/batch",
            {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=a"}},
            Problem.BAD_REQUEST,
        ),
        ("PUT", "/v1/predict", {}, Problem.METHOD_NOT_ALLOWED),
        ("GET", "/v1/nothing", {}, Problem.NOT_FOUND),
        ("GET", "/page/nothing.js", {}, Problem.NOT_FOUND),
        ("GET", "/page/../app.py", {}, Problem.NOT_FOUND),
        ("GET", "/v1/problems/nothing", {}, Problem.NOT_FOUND),
        ("DELETE", "/v1/history/999999", {}, Problem.NOT_FOUND),
        ("GET", "/v1/history?limit=0", {}, Problem.INVALID_REQUEST),
        ("GET", "/v1/bundle", {"headers": {"Host": "elsewhere.example"}}, Problem.UNKNOWN_HOST),
    ],
)
def test_every_problem_has_its_type_and_says_what_to_do(service, method, path, request_, problem):
    answer = service.request(method, path, **request_)
    assert problem_of(answer) == problem.code
    assert answer.status_code == problem.value.status


def test_a_path_tells_everything_that_can_be_done_there(service):
    assert service.put("/v1/history").headers["allow"] == "DELETE, GET"
    assert service.get("/v1/predict").headers["allow"] == "POST"


def test_problems_are_listed_and_each_has_a_page(service):
    listed = service.get("/v1/problems").json()
    assert [one["type"] for one in listed] == [f"/v1/problems/{problem.code}" for problem in Problem]
    for one in listed:
        assert service.get(one["type"]).json() == one


def test_a_slow_body_is_given_up_and_an_aborted_one_forgotten(service, films):
    place = urlsplit(str(service.base_url))
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((place.hostname, place.port)) as slow:
        slow.sendall(head + b"x")
        with socket.create_connection((place.hostname, place.port)) as aborted:
            aborted.sendall(head + bytes(500))
        assert b"408" in slow.makefile("rb").readline()
    assert service.post("/v1/predict", content=films[0].read_bytes()).status_code == 200


def held_by(service):
    return float(re.search(r"^pneumoscope_bytes_held (\S+)$", service.get("/metrics").text, re.MULTILINE)[1])


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bodies_hold_no_more_memory_than_there_is_room_for(phantom_bundle, films):
    film = films[0].read_bytes()
    half = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n" + bytes(800_000)
    with running(bundle=str(phantom_bundle), image_bytes=1_000_000, held_bytes=1_000_000) as service:
        place = urlsplit(str(service.base_url))
        with socket.create_connection((place.hostname, place.port)) as arriving:
            arriving.sendall(half)
            wait_for(lambda: held_by(service) == 800_000)
            answer = service.post("/v1/predict", content=bytes(300_000))
            assert problem_of(answer) == "busy"
            assert answer.headers["retry-after"] == "1"
            assert service.post("/v1/predict", content=film).status_code == 200
        wait_for(lambda: held_by(service) == 0)
        assert service.post("/v1/predict", content=bytes(300_000)).status_code == 200
        form = [("files", bytes(600_000))] * 2
        assert problem_of(service.post("/v1/predict/batch", files=form)) == "too_large"


def test_headers_without_end_or_too_slow_close_the_connection(service, monkeypatch):
    monkeypatch.setattr("pneumoscope.serving.connection.HEADER_SECONDS", 1.0)
    place = urlsplit(str(service.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=10) as slow:
        slow.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
        assert is_closed(slow)
    with socket.create_connection((place.hostname, place.port), timeout=10) as endless:
        with contextlib.suppress(OSError):  # once it is closed, nothing more can be sent
            for _ in range(100):
                endless.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000)
        assert is_closed(endless)
    with socket.create_connection((place.hostname, place.port), timeout=10) as kept:
        for _ in range(2):  # two requests on one connection, each with its own time
            kept.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in kept.recv(10_000)
        kept.sendall(b"GET")
        assert is_closed(kept)


def test_more_connections_than_bearable_are_turned_away(service, monkeypatch):
    monkeypatch.setattr("pneumoscope.serving.connection.CONNECTIONS", 0)
    place = urlsplit(str(service.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=10) as turned_away:
        assert is_closed(turned_away)


def test_what_is_no_http_is_refused(service):
    place = urlsplit(str(service.base_url))
    with socket.create_connection((place.hostname, place.port), timeout=10) as foreign:
        foreign.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400" in foreign.makefile("rb").readline()
    assert service.get("/v1/health").json()["status"] == "alive"


def test_every_answer_carries_headers_that_keep_it_safe(service):
    for path in ("/", "/v1/bundle", "/v1/nothing"):
        headers = service.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
        assert "server" not in headers
    assert service.get("/v1/bundle").headers["cache-control"] == "no-store"
    assert (
        "access-control-allow-origin" not in service.get("/v1/bundle", headers={"Origin": "https://a.example"}).headers
    )


def test_the_bundle_and_its_measures_are_told(service, phantom_bundle):
    detector = load_detector(phantom_bundle)
    told = service.get("/v1/bundle").json()
    assert told["sha256"] == detector.bundle.sha256
    assert told["operating_points"]["balanced"]["threshold"] == 0.5
    known = service.get("/v1/performance").json()
    assert known["detector"] is None
    assert known["notice"] == NOTICE
    assert len(known["study"]) == 5


def test_metrics_count_what_was_asked(service, films):
    def value(name):
        found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", service.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    name = 'pneumoscope_reasons_total{reason="unreadable"}'
    requests = 'pneumoscope_requests_total{route="/v1/predict",status="200"}'
    before = value(name), value(requests)
    service.post("/v1/predict", content=b"nothing")
    assert (value(name), value(requests)) == (before[0] + 1, before[1] + 1)
    assert value("pneumoscope_images_accepted") == 0


def test_history_is_searched_and_deleted(service, films):
    service.delete("/v1/history")
    for film in films[:3]:
        service.post("/v1/predict", params={"file": f"100%_{film.name}"}, content=film.read_bytes())
    service.post("/v1/predict", params={"file": "broken"}, content=b"nothing")
    entries = service.get("/v1/history").json()["entries"]
    assert entries[0]["prediction"]["file"] == "broken"
    assert len(entries) == 4
    digest = hashlib.sha256(films[1].read_bytes()).hexdigest()
    [found] = service.get("/v1/history", params={"text": digest[:20]}).json()["entries"]
    assert found["prediction"]["sha256"] == digest
    assert len(service.get("/v1/history", params={"text": "100%_"}).json()["entries"]) == 3
    assert service.get("/v1/history", params={"text": "0_"}).json()["entries"] == []
    assert len(service.get("/v1/history?decision=rejected").json()["entries"]) == 1
    older = service.get("/v1/history", params={"before": entries[0]["id"], "limit": 2}).json()["entries"]
    assert older == entries[1:3]
    assert service.delete(f"/v1/history/{entries[0]['id']}").json() == {"deleted": 1}
    assert service.delete("/v1/history").json() == {"deleted": 3}


def test_a_history_that_cannot_be_written_hinders_no_answer(service, films, monkeypatch, caplog):
    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("pneumoscope.serving.history.History.add", full)
    assert service.post("/v1/predict", content=films[0].read_bytes()).status_code == 200
    assert "could not be kept in the history" in caplog.text


def test_nothing_is_kept_unless_asked_and_the_log_names_no_file(phantom_bundle, films, caplog):
    with running(bundle=str(phantom_bundle)) as service, caplog.at_level("INFO", "pneumoscope.requests"):
        service.post("/v1/predict", params={"file": "Anna Muster.jpeg"}, content=films[0].read_bytes())
        assert problem_of(service.get("/v1/history")) == "history_off"
        assert problem_of(service.delete("/v1/history")) == "history_off"
    [line] = [json.loads(message) for message in caplog.messages if "/v1/predict" in message]
    assert line["images"][0]["sha256"] == hashlib.sha256(films[0].read_bytes()).hexdigest()
    assert line["status"] == 200
    assert "Anna" not in caplog.text
    caplog.clear()
    with (
        running(bundle=str(phantom_bundle), request_log=False) as service,
        caplog.at_level("INFO", "pneumoscope.requests"),
    ):
        service.post("/v1/predict", content=films[0].read_bytes())
    assert not [record for record in caplog.records if record.name == "pneumoscope.requests"]


def test_with_keys_only_their_owners_ask(phantom_bundle, films, tmp_path, pneumoscope):
    file = tmp_path / "keys"
    code, key, _ = pneumoscope("serve", "--api-keys", file, "--new-key", "ward-3")
    assert code == 0
    assert key.strip() not in file.read_text()
    with running(bundle=str(phantom_bundle), keys=file) as service:
        refused = service.post("/v1/predict", content=films[0].read_bytes())
        assert problem_of(refused) == "unauthorised"
        assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer nonsense", "Basic abc", "Bearer"):
            assert service.get("/metrics", headers={"Authorization": wrong}).status_code == 401
        owned = {"Authorization": f"Bearer {key.strip()}"}
        assert service.post("/v1/predict", content=films[0].read_bytes(), headers=owned).status_code == 200
        for path in ("/", "/page/main.js", "/v1/health", "/v1/ready", "/v1/problems"):
            assert service.get(path).status_code == 200
        assert service.get("/v1/history").status_code == 401


def test_pages_elsewhere_may_ask_where_they_are_allowed(phantom_bundle):
    with running(bundle=str(phantom_bundle), origins=("https://pacs.example",), hosts=("ward.example",)) as service:
        asked = {"Origin": "https://pacs.example", "Access-Control-Request-Method": "POST"}
        assert service.options("/v1/predict", headers=asked).headers["access-control-allow-origin"] == asked["Origin"]
        other = asked | {"Origin": "https://other.example"}
        assert "access-control-allow-origin" not in service.options("/v1/predict", headers=other).headers
        assert service.get("/v1/health", headers={"Host": "ward.example:80"}).status_code == 200
        assert service.get("/v1/health", headers={"Host": "other.example"}).status_code == 421


def test_a_failure_of_ours_is_told_without_its_details(service, monkeypatch):
    def fail(*args):
        raise RuntimeError("a secret")

    monkeypatch.setattr("pneumoscope.serving.monitoring.Monitoring.metrics", fail)
    answer = service.get("/metrics")
    assert problem_of(answer) == "internal"
    assert "secret" not in answer.text


def test_a_stop_answers_what_was_accepted(phantom_bundle, films):
    with running(bundle=str(phantom_bundle), queue=64, images=64) as service:
        images = [("files", (film.name, film.read_bytes())) for film in films] * 7
        with ThreadPoolExecutor(1) as caller:
            answer = caller.submit(service.post, "/v1/predict/batch", files=images)
            while service.get("/v1/health").json()["images_accepted"] == 0:
                assert not answer.done()
            service.server.should_exit = True
            assert [one["file"] for one in answer.result(60).json()] == [name for _, (name, _) in images]

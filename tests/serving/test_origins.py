"""Pages of other origins: what a browser sends for them is refused before its body is read."""

import socket
from urllib.parse import urlsplit

import pytest

from pneumoscope.serving.origins import check_origin
from pneumoscope.serving.problems import ProblemError
from serving.conftest import running
from serving.test_service import problem_of

FOREIGN = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost"},
    {"Origin": "not an origin"},
    {"Origin": "http://127.0.0.1:many"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-site"},
    {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
]
CHANGING = [
    ("POST", "/v1/predict"),
    ("POST", "/v1/predict/batch"),
    ("POST", "/v1/evidence"),
    ("POST", "/v1/film"),
    ("DELETE", "/v1/history"),
    ("DELETE", "/v1/history/1"),
]


def own_origin(service):
    return str(service.base_url).rstrip("/")


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_changes_nothing(service, films, method, path, headers):
    service.delete("/v1/history")
    service.post("/v1/predict?file=own", content=films[0].read_bytes())
    if path.endswith("batch"):
        body = {"files": [("files", ("foreign", films[0].read_bytes()))]}
    else:
        body = {"content": films[0].read_bytes()} if method == "POST" else {}
    answer = service.request(method, path, headers=headers, **body)
    assert answer.status_code == 403
    assert problem_of(answer) == "cross_origin"
    assert "access-control-allow-origin" not in answer.headers
    [entry] = service.get("/v1/history").json()["entries"]
    assert entry["prediction"]["file"] == "own"


def test_the_body_is_not_waited_for(service):
    place = urlsplit(str(service.base_url))
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nOrigin: https://a.example\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=10) as foreign:
        foreign.sendall(head)
        assert b" 403 " in foreign.makefile("rb").readline()


@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_the_own_page_and_programs_are_answered(service, films, site):
    for origin in ({}, {"Origin": own_origin(service)}, {"Origin": own_origin(service).upper()}):
        answer = service.post("/v1/predict", content=films[0].read_bytes(), headers=site | origin)
        assert answer.status_code == 200


def test_a_page_of_another_origin_may_read_nothing_but_is_answered(service):
    answer = service.get("/v1/bundle", headers={"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_an_allowed_origin_is_answered(phantom_bundle, films):
    with running(bundle=str(phantom_bundle), origins=("https://pacs.example",)) as service:
        for site in ("cross-site", "same-site"):
            headers = {"Origin": "https://pacs.example", "Sec-Fetch-Site": site}
            answer = service.post("/v1/predict", content=films[0].read_bytes(), headers=headers)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "https://pacs.example"
        foreign = {"Origin": "https://other.example"}
        assert service.post("/v1/predict", content=films[0].read_bytes(), headers=foreign).status_code == 403


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "films.example", "http://films.example"),
        ("http", "films.example:80", "http://films.example"),
        ("https", "films.example", "https://films.example:443"),
        ("http", "films.example", "https://films.example"),  # a reverse proxy ends TLS
        ("http", "films.example:8443", "https://films.example:8443"),
        ("http", "[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_own_origin_is_that_of_the_host_header(scheme, host, origin):
    check_origin("POST", scheme, {b"host": host, b"origin": origin}, ())
    check_origin("POST", scheme, {b"host": host, b"origin": "https://any.example"}, ("*",))
    for other in (f"{origin}1", origin.replace("//", "//a."), "null", "", "https://"):
        with pytest.raises(ProblemError, match="expected a page of this service or a program"):
            check_origin("POST", scheme, {b"host": host, b"origin": other}, ())


def test_plain_http_does_not_pass_for_https():
    with pytest.raises(ProblemError, match="expected a page of this service"):
        check_origin("POST", "https", {b"host": "films.example", b"origin": "http://films.example"}, ())

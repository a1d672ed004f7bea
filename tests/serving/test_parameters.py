"""Query parameters that a route does not have are refused, with the nearest name that it has."""

import socket
from urllib.parse import urlsplit

import pytest

from serving.test_service import problem_of


@pytest.mark.parametrize(
    ("method", "path", "unknown", "nearest"),
    [
        ("POST", "/v1/predict?operating_pont=sensitive", "operating_pont", "operating_point"),
        ("POST", "/v1/predict?file=a&Prevalence=0.1", "Prevalence", "prevalence"),
        ("POST", "/v1/predict/batch?prevalance=0.1", "prevalance", "prevalence"),
        ("POST", "/v1/evidence?allone=true", "allone", "alone"),
        ("POST", "/v1/film?file=a", "file", None),
        ("GET", "/v1/history?limits=3", "limits", "limit"),
        ("DELETE", "/v1/history?decision=normal", "decision", None),
        ("DELETE", "/v1/history/1?x", "x", None),
        ("GET", "/v1/bundle?x=1", "x", None),
        ("GET", "/v1/performance?x=1", "x", None),
        ("GET", "/v1/drift?x=1", "x", None),
        ("GET", "/v1/health?x=1", "x", None),
        ("GET", "/v1/ready?x=1", "x", None),
        ("GET", "/v1/problems?x=1", "x", None),
        ("GET", "/v1/problems/busy?x=1", "x", None),
        ("GET", "/v1/openapi.json?x=1", "x", None),
        ("GET", "/metrics?x=1", "x", None),
    ],
)
def test_an_unknown_parameter_is_named_with_the_nearest_known_one(service, method, path, unknown, nearest):
    answer = service.request(method, path)
    assert answer.status_code == 422
    assert problem_of(answer) == "unknown_parameter"
    [error] = answer.json()["errors"]
    assert error == {"where": f"query.{unknown}", "found": "unknown", "nearest": nearest}
    assert repr(unknown) in answer.json()["detail"]
    assert nearest is None or f"nearest known: {nearest}" in answer.json()["detail"]


def test_every_unknown_parameter_is_named_up_to_ten(service):
    query = {f"unknown{number}" + 200 * "x": "" for number in range(12)}
    answer = service.get("/v1/history", params=query)
    assert [error["where"] for error in answer.json()["errors"]] == [f"query.{name[:100]}" for name in list(query)[:10]]
    assert "'\\u202e\\x07'" in service.get("/v1/history", params={"\u202e\a": ""}).json()["detail"]


def test_the_body_is_not_waited_for(service):
    place = urlsplit(str(service.base_url))
    head = b"POST /v1/predict?fiel=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=10) as caller:
        caller.sendall(head)
        assert b" 422 " in caller.makefile("rb").readline()


def test_it_is_counted_under_its_route(service):
    counted = 'pneumoscope_requests_total{route="/v1/drift",status="422"}'
    service.get("/v1/drift?x=1")
    assert counted in service.get("/metrics").text


def test_the_page_and_unknown_paths_are_as_without_parameters(service):
    for path in ("/", "/page/main.js"):
        assert service.get(f"{path}?from=elsewhere").content == service.get(path).content
    assert service.get("/v1/nothing?x=1").status_code == 404
    assert service.put("/v1/predict?x=1").status_code == 405
    assert service.get("/v1/history?").status_code == 200

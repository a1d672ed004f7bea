"""Connections beyond the limit: the longest idle go, so that a new caller gets through."""

import contextlib
import socket
from urllib.parse import urlsplit

import pytest

from serving.conftest import running
from serving.test_service import is_closed

REQUEST = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
ARRIVING = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx"


@contextlib.contextmanager
def opener(service):
    place = urlsplit(str(service.base_url))
    with contextlib.ExitStack() as stack:

        def connect(begun=b""):
            connection = stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=10))
            connection.sendall(begun)
            return connection

        yield connect


@pytest.fixture
def limited(phantom_bundle, monkeypatch):
    monkeypatch.setattr("pneumoscope.serving.connection.CONNECTIONS", 4)
    with running(bundle=str(phantom_bundle)) as service:
        service.headers["Connection"] = "close"
        yield service


@pytest.mark.parametrize("begun", [b"", b"GET /v1/health HTTP/1.1\r\nHost: "], ids=["nothing", "half a header"])
def test_idle_connections_beyond_the_limit_do_not_keep_callers_out(service, begun):
    with opener(service) as connect:
        idle = [connect(begun) for _ in range(520)]
        for _ in range(3):
            caller = connect(REQUEST)
            assert b" 200 " in caller.makefile("rb").readline()
        assert is_closed(idle[0])
        idle[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            idle[-1].recv(1)


def test_the_longest_idle_goes_and_who_is_answered_stays(limited):
    with opener(limited) as connect:
        arriving = connect(ARRIVING)
        limited.get("/v1/health")  # what is sent before is read by now
        first, second = connect(), connect()
        first.sendall(REQUEST)
        assert b" 200 " in first.recv(10_000)  # idle since then
        third = connect()
        assert limited.get("/v1/health").status_code == 200
        assert is_closed(second)
        for kept in (first, third):
            kept.sendall(REQUEST)
            assert b" 200 " in kept.recv(10_000)
        arriving.sendall(bytes(999))
        assert b" 200 " in arriving.makefile("rb").readline()


def test_where_all_are_busy_the_new_one_is_turned_away(limited):
    with opener(limited) as connect:
        busy = [connect(ARRIVING) for _ in range(4)]
        wait = connect(REQUEST)
        assert is_closed(wait)
        for one in busy:
            one.sendall(bytes(999))
            assert b" 200 " in one.makefile("rb").readline()

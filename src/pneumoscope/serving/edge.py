"""Outermost layer around every request: access checks, request id, security headers, errors as problems, request log."""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumoscope.serving.keys import owner
from pneumoscope.serving.monitoring import Monitoring
from pneumoscope.serving.origins import check_origin
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.settings import Settings

_log = logging.getLogger("pneumoscope.serving")
# Nothing from other hosts: everything that the page shows is its own, or was dropped on it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
# Predictions stay out of caches.
_NO_STORE = (b"cache-control", b"no-store")
# Paths of the pages, and their files.
PAGES = {"/": "index.html", "/docs": "api.html"}
# Open without a key, beside the pages: their files, which hold no data, and the state of the service.
_OPEN = ("/page/", "/v1/health", "/v1/ready", "/v1/problems")
# Status in the log where the caller left in the middle of the body, and got no answer.
_CLIENT_CLOSED = 499


class Edge:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Mapping[str, str], monitoring: Monitoring) -> None:
        """Wraps `app`; requires a key where there are any."""
        self._app, self._keys, self._monitoring = app, keys, monitoring
        self._hosts, self._origins = settings.known_hosts, settings.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, request_id = time.perf_counter(), uuid.uuid4().hex
        state: dict[str, Any] = scope.setdefault("state", {})
        state |= {"predictions": [], "request_id": request_id}
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                names = {name for name, _ in headers}
                headers += [header for header in _SECURITY_HEADERS if header[0] not in names]
                headers.append((b"x-request-id", request_id.encode()))
                if b"cache-control" not in names:
                    headers.append(_NO_STORE)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            status = _CLIENT_CLOSED
        except ProblemError as error:
            await error.response(request_id)(scope, receive, send_on)
        except Exception:  # answered already, by the application
            _log.exception("request %s failed", request_id)
        finally:
            route = getattr(scope.get("route"), "path", "") or "other"
            self._monitoring.answered(request_id, route, status, time.perf_counter() - began, state["predictions"])

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts and name.lower() not in self._hosts:
            raise ProblemError(
                Problem.UNKNOWN_HOST, f"expected one of {', '.join(sorted(self._hosts))}, found {name[:100]!r}"
            )
        check_origin(scope["method"], scope["scheme"], headers, self._origins)
        path = scope["path"]
        if not self._keys or path in PAGES or path.startswith(_OPEN) or scope["method"] == "OPTIONS":
            return
        scheme, _, offered = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or owner(self._keys, offered.strip()) is None:
            raise ProblemError(Problem.UNAUTHORISED, headers={"WWW-Authenticate": "Bearer"})

"""A server that is spoken to by HTTP: its settings, and requests that are bounded in size and time.

No request outlives its time, nor the client: a timer, or `close` on another thread, shuts its connection down. Connections are
therefore used for one request each. Neither errors nor log lines name patients or files.
"""

import json
import logging
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Self

from pneumoscope.errors import ConfigError, DataError, StorageError

try:
    import httpx
except ImportError as error:
    raise ConfigError(f"expected {error.name} for the node, found none: pip install 'pneumoscope[pacs]'") from error

_log = logging.getLogger("pneumoscope.pacs")
# A whole request may take this many times as long as the wait for its next bytes.
_WHOLE_REQUEST = 10
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_BUSY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


@dataclass(frozen=True)
class ServerSettings:
    """Server, and how the node shows it who it is.

    Attributes:
        table: Name of the table in the settings.
        server: Name of the server in errors.
        example: Address of such a server.
        url: Address of the service. The server's certificate is always checked.
        token_file: Path of a file with a bearer token; empty for none. It is read at each request, so that tokens can change.
        login_file: Path of a file with `USER:PASSWORD`; empty for none.
        authority: Path of the certificates (PEM) that the server's is checked against; empty for those of the system.
        certificate: Path of the client's certificate (PEM); empty for none.
        key: Path of its private key (PEM); empty where it is in the same file.
        timeout_seconds: Longest wait for the connection, and for each part of an answer; a whole request takes ten times as long
            at most.
    """

    table: ClassVar[str]
    server: ClassVar[str]
    example: ClassVar[str]

    url: str = ""
    token_file: str = ""
    login_file: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Raises ConfigError for values that are out of range."""
        table = self.table
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL()
        is_web = address.scheme in ("http", "https")
        if not is_web or not address.host or address.userinfo or address.query or address.fragment:
            raise ConfigError(
                f"expected {table}.url to be an address such as {self.example}, found another: correct it; "
                f"user and password belong into the file that {table}.login_file names"
            )
        if self.token_file and self.login_file:
            raise ConfigError(f"expected {table}.token_file or {table}.login_file, found both: keep one")
        self._check_above_zero("timeout_seconds")

    def _check_above_zero(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not 0 < value < 100_000:
                raise ConfigError(f"expected {self.table}.{name} above 0 and below 100000, found {value:g}: change it")

    def within(self, folder: Path) -> Self:
        """Settings whose relative paths are relative to a folder."""
        names = ("token_file", "login_file", "authority", "certificate", "key")
        found: dict[str, Any] = {name: str(folder / path) for name in names if (path := getattr(self, name))}
        return replace(self, **found)


@dataclass(frozen=True)
class Response:
    """Answer of a server.

    Attributes:
        status: Status.
        headers: Headers.
        body: Body, bounded in size.
    """

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def json(self) -> Any:
        """Value of a body that is JSON text; None for any other."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class HttpClient:
    """Client of one server. Of use to several threads."""

    def __init__(self, settings: ServerSettings) -> None:
        """Prepares requests; nothing is sent yet.

        Raises:
            ConfigError: Certificates that cannot be read.
        """
        self._settings, self.url = settings, settings.url.rstrip("/")
        self._http = httpx.Client(
            verify=_tls(settings),
            timeout=settings.timeout_seconds,
            trust_env=False,  # no proxy, no .netrc
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._closed, self._lock = False, threading.Lock()
        self._sockets: set[socket.socket] = set()

    def close(self) -> None:
        """Breaks off what is under way on other threads, and refuses what comes later."""
        with self._lock:
            self._closed = True
            for each in self._sockets:
                _shut(each)
        self._http.close()

    def send(self, method: str, url: str, largest: int, headers: dict[str, str], **request: Any) -> Response:
        """Sends a request; gives an answer of at most `largest` bytes.

        Raises:
            StorageError: The server is not reached, busy, refuses the credentials or breaks off: the same request may succeed later.
            DataError: It answers too much, or in another encoding than it names.
            ConfigError: A file of credentials cannot be read.
        """
        table, server = self._settings.table, self._settings.server
        try:
            with self._in_time() as extensions:
                headers = headers | _authorization(self._settings)
                with self._http.stream(method, url, headers=headers, extensions=extensions, **request) as response:
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        body += chunk
                        if len(body) > largest:
                            raise DataError(
                                f"expected at most {largest / 1e6:,.0f} MB from the {server}, found more: check it, "
                                f"and its limits in [{table}]"
                            )
        except httpx.DecodingError as error:
            raise DataError(
                "expected an answer in the encoding that it names, found another: check the server"
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self._closed:
                raise
            reason = str(error.__cause__ or error) or type(error).__name__
            if "WRONG_VERSION_NUMBER" in reason:  # OpenSSL's word for an answer without TLS
                raise StorageError(
                    f"expected TLS at {self.url}, found none: use http://, or the server's port for https"
                ) from error
            raise StorageError(
                f"expected an answer from {self.url}, found: {reason}: check server and network"
            ) from error
        status = response.status_code
        if status in _REFUSED:
            raise StorageError(
                f"expected to be let in by {self.url}, found status {status}: check {table}.token_file, {table}.login_file "
                f"and {table}.certificate"
            )
        if status in _BUSY:
            raise StorageError(f"expected {self.url} to be ready, found status {status}: it is tried again later")
        return Response(status, response.headers, bytes(body))

    @contextmanager
    def _in_time(self) -> Iterator[dict[str, Any]]:
        """Extensions of a request whose connection is shut down when its time is up, or when the client is closed."""
        opened: list[socket.socket] = []
        over = False

        def trace(event: str, info: Mapping[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                with self._lock:
                    opened.append(info["return_value"].get_extra_info("socket"))
                    self._sockets.add(opened[-1])
                    if self._closed or over:
                        _shut(opened[-1])

        def end() -> None:
            nonlocal over
            with self._lock:
                over = True
                for each in opened:
                    _shut(each)

        timer = threading.Timer(_WHOLE_REQUEST * self._settings.timeout_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield {"trace": trace}
        finally:
            timer.cancel()
            with self._lock:
                self._sockets.difference_update(opened)


class WebServer:
    """Server with a client of its own; used as a context manager, or closed."""

    def __init__(self, settings: ServerSettings) -> None:
        """Prepares requests; nothing is sent yet.

        Raises:
            ConfigError: Certificates that cannot be read.
        """
        self._http = HttpClient(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Breaks off what is under way on other threads, and refuses what comes later."""
        self._http.close()


def _tls(settings: ServerSettings) -> ssl.SSLContext | bool:
    table = settings.table
    if not settings.url.startswith("https"):
        if settings.token_file or settings.login_file:
            _log.warning("credentials go over the network as they are, since %s.url is not https", table)
        return True
    try:
        for path in filter(None, (settings.authority, settings.certificate, settings.key)):
            Path(path).open("rb").close()  # unlike ssl's, its errors name the file
        context = ssl.create_default_context(cafile=settings.authority or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except OSError as error:
        raise ConfigError(
            f"expected certificates (PEM) in {table}.authority, {table}.certificate and {table}.key, found {error}: check them"
        ) from error
    return context


def _authorization(settings: ServerSettings) -> dict[str, str]:
    file = settings.token_file or settings.login_file
    if not file:
        return {}
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected credentials in {file}, found none: check path and rights") from error
    if settings.login_file and ":" in secret:
        return {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}
    if settings.login_file or not (secret and secret.isascii() and secret.isprintable()):
        form = "USER:PASSWORD" if settings.login_file else "a token of printable ASCII characters"
        raise ConfigError(f"expected {form} in {file}, found something else: correct it")
    return {"Authorization": f"Bearer {secret}"}


def _shut(each: socket.socket) -> None:
    """Shuts a connection down, so that whoever waits for it goes on; a TLS socket keeps its state, which another thread uses."""
    with suppress(OSError):
        socket.socket.shutdown(each, socket.SHUT_RDWR)

"""A DICOMweb server as source of images and destination of answers: QIDO-RS, WADO-RS and STOW-RS.

`DicomWeb` makes single requests, `Poller` looks for new images at intervals. What a server sends is bounded in size and time, and
checked: it may be garbage. Neither errors nor log lines name patients or files.

No request outlives its time, nor the client: a timer, or `close` on another thread, shuts its connection down. Connections are
therefore used for one request each.
"""

import json
import logging
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from pneumoscope.data.dicom import read_elements
from pneumoscope.errors import ConfigError, DataError, InputError, StorageError
from pneumoscope.pacs.periodic import Periodic, Postponed

try:
    import httpx
    from dicomweb_client.uri import URI
except ImportError as error:
    raise ConfigError(f"expected {error.name} for DICOMweb, found none: pip install 'pneumoscope[pacs]'") from error

_log = logging.getLogger("pneumoscope.pacs")
# Images that are worth fetching: computed and digital radiographs for presentation, secondary captures.
_IMAGES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"},
)
# Part of the manufacturer's name in all answers of this project.
_OURS = "pneumoscope"
# Records of a search that are requested at once, and that are taken in all: a server that ignores paging ends somewhere.
_PAGE, _MOST_RECORDS = 500, 100_000
# Bytes of a page of a search, and of the answer to what is stored.
_LARGEST_LIST = 32_000_000
_LARGEST_VALUE = 1_024
# Characters of a query that may stand as they are, and those that may not, even in Orthanc 1.10, which decodes none.
_PLAIN, _ENCODED = "*?,:-", re.compile(r"[^\w.*?,:-]", re.ASCII)
# A whole request may take this many times as long as the wait for its next bytes.
_WHOLE_REQUEST = 10
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
# Statuses whose body says what became of each instance. Orthanc 1.10 answers 400 where one of several is no DICOM.
_STORED_OR_NOT = (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT)
_FAILED, _REFERENCED, _UID, _REASON, _WARNING = "00081198", "00081199", "00081155", "00081197", "00081196"
# The server has the instance already: what is sent again after a lost answer.
_DUPLICATE = 0x0111
# Failure reasons of PS3.18, table I.2-2, and PS3.4, table B.2-1; of those with x only the first digits count.
_REASONS = {
    0xA700: "out of resources",
    0xA900: "the object does not match its SOP class",
    0xC000: "the object cannot be understood",
    0x0110: "processing failure",
    0x0117: "invalid object",
    0x0122: "the SOP class is not supported",
    0x0124: "not authorised",
    0x0131: "not authorised",
    0xC122: "the transfer syntax is not supported",
}

Take = Callable[[bytes], str]


@dataclass(frozen=True)
class DicomWebSettings:
    """DICOMweb server, and what is looked for on it: the table `[dicomweb]`.

    Attributes:
        url: Address of the DICOMweb service, such as https://pacs.example/dicom-web. The server's certificate is always checked.
        token_file: Path of a file with a bearer token; empty for none. It is read at each request, so that tokens can change.
        login_file: Path of a file with `USER:PASSWORD`; empty for none.
        authority: Path of the certificates (PEM) that the server's is checked against; empty for those of the system.
        certificate: Path of the client's certificate (PEM); empty for none.
        key: Path of its private key (PEM); empty where it is in the same file.
        modality: Modalities to look for.
        body_part: Values of Body Part Examined to look for; empty for any, also none.
        days: Age of the oldest studies to look for, days before today.
        every_seconds: Pause between two searches, seconds.
        timeout_seconds: Longest wait for the connection, and for each part of an answer; a whole request takes ten times as long
            at most.
        megabytes: Size of the largest image that is fetched, MB.
        answers: Whether answers are stored there.
    """

    url: str = ""
    token_file: str = ""
    login_file: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""
    modality: tuple[str, ...] = ("CR", "DX")
    body_part: tuple[str, ...] = ()
    days: int = 1
    every_seconds: float = 30.0
    timeout_seconds: float = 30.0
    megabytes: int = 200
    answers: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for values that are out of range."""
        try:
            URI(self.url.rstrip("/"))
            address = httpx.URL(self.url)
        except (ValueError, httpx.InvalidURL):
            address = httpx.URL()
        if not address.host or address.userinfo or address.query or address.fragment:
            raise ConfigError(
                "expected dicomweb.url to be an address such as https://pacs.example/dicom-web, found another: correct it; "
                "user and password belong into the file that dicomweb.login_file names"
            )
        if self.token_file and self.login_file:
            raise ConfigError("expected dicomweb.token_file or dicomweb.login_file, found both: keep one")
        if not self.modality:
            raise ConfigError('expected modalities in dicomweb.modality, found none: name some, such as ["CR", "DX"]')
        for name, value in (
            ("days", self.days),
            ("every_seconds", self.every_seconds),
            ("timeout_seconds", self.timeout_seconds),
            ("megabytes", self.megabytes),
        ):
            if not 0 < value < 100_000:
                raise ConfigError(f"expected dicomweb.{name} above 0 and below 100000, found {value:g}: change it")

    def within(self, folder: Path) -> "DicomWebSettings":
        """Settings whose relative paths are relative to a folder."""
        names = ("token_file", "login_file", "authority", "certificate", "key")
        found: dict[str, Any] = {name: str(folder / path) for name in names if (path := getattr(self, name))}
        return replace(self, **found)


@dataclass(frozen=True)
class Instance:
    """Instance on a server.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        uid: SOP Instance UID.
    """

    study: str
    series: str
    uid: str


@dataclass(frozen=True)
class StoreResult:
    """Result of storing one instance.

    Attributes:
        uid: SOP Instance UID.
        stored: Whether the server has the instance now.
        detail: Reason why it has not, or the server's warning; empty for none.
    """

    uid: str
    stored: bool
    detail: str = ""


class DicomWeb:
    """A DICOMweb server; used as a context manager, or closed. Its methods may be called from several threads.

    Errors of all methods: `StorageError` where the server is not reached, busy, refuses the credentials or breaks off: the same
    request may succeed later. `DataError` where it answers something else than DICOMweb, or too much: it may never succeed.
    `ConfigError` where a file of credentials cannot be read.
    """

    def __init__(self, settings: DicomWebSettings) -> None:
        """Prepares requests; nothing is sent yet.

        Args:
            settings: Server, and what is looked for on it.

        Raises:
            ConfigError: Certificates that cannot be read.
        """
        self.settings = settings
        self._url = settings.url.rstrip("/")
        self._http = httpx.Client(
            verify=_tls(settings),
            timeout=settings.timeout_seconds,
            trust_env=False,  # no proxy, no .netrc
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._closed, self._lock = False, threading.Lock()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> "DicomWeb":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Breaks off what is under way on other threads, and refuses what comes later."""
        with self._lock:
            self._closed = True
            for each in self._sockets:
                _shut(each)
        self._http.close()

    def ping(self) -> None:
        """Returns where the server answers a search."""
        for _ in self.search("studies", {}, most=1):
            return

    def search(
        self,
        level: Literal["studies", "series", "instances"],
        filters: Mapping[str, str],
        fields: Sequence[str] = (),
        most: int = _MOST_RECORDS,
    ) -> Iterator[dict[str, str]]:
        """Records that match, each once, from DICOM keyword to value; several values are joined by a backslash.

        Args:
            level: Level of the records.
            filters: DICOM keyword to value, with wildcards and ranges, such as `{"StudyDate": "20260101-"}`. Orthanc 1.10 finds
                nothing by values that have to be percent-encoded, such as those with a space or `^`: put `?` there.
            fields: Keywords of further attributes that are wanted.
            most: Largest number of records.

        Raises:
            InputError: A keyword that DICOM does not have.
        """
        for keyword in (*filters, *fields):
            if tag_for_keyword(keyword) is None:
                raise InputError(f"expected keywords of DICOM, found {keyword!r}: correct it")
        own_uid = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}[level]
        query = [*filters.items(), *(("includefield", field) for field in fields), ("limit", str(min(_PAGE, most)))]
        seen: set[str] = set()
        offset = 0
        # A server may send fewer records than the limit allows: the end is a page with nothing new.
        while len(seen) < most:
            page = self._page(level, [*query, ("offset", str(offset))])
            offset += len(page)
            fresh = {uid: record for record in page if (uid := record.get(own_uid)) and uid not in seen}
            if not fresh:
                return
            for uid, record in list(fresh.items())[: most - len(seen)]:
                seen.add(uid)
                yield record

    def find(self) -> Iterator[Instance]:
        """Images of the modalities, body parts and days in the settings; those that say they are answers are left out."""
        since = date.today() - timedelta(days=self.settings.days)
        filters = {"StudyDate": f"{since:%Y%m%d}-"}
        for modality in self.settings.modality:
            for body_part in self.settings.body_part or ("",):
                narrowed = {"BodyPartExamined": _ENCODED.sub("?", body_part)} if body_part else {}
                for record in self.search(
                    "instances", {**filters, "Modality": modality, **narrowed}, ("SOPClassUID", "Manufacturer")
                ):
                    uids = [
                        record.get(name, "") for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
                    ]
                    if all(uids) and record.get("SOPClassUID", min(_IMAGES)) in _IMAGES and not _is_ours(record):
                        yield Instance(*uids)

    def retrieve(self, instance: Instance) -> bytes:
        """DICOM file of an instance, in the transfer syntax in which the server has it."""
        try:
            url = str(URI(self._url, instance.study, instance.series, instance.uid))
        except ValueError as error:
            raise DataError("expected UIDs of an instance, found other text: it cannot be retrieved") from error
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        largest = self.settings.megabytes * 1_000_000
        response = self._send("GET", url, largest + 10_000, headers={"Accept": accept, "Accept-Encoding": "identity"})
        if response.status != HTTPStatus.OK:
            raise DataError(
                f"expected an instance from the DICOMweb server, found status {response.status}: it is passed over"
            )
        content = _instance_in(response)
        if content[128:132] != b"DICM" or _elements(content).get("SOPInstanceUID", "") != instance.uid:
            raise DataError("expected the instance from the DICOMweb server, found other bytes: it is passed over")
        return content

    def store(self, files: Iterable[Path | bytes]) -> list[StoreResult]:
        """Stores instances by one request; what became of each, in their order.

        Args:
            files: DICOM files, as paths or bytes.

        Raises:
            DataError: A file that is not DICOM; nothing is sent.
            OSError: A file that cannot be read; nothing is sent.
        """
        contents = [each.read_bytes() if isinstance(each, Path) else each for each in files]
        uids = [_elements(each).get("SOPInstanceUID", "") for each in contents]
        if not all(uids):
            raise DataError("expected DICOM files to store, found other bytes: nothing is sent")
        boundary = uuid4().hex
        part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(piece for each in contents for piece in (part, each, b"\r\n")) + f"--{boundary}--\r\n".encode()
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        }
        response = self._send("POST", f"{self._url}/studies", _LARGEST_LIST, headers=headers, content=body)
        if response.status not in _STORED_OR_NOT:
            raise StorageError(
                f"expected the DICOMweb server to store {len(uids)} instances, found status {response.status}: see its log"
            )
        results = _store_results(response.body)
        unnamed = f"the server's answer, of status {response.status}, does not name the instance"
        return [results.get(uid, StoreResult(uid, stored=False, detail=unnamed)) for uid in uids]

    def _page(self, level: str, query: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        url = f"{self._url}/{level}?{urlencode(query, quote_via=quote, safe=_PLAIN)}"
        response = self._send("GET", url, _LARGEST_LIST, headers={"Accept": "application/dicom+json"})
        if response.status == HTTPStatus.NO_CONTENT:
            return []
        if response.status != HTTPStatus.OK:
            raise StorageError(
                f"expected a list from the DICOMweb server, found status {response.status}: check dicomweb.url and its log"
            )
        records = _json(response.body)
        if not isinstance(records, list):
            raise DataError(
                "expected a list in DICOM JSON from the DICOMweb server, found something else: check dicomweb.url"
            )
        return [_by_keyword(record) for record in records if isinstance(record, dict)]

    def _send(self, method: str, url: str, largest: int, headers: dict[str, str], **request: Any) -> "_Response":
        """Status, headers and body of an answer of at most `largest` bytes."""
        try:
            with self._in_time() as extensions:
                headers = headers | _authorization(self.settings)
                with self._http.stream(method, url, headers=headers, extensions=extensions, **request) as response:
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        body += chunk
                        if len(body) > largest:
                            raise DataError(
                                f"expected at most {largest / 1e6:,.0f} MB from the DICOMweb server, found more: "
                                "raise dicomweb.megabytes if images are that large"
                            )
        except httpx.DecodingError as error:
            raise DataError(
                "expected an answer in the encoding that it names, found another: check the server"
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self._closed:
                raise
            reason = str(error.__cause__ or error) or type(error).__name__
            raise StorageError(
                f"expected an answer from {self._url}, found: {reason}: check server and network"
            ) from error
        status = response.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise StorageError(
                f"expected to be let in by {self._url}, found status {status}: check dicomweb.token_file, dicomweb.login_file "
                "and dicomweb.certificate"
            )
        if status in _BUSY or status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT):
            raise StorageError(f"expected {self._url} to be ready, found status {status}: it is tried again later")
        return _Response(status, response.headers, bytes(body))

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

        timer = threading.Timer(_WHOLE_REQUEST * self.settings.timeout_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield {"trace": trace}
        finally:
            timer.cancel()
            with self._lock:
                self._sockets.difference_update(opened)


class Poller(Periodic):
    """Search for new images at intervals, each of which is retrieved and handed over.

    What cannot be retrieved or handed over is tried again after growing pauses, and holds up nothing else. What `take` refuses is
    left alone until the next start. Answers of this project are never handed over.

    Attributes:
        taken: Number of images handed over and accepted.
        refused: Number of images that were refused.
    """

    def __init__(self, client: DicomWeb, known: Callable[[str], bool], take: Take) -> None:
        """Prepares the thread.

        Args:
            client: Server; its own, since `stop` closes it.
            known: Function that says of a SOP Instance UID whether the image was taken before.
            take: Function that puts a DICOM file on disk; gives the reason where it is refused, else an empty text. Where it
                raises, the image is tried again.
        """
        super().__init__("DICOMweb", client.settings.every_seconds)
        self.taken, self.refused = 0, 0
        self._client, self._known, self._take = client, known, take
        self._later = Postponed(self.every_seconds)

    def stop(self, wait_seconds: float = 5.0) -> bool:
        """Ends the thread and breaks off its request; gives whether it has ended within `wait_seconds`."""
        self._stopping.set()
        self._client.close()
        return super().stop(wait_seconds)

    def step(self) -> None:
        """Searches once, and hands over what is new.

        Raises:
            StorageError: The server is not reached, or breaks off.
            DataError: The list is none.
            Exception: The first failure to retrieve an image or hand it over, where none succeeded.
        """
        instances = {each.uid: each for each in self._client.find()}
        self._later.keep_only(instances)
        self._later.try_each(instances, lambda uid: self._hand_over(instances[uid]), lambda: self.stopping)

    def _hand_over(self, instance: Instance) -> bool:
        """Retrieves an image and hands it over, unless it is known; gives whether it is dealt with now, and was not before."""
        if self._known(instance.uid):
            return False
        try:
            content = self._client.retrieve(instance)
        except StorageError:
            raise
        except DataError as error:
            self._later.postpone(instance.uid)
            _log.warning("DICOMweb: %s", error)
            return False
        if self.stopping:
            return False
        if not _is_ours(_elements(content)):
            if self._take(content):
                self.refused += 1
            else:
                self.taken += 1
        self._later.leave_alone(instance.uid)
        return True


@dataclass(frozen=True)
class _Response:
    status: int
    headers: httpx.Headers
    body: bytes


def _tls(settings: DicomWebSettings) -> ssl.SSLContext | bool:
    if not settings.url.startswith("https"):
        if settings.token_file or settings.login_file:
            _log.warning("DICOMweb: credentials go over the network as they are, since dicomweb.url is not https")
        return True
    try:
        context = ssl.create_default_context(cafile=settings.authority or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except OSError as error:
        raise ConfigError(
            f"expected certificates (PEM) in dicomweb.authority, dicomweb.certificate and dicomweb.key, found {error}: check them"
        ) from error
    return context


def _authorization(settings: DicomWebSettings) -> dict[str, str]:
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


def _json(body: bytes) -> Any:
    """Value of JSON text; None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _by_keyword(record: Mapping[str, Any]) -> dict[str, str]:
    """Keyword to text of the elements that have a value which is a text, a number or a name."""
    found = {}
    for tag, element in record.items():
        keyword = keyword_for_tag(tag) if len(tag) == 8 and tag.isalnum() and _is_hex(tag) else ""
        if keyword and (values := _values(element)):
            found[keyword] = "\\".join(map(str, values))[:_LARGEST_VALUE]
    return found


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdefABCDEF")


def _values(element: Any) -> list[str | int | float]:
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return []
    names = [each.get("Alphabetic") if isinstance(each, dict) else each for each in values]
    return [each for each in names if isinstance(each, str | int | float)]


def _items(answer: Any, tag: str) -> Iterator[dict[str, list[str | int | float]]]:
    """Items of a sequence in DICOM JSON, from tag to values."""
    sequence = answer.get(tag) if isinstance(answer, dict) else None
    values = sequence.get("Value") if isinstance(sequence, dict) else None
    for item in values if isinstance(values, list) else []:
        if isinstance(item, dict):
            yield {name: _values(element) for name, element in item.items()}


def _store_results(body: bytes) -> dict[str, StoreResult]:
    """SOP Instance UID to what became of it, for those that the answer names; empty where it is no DICOM JSON."""
    answer, results = _json(body), {}
    for item in _items(answer, _REFERENCED):
        for uid in map(str, item.get(_UID, [])):
            results[uid] = StoreResult(uid, True, _described(item.get(_WARNING, [])))
    for item in _items(answer, _FAILED):
        for uid in map(str, item.get(_UID, [])):
            codes = item.get(_REASON, [])
            results[uid] = StoreResult(uid, codes == [_DUPLICATE], _described(codes) or "the server gives no reason")
    return results


def _described(codes: Sequence[Any]) -> str:
    """Text of a reason as it is sent, such as `0xA702 (out of resources)`."""
    code = codes[0] if codes and isinstance(codes[0], int) else None
    if code is None:
        return ""
    meaning = _REASONS.get(code) or _REASONS.get(code & 0xFF00) or _REASONS.get(code & 0xF000)
    return f"0x{code:04X}" + (f" ({meaning})" if meaning else "")


def _instance_in(response: _Response) -> bytes:
    """Bytes of the one instance in an answer of WADO-RS."""
    declared = Message()
    declared["Content-Type"] = response.headers.get("Content-Type", "")
    if declared.get_content_type() == "application/dicom":
        return response.body
    boundary = declared.get_param("boundary", "")
    if declared.get_content_type() != "multipart/related" or not boundary:
        raise DataError("expected multipart/related from the DICOMweb server, found something else: check dicomweb.url")
    # Preamble, one part, end: each delimiter belongs to what follows it.
    delimiter = f"\r\n--{boundary}".encode()
    _, *parts = (b"\r\n" + response.body).split(delimiter)
    if len(parts) != 2 or not parts[1].startswith(b"--"):
        raise DataError(
            "expected one whole instance from the DICOMweb server, found another number or a part: try again"
        )
    _, blank, content = parts[0].partition(b"\r\n\r\n")
    return content if blank else b""


def _elements(content: bytes) -> dict[str, str]:
    """What a file says of itself, as far as it can be read."""
    try:
        dataset = read_elements(content, ("SOPInstanceUID", "Manufacturer"))
        return {name: str(dataset.get(name) or "") for name in ("SOPInstanceUID", "Manufacturer")}
    except Exception:  # pydicom's errors for damaged files are of every type
        return {}


def _is_ours(record: Mapping[str, str]) -> bool:
    return _OURS in record.get("Manufacturer", "").lower()

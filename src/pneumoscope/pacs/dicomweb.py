"""A DICOMweb server as source of images and destination of answers: QIDO-RS, WADO-RS and STOW-RS.

`DicomWeb` makes single requests, `Poller` looks for new images at intervals. What a server sends is bounded in size and time, and
checked: it may be garbage. Neither errors nor log lines name patients or files.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from pneumoscope.data.dicom import read_elements
from pneumoscope.errors import ConfigError, DataError, InputError, StorageError
from pneumoscope.pacs import is_own
from pneumoscope.pacs.http_client import Response, ServerSettings, WebServer
from pneumoscope.pacs.periodic import Periodic, Postponed

try:
    from dicomweb_client.uri import URI
except ImportError as error:
    raise ConfigError(f"expected {error.name} for DICOMweb, found none: pip install 'pneumoscope[pacs]'") from error

_log = logging.getLogger("pneumoscope.pacs")
# Images that are worth fetching: computed and digital radiographs for presentation, secondary captures.
_IMAGES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"},
)
# Records of a search that are requested at once, and that are taken in all: a server that ignores paging ends somewhere.
_PAGE, _MOST_RECORDS = 500, 100_000
# Bytes of a page of a search, and of the answer to what is stored.
_LARGEST_LIST = 32_000_000
_LARGEST_VALUE = 1_024
# Characters of a query that may stand as they are, and those that may not, even in Orthanc 1.10, which decodes none.
_PLAIN, _ENCODED = "*?,:-", re.compile(r"[^\w.*?,:-]", re.ASCII)
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
class DicomWebSettings(ServerSettings):
    """DICOMweb server, and what is looked for on it: the table `[dicomweb]`.

    Attributes:
        modality: Modalities to look for.
        body_part: Values of Body Part Examined to look for; empty for any, also none.
        days: Age of the oldest studies to look for, days before today.
        every_seconds: Pause between two searches, seconds.
        megabytes: Size of the largest image that is fetched, MB.
        answers: Whether answers are stored there.
    """

    table: ClassVar[str] = "dicomweb"
    server: ClassVar[str] = "DICOMweb server"
    example: ClassVar[str] = "https://pacs.example/dicom-web"

    modality: tuple[str, ...] = ("CR", "DX")
    body_part: tuple[str, ...] = ()
    days: int = 1
    every_seconds: float = 30.0
    megabytes: int = 200
    answers: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for values that are out of range."""
        super().__post_init__()
        if not self.modality:
            raise ConfigError('expected modalities in dicomweb.modality, found none: name some, such as ["CR", "DX"]')
        self._check_above_zero("days", "every_seconds", "megabytes")


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


class DicomWeb(WebServer):
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
        super().__init__(settings)
        self._url = self._http.url

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
        for record in self.radiographs("instances", {"StudyDate": f"{since:%Y%m%d}-"}):
            uids = [record.get(name, "") for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
            if all(uids):
                yield Instance(*uids)

    def radiographs(
        self,
        level: Literal["series", "instances"],
        filters: Mapping[str, str],
        fields: Sequence[str] = (),
        most: int = _MOST_RECORDS,
    ) -> Iterator[dict[str, str]]:
        """Records of the modalities and body parts in the settings that match, by `search`; answers of this project are left out.

        Args:
            level: Level of the records.
            filters: As for `search`; values that a person has typed by `searchable`.
            fields: As for `search`.
            most: Largest number of records of each modality and body part.
        """
        for modality in self.settings.modality:
            for body_part in self.settings.body_part or ("",):
                narrowed = {"BodyPartExamined": searchable(body_part)} if body_part else {}
                for record in self.search(
                    level,
                    {**filters, "Modality": modality, **narrowed},
                    ("SOPClassUID", "Manufacturer", *fields),
                    most,
                ):
                    if _is_radiograph(record):
                        yield record

    def retrieve(self, instance: Instance) -> bytes:
        """DICOM file of an instance, in the transfer syntax in which the server has it."""
        try:
            url = str(URI(self._url, instance.study, instance.series, instance.uid))
        except ValueError as error:
            raise DataError("expected UIDs of an instance, found other text: it cannot be retrieved") from error
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        largest = self.settings.megabytes * 1_000_000
        response = self._http.send(
            "GET", url, largest + 10_000, headers={"Accept": accept, "Accept-Encoding": "identity"}
        )
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
        response = self._http.send("POST", f"{self._url}/studies", _LARGEST_LIST, headers=headers, content=body)
        if response.status not in _STORED_OR_NOT:
            raise StorageError(
                f"expected the DICOMweb server to store {len(uids)} instances, found status {response.status}: see its log"
            )
        results = _store_results(response.json)
        unnamed = f"the server's answer, of status {response.status}, does not name the instance"
        return [results.get(uid, StoreResult(uid, stored=False, detail=unnamed)) for uid in uids]

    def _page(self, level: str, query: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        url = f"{self._url}/{level}?{urlencode(query, quote_via=quote, safe=_PLAIN)}"
        response = self._http.send("GET", url, _LARGEST_LIST, headers={"Accept": "application/dicom+json"})
        if response.status == HTTPStatus.NO_CONTENT:
            return []
        if response.status != HTTPStatus.OK:
            raise StorageError(
                f"expected a list from the DICOMweb server, found status {response.status}: check dicomweb.url and its log"
            )
        records = response.json
        if not isinstance(records, list):
            raise DataError(
                "expected a list in DICOM JSON from the DICOMweb server, found something else: check dicomweb.url"
            )
        return [_by_keyword(record) for record in records if isinstance(record, dict)]


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
        if not is_own(_elements(content).get("Manufacturer", "")):
            if self._take(content):
                self.refused += 1
            else:
                self.taken += 1
        self._later.leave_alone(instance.uid)
        return True


def searchable(text: str) -> str:
    """Value for a search, with `?` for each character that would have to be percent-encoded: Orthanc 1.10 decodes none."""
    return _ENCODED.sub("?", text)


def is_radiograph(content: bytes) -> bool:
    """Whether a DICOM file is an image of a class that is worth fetching, and no answer of this project."""
    return _is_radiograph({"SOPClassUID": "", **_elements(content)})


def instance_uid(content: bytes) -> str:
    """SOP Instance UID of a DICOM file; empty for other files."""
    return _elements(content).get("SOPInstanceUID", "")


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


def _store_results(answer: Any) -> dict[str, StoreResult]:
    """SOP Instance UID to what became of it, for those that the answer names; empty where it is no DICOM JSON."""
    results = {}
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


def _instance_in(response: Response) -> bytes:
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
        names = ("SOPClassUID", "SOPInstanceUID", "Manufacturer")
        dataset = read_elements(content, names)
        return {name: str(dataset.get(name) or "") for name in names}
    except Exception:  # pydicom's errors for damaged files are of every type
        return {}


def _is_radiograph(record: Mapping[str, str]) -> bool:
    """Whether a record is of an image that is worth fetching; one whose class a server leaves out may be."""
    return record.get("SOPClassUID", min(_IMAGES)) in _IMAGES and not is_own(record.get("Manufacturer", ""))

"""A FHIR R4 server as destination of answers: each is a transaction, of which the server keeps all or nothing."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from pneumoscope.errors import DataError, StorageError
from pneumoscope.pacs.http_client import Response, ServerSettings, WebServer

_JSON = "application/fhir+json"
# Bytes of an answer: the server's description of itself is the longest.
_LARGEST = 32_000_000
# Statuses of an address that takes no transactions, whatever is in them.
_NOT_HERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_CODE = re.compile(r"[a-z-]{1,40}")


@dataclass(frozen=True)
class FhirSettings(ServerSettings):
    """FHIR R4 server that takes answers: the table `[fhir]`. All that it has is what any server has."""

    table: ClassVar[str] = "fhir"
    server: ClassVar[str] = "FHIR server"
    example: ClassVar[str] = "https://fhir.example/r4"


class FhirServer(WebServer):
    """A FHIR R4 server; used as a context manager, or closed.

    Errors of all methods: `StorageError` where the server is not reached, busy, refuses the credentials, breaks off, or takes no
    transactions at its address: the same request may succeed later. `DataError` where it answers something else than FHIR R4.
    `ConfigError` where a file of credentials cannot be read.
    """

    def ping(self) -> None:
        """Returns where the server describes itself as one of FHIR R4."""
        response = self._http.send("GET", f"{self._http.url}/metadata", _LARGEST, {"Accept": _JSON})
        described = response.json if isinstance(response.json, dict) else {}
        version = str(described.get("fhirVersion", ""))
        if described.get("resourceType") != "CapabilityStatement" or not version.startswith("4."):
            found = f"version {version}" if re.fullmatch(r"[\w.-]{1,20}", version) else f"status {response.status}"
            raise DataError(f"expected a server of FHIR R4 at {self._http.url}, found {found}: check fhir.url")

    def store(self, transaction: bytes) -> None:
        """Stores the resources of a transaction, all or none.

        Args:
            transaction: Bundle of the type transaction, as JSON text.

        Raises:
            DataError: The server does not take it.
        """
        headers = {"Accept": _JSON, "Content-Type": _JSON, "Prefer": "return=minimal"}
        response = self._http.send("POST", self._http.url, _LARGEST, headers, content=transaction)
        status = response.status
        if status in _NOT_HERE or HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise StorageError(
                f"expected {self._http.url} to take transactions of FHIR R4, found status {status}: check fhir.url"
            )
        if status != HTTPStatus.OK:
            raise DataError(
                f"expected the FHIR server to store an answer, found status {status}{_reasons(response)}: see its log"
            )
        answer = response.json
        if not isinstance(answer, dict) or answer.get("type") != "transaction-response":
            raise StorageError(
                f"expected {self._http.url} to answer a transaction of FHIR R4, found something else: check fhir.url"
            )
        if not _are_stored(answer.get("entry")):
            raise DataError("expected the FHIR server to store all of an answer, found that it did not: see its log")


def _are_stored(entries: Any) -> bool:
    """Whether there are entries, and each says that its resource is stored."""
    if not isinstance(entries, list) or not entries:
        return False
    answers = [each.get("response") if isinstance(each, dict) else None for each in entries]
    return all(isinstance(each, dict) and str(each.get("status", "")).startswith("2") for each in answers)


def _reasons(response: Response) -> str:
    """Codes of the reasons that a server gives; their texts, which may hold what was sent, are left out."""
    issues = response.json.get("issue") if isinstance(response.json, dict) else None
    codes = [each.get("code") for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []
    known = dict.fromkeys(code for code in codes if isinstance(code, str) and _CODE.fullmatch(code))
    return f" ({', '.join(list(known)[:5])})" if known else ""

"""Fetching a file from its publisher: with resume, and checked against a hash."""

import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from pneumoscope.errors import DownloadError
from pneumoscope.progress import Progress

_CHUNK = 1 << 20
_TIMEOUT_S = 30
_ATTEMPTS = 5


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        url: Where it lies; http or https.
        hash_name: `sha256` or `md5`, as its publisher gives it.
        digest: Expected hash, hex digits.
    """

    url: str
    hash_name: str
    digest: str


def fetch(wanted: Download, target: Path, progress: Progress | None = None) -> Path:
    """Fetches a file; a transfer that broke off goes on where it ended, in this call and in the next.

    Args:
        wanted: Address and hash.
        target: Where it goes; `<target>.part` holds what has come so far.
        progress: Told of megabytes.

    Returns:
        `target`.

    Raises:
        DownloadError: It could not be had whole.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            before = part.stat().st_size if part.exists() else 0
            try:
                if _transfer(wanted.url, part, before, progress):
                    break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                # An attempt that brought something is worth another; one that brought nothing is not.
                if part.exists() and part.stat().st_size > before:
                    continue
                raise DownloadError(
                    f"expected to fetch {wanted.url}, found {reason_of(error)}: check the network and run the command "
                    "again, it goes on where it stopped"
                ) from error
        else:
            raise DownloadError(
                f"expected {wanted.url} whole, found a transfer that breaks off again and again: run the command again, "
                "it goes on where it stopped"
            )
    except OSError as error:
        raise DownloadError(
            f"expected to write {part}, found {reason_of(error)}: free some space and try again"
        ) from error
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, wanted.hash_name).hexdigest()
    if found != wanted.digest.lower():
        part.unlink()
        raise DownloadError(
            f"expected {wanted.hash_name} {wanted.digest} of {wanted.url}, found {found}: the file was altered on its way "
            "and is removed; try again"
        )
    part.replace(target)
    return target


def _transfer(url: str, part: Path, offset: int, progress: Progress | None) -> bool:
    """Appends to `part` what follows `offset`; whether the file is whole."""
    try:
        answer = open_address(url, offset)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing follows: it had come whole before
            return True
        raise
    with answer:
        resumed = answer.status == 206
        start = offset if resumed else 0
        expected = int(answer.headers.get("Content-Length", "0")) + start
        done = start
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done >> 20, max(expected, done) >> 20)
        return expected == start or done >= expected


def open_address(url: str, offset: int) -> http.client.HTTPResponse:
    """Opens an address, asking for what follows `offset` bytes; raises urllib's errors and DownloadError."""
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"expected an http or https address, found {url}: correct it")
    headers = {"User-Agent": "pneumoscope", "Accept": "*/*"} | ({"Range": f"bytes={offset}-"} if offset else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    return answer


def reason_of(error: Exception) -> str:
    """What went wrong, in the words of the operating system where there are any."""
    inner = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(inner)

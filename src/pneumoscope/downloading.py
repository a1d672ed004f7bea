"""Download of a file from its publisher: resumed where it broke off, and checked against a hash."""

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
    """A file to download.

    Attributes:
        url: Address, http or https.
        hash_name: Name of the hash that the publisher gives: `sha256` or `md5`.
        digest: Expected hash, hex digits.
    """

    url: str
    hash_name: str
    digest: str


def fetch(download: Download, target: Path, progress: Progress | None = None) -> Path:
    """Download a file; an interrupted transfer is resumed, in this call and in the next.

    Args:
        download: Address and hash.
        target: Path of the file; `<target>.part` holds an incomplete transfer.
        progress: Callback with megabytes.

    Returns:
        `target`.

    Raises:
        DownloadError: File that could not be downloaded completely, or has another hash.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _transfer_with_retries(download.url, part, progress)
    except OSError as error:
        raise DownloadError(f"cannot write {part}: {reason_of(error)}; free some space and try again") from error
    _check_hash(download, part)
    part.replace(target)
    return target


def _transfer_with_retries(url: str, part: Path, progress: Progress | None) -> None:
    """Transfer a file completely; a failed attempt is repeated only if it transferred some bytes."""
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            if _transfer(url, part, before, progress):
                return
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if part.exists() and part.stat().st_size > before:
                continue
            raise DownloadError(
                f"download of {url} failed: {reason_of(error)}; check the network and run the command again, "
                "it resumes where it stopped"
            ) from error
    raise DownloadError(
        f"download of {url} was interrupted {_ATTEMPTS} times: run the command again, it resumes where it stopped"
    )


def _check_hash(download: Download, part: Path) -> None:
    """Remove and refuse a file with another hash."""
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, download.hash_name).hexdigest()
    if found != download.digest.lower():
        part.unlink()
        raise DownloadError(
            f"expected {download.hash_name} {download.digest} of {download.url}, found {found}: "
            "the altered file is removed; try again"
        )


def _transfer(url: str, part: Path, offset: int, progress: Progress | None) -> bool:
    """Append the bytes after `offset` to `part`; returns whether the file is complete."""
    try:
        response = open_address(url, offset)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # no bytes after the offset: the file was complete before
            return True
        raise
    with response:
        resumed = response.status == 206
        start = offset if resumed else 0
        expected = int(response.headers.get("Content-Length", "0")) + start
        done = start
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done >> 20, max(expected, done) >> 20)
        return expected == start or done >= expected


def open_address(url: str, offset: int) -> http.client.HTTPResponse:
    """Open an address from a byte offset on.

    Raises:
        DownloadError: Address that is not http or https.
        urllib.error.URLError: Address that cannot be opened.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"expected an http or https address, found {url}: correct it")
    headers = {"User-Agent": "pneumoscope", "Accept": "*/*"} | ({"Range": f"bytes={offset}-"} if offset else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    return response


def reason_of(error: Exception) -> str:
    """Cause of an error, as the operating system describes it where it does."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(cause)

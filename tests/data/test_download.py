"""Download from a server on this machine that breaks off, resumes and returns wrong content."""

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pneumoscope.data.download import ARCHIVE_NAME, download_archive
from pneumoscope.downloading import Download, fetch
from pneumoscope.errors import DownloadError


class Publisher(ThreadingHTTPServer):
    """Server of one file and its listing.

    Attributes:
        content: Bytes of the file.
        break_after: Number of bytes after which a transfer breaks off; never where None.
        ranges: Whether a transfer may start in the middle.
        requested: Range headers received, in order.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.digest = hashlib.sha256(content).hexdigest()
        self.break_after: int | None = None
        self.ranges = True
        self.requested: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        if self.path.startswith("/listing"):
            details = {"download_url": f"{self.server.address}/file", "sha256_hash": self.server.digest}
            body = json.dumps([{"filename": ARCHIVE_NAME, "content_details": details}]).encode()
            if "empty" in self.path:
                body = b"[]"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
            return
        if self.path != "/file":
            self.send_error(404)
            return
        header = self.headers.get("Range")
        self.server.requested.append(header)
        start = int(header.removeprefix("bytes=").rstrip("-")) if header and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        rest = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.break_after is not None:
            rest = rest[: self.server.break_after]
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive(phantoms):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for file in sorted(phantoms.rglob("*.jpeg")):
            content.write(file, f"chest_xray/{file.relative_to(phantoms)}")
        content.writestr("__MACOSX/chest_xray/train/NORMAL/._IM-0001-0001.jpeg", b"shadow")
    return buffer.getvalue()


@pytest.fixture
def publisher(archive):
    server = Publisher(archive)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def wanted(publisher, **changes):
    facts = {"url": f"{publisher.address}/file", "hash_name": "sha256", "digest": publisher.digest}
    return Download(**(facts | changes))


def test_archive_is_fetched_checked_and_unpacked(publisher, tmp_path, phantoms):
    steps = []
    folder = download_archive(
        tmp_path / "films",
        f"{publisher.address}/listing",
        lambda name: lambda done, total: steps.append((name, done, total)),
    )
    names = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    assert names == sorted(str(f.relative_to(phantoms)) for f in phantoms.rglob("*.jpeg"))
    assert [f.name for f in tmp_path.iterdir()] == ["films"]
    assert steps[-1] == ("films unpacked", 72, 72)
    assert any(name.startswith("downloading") for name, _, _ in steps)


def test_second_download_requests_nothing(publisher, tmp_path):
    listing = f"{publisher.address}/listing"
    download_archive(tmp_path / "films", listing)
    requests = len(publisher.requested)
    download_archive(tmp_path / "films", listing)
    assert len(publisher.requested) == requests


def test_transfer_that_breaks_off_is_resumed(publisher, tmp_path):
    publisher.break_after = len(publisher.content) // 3 + 1
    target = fetch(wanted(publisher), tmp_path / "a.zip")
    assert target.read_bytes() == publisher.content
    assert publisher.requested == [None, f"bytes={publisher.break_after}-", f"bytes={2 * publisher.break_after}-"]


def test_partial_download_is_kept_for_the_next_call(publisher, tmp_path):
    publisher.break_after = 1000
    with pytest.raises(DownloadError, match="it resumes where it stopped"):
        fetch(wanted(publisher), tmp_path / "a.zip")
    came = (tmp_path / "a.zip.part").stat().st_size
    assert came == 5000
    publisher.break_after = None
    fetch(wanted(publisher), tmp_path / "a.zip")
    assert publisher.requested[-1] == f"bytes={came}-"
    assert (tmp_path / "a.zip").read_bytes() == publisher.content


def test_server_without_ranges_starts_again(publisher, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"something else")
    publisher.ranges = False
    assert fetch(wanted(publisher), tmp_path / "a.zip").read_bytes() == publisher.content


def test_part_that_is_whole_already_is_taken(publisher, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(publisher.content)
    assert fetch(wanted(publisher), tmp_path / "a.zip").read_bytes() == publisher.content


def test_wrong_hash_is_refused_and_the_file_removed(publisher, tmp_path):
    with pytest.raises(DownloadError, match="the altered file is removed"):
        fetch(wanted(publisher, digest="0" * 64), tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_md5_is_checked_where_the_publisher_gives_that(publisher, tmp_path):
    digest = hashlib.md5(publisher.content).hexdigest()
    assert fetch(wanted(publisher, hash_name="md5", digest=digest), tmp_path / "a.zip").exists()


def test_missing_file_and_no_server_are_one_line(publisher, tmp_path):
    with pytest.raises(DownloadError, match=r"download of .* failed: Not Found; check the network"):
        fetch(wanted(publisher, url=f"{publisher.address}/gone"), tmp_path / "a.zip")
    with pytest.raises(DownloadError, match="refused"):
        fetch(wanted(publisher, url="http://127.0.0.1:9/file"), tmp_path / "a.zip")
    with pytest.raises(DownloadError, match="expected an http or https address"):
        fetch(wanted(publisher, url="file:///etc/hostname"), tmp_path / "a.zip")


def test_listing_without_the_archive_is_one_line(publisher, tmp_path):
    with pytest.raises(DownloadError, match="in the publisher's list of files, found none"):
        download_archive(tmp_path / "films", f"{publisher.address}/listing-empty")
    with pytest.raises(DownloadError, match="name a folder with the films by --data"):
        download_archive(tmp_path / "films", "http://127.0.0.1:9/listing")


def test_file_that_is_no_archive_leaves_nothing_but_itself(tmp_path):
    server = Publisher(b"this is no archive" * 99)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.raises(DownloadError, match="cannot unpack"):
            download_archive(tmp_path / "films", f"{server.address}/listing")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert [f.name for f in tmp_path.iterdir()] == [ARCHIVE_NAME]

"""Archives of phantom images, and a store that can be cut off."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from pneumoscope.bundle import find_bundle


@pytest.fixture(scope="session")
def archive(phantoms, tmp_path_factory):
    """A folder of 72 images under names of their own and two files that cannot be read."""
    folder = tmp_path_factory.mktemp("archive") / "films"
    folder.mkdir()
    for position, image in enumerate(sorted(phantoms.rglob("*.jpeg"))):
        (folder / f"{position:03d}.jpeg").write_bytes(image.read_bytes())
    (folder / "010-broken.jpeg").write_bytes(b"\xff\xd8 and no more")
    (folder / "040-empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def bundle(phantom_bundle):
    return find_bundle(phantom_bundle)


@pytest.fixture
def tarred(tmp_path):
    """Writes a tar archive of files given by name."""

    def write(name, members):
        file = tmp_path / name
        with tarfile.open(file, "w:gz" if name.endswith("gz") else "w") as archive:
            for member, content in members.items():
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        return file

    return write


class Proxy:
    """Passes bytes on to a server; `cut` closes every connection and refuses new ones."""

    def __init__(self, port):
        self._server = port
        self._cut = threading.Event()
        self._open = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self._cut.set()
        for each in list(self._open):
            self._close(each)

    def mend(self):
        self._cut.clear()

    def close(self):
        self.cut()
        self._socket.close()

    def _accept(self):
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            if self._cut.is_set():
                caller.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open |= {caller, server}
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while content := source.recv(65536):
                sink.sendall(content)
        except OSError:
            pass
        for each in (source, sink):
            self._close(each)

    def _close(self, each):
        self._open.discard(each)
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.fixture(scope="session")
def s3_server():
    """The port of a server that speaks S3, on loopback, with an empty bucket `images`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Path(sys.executable).with_name("moto_server")
    run = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        run.terminate()
        run.wait(20)


@pytest.fixture
def store(s3_server, monkeypatch):
    """A way to the server that can be cut; everything in this process and its children goes by it."""
    proxy = Proxy(s3_server)
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",  # of no account
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}",
        "AWS_MAX_ATTEMPTS": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    try:
        yield proxy
    finally:
        proxy.close()

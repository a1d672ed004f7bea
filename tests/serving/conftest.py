"""Services that really listen, on loopback, in a thread of this process; their judging processes are real ones."""

import contextlib
import shutil
import threading
import time

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from pneumoscope.serving.server import listen, make_server
from pneumoscope.serving.settings import Settings

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
# A page on a busy machine takes its time; milliseconds.
expect.set_options(timeout=20_000)


@contextlib.contextmanager
def running(**settings):
    """A client of a service with these settings."""
    told = Settings(**({"port": 0, "workers": 1} | settings))
    held = listen(told)
    server = make_server(told)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{held.getsockname()[1]}", timeout=60) as client:
            client.server = server
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
        held.close()


@pytest.fixture(scope="package")
def service(phantom_bundle, tmp_path_factory):
    """With a bundle for phantom films, small limits and a history."""
    history = tmp_path_factory.mktemp("history") / "history.sqlite"
    with running(
        bundle=str(phantom_bundle), images=4, queue=8, image_bytes=2_000_000, upload_seconds=1.0, history=history
    ) as client:
        yield client


@pytest.fixture(scope="session")
def films(phantoms):
    """Eight phantom films as files."""
    return sorted(phantoms.rglob("*.jpeg"))[::9]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, headless; one a module, for asyncio.run() is refused in a thread where Playwright is started."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


def drawn(page):
    """Waits until the page has drawn what was done on it so far, which it does with the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def kept(page):
    """Waits until browser and service have what the page keeps there: before, a reload would lose it, and warns."""
    wait_on(page, lambda: page.evaluate(KEPT), "the page has not stored what is on it")


KEPT = """async () => {
    const [session, keeping] = await Promise.all([import("/page/session.js"), import("/page/keeping.js")]);
    return !session.isUnsaved() && !keeping.isUnsent();
}"""


def wait_on(page, condition, otherwise):
    """Waits until a condition holds, while the page and its routes go on."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, otherwise
        page.wait_for_timeout(20)


class Held:
    """Requests of a page that the test answers, in the order that it chooses."""

    def __init__(self, page, address):
        self._page = page
        self.routes = []
        page.route(address, lambda route: self.routes.append(route))

    def wait(self, count):
        """The requests, once there are so many."""
        wait_on(self._page, lambda: len(self.routes) >= count, f"expected {count} requests of the page")
        return self.routes

"""Take the screenshots of the workbench for docs/reference/page.md in a browser: Debian's Chromium, headless.

    .venv/bin/python scripts/picture_workbench.py IMAGE ...

The images are renamed to numbers, so that no screenshot shows a file name of the data set.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

FIGURES = Path("docs/figures")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
TIMEOUT_MS = 60_000
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=800)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        images = numbered([Path(name) for name in sys.argv[1:]], Path(folder))
        service = subprocess.Popen(
            [Path(sys.executable).with_name("pneumoscope"), "serve", "--port", "0", "--no-request-log"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert service.stdout is not None
            address = service.stdout.readline().strip()
            wait_until_ready(address)
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
                desk = browser.new_context(viewport=DESK, locale="en-GB", device_scale_factor=1).new_page()
                take_desk(desk, address, images)
                phone = browser.new_context(viewport=PHONE, locale="fr-FR", is_mobile=True, has_touch=True).new_page()
                take_phone(phone, address, images)
                browser.close()
        finally:
            service.terminate()
            service.wait()


def numbered(images: list[Path], folder: Path) -> list[str]:
    """Copy the images under numbers."""
    copies = [folder / f"film-{number:02}{image.suffix}" for number, image in enumerate(images, 1)]
    for image, copy in zip(images, copies, strict=True):
        shutil.copy(image, copy)
    return [str(copy) for copy in copies]


def wait_until_ready(address: str) -> None:
    """Wait for the service to answer."""
    while True:
        try:
            urllib.request.urlopen(f"{address}v1/ready")  # noqa: S310
        except OSError:
            time.sleep(0.1)
        else:
            return


def open_worklist(page: Page, address: str, images: list[str]) -> None:
    """Open the workbench and wait for the predictions of the images."""
    page.goto(address)
    expect(page.locator("html[data-ready]")).to_have_count(1, timeout=TIMEOUT_MS)
    page.set_input_files("#files", images)
    expect(page.locator(".films li")).to_have_count(len(images), timeout=TIMEOUT_MS)
    expect(page.locator(".films .waiting")).to_have_count(0, timeout=TIMEOUT_MS)
    expect(page.locator(".stage canvas").first).to_be_visible(timeout=TIMEOUT_MS)


def take_screenshot(page: Page, name: str) -> None:
    """Save what the page shows as a figure of the documentation."""
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(800)
    page.screenshot(path=FIGURES / f"workbench-{name}.png", full_page=name == "phone")


def take_desk(page: Page, address: str, images: list[str]) -> None:
    """Take the screenshots of a desktop: worklist, comparison, performance, drift."""
    open_worklist(page, address, images)
    page.locator("#evidence").fill("75")
    take_screenshot(page, "dark")
    page.keyboard.press("c")
    page.locator("[data-filter=normal]").click()
    page.locator(".films button").first.click()
    page.locator("#theme").click()
    take_screenshot(page, "compare")
    page.locator("#theme").click()
    page.goto(f"{address}#performance")
    take_screenshot(page, "performance")
    page.goto(f"{address}#watch")
    take_screenshot(page, "watch")


def take_phone(page: Page, address: str, images: list[str]) -> None:
    """Take the screenshot of a phone, in French."""
    open_worklist(page, address, images[:6])
    page.locator("#evidence").fill("75")
    page.locator(".films button").first.click()
    take_screenshot(page, "phone")


if __name__ == "__main__":
    main()

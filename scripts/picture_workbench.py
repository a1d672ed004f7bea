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
# Number of normal images among those of the command line, which come first.
NORMAL = 6
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=800)
TALL = ViewportSize(width=1280, height=960)


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
    expect(page.locator("#announcement")).to_contain_text(f"{len(images)}", timeout=TIMEOUT_MS)
    expect(page.locator(".films .waiting")).to_have_count(0, timeout=TIMEOUT_MS)
    expect(page.locator(".stage canvas").first).to_be_visible(timeout=TIMEOUT_MS)


def take_screenshot(page: Page, name: str) -> None:
    """Save what the page shows as a figure of the documentation."""
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(800)
    page.screenshot(path=FIGURES / f"workbench-{name}.png", full_page=name == "phone")


def take_desk(page: Page, address: str, images: list[str]) -> None:
    """Take the screenshots of a desktop: first visit, worklist, readings, comparison, performance, drift, about, HTTP interface."""
    page.goto(address)
    expect(page.locator("#welcome")).to_be_visible(timeout=TIMEOUT_MS)
    take_screenshot(page, "welcome")
    open_worklist(page, address, images)
    page.locator("#evidence").fill("75")
    take_screenshot(page, "dark")
    page.locator("#evidence").fill("0")
    take_readings(page)
    page.keyboard.press("c")
    page.locator("[data-filter=normal]").click()
    page.locator(".films button").nth(1).click()
    page.locator("#theme").click()
    take_screenshot(page, "compare")
    page.locator("#theme").click()
    page.goto(f"{address}#performance")
    take_screenshot(page, "performance")
    page.goto(f"{address}#watch")
    take_screenshot(page, "watch")
    page.goto(f"{address}#about")
    take_screenshot(page, "about")
    page.goto(f"{address}docs")
    expect(page.locator("h1")).to_be_visible(timeout=TIMEOUT_MS)
    take_screenshot(page, "api")


def take_readings(page: Page) -> None:
    """Take the screenshot of two readers' findings: the second one reads blinded, and differs once."""
    page.locator("#labelling > summary").click()
    page.locator("#order").select_option("name")
    for reader, differs in (("Dr Lin", ()), ("Dr Roy", ("02",))):
        page.locator("#reader").fill(reader)
        page.evaluate("() => document.activeElement.blur()")
        for _ in range(14):
            page.keyboard.press("r")
            page.wait_for_timeout(150)
            number = page.locator(".films [aria-current=true] .file").inner_text()[5:7]
            # The first images are normal.
            page.keyboard.press("n" if int(number) <= NORMAL and number not in differs else "p")
            page.wait_for_timeout(50)
    expect(page.locator("#figures")).to_contain_text("kappa", timeout=TIMEOUT_MS)
    # The film before, which has no names of its own on it.
    page.keyboard.press("k")
    page.set_viewport_size(TALL)
    take_screenshot(page, "reading")
    page.locator("#labelling > summary").click()
    page.set_viewport_size(DESK)
    page.locator("#order").select_option("suspicion")


def take_phone(page: Page, address: str, images: list[str]) -> None:
    """Take the screenshot of a phone, in French."""
    open_worklist(page, address, images[:6])
    page.locator("#evidence").fill("75")
    page.locator(".films button").first.click()
    take_screenshot(page, "phone")


if __name__ == "__main__":
    main()

"""Pictures of the workbench for docs/serving.md, taken in a real browser: Debian's Chromium, headless.

    .venv/bin/python scripts/picture_workbench.py FILM ...

The films are shown in the pictures under numbers.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

FIGURES = Path("docs/figures")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
SECONDS = 60_000
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        films = numbered([Path(name) for name in sys.argv[1:]], Path(folder))
        service = subprocess.Popen(
            [Path(sys.executable).with_name("pneumoscope"), "serve", "--port", "0", "--no-request-log"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert service.stdout is not None
            address = service.stdout.readline().strip()
            until_ready(address)
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
                desk = browser.new_context(viewport=DESK, locale="en-GB", device_scale_factor=1).new_page()
                take_desk(desk, address, films)
                phone = browser.new_context(viewport=PHONE, locale="fr-FR", is_mobile=True, has_touch=True).new_page()
                take_phone(phone, address, films)
                browser.close()
        finally:
            service.terminate()
            service.wait()


def numbered(films: list[Path], folder: Path) -> list[str]:
    named = []
    for number, film in enumerate(films, 1):
        named.append(folder / f"film-{number:02}{film.suffix}")
        shutil.copy(film, named[-1])
    return [str(name) for name in named]


def until_ready(address: str) -> None:
    while True:
        try:
            urllib.request.urlopen(f"{address}v1/ready")  # noqa: S310
        except OSError:
            time.sleep(0.1)
        else:
            return


def judged(page: Page, address: str, films: list[str]) -> None:
    page.goto(address)
    expect(page.locator("html[data-ready]")).to_have_count(1, timeout=SECONDS)
    page.set_input_files("#files", films)
    expect(page.locator(".films li")).to_have_count(len(films), timeout=SECONDS)
    expect(page.locator(".films .waiting")).to_have_count(0, timeout=SECONDS)
    expect(page.locator(".stage canvas").first).to_be_visible(timeout=SECONDS)


def picture(page: Page, name: str) -> None:
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(800)
    page.screenshot(path=FIGURES / f"workbench-{name}.png", full_page=name == "phone")


def take_desk(page: Page, address: str, films: list[str]) -> None:
    judged(page, address, films)
    page.locator("#evidence").fill("75")
    picture(page, "dark")
    page.keyboard.press("c")
    page.locator("[data-filter=normal]").click()
    page.locator(".films button").first.click()
    page.locator("#theme").click()
    picture(page, "compare")
    page.locator("#theme").click()
    page.goto(f"{address}#performance")
    picture(page, "performance")
    page.goto(f"{address}#watch")
    picture(page, "watch")


def take_phone(page: Page, address: str, films: list[str]) -> None:
    judged(page, address, films[:6])
    page.locator("#evidence").fill("75")
    page.locator(".films button").first.click()
    picture(page, "phone")


if __name__ == "__main__":
    main()

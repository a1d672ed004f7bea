"""Pages that are files, in Chromium: they fit, can be read by keyboard and by a screen reader, in both themes."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pneumoscope.data.overview import write_overview
from pneumoscope.study.comparison import write_comparison

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pages(tmp_path_factory, phantom_dataset):
    """Folder with the page of the study and the overview of a data set."""
    folder = tmp_path_factory.mktemp("pages")
    write_comparison(
        json.loads((Path(__file__).parents[2] / "results/study/comparison.json").read_text(encoding="utf-8")), folder
    )
    write_overview(phantom_dataset, folder, synthetic=True)
    return folder


@pytest.mark.parametrize("name", ["comparison", "overview"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_page_fits_and_axe_finds_nothing(browser, pages, name, theme, width):
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme) as context:
        page = context.new_page()
        page.goto((pages / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("main h2").count() >= 3
        found = Axe().run(page).response["violations"]
        assert not found, json.dumps([(one["id"], [n["target"] for n in one["nodes"]][:5]) for one in found])


def test_tables_wider_than_the_page_are_scrolled_by_keyboard(browser, pages):
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        page.goto((pages / "comparison.html").as_uri())
        table = page.get_by_role("region", name="Table: Every training")
        table.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.activeElement.scrollLeft > 0")

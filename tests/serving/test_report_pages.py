"""Pages that are files, in Chromium: they fit, can be read by keyboard and by a screen reader, in both themes."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from pneumoscope.data.overview import write_overview
from pneumoscope.pacs import comparison as silent
from pneumoscope.pacs import comparison_page
from pneumoscope.study.comparison import write_comparison

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pages(tmp_path_factory, phantom_dataset, phantom_bundle, films):
    """Folder with the page of the study, the overview of a data set, a report of predictions and one of silent mode."""
    folder = tmp_path_factory.mktemp("pages")
    write_comparison(
        json.loads((Path(__file__).parents[2] / "results/study/comparison.json").read_text(encoding="utf-8")), folder
    )
    write_overview(phantom_dataset, folder, synthetic=True)
    comparison_page.write_comparison(silent.compare(*silent_answers()), folder / "silent")
    Image.new("L", (20, 20), 100).save(folder / f"{'long_' * 30}name.png")
    words = ["report", *films, folder, "--bundle", phantom_bundle, "--out", folder / "report.html", "--workers", "1"]
    subprocess.run([sys.executable, "-m", "pneumoscope", *map(str, words)], check=True)
    return folder


def silent_answers():
    """Answers to 150 images over two months, and reports that differ from every seventh."""
    answers, reports = [], []
    for number in range(150):
        at = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=9 * number)
        decision = ("normal", "pneumonia", "normal", "refer")[number % 4]
        names = {"accession": f"A{number}", "study_uid": f"1.2.{number}", "sop_uid": f"1.2.{number}.1"}
        answers.append(
            silent.SilentAnswer(
                **names,
                patient_key=str(number // 2),
                study_date="",
                received=at,
                answered=at + timedelta(seconds=1),
                decision=decision,
                probability=number / 150,
                reasons=(),
                outside=False,
                bundle_sha256="b" * 64,
            )
        )
        positive = (decision == "pneumonia") != (number % 7 == 0)
        reports.append(silent.Report(number + 2, **names, positive=positive, reported=at + timedelta(hours=2)))
    return answers, silent.Reports(tuple(reports), {}, {})


@pytest.mark.parametrize("name", ["comparison", "overview", "report", "silent/comparison"])
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


def test_reasons_in_a_report_are_words(browser, pages):
    page = browser.new_page()
    page.goto((pages / "report.html").as_uri())
    rejected = page.get_by_role("region", name="Rejected")
    assert rejected.locator("td").nth(1).inner_text() == "too small"
    page.close()


def test_long_names_of_a_report_leave_room_for_the_decisions_on_a_phone(browser, pages):
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        page.goto((pages / "report.html").as_uri())
        reason = page.get_by_role("region", name="Rejected").locator("td").nth(1)
        assert reason.bounding_box()["x"] < 300

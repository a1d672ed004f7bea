"""The page with a PACS, in a real browser: search, open with the earlier films beside, send report and picture."""

import contextlib
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from dicom_objects import written
from films import ROOT, film
from pacs_server import PacsServer
from pneumoscope.data.phantom import phantom_image
from pneumoscope.pacs.answers import read_report
from serving.conftest import Held, browser, kept, running  # noqa: F401
from serving.test_page import is_own, press
from serving.test_page_reading import opened, run_axe

pytestmark = pytest.mark.integration

WIDTHS = (390, 1280, 1920)


def a_film(number, word="bacteria", **attributes):
    known = {
        "PatientID": "P1",
        "PatientName": "Muster^Anna",
        "StudyDescription": "Chest AP",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    return written(film(phantom_image(word, np.random.default_rng(number), 256), number, **known | attributes))


@pytest.fixture
def pacs():
    server = PacsServer()
    study = {"StudyInstanceUID": f"{ROOT}.1.3", "StudyDate": "20240506", "AccessionNumber": "ACC3"}
    server.add(
        a_film(1, StudyDate="20220101"),
        a_film(2, "normal", StudyDate="20230101"),
        a_film(3, **study),
        a_film(4, "virus", **study, SeriesInstanceUID=f"{ROOT}.2.3", InstanceNumber=2, ViewPosition="PA"),
        a_film(9, PatientID="P2", PatientName="<b>Odd</b>^\u202eName"),
    )
    yield server
    server.close()


@pytest.fixture
def start(pacs, phantom_bundle, tmp_path):
    """Starts a service that knows the PACS."""

    @contextlib.contextmanager
    def started(*lines, **settings):
        file = tmp_path / "node.toml"
        file.write_text("\n".join([*lines, "[dicomweb]", f'url = "{pacs.url}"', "timeout_seconds = 5.0", ""]))
        with running(bundle=str(phantom_bundle), **{"node": file} | settings) as service:
            yield service

    return started


@contextlib.contextmanager
def page_of(browser, service, width=1280, language="en-GB"):  # noqa: F811
    context = browser.new_context(viewport={"width": width, "height": 900}, locale=language)
    with opened(context, service) as page:
        elsewhere = []
        page.on("request", lambda asked: is_own(asked.url, service) or elsewhere.append(asked.url))
        yield page
        assert elsewhere == []
    context.close()


def search(page, **wanted):
    page.keyboard.press("s")
    for name, value in wanted.items():
        page.fill(f"#pacs-dialog [name={name}]", value)
    page.keyboard.press("Enter")
    expect(page.locator("#pacs-status")).to_have_text(re.compile(r"stud"))


def open_study(page):
    """By keyboard alone: the patient's last study."""
    search(page, patient_id="P1")
    rows = page.locator(".studies tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text(
        re.compile(r"May 6, 2024.*Muster, Anna.*P1 · born Mar 4, 2021.*ACC3.*Chest AP.*2", re.DOTALL)
    )
    rows.nth(1).locator("button").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#pacs-dialog")).to_be_hidden()
    expect(page.locator(".films [data-film]")).to_have_count(4)
    expect(page.locator("#progress")).to_be_hidden()


def captions(page):
    return page.locator(".stage .caption")


def test_a_study_opens_with_the_patient_s_earlier_film_beside_it(browser, start):  # noqa: F811
    with start() as service, page_of(browser, service) as page:
        predicted = []
        page.on("request", lambda asked: predicted.append(asked.url) if "/v1/predict" in asked.url else None)
        open_study(page)
        expect(captions(page)).to_have_text(["ACC3 2024-05-06 DX AP", "ACC2 2023-01-01 DX AP"])
        expect(page.locator("#link")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#others button")).to_have_count(3)
        expect(page.locator("#pacs-film")).to_contain_text("Muster, Anna ID P1 · accession ACC3 · May 6, 2024")
        press(page, "q")
        expect(page.locator(".stage .panel").first).to_contain_text("May 6, 2024")
        # The same study again is the same films; a reload finds them, and fetches them anew.
        open_study(page)
        expect(captions(page)).to_have_text(["ACC3 2024-05-06 DX AP", "ACC2 2023-01-01 DX AP"])
        assert not any("Muster" in url for url in predicted)
        # Before that the page warns of a reload, which a person would heed.
        kept(page)
        page.reload()
        expect(page.locator(".films [data-film]")).to_have_count(4)
        expect(page.locator("#pacs-film")).to_contain_text("Muster, Anna")
        expect(page.locator(".stage canvas:not(.loupe)").first).to_be_visible()


def test_answers_are_sent_after_a_confirmation_and_once(browser, start, pacs):  # noqa: F811
    with start() as service, page_of(browser, service) as page:
        open_study(page)
        said = page.locator("#verdict .decision").inner_text()
        page.click("#send")
        dialog = page.locator("#send-dialog")
        for words in (
            "Muster, Anna (P1)",
            "May 6, 2024 · ACC3",
            "structured report (SR), picture",
            said,
            "cannot withdraw",
        ):
            expect(dialog).to_contain_text(words)
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        assert not pacs.stored

        pacs.refuses["OT"] = 0xA702
        page.click("#send")
        dialog.get_by_role("button", name="Send").click()
        expect(page.locator("#pacs-film")).to_contain_text("Sending failed: The PACS did not do what it was asked for.")
        expect(page.locator("#pacs-film")).to_contain_text("0xA702 (out of resources)")
        pacs.refuses.clear()

        page.click("#send")
        dialog.get_by_role("button", name="Send").click()
        expect(page.locator("#pacs-film")).to_contain_text("Sent to the PACS on")
        expect(page.locator("#send")).to_have_count(0)
        [report] = pacs.objects(Modality="SR")
        assert len(pacs.objects(Modality="OT")) == 1
        assert sorted(pacs.stored.values()) == [1, 1]
        assert report.StudyInstanceUID == f"{ROOT}.1.3"
        assert read_report(report)["decision"] == said
        page.reload()
        expect(page.locator("#pacs-film")).to_contain_text("Sent to the PACS on")
        # The answers are no films of the study.
        open_study(page)


def test_a_film_that_is_removed_while_its_answer_is_sent_does_not_come_back(browser, start):  # noqa: F811
    with start() as service, page_of(browser, service) as page:
        open_study(page)
        held = Held(page, re.compile("/answers"))
        page.click("#send")
        page.locator("#send-dialog").get_by_role("button", name="Send").click()
        held.wait(1)
        page.click("#remove-film")
        expect(page.locator(".films [data-film]")).to_have_count(3)
        with page.expect_response(re.compile("/answers")) as answered:
            held.routes[0].continue_()
        answered.value.finished()
        kept(page)
        page.reload()
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator(".films [data-film]")).to_have_count(3)


def test_what_is_not_to_be_sent_cannot_be(browser, start):  # noqa: F811
    with start("silent = true") as service, page_of(browser, service) as page:
        open_study(page)
        expect(page.locator("#pacs-film")).to_contain_text("to which this service sends nothing")
        expect(page.locator("#send")).to_have_count(0)
    with start() as service, page_of(browser, service) as page:
        page.locator("#labelling > summary").click()
        page.check("#blinded")
        open_study(page)
        expect(page.locator("#pacs-film")).to_contain_text("After your own finding.")
        expect(page.locator("#send")).to_be_disabled()
        press(page, "n")
        expect(page.locator("#send")).to_be_enabled()


def test_nothing_of_it_is_seen_without_a_pacs(browser, start):  # noqa: F811
    with start(node=None) as service, page_of(browser, service) as page:
        expect(page.locator("#open-pacs")).to_be_hidden()
        page.keyboard.press("s")
        expect(page.locator("#pacs-dialog")).to_be_hidden()
        page.keyboard.press("?")
        assert "PACS" not in page.locator("body").inner_text()


def test_a_search_says_what_it_found_or_why_not(browser, start, pacs):  # noqa: F811
    with start() as service, page_of(browser, service) as page:
        page.click("#open-pacs")
        dialog = page.locator("#pacs-dialog")
        dialog.get_by_role("button", name="Search").click()
        expect(dialog.get_by_role("alert")).to_have_text("Fill in at least one field.")
        page.keyboard.press("Escape")
        search(page, patient_id="P9")
        expect(page.locator("#pacs-status")).to_have_text(re.compile("No study with radiographs matches."))
        page.keyboard.press("Escape")
        search(page, patient_id="P2")
        # A name from elsewhere hides nothing and is no part of the page.
        expect(page.locator(".studies button")).to_have_text("<b>Odd</b>, \\u202eName")
        pacs.close()
        page.click("#pacs-dialog form.wanted button")
        expect(dialog.get_by_role("alert")).to_contain_text("The PACS did not do what it was asked for.")
        expect(dialog.get_by_role("alert")).to_contain_text("Connection refused")


@pytest.mark.parametrize(("language", "theme"), [("en-GB", "dark"), ("fr", "light")])
def test_dialogs_are_accessible_and_fit(browser, start, language, theme):  # noqa: F811
    with start() as service, page_of(browser, service, language=language) as page:
        if theme == "light":
            page.click("#theme")
        page.click("#open-pacs")
        page.fill("[name=patient_id]", "P*")
        page.keyboard.press("Enter")
        expect(page.locator(".studies tbody tr")).to_have_count(4)
        looks(page)
        page.locator(".studies button").filter(has_text="Muster").first.click()
        expect(page.locator("#progress")).to_be_hidden()
        expect(page.locator("#send")).to_be_enabled()
        looks(page)
        page.click("#send")
        looks(page)


def looks(page):
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        run_axe(page)
        assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        for dialog in page.locator("dialog[open]").all():
            assert dialog.evaluate("(node) => node.scrollWidth - node.clientWidth") <= 0
    page.set_viewport_size({"width": 1280, "height": 900})

"""Silent mode on the service: the node's answers beside a table of reports, as JSON and on the page."""

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from playwright.sync_api import expect

from pneumoscope.files import as_json
from pneumoscope.pacs.comparison import compare, read_reports
from pneumoscope.pacs.queue import Arrival, Queue
from serving.conftest import Held, running
from serving.test_page import SECONDS
from serving.test_page_reading import open_panel, opened, run_axe
from serving.test_page_screens import WIDTHS, WORD, english_alone, spoken
from serving.test_service import problem_of

START = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday
HEADERS = {"Content-Type": "text/csv"}
PATH = "/v1/node/comparison"


class Clock:
    """Seconds since 1970, as a queue asks for them."""

    def __init__(self):
        self.now = START.timestamp()

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """Folder of a node that answered 120 films within four weeks, and the radiologists' reports on them."""
    folder, clock, rng = tmp_path_factory.mktemp("silent") / "node", Clock(), np.random.default_rng(5)
    queue, lines = Queue(folder, clock), ["accession,finding,reported"]
    for number in range(120):
        positive = bool(rng.random() < 0.4)
        right = rng.random() < (0.9 if positive else 0.8)
        decision = ("pneumonia" if positive == right else "normal") if rng.random() > 0.1 else "refer"
        received = START + timedelta(days=27 * number / 120)
        clock.now = received.timestamp()
        queue.add(b"film", Arrival(f"1.2.{number}.1", f"1.2.{number}", f"ACC{number}", f"p{number}", "", "ROOM1"))
        clock.now += 2
        [image] = queue.waiting(1)
        prediction = {
            "stands_for": decision,
            "reasons": ["near_threshold"] * (decision == "refer"),
            "outside": False,
            "pneumonia_probability": float(np.clip(rng.normal(0.8 if decision == "pneumonia" else 0.2, 0.1), 0, 1)),
            "bundle": {"sha256": "b" * 64},
            "answers": [],
        }
        queue.answered(image, prediction, [])
        if number < 110:
            time = (received + timedelta(hours=5)).isoformat()
            lines.append(f"ACC{number},{'pneumonia' if positive else 'normal'},{time}")
    lines += ["NOBODY,normal,", "ACC3,,"]
    queue.close()
    return folder, "\n".join(lines).encode()


@pytest.fixture(scope="module")
def watching(silent, phantom_bundle):
    """A service beside that node."""
    with running(bundle=str(phantom_bundle), node=silent[0]) as service:
        yield service


def test_the_answer_is_that_of_the_command(watching, silent, tmp_path):
    folder, table = silent
    found = watching.post(PATH, content=table, headers=HEADERS)
    (tmp_path / "reports.csv").write_bytes(table)
    queue = Queue(folder)
    expected = compare(queue.silent_answers(), read_reports(tmp_path / "reports.csv"))
    queue.close()
    assert found.json() == json.loads(as_json(expected))
    assert (found.json()["compared"], found.json()["answers"]["unmatched"], found.json()["answers"]["sent"]) == (
        110,
        10,
        0,
    )


def test_the_answer_fits_the_schema_and_nothing_of_the_table_is_kept(watching, silent):
    from pneumoscope.serving.schemas import ComparisonSchema

    folder, table = silent
    before = {file: file.stat().st_size for file in folder.rglob("*")}
    found = watching.post(PATH, content=table, headers=HEADERS).json()
    ComparisonSchema.model_validate(found)
    few = watching.post(PATH, content=b"accession,finding\nACC1,normal\n", headers=HEADERS).json()
    ComparisonSchema.model_validate(few)
    assert few["measures"]["sensitivity"]["value"] is None
    assert {file: file.stat().st_size for file in folder.rglob("*") if file in before} == before
    assert not [file for file in folder.rglob("*") if file.is_file() and b"NOBODY" in file.read_bytes()]


def test_findings_of_other_words_are_named_by_the_class_map(watching):
    table = b"accession;finding\nACC1;Pneumonie\nACC2;o.B.\nACC3;Erguss\n"
    found = watching.post(PATH, content=table, headers=HEADERS, params={"class_map": "Pneumonie=pneumonia,o.B.=normal"})
    assert (found.json()["compared"], found.json()["reports"]["other_findings"]) == (2, {"erguss": 1})
    refused = watching.post(PATH, content=table, headers=HEADERS)
    assert problem_of(refused) == "unusable_reports"
    assert "in line 2 of the table, found 'pneumonie'" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("content", "more", "code", "detail"),
    [
        (
            b"accession,finding\nX1,normal\n",
            {},
            "no_report_matches",
            "120 images answered from .* none of them matches",
        ),
        (b"accession,text\nACC1,normal\n", {}, "unusable_reports", "expected a column finding .* in the table"),
        (b"accession,finding\nACC1,maybe\n", {}, "unusable_reports", "in line 2 of the table, found 'maybe'"),
        (b"\xff\xd8\xff\xe0picture", {}, "unusable_reports", "expected a UTF-8 CSV table"),
        (b"", {}, "unusable_reports", "found no header"),
        (b"a,b\n", {"params": {"class_map": "x"}}, "unusable_reports", "expected a class map"),
        (b"a,b\n", {"headers": {"Content-Type": "application/json"}}, "unsupported_media_type", "expected text/csv"),
        (b"a" * (8 * 2**20 + 1), {}, "too_large", "expected at most 8388608 bytes"),
    ],
)
def test_what_cannot_be_compared_is_refused(watching, content, more, code, detail):
    found = watching.post(PATH, content=content, **{"headers": HEADERS} | more)
    assert problem_of(found) == code
    assert re.search(detail, found.json()["detail"])


def test_without_a_node_nothing_is_compared(service):
    assert problem_of(service.post(PATH, content=b"accession,finding\n", headers=HEADERS)) == "node_off"


def compare_on(page, name, content):
    """Opens the node's part of the page, and sets its answers beside a table."""
    page.click("nav a[href='#watch']")
    page.set_input_files("#reports-file", {"name": name, "mimeType": "application/vnd.ms-excel", "buffer": content})
    page.click(".compare button")
    expect(page.locator(".compare button")).to_be_enabled(timeout=SECONDS)
    return page.locator("#comparison")


def interval(found, of=100, digits=1, unit="%"):
    """Value and interval as the page writes them in English."""
    value, low, high = (f"{of * found[name]:.{digits}f}{unit}" for name in ("value", "low", "high"))
    return value, f"{low} – {high}"


@pytest.mark.integration
def test_the_page_shows_what_the_service_compares(watching, silent, browser):
    expected = watching.post(PATH, content=silent[1], headers=HEADERS).json()
    measures, agreement = expected["measures"], expected["agreement"]
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, locale="en-GB")
    with opened(context, watching) as page:
        part = compare_on(page, "reports.csv", silent[1])
        expect(part.locator("p").first).to_have_text(
            f"110 studies of 110 patients, 2 Mar 2026 to 29 Mar 2026: {agreement['decided']} with a decision, "
            f"{agreement['same']} of these as the radiologist says."
        )
        tiles = part.locator(".tile")
        for place, name in enumerate(("sensitivity", "specificity", "answered")):
            for text in interval(measures[name]):
                expect(tiles.nth(place)).to_contain_text(text)
        for text in interval(agreement["kappa"], 1, 2, ""):
            expect(tiles.nth(3)).to_contain_text(text)
        matrix = [int(cell) for cell in part.locator(".matrix tbody td").all_inner_texts()]
        order = ("pneumonia", "normal", "refer", "outside", "rejected")
        assert matrix == [expected["flow"][row][name] for row in ("pneumonia", "normal") for name in order]
        rows = expected["periods"]["rows"]
        points = sum(
            row["measures"][name]["value"] is not None for row in rows for name in ("sensitivity", "specificity")
        )
        assert part.locator(".timeline circle").count() == points > 4
        part.get_by_text("As a table").click()
        expect(part.locator("td.period")).to_have_text([row["period"] for row in rows])
        listed = part.locator(".long tbody tr")
        assert listed.count() == len(expected["disagreements"]) > 5
        first = expected["disagreements"][0]
        expect(listed.first).to_have_text(re.compile(f"{first['accession']}.*{first['decision']}.*{first['report']}"))
        for text in (
            "images answered",
            "of these left out: no finding",
            "Nobody saw these answers",
            "answer before the report",
            "110 of 110",
        ):
            expect(part).to_contain_text(text)
        expect(part.locator(".level").last).to_have_class(re.compile(expected["drift"]["probability"]["level"]))
    context.close()


@pytest.mark.integration
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious_in_a_comparison(watching, silent, browser, theme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB")
    with opened(context, watching) as page:
        if theme == "light":
            page.click("#theme")
        part = compare_on(page, "reports.csv", silent[1])
        for summary in part.locator("summary").all():
            summary.click()
        run_axe(page)
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
    context.close()


@pytest.mark.integration
def test_a_comparison_is_in_french_and_stays_when_the_language_changes(watching, silent, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="fr-FR")
    with opened(context, watching) as page:
        part = compare_on(page, "reports.csv", silent[1])
        for summary in part.locator("summary").all():
            summary.click()
        found = {word.lower() for word in WORD.findall(spoken(part.inner_text()))} & english_alone(page)
        assert not found
        expect(part).to_contain_text("examens de 110 patients, du 2 mars 2026 au 29 mars 2026")
        page.select_option("#language", "en")
        expect(part.locator("p").first).to_contain_text("as the radiologist says")
    context.close()


@pytest.mark.integration
def test_the_page_says_why_a_table_is_not_compared(watching, silent, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    with opened(context, watching) as page:
        part = compare_on(page, "reports.csv", silent[1])
        expect(part.locator(".tile")).to_have_count(4)
        status = page.locator(".compare + [role=status]")
        compare_on(page, "other.csv", b"accession,finding\nX1,normal\n")
        expect(status).to_contain_text("No report speaks of an image that the node has answered. 120 images answered")
        expect(part).to_be_empty()
        german = b"accession;finding\nACC1;Pneumonie\nACC2;o.B.\n"
        page.fill("#reports-words", "Pneumonie=pneumonia, o.B.=normal")
        compare_on(page, "german.csv", german)
        expect(part).to_contain_text("2 studies of 2 patients")
        expect(status).to_be_empty()
        expect(part.locator(".timeline")).to_have_count(0)
        page.fill("#reports-words", "")
        compare_on(page, "german.csv", german)
        expect(status).to_contain_text("This table of reports cannot be used. expected a finding such as pneumonia")
    context.close()


def comparison_is_hidden(page):
    page.click("nav a[href='#watch']")
    expect(page.locator("#page-watch")).to_contain_text("You read blinded")
    expect(page.locator("#reports-file, #comparison")).to_have_count(0)


@pytest.mark.integration
def test_blinded_readers_see_no_comparison(watching, silent, films, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    with opened(context, watching) as page:
        part = compare_on(page, "reports.csv", silent[1])
        expect(part.locator(".tile")).to_have_count(4)
        page.click("nav a[href='#worklist']")
        held = Held(page, re.compile("/v1/predict"))
        page.set_input_files("#files", [str(films[0])])
        expect(page.locator(".films [data-film]")).to_have_count(1)
        open_panel(page)
        page.check("#blinded")
        comparison_is_hidden(page)  # while the film has no prediction yet
        held.wait(1)[0].continue_()
        page.click("nav a[href='#worklist']")
        expect(page.locator("#progress")).to_be_hidden()
        comparison_is_hidden(page)
        page.click("nav a[href='#worklist']")
        page.uncheck("#blinded")
        page.click("nav a[href='#watch']")
        expect(page.locator("#comparison .tile")).to_have_count(4)
    context.close()

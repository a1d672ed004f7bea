"""The screens beside the worklist: how good it is, the watch page with its timeline and banner, about; in both languages."""

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector
from pneumoscope.serving.problems import Problem
from pneumoscope.types import Reason
from radiographs import write_dicom
from serving.conftest import drawn, running
from serving.test_page import SECONDS, all_analysed, choose_files, photograph, six  # noqa: F401

pytestmark = pytest.mark.integration

SCREENS = ("performance", "watch", "adapt", "about")
WIDTHS = (390, 1280, 1920)


@pytest.fixture(scope="module")
def workbench(tmp_path_factory):
    """A service with history and adaptations; `history` is the path of its file."""
    folder = tmp_path_factory.mktemp("service")
    with running(workers=2, history=folder / "h.sqlite", adaptations=folder, accept=("outside_age",)) as client:
        client.history = folder / "h.sqlite"
        yield client


@pytest.fixture
def page(browser, workbench):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    opened = opened_page(context, workbench)
    yield opened
    context.close()
    assert opened.wrong == []


def opened_page(context, service):
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.goto(str(service.base_url))
    expect(opened.locator("html[data-ready]")).to_have_count(1)
    return opened


def show(page, screen):
    """Open a screen, and wait until it is drawn."""
    page.evaluate("(name) => { location.hash = name; }", screen)
    view = page.locator(f"#page-{screen}")
    expect(view.locator("h1")).to_be_visible()
    if screen == "watch":
        expect(view.locator("[data-step=day]")).to_be_visible()
    return view


@pytest.fixture(scope="module")
def changed_films(six, tmp_path_factory):  # noqa: F811
    """Sixty films that are darker than the detector was fitted on, each another image."""
    folder, rng = tmp_path_factory.mktemp("changed"), np.random.default_rng(0)
    files = []
    for number in range(60):
        grey = read_grey(six[number % 6]).astype(np.float64) * rng.uniform(0.45, 0.6)
        files.append(folder / f"dark-{number:02}.png")
        Image.fromarray(grey.astype(np.uint8)).save(files[-1])
    return files


def test_how_good_it_is_leaves_no_hole(page):
    """Cards of a row end together, and the rows fill the width."""
    for width in (1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        show(page, "performance")
        boxes = [card.bounding_box() for card in page.locator(".movable > .card").all()]
        rows = {}
        for box in boxes:
            rows.setdefault(round(box["y"]), []).append(box)
        whole = page.locator(".movable").bounding_box()
        assert len(rows) == 2
        for row in rows.values():
            assert len({round(box["y"] + box["height"]) for box in row}) == 1
            assert max(box["x"] + box["width"] for box in row) == pytest.approx(whole["x"] + whole["width"], abs=1)


def test_what_is_referred_stands_beside_the_matrix(page, workbench):
    own = workbench.get("/v1/performance").json()["detector"]
    view = show(page, "performance")
    referral = view.locator(".across")
    flow, balanced = own["balanced"]["flow"], own["points"]["balanced"]
    assert sum(flow[truth][each] for truth in flow for each in ("refer", "outside")) / own["films"] == pytest.approx(
        balanced["referred"]["value"], abs=1e-4
    )
    for measure in (balanced["referred"], own["balanced"]["sensitivity"], own["balanced"]["specificity"]):
        expect(referral).to_contain_text(f"{100 * measure['value']:.1f}%")
    expect(referral).to_contain_text("Sensitivity of the decided films")
    order = [(truth, each) for truth in ("pneumonia", "normal") for each in ("pneumonia", "normal", "refer", "outside")]
    cells = [int(text) for text in referral.locator(".matrix td:not(.corner)").all_inner_texts()]
    assert cells == [flow[truth][each] for truth, each in order]
    assert sum(cells) == own["films"]
    view.get_by_role("button", name="specific", exact=True).click()
    expect(referral).to_contain_text(f"{100 * own['points']['specific']['referred']['value']:.1f}%")
    expect(referral.locator(".matrix")).to_have_count(0)
    view.locator("#move-threshold").fill("30")
    expect(referral).to_contain_text("choose one of them")
    expect(view.get_by_role("button", name="balanced")).to_have_attribute("aria-pressed", "false")


def test_sensitivity_as_fitted_and_as_measured_are_named(page, workbench, six):  # noqa: F811
    fitted = workbench.get("/v1/bundle").json()["operating_points"]["sensitive"]["sensitivity"]
    measured = workbench.get("/v1/performance").json()["detector"]["points"]["sensitive"]["sensitivity"]["value"]
    assert round(fitted, 3) != round(measured, 3)
    table = show(page, "performance").locator("table").nth(2)
    header, row = (table.locator(cells).all_inner_texts() for cells in ("th", "tr:has-text('sensitive') td"))
    assert row[header.index("Sensitivity as fitted, validation films")] == f"{100 * fitted:.1f}%"
    assert row[header.index("Sensitivity measured, test films")].startswith(f"{100 * measured:.1f}% (")
    page.evaluate("() => { location.hash = 'worklist'; }")
    choose_files(page, six[:1])
    page.select_option("#operating-point", "sensitive")
    expect(page.locator("#verdict")).to_contain_text(f"As fitted, on validation films: sensitivity {100 * fitted:.1f}%")


def test_no_sentence_of_the_manifest_is_left_in_its_own_words(page, workbench):
    bundle = workbench.get("/v1/bundle").json()
    for screen in ("about", "performance"):
        view = show(page, screen)
        expect(view).to_contain_text("5,232 films of the training set")
        expect(view).not_to_contain_text(bundle["fitted_on"][:30])
    about = show(page, "about")
    expect(about).to_contain_text("Outside the ages that the detector was validated for.")
    expect(about.locator("li code")).to_have_text("outside_age")


@pytest.mark.parametrize(
    ("text", "english", "french"),
    [
        ("1234 validation films of the training, drawn by patient", "1,234 films", "1\u202f234 radiographies"),
        ("80 images of our films, each held out in turn", "80 films of our films", "80 radiographies de our films"),
        (
            "expected a patient of 1 to 5 years, found 34.5 in the header",
            "an age of 34.5 years",
            "un âge de 34,5\u00a0ans".replace("\u00a0", " "),
        ),
        ("fitted by hand", "fitted by hand", "fitted by hand"),
    ],
)
def test_sentences_in_english_get_words_of_both_languages(page, text, english, french):
    spoken = {}
    for language in ("en", "fr"):
        page.select_option("#language", language)
        spoken[language] = page.evaluate(
            """async (text) => {
                const { inWords } = await import("/page/plain.js");
                const found = inWords(text);
                return typeof found === "string" ? found : found.outerHTML;
            }""",
            text,
        )
    assert english in spoken["en"]
    assert french in spoken["fr"]
    assert (text == "fitted by hand") == ('lang="en"' in spoken["fr"])


def test_every_code_of_the_service_has_words(page):
    told = page.evaluate("async () => (await import('/page/words.js')).allWords")
    for language in ("en", "fr"):
        assert {f"problem.{problem.code}" for problem in Problem} <= set(told[language])
        assert {f"reason.{reason.value}" for reason in Reason} <= set(told[language])


def test_watch_says_what_has_drifted_and_what_to_do_and_the_worklist_says_so(page, workbench, changed_films):
    banner = page.locator("#banner")
    expect(banner).to_be_hidden()
    page.set_input_files("#files", [str(file) for file in changed_films])
    all_analysed(page, len(changed_films))
    expect(banner).to_contain_text("brightness", timeout=SECONDS)
    drift = workbench.get("/v1/drift").json()
    assert drift["statistics"]["brightness"]["drift"] == "drifted"
    banner.get_by_role("link").click()
    view = page.locator("#page-watch")
    expect(view.locator(".warn")).to_contain_text("The films have drifted")
    expect(banner).to_be_hidden()
    row = view.locator("table").first.locator("tbody tr").nth(list(drift["statistics"]).index("brightness"))
    expect(row.locator(".level")).to_have_text("drifted")
    expect(row.locator(".advice")).to_contain_text("Check exposure")


def test_levels_of_drift_differ_in_colour_mark_and_advice(page, workbench):
    levels = ["steady", "moved", "drifted", "too_few", "steady"]

    def change(route):
        drift = workbench.get("/v1/drift").json()
        for moved, level in zip(drift["statistics"].values(), levels, strict=True):
            moved["drift"] = level
        route.fulfill(json=drift | {"rejections": "steady"})

    page.route("**/v1/drift", change)
    view = show(page, "watch")
    expect(view.locator(".warn")).to_contain_text(
        "The films have drifted from those that the detector was fitted on: contrast."
    )
    rows = view.locator("table").first.locator("tbody tr").all()
    looks = {}
    for row, level in zip(rows, levels, strict=False):
        looks[level] = row.locator(".level").evaluate(
            "(node) => [getComputedStyle(node).color, getComputedStyle(node, '::before').content, node.textContent]"
        )
        advice = row.locator(".advice").inner_text()
        assert ("adapt the detector" in advice) == (level == "drifted")
        assert (advice == "Nothing.") == (level == "steady")
    for kind in zip(*looks.values(), strict=True):
        assert len(set(kind)) == 4, kind


def test_the_banner_is_not_shown_for_too_few(browser, phantom_bundle, films):
    with running(bundle=str(phantom_bundle)) as service:
        context = browser.new_context(locale="en-GB")
        page = opened_page(context, service)
        with page.expect_response("**/v1/drift"):
            choose_files(page, films[:2])
        expect(page.locator("#banner")).to_be_hidden()
        # Without a history there is no timeline, and no error.
        page.evaluate("() => { location.hash = 'watch'; }")
        expect(page.locator("#page-watch")).to_contain_text("Nothing is kept")
        expect(page.locator("#page-watch [data-step]")).to_have_count(0)
        context.close()
        assert page.wrong == []


def test_the_timeline_shows_the_decisions_of_each_day_and_hour(page, workbench, six, photograph):  # noqa: F811
    workbench.delete("/v1/history")
    expect(show(page, "watch")).to_contain_text("Nothing was decided in the last 30 days.")
    decisions = [
        workbench.post("/v1/predict", params={"file": file.name}, content=file.read_bytes()).json()["decision"]
        for file in (*six, photograph)
    ]
    referred = decisions.count("refer")
    assert decisions.count("rejected") == 1
    with closing(sqlite3.connect(workbench.history)) as connection, connection:
        at = (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="milliseconds")
        connection.execute("UPDATE decisions SET time = ? WHERE decision = 'rejected'", (at,))
    page.reload()
    view = show(page, "watch")
    expect(view).to_contain_text(f"7 films; referred {100 * referred / 7:.1f}%, rejected 14.3%.")
    view.get_by_text("As a table").click()
    days = view.locator(".card tbody tr")
    expect(days).to_have_count(2)
    expect(days.last).to_contain_text("100.0%")
    bars = view.locator(".timeline > rect")
    assert bars.count() == len(set(decisions))
    view.get_by_role("button", name="By hour").click()
    expect(view).to_contain_text(f"6 films; referred {100 * referred / 6:.1f}%, rejected 0.0%.")
    expect(view.get_by_role("button", name="By hour")).to_be_focused()


def test_the_worklist_says_what_prevalence_changes_and_that_is_true(page, six):  # noqa: F811
    choose_files(page, six)
    page.get_by_text("What does the prevalence change?").click()
    expect(page.locator(".hint p")).to_contain_text("the decisions stay the same")
    before = page.locator(".films .decision").all_inner_texts()
    chances = page.locator(".films .chance").all_inner_texts()
    page.fill("#prevalence", "5")
    page.keyboard.press("Tab")
    expect(page.locator(".films .chance").first).not_to_have_text(chances[0])
    assert page.locator(".films .decision").all_inner_texts() == before
    expect(show(page, "performance")).to_contain_text("depends on how common pneumonia is")


# Words that a person reads or hears, without what is marked as English, names of files, and what programs read.
SPOKEN = """() => {
    const body = document.body.cloneNode(true);
    for (const node of body.querySelectorAll("[lang=en], code, a[href^='/v1'], a[href^='/metrics'], script, noscript, .file, .caption")) node.remove();
    const attributes = ["title", "aria-label", "alt"].flatMap((name) => [...body.querySelectorAll(`[${name}]`)].map((node) => node.getAttribute(name)));
    return [document.title, body.innerText, body.textContent, ...attributes].join("\\n");
}"""
WORD = re.compile(r"[^\W\d_]{3,}")


def spoken(text):
    """Without holes, and without names of options, which are the same in all languages."""
    return re.sub(r"\{\w+\}|--[\w-]+", "", text)


def english_alone(page):
    """Words of the English page that the French one does not have."""
    told = page.evaluate("async () => (await import('/page/words.js')).allWords")
    words = {
        language: {word.lower() for text in told[language].values() for word in WORD.findall(spoken(str(text)))}
        for language in told
    }
    return words["en"] - words["fr"]


def test_no_screen_in_french_has_an_english_word(browser, workbench, changed_films, six, photograph, tmp_path):  # noqa: F811
    adult, corrupt = tmp_path / "2", tmp_path / "3.png"
    write_dicom(adult, read_grey(six[0]), PatientAge="050Y", BodyPartExamined="HAND", ViewPosition="LL")
    corrupt.write_bytes(b"4")
    for file in changed_films:  # so that there is drift
        workbench.post("/v1/predict", params={"file": "1"}, content=file.read_bytes())
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="fr-FR")
    page = opened_page(context, workbench)
    english = english_alone(page)
    assert {"films", "rejected", "threshold"} <= english
    files = [six[0], photograph, adult, corrupt]
    choose_files(page, files)
    expect(page.locator("#banner")).to_be_visible()

    def check(what):
        text = spoken(page.evaluate(SPOKEN))
        # Names of files, of the bundle, and what the header of the DICOM object has.
        names = {word.lower() for file in files for word in WORD.findall(file.name)} | {"default", "hand"}
        found = sorted({word.lower() for word in WORD.findall(text)} & (english - names))
        assert not found, (what, found)
        assert not re.search(r"\d\.\d", re.sub(r"\d\.\d{4,}/|CC BY 4\.0|Apache-2\.0", "", text)), what
        assert not re.search(r"[^\s\u00a0\u202f][;?!](?!\w)", text), what

    for button in page.locator(".films [data-film]").all():
        button.click()
        drawn(page)
        check(button.inner_text())
    page.click("#help")
    check("keys")
    page.keyboard.press("Escape")
    for screen in SCREENS:
        view = show(page, screen)
        check(screen)
        for name in view.locator(".presets button").all():
            name.click()
            expect(name).to_have_attribute("aria-pressed", "true")
            check(f"{screen} {name.inner_text()}")
    context.close()
    assert page.wrong == []


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious_on_any_screen(browser, workbench, changed_films, theme, width):
    for file in changed_films[:55]:
        workbench.post("/v1/predict", params={"file": file.name}, content=file.read_bytes())
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB")
    page = opened_page(context, workbench)
    if theme == "light":
        page.click("#theme")
    expect(page.locator("#banner")).to_be_visible()
    for screen in ("worklist", *SCREENS):
        show(page, screen) if screen != "worklist" else page.click(".hint summary")
        if screen == "watch":
            page.get_by_text("As a table").click()
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, (
            screen,
            json.dumps([(one["id"], [n["target"] for n in one["nodes"]][:5]) for one in serious]),
        )
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, screen
    context.close()


def test_a_detail_says_no_more_than_its_reasons(page, photograph):  # noqa: F811
    choose_files(page, [photograph])
    prediction = load_detector().predict(photograph)
    [reason] = prediction.reasons
    expect(page.locator("#verdict")).not_to_contain_text(prediction.detail)
    expect(page.locator("#verdict p").first).to_contain_text(reason)
    sentence = page.evaluate(f"async () => (await import('/page/words.js')).t('reason.{reason.value}')")
    assert page.locator("#verdict").inner_text().count(sentence) == 1

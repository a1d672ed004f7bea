"""Labels on the worklist, and adaptation from the page: in a real browser, on a service that may adapt."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from bundles import bundle_of, lively_nano
from pneumoscope.data.sources import open_source
from pneumoscope.types import Finding
from serving.conftest import running
from serving.test_page import READABLE, SECONDS, SITE, choose_files, press

pytestmark = pytest.mark.integration

# True of the detectors that ship, not of one that a site adapted.
CLAIMS = re.compile(r"child\w*|enfant\w*|official\w*|officiel\w*|one hospital|un seul hôpital|guangzhou", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with running(bundle="nano", workers=2, adaptations=tmp_path_factory.mktemp("adaptations")) as client:
        yield client


@pytest.fixture
def page(browser, site):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", accept_downloads=True)
    opened = opened_page(context, site)
    yield opened
    context.close()
    assert opened.wrong == []


def opened_page(context, site):
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.asked = []
    opened.on("dialog", lambda dialog: (opened.asked.append(dialog.message), dialog.accept()))
    opened.goto(str(site.base_url))
    expect(opened.locator("html[data-ready]")).to_have_count(1)
    return opened


def open_names(page):
    page.evaluate(
        "() => document.querySelectorAll('#labelling, .class-names').forEach((each) => { each.open = true; })"
    )


def label_all(page, files):
    """Labels every film by keys, as its folder says."""
    positive = {file.name for file in files if "PNEUMONIA" in file.parts}
    page.locator(".films button").first.click()
    for _ in range(40):
        page.keyboard.press("k")
    for number in range(len(files)):
        current = page.locator(".films [aria-current=true]")
        name = current.locator(".file").inner_text()
        key = "p" if name in positive else "n"
        press(page, key)
        expect(current.locator(".label")).to_have_count(1)
        if number < len(files) - 1:
            page.keyboard.press("j")
            # The list is drawn again a moment later: the next name must not be read before.
            expect(current.locator(".file")).not_to_have_text(name)


def test_films_are_labelled_by_keys_and_buttons_and_counted(page, phantoms):
    files = sorted(phantoms.rglob("*.jpeg"))[:3]
    choose_files(page, files)
    current = page.locator(".films [aria-current=true]")
    expect(current).to_have_count(1)
    name = current.locator(".file").inner_text()
    press(page, "p")
    expect(current.locator(".label")).to_have_text("your finding: pneumonia")
    expect(page.locator("#label-counts")).to_have_text("1 of 3 read")
    expect(page.locator("#given")).to_have_text(f"Your finding on {name}: pneumonia.")
    expect(page.locator("#given")).to_be_in_viewport()
    expect(page.locator("#label-positive")).to_have_attribute("aria-pressed", "true")
    press(page, "n")
    expect(current.locator(".label")).to_have_text("your finding: normal")
    # The same key by accident changes nothing; U withdraws, and so does the pressed button.
    press(page, "n")
    expect(current.locator(".label")).to_have_text("your finding: normal")
    expect(page.locator("#given")).to_have_text(f"Your finding on {name}: normal.")
    for withdraw in (lambda: page.keyboard.press("u"), lambda: page.click("#label-negative")):
        withdraw()
        expect(current.locator(".label")).to_have_count(0)
        expect(page.locator("#given")).to_have_text(f"No finding on {name}.")
        page.click("#label-negative")
        expect(current.locator(".label")).to_have_text("your finding: normal")
        expect(page.locator("#label-negative")).to_be_focused()
    # Names of the site's own, which are typed and not taken for keys.
    open_names(page)
    page.get_by_label("Negative class").fill("open")
    page.get_by_label("Positive class").press_sequentially("upper pn")
    expect(current.locator(".label")).to_have_text("your finding: open")
    expect(page.locator("#figures")).to_contain_text("Findings: 1 open, 0 upper pn.")
    page.get_by_label("Positive class").fill("Open")
    expect(page.locator("#worklist-wrong")).to_contain_text("Two different names")
    expect(page.locator("#csv-labels")).to_be_disabled()
    page.get_by_label("Positive class").fill("effusion")
    expect(page.locator("#csv-labels")).to_be_enabled()
    page.select_option("#language", "fr")
    expect(current.locator(".label")).to_have_text("votre avis : open")
    page.click("#help")
    expect(page.locator("#keys-dialog")).to_contain_text("votre avis : normal, pneumonie, indécis")
    page.keyboard.press("Escape")
    page.click("#clear")
    expect(page.locator("#label-counts")).to_have_text("")


@pytest.mark.parametrize("names", [None, ("clear", "upper lobe")])
def test_the_exported_table_is_read_where_it_lies_beside_the_films(page, phantoms, tmp_path, names):
    odd = ["=1+1, odd.jpeg", "-2.jpeg", "@x.jpeg", "'quoted\".jpeg", "plain.jpeg"]
    files = [
        Path(shutil.copy(file, tmp_path / name)) for file, name in zip(phantoms.rglob("*.jpeg"), odd, strict=False)
    ]
    choose_files(page, files)
    if names:
        open_names(page)
        page.get_by_label("Negative class").fill(names[0])
        page.get_by_label("Positive class").fill(names[1])
    for number, name in enumerate(odd):
        page.locator(".films button").filter(has=page.get_by_text(name, exact=True)).click()
        press(page, "pn"[number % 2])
    expect(page.locator(".films .label")).to_have_count(len(odd))
    page.evaluate("() => { document.getElementById('labelling').open = true; }")
    with page.expect_download() as caught:
        page.click("#csv-labels")
    assert caught.value.suggested_filename == "labels.csv"
    caught.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    source = open_source(tmp_path / "labels.csv", names[1] if names else "pneumonia")
    found = {source.file_of(image.path).resolve(): image.finding for image in source.images}
    assert found == {
        (tmp_path / name).resolve(): Finding.NORMAL if number % 2 else Finding.PNEUMONIA
        for number, name in enumerate(odd)
    }


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["films/a/1.png", "films/=2.png"], ["a/1.png", "./=2.png"]),
        (["normal/1.png", "pneumonia/1.png"], ["normal/1.png", "pneumonia/1.png"]),
        (["films/1.png", "1.png"], ["films/1.png", "1.png"]),
    ],
)
def test_paths_of_a_dropped_folder_are_relative_to_it(page, paths, told):
    found = page.evaluate(
        """async (paths) => (await import("/page/exports.js")).relative(paths)""",
        paths,
    )
    assert found == told


def test_a_site_adapts_uses_its_detector_and_goes_back(page, site, browser, phantoms):
    files = {file.name: file for file in sorted(phantoms.rglob("*.jpeg")) if "train" in file.parts}
    choose_files(page, list(files.values()))
    label_all(page, list(files.values()))
    other = opened_page(browser.new_context(locale="en-GB"), site)
    choose_files(other, list(files.values())[:1])
    page.click("a[href='#adapt'] >> nth=0")
    view = page.locator("#page-adapt")
    expect(view.locator(".counts .value")).to_have_text(["20", "40", "0"])
    view.get_by_label("Negative class").fill("clear")
    view.get_by_label("Positive class").fill("effusion")
    view.get_by_label("Name of the new detector").fill("st-mary")
    view.get_by_role("button", name="Start").click()
    expect(view.get_by_role("button", name="Start")).to_be_disabled()
    expect(view.get_by_text("At work")).to_be_visible()
    expect(view.locator("progress")).to_be_visible()
    # The cross-validation may pass between two looks of the page, which is every second; what comes after it does not. While
    # either goes on, nothing else is started.
    page.wait_for_function(
        """() => /^(Cross-validation|Would more films help\\?)$/.test(document.getElementById("adapt-stage")?.textContent)
            && document.querySelector("#page-adapt [type=submit]").disabled""",
        timeout=4 * SECONDS,
    )
    card = view.locator(".result")
    expect(card).to_have_count(1, timeout=4 * SECONDS)
    record = site.get("/v1/adaptations").json()["adaptations"][0]
    assert record["classes"] == ["clear", "effusion"]
    assert record["result"]["patients_known"]
    expect(card).to_contain_text(f"AUC {record['result']['auc']:.3f}")
    flow = record["result"]["acceptance"]["flow"]
    decided = sum(found[name] for found in flow.values() for name in ("clear", "effusion"))
    expect(card).to_contain_text(f"those of the films with a decision, {decided} of 60 (")
    assert_accessible(page)
    with page.context.expect_page() as caught:
        card.get_by_role("link", name="Report").click()
    report = caught.value
    expect(report.locator("h1")).to_be_visible()
    assert report.locator("body").evaluate("(node) => getComputedStyle(node).fontFamily") != "Times New Roman"
    report.close()
    card.get_by_role("button", name="Use this detector").click()
    expect(card.locator(".used")).to_have_text("in use", timeout=SECONDS)
    assert page.asked == [
        "Everybody who uses this service gets st-mary from now on, and the films of every open worklist are analysed again. Go on?"
    ]
    for language, words in (("en", "clear / effusion"), ("fr", "Revenir à l’original")):
        page.select_option("#language", language)
        expect(card).to_contain_text(words)
        for part in ("performance", "about", "worklist"):
            page.click(f"a[href='#{part}']")
            expect(page.locator(f"#page-{part} h1")).to_have_count(1)
            expect(page.locator(f"#page-{part}")).to_contain_text("st-mary")
            assert not CLAIMS.findall(page.evaluate(READABLE)), (language, part)
        page.click("a[href='#adapt'] >> nth=0")
    page.select_option("#language", "en")
    page.click("a[href='#worklist'] >> nth=0")
    expect(page.locator("#verdict")).to_contain_text("Predicted by st-mary")
    expect(page.locator(".films .waiting")).to_have_count(0, timeout=SECONDS)
    assert set(page.locator(".films .decision").all_inner_texts()) <= {"clear", "effusion", "refer", "rejected"}
    expect(page.locator("#figures")).to_contain_text("Findings: 20 clear, 40 effusion.")
    # A page that was open before notices and says so, though nobody does anything on it.
    note = other.locator("#detector-note")
    expect(note).to_be_visible(timeout=SECONDS)
    expect(note).to_contain_text("For all who use it, the service now predicts with st-mary 1")
    expect(other.locator("#detector")).to_have_text("Detector: st-mary 1.")
    expect(other.locator("[data-filter=pneumonia]")).to_contain_text("effusion")
    expect(other.locator(".films .waiting")).to_have_count(0, timeout=SECONDS)
    assert set(other.locator(".films .decision").all_inner_texts()) <= {"clear", "effusion", "refer", "rejected"}
    other.reload()
    expect(note).to_have_text(
        re.compile("^This service predicts with a detector that was adapted to a site: st-mary 1")
    )
    note.get_by_role("button").click()
    expect(note).to_be_hidden()
    page.click("a[href='#adapt'] >> nth=0")
    card.get_by_role("button", name="Back to the original").click()
    expect(card.get_by_role("button", name="Use this detector")).to_be_enabled(timeout=SECONDS)
    assert "the service’s own detector" in page.asked[-1]
    expect(note).to_contain_text("now predicts with nano 1", timeout=SECONDS)
    card.get_by_role("button", name="Delete").click()
    expect(view).to_contain_text("None yet.")
    assert site.get("/v1/bundle").json()["name"] == "nano"
    assert other.wrong == []
    other.context.close()


def test_labels_keep_their_names_when_the_service_changes_its_bundle(page, site, phantoms):
    choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:1])
    press(page, "n")
    page.evaluate(
        """async () => {
            const { useClassNames } = await import("/page/labels.js");
            useClassNames(["clear", "effusion"], true);
        }"""
    )
    open_names(page)
    expect(page.get_by_label("Negative class")).to_have_value("normal")
    expect(page.get_by_label("Positive class")).to_have_value("pneumonia")
    expect(page.locator("#figures")).to_contain_text("Findings: 1 normal, 0 pneumonia.")


def test_names_that_were_damaged_in_the_store_of_the_browser_are_forgotten(page):
    page.evaluate("() => localStorage.setItem('classNames', '{')")
    page.reload()
    expect(page.locator("html[data-ready]")).to_have_count(1)


def test_more_than_the_service_takes_is_said_before_anything_is_sent(browser, phantom_bundle, phantoms, tmp_path):
    limits = {"adaptations": tmp_path, "adaptation_images": 1}
    with running(bundle=str(phantom_bundle), **limits) as service:
        page = opened_page(browser.new_context(locale="en-GB"), service)
        choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:2])
        for key in "njp":
            press(page, key)
        page.click("a[href='#adapt'] >> nth=0")
        view = page.locator("#page-adapt")
        expect(view).to_contain_text("Labelled are 2 films of 0.0")
        expect(view.get_by_role("button", name="Start")).to_be_disabled()
        page.context.close()


def assert_accessible(page):
    for theme in range(2):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = ['dark', 'light'][theme]; }", theme)
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps([(one["id"], [n["target"] for n in one["nodes"]][:5]) for one in serious])
    page.set_viewport_size({"width": 375, "height": 740})
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.set_viewport_size({"width": 1280, "height": 800})


def test_a_labelled_worklist_is_accessible_and_fits_a_phone(page, phantoms):
    choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:4])
    page.click("#labelling summary")
    page.keyboard.press("Escape")
    page.locator(".films button").first.click()
    press(page, "p")
    page.keyboard.press("j")
    press(page, "n")
    expect(page.locator(".films .label")).to_have_count(2)
    assert_accessible(page)


def test_what_keeps_from_adapting_is_told(page, site, phantoms):
    choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:2])
    press(page, "p")
    page.click("a[href='#adapt'] >> nth=0")
    view = page.locator("#page-adapt")
    expect(view).to_contain_text("39 more to label: 20 normal, 19 pneumonia.")
    expect(view.get_by_role("button", name="Start")).to_be_disabled()
    # Another page's adaptation is shown, and can be ended.
    begun = site.post("/v1/adaptations").json()
    page.reload()
    expect(view).to_contain_text("The service waits for films that another page sends.")
    view.get_by_role("button", name="Cancel").click()
    expect(view).not_to_contain_text("At work")
    assert site.get(f"/v1/adaptations/{begun['id']}").status_code == 404


def test_a_service_that_may_not_adapt_offers_labels_alone(browser, phantom_bundle, phantoms):
    with running(bundle=str(phantom_bundle)) as service:
        context = browser.new_context(locale="fr-FR")
        page = opened_page(context, service)
        choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:1])
        press(page, "n")
        expect(page.locator("#label-counts")).to_have_text("1 lues sur 1")
        page.click("#labelling summary")
        for link in page.locator("[data-adapts]").all():
            expect(link).to_be_hidden()
        page.goto(f"{service.base_url}/#adapt")
        expect(page.locator("#page-adapt")).to_contain_text("lancé sans --adaptations DOSSIER")
        context.close()


def test_a_service_that_may_not_adapt_says_how_it_would(browser, phantoms):
    with running(bundle="nano") as service:
        context = browser.new_context(locale="en-GB")
        page = opened_page(context, service)
        expect(page.locator("#welcome li")).to_have_count(3)
        expect(page.locator("#welcome")).not_to_contain_text("adapt")
        page.evaluate("() => { document.getElementById('labelling').open = true; }")
        figures = page.locator("#figures")
        expect(figures).to_contain_text("Give your finding")
        expect(figures).not_to_contain_text("adapt")
        files = [file for file in sorted(phantoms.rglob("*.jpeg")) if "train" in file.parts]
        choose_files(page, files)
        page.evaluate(
            """async (positive) => {
                const [{ allFilms, changed }, { read }] = await Promise.all([import("/page/films.js"), import("/page/readings.js")]);
                for (const film of allFilms()) read(film, { finding: positive.includes(film.name) ? "positive" : "negative" });
                changed();
            }""",
            [file.name for file in files if "PNEUMONIA" in file.parts],
        )
        how = "start the service with --adaptations FOLDER"
        expect(figures).to_contain_text(how)
        drift = service.get("/v1/drift").json()
        statistics = {name: moved | {"drift": "drifted"} for name, moved in drift["statistics"].items()}
        page.route("**/v1/drift", lambda route: route.fulfill(json=drift | {"statistics": statistics}))
        page.click("a[href='#watch']")
        expect(page.locator("#page-watch .advice").first).to_contain_text(how)
        context.close()


@pytest.fixture(scope="module")
def adapted(phantom_dataset, manifest, tmp_path_factory):
    """A bundle that a site adapted, with the class names of the detectors that ship."""
    images = np.array(phantom_dataset.images[:8])
    own = replace(
        manifest,
        parent="0" * 64,
        intended_use="Research on images like the 120 of ours that it was fitted to: normal or pneumonia.",
        metrics={"site": SITE},
    )
    path = tmp_path_factory.mktemp("bundle") / "adapted.zip"
    bundle_of(lively_nano(images, input_side=64, mirrored=False), images, path, own)
    return path


def test_an_adapted_bundle_makes_no_claim_of_the_detectors_that_ship(browser, adapted, phantoms):
    with running(bundle=str(adapted)) as service:
        assert "children" not in service.get("/v1/openapi.json").json()["info"]["description"]
        context = browser.new_context(locale="en-GB")
        page = opened_page(context, service)
        expect(page.locator("#detector-note")).to_contain_text("was adapted to a site")
        choose_files(page, sorted(phantoms.rglob("*.jpeg"))[:2])
        for language in ("en", "fr"):
            page.select_option("#language", language)
            for part in ("performance", "watch", "about", "worklist"):
                page.click(f"a[href='#{part}']")
                expect(page.locator(f"#page-{part} h1")).to_have_count(1)
                page.wait_for_timeout(200)
                assert not CLAIMS.findall(page.evaluate(READABLE)), (language, part)
        page.click("a[href='#performance']")
        expect(page.locator("#page-performance")).to_contain_text("AUC 0,913")
        page.select_option("#language", "en")
        expect(page.locator("#page-performance")).to_contain_text("AUC 0.913")
        context.close()
        assert page.wrong == []

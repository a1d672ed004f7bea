"""The page in a real browser: Debian's Chromium, headless, on a service with the detector that ships."""

import base64
import contextlib
import csv
import http.server
import io
import json
import re
import threading
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_sample_image

from bundles import own_classes_bundle
from pneumoscope.bundle import Scope
from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.drift import fit_reference
from pneumoscope.inference.prediction import row_columns
from pneumoscope.types import ImageStatistics
from radiographs import write_dicom
from serving.conftest import Held, drawn, running

pytestmark = pytest.mark.integration

SECONDS = 30_000
REJECTIONS = {
    "not_a_radiograph": "Not a radiograph of a chest.",
    "not_frontal_chest": "Not an upright frontal chest film.",
}


@pytest.fixture(scope="module")
def workbench(tmp_path_factory):
    with running(history=tmp_path_factory.mktemp("history") / "h.sqlite", workers=2) as client:
        yield client


@pytest.fixture
def page(browser, workbench):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if not is_own(asked.url, workbench) else None)
    opened.goto(str(workbench.base_url))
    expect(opened.locator("html[data-ready]")).to_have_count(1)
    yield opened
    context.close()
    assert wrong == []


def is_own(url, workbench):
    return url.startswith((str(workbench.base_url), "blob:", "data:"))


@pytest.fixture(scope="module")
def six(drawn_radiographs):
    return sorted(drawn_radiographs.glob("*.png"))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("photograph") / "garden.jpg"
    Image.fromarray(load_sample_image("china.jpg")).save(path)
    return path


def choose_files(page, files):
    page.set_input_files("#files", [str(file) for file in files])
    all_analysed(page, len(files))


def all_analysed(page, count):
    expect(page.locator("[data-filter=all]")).to_have_text(re.compile(rf"\D{count}$"), timeout=SECONDS)
    expect(page.locator("#progress")).to_be_hidden(timeout=SECONDS)


def drop(page, name, content):
    """Drops a file as the browser would."""
    handed = page.evaluate_handle(
        """([name, content]) => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": handed})


def grey_levels(page, stage=0):
    """(height, width) of what the stage's canvas shows."""
    found = page.evaluate(
        """(stage) => {
            const canvas = document.querySelectorAll(".stage canvas")[stage];
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(data.filter((_, place) => place % 4 === 0))];
        }""",
        stage,
    )
    return np.array(found[2], dtype=np.uint8).reshape(found[:2])


def shown(page, stage=0):
    expect(page.locator(".stage canvas").nth(stage)).to_be_visible(timeout=SECONDS)
    drawn(page)
    return grey_levels(page, stage)


def press(page, key):
    """Presses a key once the film is shown: before, no finding is taken."""
    expect(page.locator(".stage canvas").first).to_be_visible(timeout=SECONDS)
    page.keyboard.press(key)


def drag(page, selector, dx, dy):
    box = page.locator(selector).first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()


def test_dropped_films_show_the_detectors_decisions_suspected_pneumonia_first(page, six):
    for file in six:
        drop(page, file.name, file.read_bytes())
    all_analysed(page, 6)
    detector = load_detector()
    told = {file.name: detector.predict(file) for file in six}
    names = page.locator(".films .file").all_inner_texts()
    place = {"pneumonia": 0, "refer": 1, "normal": 2}
    expected = sorted(told, key=lambda name: (place[told[name].decision], -told[name].pneumonia_probability))
    assert names == expected
    assert page.locator(".films .decision").all_inner_texts() == [told[name].decision for name in names]
    expect(page.locator("#order option:checked")).to_have_text("suspected pneumonia first")
    assert "urgent" not in page.evaluate("async () => JSON.stringify((await import('/page/words.js')).allWords)")
    chances = page.locator(".films .chance").all_inner_texts()
    assert chances == [f"{100 * told[name].pneumonia_probability:.1f}%" for name in names]
    expect(page.locator(".films [aria-current=true] .file")).to_have_text(names[0])
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text(f"probability of pneumonia: {chances[0]}")
    expect(verdict).to_contain_text("Which kind it is, is weak evidence")
    expect(verdict).to_contain_text(detector.bundle.sha256[:12])
    expect(page.locator(".notice").first).to_have_text("Research use only. Not a medical device.")
    expect(page.locator(".notice").first).to_be_in_viewport()


def test_the_zones_that_carry_the_evidence_are_named(page, six, phantoms, tmp_path):
    detector = load_detector()
    film = sorted(phantoms.rglob("test/PNEUMONIA/*"))[0]
    unclear = tmp_path / "askew.png"
    Image.open(next(file for file in six if "bacterial" in file.name)).rotate(12).save(unclear)
    assert detector.predict(unclear, evidence=True).zones is None
    choose_files(page, [film, unclear])
    page.click(f".films button:has-text('{film.name}')")
    zones = detector.predict(film, evidence=True).zones
    named = sorted(((share, name) for name, share in zones.items() if share >= 0.2), reverse=True)
    words = ", ".join(
        f"{name.replace('_', ' ').replace('outside', 'outside the lungs')} {(round(1000 * share) + 5) // 10}%"
        for share, name in named
    )
    expect(page.locator("#verdict")).to_contain_text(
        f"Share of the evidence for pneumonia by lung zone, the patient’s sides: {words or 'no zone with 20 %'}."
    )
    page.click(f".films button:has-text('{unclear.name}')")
    expect(page.locator("#verdict")).to_contain_text("Lung zones not placed")


def test_the_viewer_shows_the_film_and_changes_window_level_and_zoom(page, six):
    choose_files(page, six[:1])
    film = read_grey(six[0])
    assert np.array_equal(shown(page), film)
    drag(page, ".stage", -120, 0)
    narrower = shown(page)
    assert narrower.std() > film.std()
    expect(page.locator(".stage .levels")).not_to_contain_text("W 255")
    drag(page, ".stage", 0, 80)
    assert shown(page).mean() > narrower.mean()
    page.keyboard.press("i")
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", "true")
    assert shown(page).mean() < 255 - narrower.mean()
    before = page.locator(".stage .picture").first.get_attribute("style")
    page.click("#tool-pan")
    drag(page, ".stage", 50, 20)
    panned = page.locator(".stage .picture").first.get_attribute("style")
    assert panned != before
    page.mouse.wheel(0, -300)
    page.keyboard.press("+")
    zoomed = page.locator(".stage .picture").first.get_attribute("style")
    assert float(re.search(r"scale\(([\d.]+)\)", zoomed)[1]) > 1.5 * float(re.search(r"scale\(([\d.]+)\)", panned)[1])
    page.keyboard.press("0")
    assert page.locator(".stage .picture").first.get_attribute("style") == before


def test_a_dicom_film_is_windowed_in_its_own_depth(page, six, tmp_path):
    write_dicom(tmp_path / "1.2.840.1", read_grey(six[0]))
    choose_files(page, [tmp_path / "1.2.840.1"])
    told = load_detector().predict(tmp_path / "1.2.840.1")
    expect(page.locator("#verdict .chance")).to_contain_text(f"{100 * told.pneumonia_probability:.1f}%")
    levels = shown(page)
    expected = np.rint(read_grey(tmp_path / "1.2.840.1") / 257)
    assert np.abs(levels - expected).max() <= 1
    expect(page.locator(".stage .levels")).to_contain_text("W 65535")
    expect(page.locator("img.thumb")).to_have_attribute("src", re.compile("^data:image/jpeg"))


def test_the_evidence_fades_in_with_the_slider(page, six):
    choose_files(page, six[:1])
    shown(page)
    layer = page.locator(".stage .layer").first
    expect(layer).to_be_hidden()
    page.locator("#evidence").fill("60")
    expect(layer).to_be_visible()
    height, width = read_grey(six[0]).shape
    size = layer.evaluate(
        "async (image) => { await image.decode(); return [image.naturalHeight, image.naturalWidth]; }"
    )
    assert size == [height, width]
    expect(layer).to_have_css("opacity", "0.6")
    page.keyboard.press("e")
    expect(layer).to_be_hidden()


def test_two_films_stand_side_by_side(page, six):
    choose_files(page, six[:3])
    page.keyboard.press("c")
    expect(page.locator(".stage")).to_have_count(2)
    other = page.locator(".films button[aria-current=false]").first
    name = other.locator(".file").inner_text()
    other.click()
    second = shown(page, 1)
    by_name = {file.name: read_grey(file) for file in six}
    assert np.array_equal(second, by_name[name])
    assert not np.array_equal(shown(page, 0)[:50, :50], second[:50, :50])
    page.click("#compare")
    expect(page.locator(".stage")).to_have_count(1)


def test_filters_show_one_decision(page, six, photograph):
    choose_files(page, [*six, photograph])
    decisions = page.locator(".films .decision").all_inner_texts()
    for name in ("pneumonia", "normal", "rejected", "refer"):
        page.click(f"[data-filter={name}]")
        expect(page.locator(f"[data-filter={name}]")).to_have_attribute("aria-pressed", "true")
        assert page.locator(".films .decision").all_inner_texts() == [name] * decisions.count(name)
        expect(page.locator(f"[data-filter={name}]")).to_have_text(f"{name} {decisions.count(name)}")
    expect(page.locator("#empty")).to_have_text("No film matches.")


def test_a_photograph_and_a_corrupt_file_are_rejected_with_their_reasons(page, photograph, six, tmp_path):
    corrupt = tmp_path / "=corrupt.jpeg"
    corrupt.write_bytes(b"\xff\xd8\xff and no more")
    choose_files(page, [photograph, corrupt, six[0]])
    rows = {
        row.locator(".file").inner_text(): row.locator("small").inner_text()
        for row in page.locator(".films li").filter(has=page.locator(".rejected")).all()
    }
    [reason] = load_detector().predict(photograph).reasons
    assert rows == {"garden.jpg": REJECTIONS[reason], "=corrupt.jpeg": "The file cannot be read as an image."}
    page.get_by_role("button", name="garden.jpg").click()
    expect(page.locator("#verdict")).to_contain_text(reason)
    expect(page.locator("#verdict")).not_to_contain_text("probability")
    assert shown(page).shape == (427, 640)
    page.get_by_role("button", name="=corrupt.jpeg").click()
    expect(page.locator(".stage .none")).to_contain_text("no film to show")


def test_the_export_equals_the_command_lines_table(page, six, tmp_path):
    odd = tmp_path / "=1+1, odd.png"
    odd.write_bytes(six[0].read_bytes())
    files = [*six, odd]
    choose_files(page, files)
    detector = load_detector()
    assert_exported(page, [detector.predict(file) for file in files])


def assert_exported(page, predictions):
    """The exported file has these predictions as the command line's table has them."""
    with page.expect_download() as caught:
        page.click("#csv")
    with open(caught.value.path(), newline="", encoding="utf-8") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert len(rows) == len(predictions)
    for prediction in predictions:
        file = Path(prediction.file).name
        expected = prediction.to_row() | {"file": file}
        found = rows[file if not file.startswith("=") else f"'{file}"]
        assert list(found) == list(expected) == list(row_columns(prediction.scheme))
        for name, value in expected.items():
            if isinstance(value, bool):
                assert found[name] == str(value).lower()
            elif isinstance(value, float):
                assert float(found[name]) == value
            elif name != "file":
                assert found[name] == ("" if value is None else value)


def test_the_report_prints_with_pictures(page, six, photograph):
    choose_files(page, [*six, photograph])
    page.evaluate("() => { window.print = () => { document.title = 'printed'; }; }")
    page.click("#print")
    expect(page).to_have_title("printed")
    page.emulate_media(media="print")
    report = page.locator("#report")
    expect(report).to_be_visible()
    expect(page.locator("main")).to_be_hidden()
    # In the dark theme too what is said on paper is dark on white.
    looks = report.locator(".warn").evaluate(
        "(node) => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]"
    )
    assert looks == ["rgb(0, 0, 0)", "rgba(0, 0, 0, 0)"]
    expect(report.locator("tbody tr")).to_have_count(7)
    expect(report.locator("img")).to_have_count(7)
    expect(report).to_contain_text("Research use only. Not a medical device.")
    assert page.pdf().startswith(b"%PDF")


def test_the_page_speaks_french(page, six):
    choose_files(page, six[:2])
    page.select_option("#language", "fr")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.locator(".notice").first).to_have_text("Réservé à la recherche. Ceci n’est pas un dispositif médical.")
    expect(page.locator("#csv")).to_have_text("Exporter CSV")
    drawn(page)
    assert set(page.locator(".films .decision").all_inner_texts()) <= {"pneumonie", "normal", "à relire"}
    page.reload()
    expect(page.locator("#csv")).to_have_text("Exporter CSV")


def test_both_languages_have_every_word(page):
    told = page.evaluate("async () => (await import('/page/words.js')).allWords")
    assert set(told["en"]) == set(told["fr"])
    holes = {name: set(re.findall(r"\{\w+\}", str(word))) for name, word in told["en"].items()}
    assert {name: set(re.findall(r"\{\w+\}", str(word))) for name, word in told["fr"].items()} == holes


def test_a_hundred_films_are_analysed_and_only_those_in_view_are_drawn(page, six, tmp_path):
    files = []
    for place in range(100):
        files.append(tmp_path / f"{place:03}.png")
        # Other bytes each time: the same file twice is one film.
        files[-1].write_bytes(six[place % 6].read_bytes() + place.to_bytes())
    choose_files(page, files)
    expect(page.locator("#announcement")).to_have_text("100 of 100 films analysed.")
    expect(page.locator("[data-filter=all]")).to_have_text("all 100")
    assert page.locator(".films li").count() < 40
    expect(page.locator(".films li").first).to_have_attribute("aria-setsize", "100")
    page.locator("#films").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
    expect(page.locator(".films li[aria-posinset='100']")).to_be_in_viewport()
    page.locator(".films li[aria-posinset='100'] button").click()
    page.keyboard.press("k")
    expect(page.locator(".films [aria-current=true]")).to_be_in_viewport()
    expect(page.locator(".films li").filter(has=page.locator("[aria-current=true]"))).to_have_attribute(
        "aria-posinset", "99"
    )


def test_another_operating_point_and_prevalence_need_no_other_request(page, six):
    choose_files(page, six)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    detector = load_detector()
    for point, prevalence in (("specific", 0.1), ("sensitive", 0.9), ("balanced", 0.5)):
        page.select_option("#operating-point", point)
        page.fill("#prevalence", f"{100 * prevalence:g}")
        page.keyboard.press("Tab")
        expect(page.locator("#verdict")).to_contain_text(f"Operating point {point}")
        with page.expect_download() as caught:
            page.click("#csv")
        with open(caught.value.path(), newline="", encoding="utf-8") as stream:
            rows = {row["file"]: row for row in csv.DictReader(stream)}
        for file in six:
            for name, value in detector.predict(file, point, prevalence).to_row().items():
                if isinstance(value, float):
                    assert float(rows[file.name][name]) == pytest.approx(value, rel=1e-12), name
                elif name not in ("file", "validated"):
                    assert rows[file.name][name] == ("" if value is None else value), name
    assert not [url for url in asked if "/v1/predict" in url]


def test_a_filter_that_hides_the_open_film_opens_another(page, six, photograph):
    choose_files(page, [*six, photograph])
    page.get_by_role("button", name="garden.jpg").click()
    expect(page.locator(".stage .caption")).to_have_text("garden.jpg")
    decision, first = (page.locator(f".films .{name}").first.inner_text() for name in ("decision", "file"))
    page.click(f"[data-filter={decision}]")
    expect(page.locator(".stage .caption")).to_have_text(first)
    expect(page.locator("#verdict .decision")).to_have_text(decision)


def test_a_filter_that_hides_all_films_shows_none(page, six):
    choose_files(page, six[:2])
    page.click(".films [data-film]")
    page.fill("#search-films", "none of these")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#verdict .decision")).to_have_count(0)
    expect(page.locator(".stage .caption")).to_be_hidden()
    page.fill("#search-films", "")
    expect(page.locator("#verdict .decision")).to_have_count(1)


def test_a_film_that_was_not_analysed_is_in_a_filter_and_the_table_and_is_tried_again(page, six):
    def refuse(route):
        problem = {"type": "/v1/problems/too_large", "title": "Too large", "detail": "expected at most 1 byte"}
        route.fulfill(status=413, content_type="application/problem+json", body=json.dumps(problem))

    page.route(re.compile("/v1/predict"), refuse)
    page.set_input_files("#files", [str(six[0])])
    page.click("[data-filter=failed]")
    expect(page.locator(".films .failed")).to_have_text("not analysed")
    with page.expect_download() as caught:
        page.click("#csv")
    with open(caught.value.path(), newline="", encoding="utf-8") as stream:
        [row] = csv.DictReader(stream)
    assert row["file"] == six[0].name
    assert row["decision"] == ""
    assert row["detail"]
    page.unroute(re.compile("/v1/predict"))
    page.click(".films .retry")
    page.click("[data-filter=all]")
    expect(page.locator(".films .decision")).to_have_text(load_detector().predict(six[0]).decision)
    expect(page.locator(".films .retry")).to_have_count(0)


def test_the_browsers_own_print_command_prints_every_film(page, six, photograph):
    choose_files(page, six[:2])
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#report tbody tr")).to_have_count(2)
    page.set_input_files("#files", [str(photograph)])
    all_analysed(page, 3)
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#report tbody tr")).to_have_count(3)


def test_a_16_bit_film_that_uses_few_levels_is_not_shown_black(page, six, tmp_path):
    dark = tmp_path / "dark.png"
    Image.fromarray(read_grey(six[0]).astype(np.uint16) * 8 + 200).save(dark)
    choose_files(page, [dark])
    levels = shown(page)
    assert np.percentile(levels, 95) > 200
    assert np.percentile(levels, 5) < 60


def test_evidence_says_that_it_is_computed_what_its_colours_mean_and_that_it_failed(page, six):
    held = Held(page, "**/v1/evidence*")
    choose_files(page, six[:1])
    shown(page)
    page.locator("#evidence").fill("60")
    legend = page.locator(".stage .legend")
    expect(legend).to_contain_text("is computed")
    for route in held.wait(1):
        route.fulfill(
            status=500, content_type="application/problem+json", body='{"title": "broken", "detail": "out of order"}'
        )
    expect(legend).to_have_text("No evidence: out of order")
    page.unroute("**/v1/evidence*")
    page.locator("#evidence").fill("0")
    expect(legend).to_be_hidden()
    page.locator("#evidence").fill("60")
    expect(legend).to_contain_text("for pneumonia")
    expect(legend).to_contain_text("for normal")


def test_everything_is_reached_by_keyboard(page, six):
    choose_files(page, six)
    first = page.locator(".films .file").first.inner_text()
    current = page.locator(".films [aria-current=true] .file")
    expect(current).to_have_text(first)
    page.keyboard.press("j")
    expect(current).not_to_have_text(first)
    page.keyboard.press("k")
    expect(current).to_have_text(first)
    page.keyboard.press("f")
    expect(page.locator("[data-filter=pneumonia]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    assert {
        "files",
        "operating-point",
        "prevalence",
        "csv",
        "print",
        "clear",
        "invert",
        "evidence",
        "compare",
    } <= reached


def test_how_good_it_is_moves_with_the_operating_point(page, workbench):
    page.goto(f"{workbench.base_url}/#performance")
    own = workbench.get("/v1/performance").json()["detector"]
    view = page.locator("#page-performance")
    expect(view).to_contain_text(f"{100 * own['measures']['binary_accuracy']['value']:.1f}%")
    page.get_by_role("button", name="sensitive").click()
    matrix = view.locator(".matrix").first.locator("td:not(.corner)")
    point = own["points"]["sensitive"]
    cells = [int(text) for text in matrix.all_inner_texts()]
    assert cells == [point["true_positive"], point["false_negative"], point["false_positive"], point["true_negative"]]
    page.locator("#move-threshold").fill("30")
    assert int(matrix.first.inner_text()) == own["curve"][30]["true_positive"]
    page.get_by_role("button", name="sensitive").click()
    page.locator("#move-prevalence").fill("10")
    hits, alarms = 0.1 * point["sensitivity"]["value"], 0.9 * (1 - point["specificity"]["value"])
    expect(view).to_contain_text(f"{100 * hits / (hits + alarms):.1f}%")
    expect(view.locator("table").last.locator("tbody tr")).to_have_count(6)


@pytest.fixture
def fresh(tmp_path):
    """A service that has predicted nothing yet."""
    with running(history=tmp_path / "h.sqlite", workers=1) as client:
        yield client


def test_the_watch_page_shows_drift_and_history(browser, fresh, six):
    page = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB").new_page()
    page.set_default_timeout(SECONDS)
    page.goto(str(fresh.base_url))
    expect(page.locator("html[data-ready]")).to_have_count(1)
    choose_files(page, six[:2])
    page.click("a[href='#watch']")
    view = page.locator("#page-watch")
    expect(view).to_contain_text("too few to tell")
    expect(view.locator("table").last.locator("tbody tr")).to_have_count(2)
    page.fill("#history-text", six[0].name)
    page.get_by_role("button", name="Search").click()
    expect(view.locator("table").last.locator("tbody tr")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    view.get_by_role("button", name="Delete", exact=True).click()
    expect(view).to_contain_text("Nothing found.")
    assert len(fresh.get("/v1/history").json()["entries"]) == 1
    page.context.close()


def test_a_service_with_keys_asks_for_one(browser, phantom_bundle, pneumoscope, tmp_path, six):
    _, key, _ = pneumoscope("serve", "--api-keys", tmp_path / "keys", "--new-key", "me")
    with running(bundle=str(phantom_bundle), keys=tmp_path / "keys") as service:
        context = browser.new_context(locale="en-GB")
        page = context.new_page()
        page.goto(str(service.base_url))
        page.get_by_label("Key", exact=True).fill(key.strip())
        page.keyboard.press("Enter")
        expect(page.locator("html[data-ready]")).to_have_count(1, timeout=SECONDS)
        choose_files(page, six[:1])
        expect(page.locator(".films .decision")).to_have_count(1)
        context.close()


@pytest.fixture
def with_keys(browser, phantom_bundle, pneumoscope, tmp_path):
    """A page of a service with keys, and the key."""
    _, key, _ = pneumoscope("serve", "--api-keys", tmp_path / "keys", "--new-key", "me")
    with running(bundle=str(phantom_bundle), keys=tmp_path / "keys") as service:
        context = browser.new_context(locale="en-GB", accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(str(service.base_url))
        service.headers["Authorization"] = f"Bearer {key.strip()}"
        yield page, key.strip(), service
        context.close()


def offer(page, key):
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("wrong", ["pns_wrong", "clé \u202e"])
def test_a_key_that_is_not_accepted_is_told(with_keys, wrong):
    page, key, _ = with_keys
    refused = page.locator("#key-dialog [role=alert]")
    expect(page.locator("#key-dialog")).to_contain_text("A key is needed")
    expect(refused).to_have_count(0)
    offer(page, wrong)
    expect(refused).to_have_text("This key is not accepted.")
    expect(page.get_by_label("Key", exact=True)).to_have_accessible_description("This key is not accepted.")
    offer(page, key)
    expect(page.locator("html[data-ready]")).to_have_count(1)
    expect(page.locator("#key-dialog")).to_be_hidden()


def test_a_key_that_is_no_longer_accepted_is_told(with_keys):
    page, key, _ = with_keys
    page.evaluate("() => sessionStorage.setItem('key', 'pns_of-before')")
    page.reload()
    expect(page.locator("#key-dialog [role=alert]")).to_have_text("This key is not accepted.")
    offer(page, key)
    expect(page.locator("html[data-ready]")).to_have_count(1)


def test_the_links_for_programs_lead_there_with_a_key_too(with_keys):
    page, key, service = with_keys
    offer(page, key)
    expect(page.locator("html[data-ready]")).to_have_count(1)
    page.click("a[href='#about']")
    contents = {}
    for path, name in (("/v1/openapi.json", "openapi.json"), ("/metrics", "metrics.txt")):
        with page.expect_download() as caught:
            page.get_by_role("link", name=path, exact=True).click()
        assert caught.value.suggested_filename == name
        contents[path] = Path(caught.value.path()).read_text(encoding="utf-8")
    assert json.loads(contents["/v1/openapi.json"]) == service.get("/v1/openapi.json").json()
    assert "pneumoscope_requests_total" in contents["/metrics"]


def test_the_links_for_programs_lead_there_without_keys(page):
    page.click("a[href='#about']")
    page.get_by_role("link", name="/metrics", exact=True).click()
    expect(page.locator("body")).to_contain_text("pneumoscope_requests_total")


HIDDEN = "x\u202egpj.\u2066evil\u200b\x07\U000e0041.png"
VISIBLE = "x\\u202egpj.\\u2066evil\\u200b\\u0007\\u{e0041}.png"


def test_what_a_files_name_hides_is_shown(page, workbench, six):
    workbench.delete("/v1/history")
    drop(page, HIDDEN, six[0].read_bytes())
    drop(page, f"broken{HIDDEN}", b"no image")
    all_analysed(page, 2)
    page.locator(".films button").first.click()
    expect(page.locator(".films .file").first).to_have_text(VISIBLE)
    expect(page.locator(".films .file").first).to_have_attribute("title", VISIBLE)
    expect(page.locator(".stage .caption").first).to_have_text(VISIBLE)
    shown(page)
    assert VISIBLE in page.locator(".stage canvas").first.get_attribute("aria-label")
    page.locator(".films button").last.click()
    expect(page.locator("#verdict")).to_contain_text(f"broken{VISIBLE}")
    page.evaluate("() => { window.print = () => { document.title = 'printed'; }; }")
    page.click("#print")
    expect(page).to_have_title("printed")
    assert VISIBLE in page.locator("#report").text_content()
    page.click("a[href='#watch']")
    expect(page.locator("#page-watch table").last).to_contain_text(VISIBLE)
    assert not hidden_characters(page.content())


def hidden_characters(text):
    return [one for one in text if unicodedata.category(one) in ("Cc", "Cf") and one not in "\n\t"]


ESTIMATE = {"value": 0.9127, "low": 0.8511, "high": 0.9636}
SITE = {
    "films": 120,
    "patients": 60,
    "patients_known": False,
    "verdict": "linear head, penalty 30; AUC 0.913 (0.851-0.964) by cross-validation over 120 images, 60 patients",
    "cross_validated": dict.fromkeys(("auc", "sensitivity", "specificity"), ESTIMATE),
    "made": True,
    "method": "linear",
    "learning_curve": {
        "points": [{"images": 50, "auc": 0.85, "deviation": 0.01}, {"images": 96, "auc": 0.881, "deviation": 0.01}],
        "more_would_help": True,
        "answer": "More images would help: from 50 to 96 images the AUC changed by +0.031.",
    },
    "acquisition": {
        "warning": "The files tell the label: width alone gives an AUC of 0.93.",
        "properties": {
            "width": {"value": 0.07, "low": 0.02, "high": 0.15},
            "height": {"value": 0.6, "low": 0.45, "high": 0.75},
        },
        "proven": ["width"],
        "together": ESTIMATE,
        "within": None,
    },
    "acceptance": {"measures": {"answered": {"value": 0.95}}},
}


@pytest.fixture(scope="module")
def own_classes(phantom_dataset, manifest, tmp_path_factory):
    """A bundle that a site adapted to two classes of its own, for adults."""
    path = tmp_path_factory.mktemp("bundle") / "own.zip"
    own_classes_bundle(
        np.array(phantom_dataset.images[:8]),
        path,
        manifest,
        scope=Scope(ages=(18, 90)),
        reference=fit_reference([ImageStatistics(0.5, 0.5, 0.2, 0.9, 1.0)], rejected=0),
        metrics={"site": SITE},
    )
    return path


# What a person or a screen reader reads: text, also of what is folded, and the attributes that are read out or shown.
READABLE = """() => [document.title, document.body.textContent, ...["title", "aria-label", "alt", "placeholder"].flatMap(
    (name) => [...document.querySelectorAll(`[${name}]`)].map((node) => node.getAttribute(name)))].join("\\n")"""


# Part of each page that is drawn last.
DRAWN_LAST = {
    "en": {
        "worklist": "Operating point balanced",
        "performance": "another site",
        "watch": "Delete all",
        "about": "/metrics",
    },
    "fr": {
        "worklist": "fonctionnement équilibré",
        "performance": "autre site",
        "watch": "Tout supprimer",
        "about": "/metrics",
    },
}
# True of the detectors that ship, not of a site's own.
FOREIGN = re.compile(r"pneumoni\w+|child\w*|enfant\w*|bact\w+|vira\w+|official\w*|officiel\w*", re.IGNORECASE)


def test_a_bundle_with_a_sites_own_classes_speaks_of_these_alone(browser, own_classes, films, monkeypatch, tmp_path):
    files = [tmp_path / f"{number}.jpeg" for number in range(len(films))]
    for file, film in zip(files, films, strict=True):
        file.write_bytes(film.read_bytes())
    files += [tmp_path / "young", tmp_path / "corrupt.png"]
    write_dicom(files[-2], read_grey(files[0]), PatientAge="005Y")
    files[-1].write_bytes(b"no image")
    detector = load_detector(str(own_classes))
    monkeypatch.chdir(tmp_path)
    predictions = {file.name: detector.predict(Path(file.name)) for file in files}
    outcomes = [prediction.outcome for prediction in predictions.values()]
    assert set(outcomes) == {"clear", "opacity", "refer", "rejected"}
    with running(bundle=str(own_classes), history=tmp_path / "h.sqlite") as service:
        context = browser.new_context(locale="en-GB", accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(str(service.base_url))
        expect(page.locator("html[data-ready]")).to_have_count(1)
        choose_files(page, files)
        for row in page.locator(".films li").all():
            prediction = predictions[row.locator(".file").inner_text()]
            probability = prediction.pneumonia_probability
            assert row.locator(".decision").inner_text() == prediction.outcome
            assert row.locator(".chance").inner_text() == ("" if probability is None else f"{100 * probability:.1f}%")
            assert row.locator(".mark").count() == (probability is not None and not prediction.validated)
        place = {"opacity": 0, "refer": 1, "clear": 2, "rejected": 3}
        shown_first = [place[name] for name in page.locator(".films .decision").all_inner_texts()]
        assert shown_first == sorted(shown_first)
        expect(page.locator("#verdict")).to_contain_text("probability of opacity")
        for name, outcome in (("pneumonia", "opacity"), ("normal", "clear")):
            expect(page.locator(f"[data-filter={name}]")).to_contain_text(outcome)
        assert_exported(page, list(predictions.values()))
        page.evaluate("() => { window.print = () => { document.title = 'printed'; }; }")
        page.click("#print")
        expect(page).to_have_title("printed")
        for language, parts in DRAWN_LAST.items():
            page.select_option("#language", language)
            for part, words in parts.items():
                page.click(f"a[href='#{part}']")
                expect(page.locator(f"#page-{part}")).to_contain_text(words)
                assert not FOREIGN.findall(page.evaluate(READABLE)), (language, part)
        expect(page.locator("#page-watch")).to_contain_text("probabilité de opacity")
        view = page.locator("#page-performance")
        # What the service says in English is said in French by its figures.
        for words in ("AUC 0,913", "de 50 à 96 images, l’AUC a changé de +0,031", "91,3\xa0%", "85,1\xa0% – 96,4\xa0%"):
            expect(view).to_contain_text(words)
        expect(view.locator(".warn")).to_contain_text("la largeur seule donne une AUC de 0,93")
        page.select_option("#language", "en")
        page.click("a[href='#watch']")
        kept = page.locator("#page-watch table").last.locator("tbody tr")
        expect(kept).to_have_count(len(predictions))
        page.get_by_role("combobox", name="Filter by decision").select_option(label="opacity")
        expect(kept).to_have_count(outcomes.count("opacity"))
        page.get_by_role("combobox", name="Filter by decision").select_option(label="all")
        expect(kept).to_have_count(len(predictions))
        marked = kept.filter(has=page.get_by_title("not validated for such an image"))
        expect(marked).to_have_count(1)
        expect(marked).to_contain_text("young")
        context.close()
    assert wrong == []


def test_the_history_shows_what_another_bundle_decided(browser, own_classes, phantom_bundle, films, tmp_path):
    decided = {}
    for bundle in (phantom_bundle, own_classes):
        with running(bundle=str(bundle), history=tmp_path / "h.sqlite") as service:
            for film in films:
                service.post("/v1/predict", params={"file": f"{bundle.stem}-{film.name}"}, content=film.read_bytes())
            decided |= {
                f"{bundle.stem}-{film.name}": load_detector(str(bundle)).predict(film).outcome for film in films
            }
            context = browser.new_context(locale="en-GB")
            page = context.new_page()
            page.set_default_timeout(SECONDS)
            page.goto(f"{service.base_url}/#watch")
            kept = page.locator("#page-watch table").last.locator("tbody tr")
            expect(kept).to_have_count(len(decided))
            assert {
                row.locator("td").nth(1).inner_text(): row.locator(".decision").inner_text() for row in kept.all()
            } == decided
            context.close()


def test_a_page_of_another_origin_sends_nothing(browser, workbench, six):
    def refused():
        found = re.search(r'^pneumoscope_requests_total\{.*status="403"\} (\S+)$', workbench.get("/metrics").text, re.M)
        return float(found[1]) if found else 0.0

    before = refused()
    workbench.delete("/v1/history")
    content = base64.b64encode(six[0].read_bytes()).decode()
    with elsewhere() as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        for path in ("/v1/predict", "/v1/predict/batch"):
            page.evaluate(SEND, [f"{str(workbench.base_url).rstrip('/')}{path}", content])
        until = time.monotonic() + SECONDS / 1000
        while refused() < before + 6:
            assert time.monotonic() < until
            page.wait_for_timeout(50)
        context.close()
    assert refused() == before + 6
    assert workbench.get("/v1/history").json() == {"entries": []}


# As a blob without a type, as a form by fetch, and as a form that a frame is sent by.
SEND = """async ([url, content]) => {
    const blob = new Blob([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))]);
    const form = new FormData();
    form.append("files", blob, "foreign");
    // The page may not even learn that there is an answer.
    for (const body of [blob, form]) await fetch(url, { method: "POST", mode: "no-cors", body }).catch(() => {});
    const frame = Object.assign(document.createElement("iframe"), { name: url });
    const sent = Object.assign(document.createElement("form"), { method: "post", action: url, enctype: "multipart/form-data", target: url });
    const input = Object.assign(document.createElement("input"), { type: "file", name: "files" });
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], "foreign"));
    input.files = transfer.files;
    sent.append(input);
    document.body.append(frame, sent);
    sent.submit();
}"""


@contextlib.contextmanager
def elsewhere():
    """The address of an empty page of another origin."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("part", ["worklist", "performance", "watch", "about"])
def test_axe_finds_nothing_serious(page, workbench, six, photograph, theme, part):
    if theme == "light":
        page.click("#theme")
    if part == "worklist":
        choose_files(page, [*six[:3], photograph])
        shown(page)
    else:
        page.click(f"a[href='#{part}']")
        expect(page.locator(f"#page-{part} h1")).to_be_visible()
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(one["id"], [n["target"] for n in one["nodes"]][:5]) for one in serious])


def swipe_down(page, by):
    """Goes down on the film by so many pixels with one finger, on a page that is at rest."""
    at_rest(page)
    box = page.locator(".stage").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for step in range(0, by + 1, 10):
        kind = "touchMove" if step else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y + step}]})
        page.wait_for_timeout(16)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    at_rest(page)


def at_rest(page):
    """Waits until the page has not scrolled for ten frames: by then the browser also knows what a touch of the film means."""
    page.evaluate(
        """async () => {
            for (let still = 0, last = NaN; still < 10; last = scrollY) {
                await new Promise(requestAnimationFrame);
                still = scrollY === last ? still + 1 : 0;
            }
        }"""
    )


def moved_up(page, before, by=0):
    """Waits until the page lies higher than before by more than so many pixels."""
    page.wait_for_function("(at) => scrollY < at", arg=before - by)


def test_a_finger_on_the_film_moves_the_page_until_a_tool_is_chosen(browser, workbench, six):
    context = browser.new_context(
        viewport={"width": 390, "height": 664}, has_touch=True, is_mobile=True, locale="en-GB"
    )
    page = context.new_page()
    page.goto(str(workbench.base_url))
    expect(page.locator("html[data-ready]")).to_have_count(1)
    choose_files(page, six[:1])
    page.locator(".films [data-film]").tap()
    levels = page.locator(".stage .levels")
    expect(levels).to_contain_text("W 255 L 128")
    before = page.evaluate("() => scrollY")
    swipe_down(page, 150)
    moved_up(page, before, 100)
    expect(levels).to_contain_text("W 255 L 128")
    window = page.locator("#tool-window")
    expect(window).to_have_attribute("aria-pressed", "false")
    window.tap()
    expect(window).to_have_attribute("aria-pressed", "true")
    at_rest(page)
    before = page.evaluate("() => scrollY")
    swipe_down(page, 100)
    expect(levels).not_to_contain_text("W 255 L 128")
    drawn(page)
    assert page.evaluate("() => scrollY") == before
    # A tap so soon after a finger has moved may be taken for a part of that movement.
    window.click()
    expect(window).to_have_attribute("aria-pressed", "false")
    swipe_down(page, 100)
    moved_up(page, before)
    context.close()


def test_it_fits_a_phone(browser, workbench, six):
    context = browser.new_context(
        viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True, locale="en-GB"
    )
    page = context.new_page()
    page.goto(str(workbench.base_url))
    expect(page.locator("html[data-ready]")).to_have_count(1)
    choose_files(page, six[:2])
    page.locator(".films [data-film]").last.tap()
    expect(page.locator(".stage").first).to_be_in_viewport(ratio=0.95)
    expect(page.locator("#verdict .decision")).to_be_in_viewport()
    expect(page.locator("#verdict .chance")).to_be_in_viewport()
    last = DRAWN_LAST["en"] | {"performance": "depends on how common pneumonia is"}
    for part, words in last.items():
        page.goto(f"{workbench.base_url}/#{part}")
        expect(page.locator(f"#page-{part}")).to_contain_text(words)
        drawn(page)
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, part
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        assert picture.width >= 375
    context.close()

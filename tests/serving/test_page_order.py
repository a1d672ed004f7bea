"""The page whatever the order in which answers arrive: the test holds requests, and answers them as it chooses."""

import io
import json
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from pneumoscope.data.reading import read_grey
from serving.conftest import Held, drawn, kept, running
from serving.test_page import all_analysed, choose_files, press, shown
from serving.test_page_reading import chosen, open_panel, opened, use_reader

pytestmark = pytest.mark.integration

ORDERS = pytest.mark.parametrize("backwards", [False, True])


@pytest.fixture(scope="module")
def service(phantom_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with running(bundle=str(phantom_bundle), history=folder / "h.sqlite", adaptations=folder) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_kept(service):
    service.delete("/v1/history").raise_for_status()


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", accept_downloads=True)
    yield made
    made.close()


@pytest.fixture
def page(context, service):
    with opened(context, service) as made:
        yield made


def film_of(service, films, wanted):
    """A film of which the service gives a decision."""
    found = next(film for film in films if decision(service, film)["decision"] == wanted)
    service.delete("/v1/history").raise_for_status()
    return found


def decision(service, film):
    return service.post("/v1/predict", params={"file": film.name}, content=film.read_bytes()).json()


@ORDERS
def test_one_image_of_several_files_has_the_first_ones_name(page, films, tmp_path, backwards):
    files = [tmp_path / f"{name}.jpeg" for name in ("c", "a", "b")]
    for file in files:
        file.write_bytes(films[0].read_bytes())
    held = Held(page, re.compile("/v1/predict"))
    page.set_input_files("#files", files)
    for route in sorted(held.wait(3), key=lambda route: files.index(tmp_path / name_of(route)), reverse=backwards):
        with page.expect_response(re.compile(re.escape(name_of(route)))):
            route.continue_()
        expect(page.locator(".films .decision")).to_have_count(1)
    all_analysed(page, 1)
    expect(page.locator(".films .file")).to_have_attribute("title", "c.jpeg\na.jpeg\nb.jpeg")
    expect(page.locator(".stage .caption")).to_have_text("c.jpeg")
    press(page, "p")
    expect(page.locator("#label-counts")).to_have_text("1 of 1 read")
    # A reload finds the one film, and knows it as the chosen one.
    kept(page)
    page.reload()
    expect(page.locator("html[data-ready]")).to_have_count(1)
    all_analysed(page, 1)
    expect(page.locator(".films .file")).to_have_attribute("title", "c.jpeg\na.jpeg\nb.jpeg")
    assert shown(page).shape == read_grey(films[0]).shape


def name_of(route):
    return re.search(r"file=([^&]+)", route.request.url)[1]


@ORDERS
def test_the_history_lists_the_last_search(page, service, films, backwards):
    for film in films[:3]:
        decision(service, film)
    page.click("nav a[href='#watch']")
    rows = page.locator("#page-watch table").last.locator("tbody tr")
    expect(rows).to_have_count(3)
    held = Held(page, re.compile(r"/v1/history\?"))
    for text in (films[0].name, films[1].name):
        page.fill("#history-text", text)
        page.press("#history-text", "Enter")
    answer_all(page, held.wait(2), backwards)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(films[1].name)


@ORDERS
def test_the_timeline_has_the_step_that_was_chosen_last(page, service, films, backwards):
    decision(service, films[0])
    page.click("nav a[href='#watch']")
    hour, day = (page.locator(f"#page-watch [data-step={name}]") for name in ("hour", "day"))
    expect(day).to_be_visible()
    held = Held(page, re.compile("/v1/history/timeline"))
    hour.click()
    day.click()
    answer_all(page, held.wait(2), backwards)
    expect(day).to_have_attribute("aria-pressed", "true")
    # Days, a label every fifth; hours would be of one day or two.
    labels = page.locator("#page-watch .timeline > text:nth-last-of-type(-n+6)").all_text_contents()
    assert len(set(labels)) == 6


def answer_all(page, routes, backwards):
    """Answers each before the next, and waits until the page has drawn them."""
    for route in reversed(routes) if backwards else routes:
        with page.expect_response(route.request.url):
            route.continue_()
        drawn(page)


@ORDERS
def test_the_banner_is_of_the_drift_that_was_requested_last(page, films, backwards):
    drift, drifted = (
        {"rejected_reference": 0.1, "rejections": "steady", "statistics": {"brightness": {"drift": level}}}
        for level in ("steady", "drifted")
    )
    held = Held(page, "**/v1/drift")
    choose_files(page, films[:1])
    held.wait(1)
    page.set_input_files("#files", [films[1]])
    all_analysed(page, 2)
    answers = list(zip(held.wait(2), (drift, drifted), strict=True))
    for route, found in reversed(answers) if backwards else answers:
        with page.expect_response("**/v1/drift"):
            route.fulfill(json=found)
        drawn(page)
    expect(page.locator("#banner")).to_be_visible()


def test_evidence_that_comes_after_a_blinded_reading_began_is_not_shown(page, service, films):
    held = Held(page, re.compile("/v1/evidence"))
    choose_files(page, [film_of(service, films, "normal")])
    shown(page)
    page.locator("#evidence").fill("60")
    expect(page.locator(".stage .legend")).to_contain_text("is computed")
    open_panel(page)
    page.check("#blinded")
    expect(page.locator("#verdict .decision")).to_have_count(0)
    with page.expect_response(re.compile("/v1/evidence")):
        held.wait(1)[0].continue_()
    page.evaluate("async () => { await (await import('/page/films.js')).allFilms()[0].evidence; }")
    drawn(page)
    for part in (".layer", ".legend"):
        expect(page.locator(f".stage {part}")).to_be_hidden()
    # It is there once the film is read.
    page.evaluate("() => document.activeElement.blur()")
    press(page, "p")
    expect(page.locator(".stage .layer")).to_be_visible()


def test_evidence_of_the_bundle_before_is_not_shown(page, service, films):
    held = Held(page, re.compile("/v1/evidence"))
    choose_files(page, [film_of(service, films, "pneumonia")])
    shown(page)
    page.locator("#evidence").fill("60")
    held.wait(1)
    bundle = service.get("/v1/bundle").json()
    page.evaluate(
        """async (bundle) => {
            const { changeBundle } = await import("/page/worklist.js");
            changeBundle({ ...bundle, version: "changed" });
        }""",
        bundle,
    )
    old, new = held.wait(2)
    white, black = ((Image.new("L", (8, 8), grey), share) for grey, share in ((255, 1.0), (0, 0.0)))
    for route, (picture, share) in ((new, black), (old, white)):
        with page.expect_response(re.compile("/v1/evidence")):
            route.fulfill(body=png(picture), headers={"Content-Type": "image/png", "Lung-Zones": zones(share)})
        drawn(page)
    layer = page.locator(".stage .layer")
    expect(layer).to_be_visible()
    grey = layer.evaluate(
        """async (image) => {
            await image.decode();
            const context = document.createElement("canvas").getContext("2d");
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, 1, 1).data[0];
        }"""
    )
    assert grey == 0
    expect(page.locator("#verdict")).to_contain_text("no zone with 20 %")


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def zones(share):
    names = ["right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower", "outside"]
    return json.dumps(dict.fromkeys(names, share))


def test_a_prediction_of_another_bundle_waits_until_the_page_knows_that(page, service, films):
    """Thresholds of the bundle before decide nothing of it. A look that began before the switch is made once more."""
    bundle = service.get("/v1/bundle").json()
    other = bundle | {"sha256": "f" * 64, "version": "2"}

    def predict(route):
        response = route.fetch()
        found = response.json()
        route.fulfill(response=response, json=found | {"bundle": found["bundle"] | {"sha256": other["sha256"]}})

    page.route(re.compile("/v1/predict"), predict)
    held = Held(page, "**/v1/bundle")
    page.set_input_files("#files", films[:1])
    for look, answer in enumerate((bundle, other)):
        route = held.wait(look + 1)[look]
        drawn(page)
        expect(page.locator(".films .waiting")).to_have_count(1)
        route.fulfill(json=answer)
    expect(page.locator("#detector")).to_contain_text(f"{other['name']} 2.")
    all_analysed(page, 1)
    expect(page.locator(".films .decision")).to_have_count(1)


def test_a_look_of_before_a_switch_does_not_undo_it(page, service):
    bundle = service.get("/v1/bundle").json()
    record = {
        "id": "1",
        "name": "ours",
        "classes": ["normal", "pneumonia"],
        "state": "made",
        "began": 0,
        "result": None,
    }
    adaptations = service.get("/v1/adaptations").json()
    adaptations["adaptations"] = [record | {"negatives": 20, "positives": 20, "problem": None}]
    page.route("**/v1/adaptations", lambda route: route.fulfill(json=adaptations))
    page.click("nav a[href='#adapt']")
    use = page.get_by_role("button", name="Use this detector")
    expect(use).to_be_visible()
    held = Held(page, "**/v1/bundle")
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    [look] = held.wait(1)
    page.route(
        "**/v1/bundle?adaptation=1",
        lambda route: route.fulfill(json=bundle | {"sha256": "f" * 64, "version": "2", "adaptation": "1"}),
    )
    use.click()
    note = page.locator("#detector-note")
    expect(note).to_contain_text(f"{bundle['name']} 2")
    with page.expect_response("**/v1/bundle"):
        look.fulfill(json=bundle)
    drawn(page)
    expect(note).to_contain_text(f"{bundle['name']} 2")
    expect(page.locator("#page-adapt .used")).to_have_text("in use")


def test_a_part_that_is_opened_twice_is_drawn_once(page):
    problem = {"type": "/v1/problems/adaptations_off", "title": "off"}
    held = Held(page, "**/v1/adaptations")
    page.click("nav a[href='#adapt']")
    held.wait(1)
    page.select_option("#language", "fr")
    for route in held.wait(2):
        route.fulfill(status=404, content_type="application/problem+json", body=json.dumps(problem))
    warning = page.locator("#page-adapt .warn")
    expect(warning).to_contain_text("lancé sans --adaptations DOSSIER")
    drawn(page)
    expect(warning).to_have_count(1)


def test_a_watch_page_that_is_opened_twice_has_its_timeline(page, films):
    choose_files(page, films[:2])
    histories, timelines = Held(page, re.compile(r"/v1/history\?")), Held(page, re.compile("/v1/history/timeline"))
    page.click("nav a[href='#watch']")
    histories.wait(1)
    page.select_option("#language", "fr")
    first, second = histories.wait(2)
    second.continue_()
    timelines.wait(1)
    with page.expect_response(re.compile(r"/v1/history\?")):
        first.continue_()
    drawn(page)
    for route in timelines.routes:
        route.continue_()
    expect(page.locator("#page-watch .timeline")).to_have_count(1)


def test_a_blinded_reader_does_not_see_what_the_watch_page_showed_before(page, films):
    choose_files(page, films[:2])
    use_reader(page, "Dr Quick")
    decisions = page.locator("#page-watch .decision")
    page.click("nav a[href='#watch']")
    expect(decisions.first).to_be_visible()
    page.click("nav a[href='#worklist']")
    page.check("#blinded")
    held = Held(page, "**/v1/drift")
    page.click("nav a[href='#watch']")
    held.wait(1)
    expect(page.locator("#page-watch")).to_be_visible()
    assert decisions.count() == 0
    held.routes[0].continue_()
    expect(page.locator("#page-watch")).to_contain_text("You read blinded")


def test_a_film_that_another_tab_removed_is_not_written_again(page, context, service, films):
    choose_files(page, films[:2])
    kept(page)
    name = chosen(page).inner_text()
    with opened(context, service) as other:
        all_analysed(other, 2)
        # As while many are analysed: what has come is written a few seconds later.
        other.evaluate(
            """async () => {
                const [{ allFilms }, { saveFilms }] = [await import("/page/films.js"), await import("/page/session.js")];
                saveFilms(allFilms(), true);
            }"""
        )
        page.click("#remove-film")
        expect(page.locator("[data-filter=all]")).to_have_text("all 1")
        expect(other.locator("[data-filter=all]")).to_have_text("all 1")
        kept(other)
        kept(page)
        page.reload()
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator("[data-filter=all]")).to_have_text("all 1")
        expect(page.locator(".films .file")).not_to_have_text(name)

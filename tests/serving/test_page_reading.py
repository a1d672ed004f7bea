"""A reading session in a real browser: findings by keys, several readers, a reload in the middle, and what is kept where."""

import contextlib
import csv
import io
import json
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from pneumoscope.data.phantom import phantom_image
from pneumoscope.data.reading import read_grey
from radiographs import write_dicom
from serving.conftest import Held, drawn, kept, running
from serving.test_page import SECONDS, all_analysed, choose_files, press, shown

pytestmark = pytest.mark.integration

MANY = 500
KEYS = {"positive": "p", "negative": "n"}


@pytest.fixture(scope="module")
def service(phantom_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with running(
        bundle=str(phantom_bundle),
        workers=2,
        history=folder / "h.sqlite",
        kept_images=folder / "films",
        adaptations=folder / "adaptations",
    ) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small phantoms, two to a patient, named as the radiographs from Guangzhou are."""
    made = tmp_path_factory.mktemp("films")
    for number in range(MANY):
        word = ("normal", "bacteria", "virus")[number % 3]
        rng = np.random.default_rng(number)
        patient = 1 + number // 6
        name = f"IM-{patient:04d}-{number:04d}" if word == "normal" else f"person{patient}_{word}_{number}"
        Image.fromarray(phantom_image(word, rng, 96)).save(made / f"{name}.jpeg", quality=90)
    return made


@pytest.fixture
def context(browser):
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", accept_downloads=True)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def nothing_kept(service):
    """Without the readers of other tests: of more than ten on an image nothing is measured."""
    service.delete("/v1/history").raise_for_status()


@pytest.fixture
def page(context, service):
    with opened(context, service) as made:
        yield made


@contextlib.contextmanager
def opened(context, service, answer=lambda dialog: dialog.accept()):
    made = context.new_page()
    made.set_default_timeout(SECONDS)
    wrong = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("dialog", answer)
    made.goto(str(service.base_url))
    expect(made.locator("html[data-ready]")).to_have_count(1)
    yield made
    made.close()
    assert wrong == []


def predictions(page):
    """Addresses that the page asks for predictions from now on."""
    found = []
    page.on("request", lambda asked: found.append(asked.url) if "/v1/predict" in asked.url else None)
    return found


def chosen(page):
    return page.locator(".films [aria-current=true] .file")


def truth(name):
    return "negative" if name.startswith("IM-") else "positive"


def open_panel(page):
    page.evaluate("() => { document.getElementById('labelling').open = true; }")


def use_reader(page, name):
    open_panel(page)
    page.fill("#reader", name)
    page.press("#reader", "Tab")
    page.evaluate("() => document.activeElement.blur()")


def read_on(page, count, other=()):
    """Reads so many films by keys, as their names say but for those whose number is in `other`; gives names and findings."""
    found = {}
    for number in range(count):
        page.keyboard.press("r")
        drawn(page)
        expect(page.locator(".films [aria-current=true] .label")).to_have_count(0)
        name = chosen(page).inner_text()
        finding = truth(name)
        if number in other:
            finding = {"positive": "negative", "negative": "positive"}[finding]
        press(page, KEYS[finding])
        expect(page.locator(".films [aria-current=true] .label")).to_have_count(1)
        found[name] = finding
    return found


def saved(page, button, path):
    with page.expect_download() as caught:
        page.click(button)
    caught.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def percentages(text):
    return [float(number) for number in re.findall(r"(\d+\.\d+)%", text)]


def test_a_reading_session_of_500_films(page, service, folder, phantom_bundle, pneumoscope):
    sent = predictions(page)
    files = sorted(folder.iterdir())
    page.set_input_files("#files", files)
    all_analysed(page, MANY)
    predicted = len(sent)
    assert predicted
    use_reader(page, "Dr A")
    first = read_on(page, 20)
    expect(page.locator("#label-counts")).to_have_text(f"20 of {MANY} read")
    kept(page)
    page.reload()
    expect(page.locator("html[data-ready]")).to_have_count(1)
    all_analysed(page, MANY)
    assert len(sent) == predicted, "films that were analysed are analysed again"
    expect(page.locator("#label-counts")).to_have_text(f"20 of {MANY} read")
    assert chosen(page).inner_text() == list(first)[-1]
    open_panel(page)
    expect(page.locator("#reader")).to_have_value("Dr A")
    first |= read_on(page, 20)
    assert len(first) == 40

    # The second reader sees nothing of the detector and of the first reader before the own finding.
    page.check("#blinded")
    use_reader(page, "Dr B")
    expect(page.locator("#csv-readings")).to_be_disabled()
    expect(page.locator("#csv")).to_be_disabled()
    expect(page.locator("#label-counts")).to_have_text(f"0 of {MANY} read")
    expect(page.locator(".films .decision, .films .label, .films .meter")).to_have_count(0)
    expect(page.locator("#verdict")).to_have_text(
        "Blinded reading: the detector’s decision is shown after your finding."
    )
    page.evaluate("() => document.activeElement.blur()")
    second = {}
    for place, name in enumerate(sorted(first)[::3][:12]):
        page.fill("#search-films", name)
        expect(page.locator(".films [data-film]")).to_have_count(1)
        page.evaluate("() => document.activeElement.blur()")
        page.keyboard.press("r")
        expect(chosen(page)).to_have_text(name)
        expect(page.locator("#verdict .decision")).to_have_count(0)
        finding = truth(name) if place else {"positive": "negative", "negative": "positive"}[truth(name)]
        press(page, KEYS[finding])
        expect(page.locator("#verdict .decision")).to_have_count(1)
        second[name] = finding
    page.fill("#search-films", "")
    expect(page.locator("#figures")).to_contain_text("shown when all films are read")
    page.uncheck("#blinded")
    figures = page.locator("#figures")
    expect(figures).to_contain_text("Dr A and Dr B agree on 11 of 12 films, kappa 0.8")
    expect(figures).to_contain_text("Readers differ on 1")

    rows = saved(page, "#csv-labels", folder / "labels.csv")
    names = {"positive": "pneumonia", "negative": "normal"}
    agreed = {name: names[finding] for name, finding in first.items() if second.get(name, finding) == finding}
    assert {row["path"]: row["class"] for row in rows} == agreed
    readings = saved(page, "#csv-readings", folder / "readings.csv")
    assert len(readings) == 52
    assert {(row["reader"], row["blinded"]) for row in readings} == {("Dr A", "false"), ("Dr B", "true")}

    code, out, err = pneumoscope(
        "evaluate", "--bundle", phantom_bundle, "--data", folder / "labels.csv", "--workers", 1, "--json"
    )
    assert code == 0, err
    measures = json.loads(out)["acceptance"]["measures"]
    shown_figures = page.locator("#figures dd").all_inner_texts()
    for text, name in zip(shown_figures, ("sensitivity", "specificity"), strict=False):
        assert percentages(text) == [round(100 * measures[name][part], 1) for part in ("value", "low", "high")], name
    auc = re.findall(r"\d\.\d{3}", shown_figures[2])
    assert auc == [f"{measures['auc'][part]:.3f}" for part in ("value", "low", "high")]
    for name in ("labels.csv", "readings.csv"):
        (folder / name).unlink()

    # The service has the readings of both, and the films: another machine goes on.
    kept(page)
    assert len(service.get("/v1/readings").json()["readings"]) == 52


def test_another_machine_finds_films_and_readings(browser, service, page, folder):
    files = sorted(folder.iterdir())[:3]
    choose_files(page, files)
    use_reader(page, "Dr C")
    read_on(page, 2)
    expect(page.locator("#label-counts")).to_have_text("2 of 3 read")
    kept(page)
    context = browser.new_context(locale="en-GB")
    with opened(context, service) as other:
        use_reader(other, "Dr C")
        predicted = predictions(other)
        other.click("#open-kept")
        for file in files:
            other.fill("#search-films", file.name)
            expect(other.locator(".films .file")).to_have_text([file.name])
            other.locator(".films [data-film]").click()
            assert shown(other).shape[0] == 96
        expect(other.locator("#label-counts")).to_contain_text("2 of")
        assert predicted == []
    context.close()


def test_findings_have_a_reason_and_a_comment_and_are_withdrawn(page, folder, service):
    choose_files(page, sorted(folder.iterdir())[:2])
    use_reader(page, "Dr D")
    page.keyboard.press("r")
    expect(page.locator("#reason")).to_be_disabled()
    press(page, "d")
    expect(page.locator(".films [aria-current=true] .label")).to_have_text("your finding: cannot say")
    page.select_option("#reason", "positioning")
    page.fill("#comment", "rotated; «see earlier film»")
    page.press("#comment", "Enter")
    kept(page)
    page.reload()
    expect(page.locator("#comment")).to_have_value("rotated; «see earlier film»")
    expect(page.locator("#reason")).to_have_value("positioning")
    mine = [each for each in service.get("/v1/readings").json()["readings"] if each["reader"] == "Dr D"]
    assert [(each["finding"], each["reason"], each["comment"]) for each in mine] == [
        ("undecided", "positioning", "rotated; «see earlier film»")
    ]
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("u")
    expect(page.locator(".films .label")).to_have_count(0)
    expect(page.locator("#comment")).to_have_value("")
    kept(page)
    [mine] = [each for each in service.get("/v1/readings").json()["readings"] if each["reader"] == "Dr D"]
    assert (mine["finding"], mine["comment"]) == ("withdrawn", "")
    page.reload()
    expect(page.locator("html[data-ready]")).to_have_count(1)
    expect(page.locator(".films [data-film]")).to_have_count(2)
    expect(page.locator(".films .label")).to_have_count(0)


def test_a_readers_name_is_corrected_with_all_readings_under_it(context, folder, service):
    answers = iter(["Dr Taken", "Dr Misspelt"])
    said = []

    def answer(dialog):
        said.append(dialog.message)
        dialog.accept(next(answers) if dialog.type == "prompt" else None)

    with opened(context, service, answer) as page:
        choose_files(page, sorted(folder.iterdir())[:3])
        use_reader(page, "Dr Taken")
        read_on(page, 1)
        use_reader(page, "Dr Mispelt")
        read_on(page, 2)
        kept(page)
        before = {each["sha256"]: each["time"] for each in readings_of(service, "Dr Mispelt")}
        page.click("#rename-reader")
        expect(page.locator("#reader")).to_have_value("Dr Mispelt")
        assert "Dr Taken" in said[-1]
        assert "nothing was changed" in said[-1]
        page.click("#rename-reader")
        expect(page.locator("#reader")).to_have_value("Dr Misspelt")
        expect(page.locator("#label-counts")).to_have_text("2 of 3 read")
        kept(page)
    assert {each["finding"] for each in readings_of(service, "Dr Mispelt")} == {"withdrawn"}
    assert {each["sha256"]: each["time"] for each in readings_of(service, "Dr Misspelt")} == before


def test_a_film_that_is_not_shown_gets_no_finding_until_it_is(page, folder):
    names = ("/v1/film", "/v1/readings")
    held = Held(page, "**/v1/film")
    choose_files(page, sorted(folder.iterdir())[30:31])
    use_reader(page, "Dr Hasty")
    said = page.locator("#given")
    expect(page.locator(".stage .none")).to_have_text("Decoding …")
    for way in (lambda: page.keyboard.press("n"), lambda: page.click("#label-positive")):
        way()
        expect(said).to_have_text("The film is not shown yet: no finding was taken.")
    expect(page.locator(".films .label")).to_have_count(0)
    # The service stops, and answers again: nobody need open the film anew.
    for name in names:
        page.route(f"**{name}", lambda route: route.abort())
    for route in held.wait(1):
        route.abort()
    expect(page.locator(".stage .none")).to_have_text("The service does not answer. Is it still running?")
    page.keyboard.press("n")
    expect(page.locator(".films .label")).to_have_count(0)
    page.unroute("**/v1/film")
    expect(page.locator(".stage canvas")).to_be_visible(timeout=SECONDS)
    expect(said).to_have_text("")
    page.keyboard.press("n")
    expect(page.locator(".films .label")).to_have_count(1)
    expect(page.locator("#unsent")).to_have_text("1 finding is not on the service yet; it is sent again.")
    page.unroute("**/v1/readings")
    expect(page.locator("#unsent")).to_have_text("", timeout=SECONDS)


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_keys_after_the_name_are_findings(page, folder, key):
    choose_files(page, sorted(folder.iterdir())[:1])
    open_panel(page)
    page.fill("#reader", f"Dr {key}")
    page.press("#reader", key)
    press(page, "p")
    expect(page.locator("#label-counts")).to_have_text("1 of 1 read")
    expect(page.locator("#reader")).to_have_value(f"Dr {key}")


def test_an_empty_file_is_named_so(page, tmp_path):
    (tmp_path / "empty.png").touch()
    choose_files(page, [tmp_path / "empty.png"])
    expect(page.locator(".films [data-film]")).to_contain_text("The file is empty.")


def test_blinded_readers_export_no_labels_of_others(page, folder):
    choose_files(page, sorted(folder.iterdir())[-2:])
    use_reader(page, "Dr Before")
    read_on(page, 2)
    expect(page.locator("#csv-labels")).to_be_enabled()
    page.check("#blinded")
    use_reader(page, "Dr Behind")
    expect(page.locator("#csv-labels")).to_be_disabled()


def readings_of(service, reader):
    return [each for each in service.get("/v1/readings").json()["readings"] if each["reader"] == reader]


def test_two_tabs_have_one_list(page, context, service, folder):
    choose_files(page, sorted(folder.iterdir())[:2])
    use_reader(page, "Dr Tabs")
    kept(page)
    with opened(context, service) as other:
        all_analysed(other, 2)
        read_on(page, 1)
        expect(other.locator("#label-counts")).to_have_text("1 of 2 read")
        other.bring_to_front()
        other.keyboard.press("r")
        press(other, "d")  # a reading that came from the other tab is changed and kept as any other
        expect(other.locator("#label-counts")).to_have_text("2 of 2 read")
        expect(page.locator("#label-counts")).to_have_text("2 of 2 read")
        page.click("#clear")
        expect(other.locator(".films [data-film]")).to_have_count(0)
        expect(other.locator("#welcome")).to_be_visible()
        kept(page)
        kept(other)
        other.reload()
        expect(other.locator("html[data-ready]")).to_have_count(1)
        expect(other.locator(".films [data-film]")).to_have_count(0)


def test_blinded_readers_see_no_decision_on_the_page_of_the_last_films(page, folder):
    choose_files(page, sorted(folder.iterdir())[:2])
    use_reader(page, "Dr Unseeing")
    page.check("#blinded")
    page.click("nav a[href='#watch']")
    expect(page.locator("#page-watch")).to_contain_text("You read blinded")
    expect(page.locator("#page-watch .decision")).to_have_count(0)
    expect(page.locator("#page-watch .period")).to_have_count(0)
    page.click("nav a[href='#worklist']")
    page.uncheck("#blinded")
    page.click("nav a[href='#watch']")
    expect(page.locator("#page-watch .decision").first).to_be_visible()


def test_agreeing_takes_the_detectors_decision(page, folder):
    choose_files(page, sorted(folder.iterdir())[::100])
    use_reader(page, "Dr E")
    for _ in range(5):
        page.keyboard.press("r")
        drawn(page)
        expect(page.locator(".films [aria-current=true] .label")).to_have_count(0)
        decision = page.locator("#verdict .decision").inner_text()
        press(page, "a")
        expected = [f"your finding: {decision}"] if decision in ("normal", "pneumonia") else []
        expect(page.locator(".films [aria-current=true] .label")).to_have_text(expected)


def test_a_blinded_finding_that_is_changed_after_the_decision_was_shown_is_blinded_no_more(page, folder, tmp_path):
    choose_files(page, sorted(folder.iterdir())[:2])
    open_panel(page)
    page.check("#blinded")
    use_reader(page, "Dr F")
    expect(page.locator("#agree")).to_be_disabled()
    page.evaluate("() => document.activeElement.blur()")
    for keys in ("rp", "rn"):
        for key in keys:
            press(page, key)
    expect(page.locator("#label-counts")).to_have_text("2 of 2 read")
    press(page, "d")
    rows = saved(page, "#csv-readings", tmp_path / "readings.csv")
    mine = {row["finding"]: row["blinded"] for row in rows if row["reader"] == "Dr F"}
    assert mine == {"pneumonia": "true", "undecided": "false"}
    # Withdrawn and given again: the decision was seen.
    page.keyboard.press("u")
    press(page, "n")
    rows = saved(page, "#csv-readings", tmp_path / "readings.csv")
    assert {row["finding"]: row["blinded"] for row in rows if row["reader"] == "Dr F"} == {
        "pneumonia": "true",
        "normal": "false",
    }


def test_a_decision_that_was_open_makes_no_blinded_reading(page, folder, tmp_path):
    choose_files(page, sorted(folder.iterdir())[:2])
    use_reader(page, "Dr H")
    expect(page.locator("#verdict .decision")).to_have_count(1)  # of the first film
    opened_one = chosen(page).inner_text()
    page.check("#blinded")
    page.evaluate("() => document.activeElement.blur()")
    press(page, "n")
    page.keyboard.press("r")
    press(page, "n")
    expect(page.locator("#label-counts")).to_have_text("2 of 2 read")
    rows = saved(page, "#csv-readings", tmp_path / "readings.csv")
    mine = {row["path"]: row["blinded"] for row in rows if row["reader"] == "Dr H"}
    assert mine.pop(opened_one) == "false"
    assert list(mine.values()) == ["true"]


def test_readings_without_a_name_become_those_of_the_name_that_is_given(page, folder, service):
    choose_files(page, sorted(folder.iterdir())[:1])
    open_panel(page)
    nobody = page.locator("#reader").input_value()
    assert re.fullmatch(r"Reader [0-9a-f]{4}", nobody)
    press(page, "p")
    expect(page.locator(".films .label")).to_have_count(1)
    use_reader(page, "Dr I")
    expect(page.locator(".films .label")).to_have_text("your finding: pneumonia")
    kept(page)
    found = {each["reader"]: each["finding"] for each in service.get("/v1/readings").json()["readings"]}
    assert (found["Dr I"], found[nobody]) == ("positive", "withdrawn")


def test_readings_that_were_deleted_on_the_service_do_not_come_back(context, phantom_bundle, folder, tmp_path):
    with (
        running(bundle=str(phantom_bundle), history=tmp_path / "h.sqlite") as own,
        opened(context, own) as page,
    ):
        choose_files(page, sorted(folder.iterdir())[:1])
        use_reader(page, "Dr J")
        press(page, "p")
        kept(page)
        assert len(own.get("/v1/readings").json()["readings"]) == 1
        own.delete("/v1/history")
        page.reload()
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator(".films [data-film]")).to_have_count(1)
        expect(page.locator(".films .label")).to_have_count(0)
        kept(page)
        assert own.get("/v1/readings").json() == {"readings": []}


def test_films_whose_headers_all_name_one_patient_are_anonymous(page, folder, tmp_path):
    """As `evaluate` and `adapt` take them: each film as a patient of its own."""
    films = tmp_path / "films"
    films.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())[:3]):
        write_dicom(films / f"{number}", read_grey(file), PatientID="ANONYMOUS" if number < 2 else "7")
    choose_files(page, sorted(films.iterdir())[:2])
    use_reader(page, "Dr K")
    read_on(page, 2)
    open_panel(page)
    assert list(saved(page, "#csv-labels", films / "labels.csv")[0]) == ["path", "class"]
    page.set_input_files("#files", [str(films / "2")])
    all_analysed(page, 3)
    read_on(page, 1)
    rows = saved(page, "#csv-labels", films / "labels.csv")
    assert len({row["patient"] for row in rows}) == 2


def test_the_panel_says_how_often_the_detector_was_right_and_on_which_films_not(page, folder, tmp_path):
    files = [tmp_path / file.name for file in sorted(folder.iterdir())[::40]]
    for file in files:  # images that nobody else has read
        Image.open(folder / file.name).save(file, quality=80)
    choose_files(page, files)
    use_reader(page, "Dr Right")
    found = read_on(page, 13, other=range(0, 13, 3))
    decided = page.evaluate(
        """async () => {
            const { allFilms } = await import("/page/films.js");
            return Object.fromEntries(allFilms().map(({ name, prediction }) => [name, prediction.decision]));
        }"""
    )
    word = {"positive": "pneumonia", "negative": "normal"}
    pairs = [(word[finding], decided[name]) for name, finding in found.items()]
    with_decision = [pair for pair in pairs if pair[1] in ("pneumonia", "normal")]
    right = sum(finding == decision for finding, decision in with_decision)
    wrong = len(with_decision) - right
    assert right
    assert wrong
    figures = page.locator("#figures")
    expect(figures.locator("p").first).to_have_text(f"Right on {right} of {len(with_decision)} films with a decision")
    cells = [int(text) for text in figures.locator(".matrix td:not(.corner)").all_inner_texts()]
    columns = ("pneumonia", "normal", "refer", "rejected")
    assert cells == [pairs.count((finding, each)) for finding in ("pneumonia", "normal") for each in columns]
    filtered = page.locator("[data-filter=disagrees]")
    expect(filtered).to_have_text(f"detector disagrees {wrong}")
    filtered.click()
    expect(page.locator(".films .file")).to_have_count(wrong)
    for name in page.locator(".films .file").all_inner_texts():
        assert word[found[name]] != decided[name]
    page.click("[data-filter=all]")

    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    paper = page.locator("#report")
    column = paper.locator("th").all_text_contents().index("Finding")
    for row in paper.locator("tbody tr").all():
        cells = row.locator("td").all_text_contents()
        [name] = [name for name in found if cells[1].startswith(name)]
        assert cells[column] == word[found[name]]
    # Who reads blinded learns nothing of it, neither on paper.
    page.check("#blinded")
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    assert "Finding" not in paper.locator("th").all_text_contents()
    expect(filtered).to_have_count(1)  # all are read
    use_reader(page, "Dr Unaware")
    expect(filtered).to_have_count(0)
    # Nor by the browser's own print command: neither counts of decisions nor an order by them.
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(paper).to_contain_text("You read blinded")
    shown = [text.split(".")[0] for text in paper.locator("tbody tr td:nth-child(2)").all_text_contents()]
    assert shown == sorted(shown)


def test_the_list_is_searched_and_ordered(page, folder):
    files = sorted(folder.iterdir())[::50]
    choose_files(page, files)
    names = page.locator(".films .file")
    page.select_option("#order", "name")
    expect(names).to_have_text([file.name for file in files])
    page.select_option("#order", "probability")
    drawn(page)
    chances = [float(text.rstrip("%")) for text in page.locator(".films .chance").all_inner_texts()]
    assert len(chances) == len(files)
    assert chances == sorted(chances, reverse=True)
    page.fill("#search-films", files[3].name[:-5].upper())
    expect(names).to_have_text([files[3].name])
    page.fill("#search-films", "no such film")
    expect(page.locator("#empty")).to_have_text("No film matches.")


def test_the_same_image_is_one_film_under_all_its_names(page, folder, tmp_path):
    [first, *_] = sorted(folder.iterdir())
    again = tmp_path / "again.jpeg"
    again.write_bytes(first.read_bytes())
    page.set_input_files("#files", [first, again])
    all_analysed(page, 1)
    expect(page.locator(".films .file")).to_have_text(re.compile(r"\(2 files\)$"))
    # Either file once more is not even sent, whichever of them was answered first.
    sent = predictions(page)
    page.set_input_files("#files", [first, again])
    expect(page.locator("#announcement")).to_have_text("2 of these are in the list already.")
    assert sent == []
    page.fill("#search-films", "again")
    expect(page.locator(".films [data-film]")).to_have_count(1)


def test_settings_of_the_list_survive_a_reload(page, folder):
    choose_files(page, sorted(folder.iterdir())[:2])
    page.fill("#prevalence", "12.5")
    page.press("#prevalence", "Tab")
    page.reload()
    expect(page.locator("#prevalence")).to_have_value("12.5")


def test_a_single_film_is_removed_from_the_list_alone(context, service, folder):
    said = []
    answers = iter([False, True])

    def answer(dialog):
        said.append(dialog.message)
        dialog.accept() if next(answers) else dialog.dismiss()

    with opened(context, service, answer) as page:
        choose_files(page, sorted(folder.iterdir())[4:7])
        use_reader(page, "Dr Remover")
        first = chosen(page).inner_text()
        page.click("#remove-film")
        expect(page.locator("[data-filter=all]")).to_have_text("all 2")
        expect(page.locator(f".films .file:has-text('{first}')")).to_have_count(0)
        assert said == []
        second = chosen(page).inner_text()
        press(page, "n")
        expect(page.locator("#label-counts")).to_have_text("1 of 2 read")
        kept(page)
        known = len(service.get("/v1/films").json()["entries"])
        page.click("#remove-film")
        expect(page.locator("[data-filter=all]")).to_have_text("all 2")
        page.click("#remove-film")
        expect(page.locator("[data-filter=all]")).to_have_text("all 1")
        assert all(second in message for message in said)
        kept(page)
        page.reload()
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator("[data-filter=all]")).to_have_text("all 1")
        assert len(service.get("/v1/films").json()["entries"]) == known
        assert [each["finding"] for each in readings_of(service, "Dr Remover")] == ["negative"]
        # The film that comes again is known as read.
        page.set_input_files("#files", [folder / second])
        all_analysed(page, 2)
        expect(page.locator("#label-counts")).to_have_text("1 of 2 read")


def test_a_french_reader_has_a_french_name_until_one_is_given(browser, service):
    context = browser.new_context(locale="fr-FR", viewport={"width": 1280, "height": 900})
    with opened(context, service) as page:
        open_panel(page)
        assert re.fullmatch(r"Lecteur [0-9a-f]{4}", page.locator("#reader").input_value())
        page.click("#sample")
        all_analysed(page, 1)
        room = page.locator("#comment").evaluate(
            """(input) => {
                const context = document.createElement("canvas").getContext("2d"), style = getComputedStyle(input);
                context.font = style.font;
                const inside = input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
                return inside - context.measureText(input.placeholder).width;
            }"""
        )
        assert room >= 0
    context.close()


def test_clear_asks_and_forgets_what_the_browser_keeps(context, service, folder):
    page = context.new_page()
    page.goto(str(service.base_url))
    expect(page.locator("html[data-ready]")).to_have_count(1)
    choose_files(page, sorted(folder.iterdir())[:2])
    answers = iter([False, True])
    page.on("dialog", lambda dialog: dialog.accept() if next(answers) else dialog.dismiss())
    page.click("#clear")
    expect(page.locator("[data-filter=all]")).to_have_text("all 2")
    page.click("#clear")
    expect(page.locator("[data-filter=all]")).to_have_text("all 0")
    kept(page)
    page.reload()
    expect(page.locator("html[data-ready]")).to_have_count(1)
    expect(page.locator("[data-filter=all]")).to_have_text("all 0")
    expect(page.locator("#welcome")).to_be_visible()


def test_a_browser_that_keeps_nothing_says_so_and_asks_before_it_leaves(browser, service, folder):
    context = browser.new_context(locale="en-GB")
    context.add_init_script(
        "IDBFactory.prototype.open = () => { throw new DOMException('no room', 'QuotaExceededError'); };"
    )
    page = context.new_page()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto(str(service.base_url))
    expect(page.locator("html[data-ready]")).to_have_count(1)
    expect(page.locator("#announcement")).to_have_text("This browser keeps nothing: the worklist is lost on reload.")
    choose_files(page, sorted(folder.iterdir())[:2])
    page.keyboard.press("j")  # a page that nobody has touched may not ask
    page.click(".films [data-film]")
    page.reload()
    assert asked == ["beforeunload"]
    context.close()


def test_a_first_visit_says_what_to_do_and_has_a_sample(page):
    expect(page.locator("#welcome li")).to_have_count(3)
    expect(page.locator("#welcome")).to_contain_text("adapt it to your hospital")
    page.click("#sample")
    all_analysed(page, 1)
    expect(page.locator("#welcome")).to_be_hidden()
    assert shown(page).shape[0] == 768


def test_progress_has_a_rate_and_the_time_that_is_left(page, folder):
    """Answers come late enough that there is something to see."""
    page.route(re.compile("/v1/predict"), lambda route: (page.wait_for_timeout(120), route.continue_()))
    page.set_input_files("#files", sorted(folder.iterdir())[:200])
    expect(page.locator("#progress")).to_have_text(
        re.compile(r"^\d+ of 200, \d+ a second, \d+ s left$"), timeout=SECONDS
    )
    all_analysed(page, 200)
    page.unroute(re.compile("/v1/predict"))


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_axe_finds_nothing_serious_while_one_reads(page, folder, theme, width):
    page.set_viewport_size({"width": width, "height": 1000})
    if theme == "light":
        page.click("#theme")
    run_axe(page)  # the first visit
    choose_files(page, sorted(folder.iterdir())[:4])
    use_reader(page, f"Dr {theme} {width}")
    read_on(page, 2)
    expect(page.locator("#figures dl")).to_be_visible()
    run_axe(page)
    page.check("#blinded")
    run_axe(page)
    wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


def run_axe(page):
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(one["id"], [n["target"] for n in one["nodes"]][:5]) for one in serious])


def test_the_sample_is_a_picture(service):
    with Image.open(io.BytesIO(service.get("/v1/sample").content)) as picture:
        assert (picture.format, picture.height) == ("PNG", 768)

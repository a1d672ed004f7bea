"""The viewer of the page in a real browser: linked films, windows, orientation, loupe, caliper, header, films of one patient."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from pneumoscope.data.names import patient_key
from pneumoscope.data.reading import read_grey
from radiographs import radiograph, write_dicom
from serving.conftest import running

pytestmark = pytest.mark.integration

SECONDS = 30_000
PICTURE = """(stage) => {
    const canvas = document.querySelectorAll(".stage canvas:not(.loupe)")[stage];
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.height, canvas.width, Array.from(data.filter((_, place) => place % 4 === 0))];
}"""
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def workbench():
    with running() as client:
        yield client


@pytest.fixture
def page(browser, workbench):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(str(workbench.base_url))
    expect(opened.locator("html[data-ready]")).to_have_count(1)
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Two films of one patient and one of another, of several sizes, as DICOM objects."""
    folder = tmp_path_factory.mktemp("visits")
    known = {"Modality": "DX", "ViewPosition": "AP", "Manufacturer": "ACME", "PatientID": "P1"}
    later = known | {"StudyDate": "20240229", "PatientAge": "030M", "PixelSpacing": [0.4, 0.2]}
    earlier = known | {"StudyDate": "20231224", "PatientAge": "061Y", "ViewPosition": "LL", "BodyPartExamined": "HAND"}
    write_dicom(folder / "later", radiograph("bacterial", 2), **later)
    write_dicom(folder / "earlier", radiograph("normal", 14, 200), **earlier, ImagerPixelSpacing=[0.5, 0.5])
    write_dicom(folder / "other", radiograph("viral", 1), **known | {"PatientID": "P2"})
    return folder


def open_films(page, files, first):
    page.set_input_files("#files", [str(file) for file in files])
    expect(page.locator("[data-filter=all]")).to_have_text(re.compile(rf"\D{len(files)}$"))
    expect(page.locator("#progress")).to_be_hidden(timeout=SECONDS)
    pick(page, first)


def pick(page, name, stage=0):
    page.locator(".films [data-film]").filter(has_text=name).click()
    expect(page.locator(".stage .caption").nth(stage)).to_have_text(name)
    expect(page.locator(".stage canvas:not(.loupe)").nth(stage)).to_be_visible()


def greys(page, stage=0):
    page.evaluate(FRAMES)
    height, width, values = page.evaluate(PICTURE, stage)
    return np.array(values, dtype=np.uint8).reshape(height, width)


def zoom(page, stage=0):
    page.evaluate(FRAMES)
    return float(re.search(r"scale\(([\d.]+)\)", transform(page, stage))[1])


def transform(page, stage=0):
    return page.locator(".stage .picture").nth(stage).get_attribute("style")


def box_of(page, stage=0):
    """Left, top, width, height of the film on the screen, and the middle of its stage."""
    film = (
        page.locator(".stage canvas:not(.loupe)")
        .nth(stage)
        .evaluate(
            "(node) => { const { left, top, width, height } = node.getBoundingClientRect(); return [left, top, width, height]; }"
        )
    )
    box = page.locator(".stage").nth(stage).bounding_box()
    return film, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def compare(page, visits):
    open_films(page, sorted(visits.iterdir()), "later")
    page.keyboard.press("c")
    pick(page, "earlier", 1)


def test_linked_films_keep_alike_in_zoom_position_and_window(page, visits):
    compare(page, visits)
    expect(page.locator("#link")).to_have_attribute("aria-pressed", "true")
    fits = zoom(page), zoom(page, 1)
    assert fits[1] == pytest.approx(fits[0] * 256 / 200, rel=1e-4)
    _, (x, y) = box_of(page)
    page.mouse.move(x + 60, y - 40)
    page.mouse.wheel(0, -250)
    page.click("#tool-pan")
    drag(page, (x, y), (x - 70, y + 30))
    first, middle = box_of(page)
    second, other = box_of(page, 1)
    assert zoom(page) > 1.3 * fits[0]
    # The same part of either film lies in the same part of its stage.
    shifted = [first[0] - middle[0] + other[0], first[1] - middle[1] + other[1], *first[2:]]
    assert second == pytest.approx(shifted, abs=0.5)
    page.click("#tool-window")
    before = page.locator(".stage .levels").nth(1).inner_text()
    drag(page, (x, y), (x + 120, y + 20))
    page.evaluate(FRAMES)
    levels = page.locator(".stage .levels").all_inner_texts()
    assert levels[1] != before
    assert levels[0].split("%")[0].split()[:4] == levels[1].split()[:4]


def test_unlinked_films_are_changed_one_at_a_time(page, visits):
    compare(page, visits)
    page.keyboard.press("y")
    expect(page.locator("#link")).to_have_attribute("aria-pressed", "false")
    before = transform(page, 1)
    _, (x, y) = box_of(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -250)
    page.keyboard.press("]")
    assert transform(page, 1) == before
    expect(page.locator(".stage").first).to_have_class(re.compile("active"))
    changed = transform(page)
    page.keyboard.press("y")
    assert transform(page) == changed
    assert zoom(page, 1) == pytest.approx(zoom(page) * 256 / 200, rel=1e-4)


def test_presets_show_parts_of_a_films_own_grey_levels(page, visits):
    open_films(page, [visits / "later"], "later")
    auto = greys(page).astype(int)
    # Of what is neither quite black nor quite white, as the browser has it in 16 bits.
    film = read_grey(visits / "later").astype(float) / 65535
    inside = film[(film > 0) & (film < 1)]
    for name, fractions in (("soft", (25, 95)), ("bone", (55, 99.9))):
        page.select_option("#preset", name)
        low, high = np.percentile(inside, fractions)
        expected = np.clip((film - low) / (high - low), 0, 1) * 255
        assert np.abs(greys(page) - expected).mean() < 3, name
    page.select_option("#preset", "full")
    assert np.abs(greys(page) - film * 255).max() <= 1
    page.keyboard.press("v")
    expect(page.locator("#preset")).to_have_value("auto")
    assert np.array_equal(greys(page), auto)
    _, (x, y) = box_of(page)
    drag(page, (x, y), (x + 90, y))
    expect(page.locator("#preset")).to_have_value("own")
    page.keyboard.press("v")
    expect(page.locator("#preset")).to_have_value("auto")


def test_one_to_one_shows_single_pixels_and_between_them_and_the_fourfold_it_is_smooth(page, visits):
    open_films(page, [visits / "later"], "later")
    picture = page.locator(".stage .picture")
    page.click("#one-to-one")
    (_, _, width, height), _ = box_of(page)
    assert (width, height) == (256, 256)
    expect(picture).to_have_class(re.compile("pixels"))
    page.keyboard.press("+")
    expect(picture).not_to_have_class(re.compile("pixels"))
    while zoom(page) < 4:
        page.keyboard.press("+")
    expect(picture).to_have_class(re.compile("pixels"))


def test_a_large_film_is_painted_no_finer_than_it_is_shown(page, tmp_path):
    large = tmp_path / "large.png"
    Image.fromarray(np.kron(radiograph("bacterial", 2), np.ones((8, 8), dtype=np.uint8))).save(large)
    open_films(page, [large], "large.png")
    assert greys(page).shape == (512, 512)
    page.click("#one-to-one")
    canvas = page.locator(".stage canvas")
    expect(canvas).to_have_js_property("width", 2048)
    _, (x, y) = box_of(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y)
    expect(canvas).to_have_js_property("width", 1024)
    page.mouse.up()
    expect(canvas).to_have_js_property("width", 2048)


def test_a_film_that_is_flipped_or_rotated_says_so_and_reset_brings_it_back(page, visits):
    open_films(page, [visits / "later"], "later")
    before, said = transform(page), page.locator(".stage .turned")
    expect(said).to_be_hidden()
    page.keyboard.press("t")
    expect(said).to_have_text("Flipped: left and right are swapped")
    expect(page.locator(".stage canvas")).to_have_accessible_name(re.compile("left and right are swapped"))
    page.click("#rotate-right")
    expect(said).to_have_text("Flipped and rotated by 90°: check the sides")
    # Flipped on the screen once more, it is turned the other way.
    page.keyboard.press("t")
    expect(said).to_have_text("Rotated by 270°")
    page.keyboard.press("]")
    expect(said).to_be_hidden()
    page.keyboard.press("]")
    page.keyboard.press("]")
    expect(said).to_have_text("Rotated by 180°: left and right are swapped")
    page.keyboard.press("i")
    page.keyboard.press("+")
    page.select_option("#preset", "bone")
    page.locator(".stage canvas").focus()
    page.keyboard.press("z")
    assert transform(page) == before
    expect(said).to_be_hidden()
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#preset")).to_have_value("auto")


def test_the_caliper_measures_in_mm_whichever_way_the_film_is_turned(page, visits):
    open_films(page, [visits / "later", visits / "earlier", visits / "other"], "later")
    page.keyboard.press("g")
    scale = zoom(page)
    (left, top, *_), _ = box_of(page)
    at = lambda x, y: (left + x * scale, top + y * scale)  # noqa: E731
    drag(page, at(50, 60), at(150, 60))
    drag(page, at(60, 80), at(60, 180))
    lengths = page.locator(".stage .lines text")
    # 100 columns of 0.2 mm, 100 rows of 0.4 mm.
    expect(lengths).to_have_text(["20.0 mm", "40.0 mm"])
    expect(page.locator(".stage [role=status]")).to_have_text("Length: 40.0 mm.")
    for key in ("]", "t", "+"):
        page.keyboard.press(key)
        expect(lengths).to_have_text(["20.0 mm", "40.0 mm"])
    page.keyboard.press("z")
    # The lines may be drawn anew at the moment.
    page.wait_for_function(
        "([x, to]) => { const path = document.querySelector('.stage .lines .line path'); if (!path) return false;"
        " const { left, right } = path.getBoundingClientRect(); return Math.abs(left - x) < 2.5 && Math.abs(right - to) < 2.5; }",
        arg=[at(50, 0)[0], at(150, 0)[0]],
    )
    page.keyboard.press("Escape")
    expect(lengths).to_have_text(["20.0 mm"])
    pick(page, "earlier")
    expect(lengths).to_have_count(0)
    page.locator(".stage canvas").focus()
    for key in (" ", "ArrowRight", "ArrowRight", " "):
        page.keyboard.press(key)
    expect(lengths).to_have_text(f"{20 / zoom(page) * 0.5:.1f} mm at the detector")
    pick(page, "other")
    page.locator(".stage canvas").focus()
    for key in (" ", "ArrowRight", "ArrowRight", " "):
        page.keyboard.press(key)
    expect(lengths).to_have_text(f"{20 / zoom(page):.0f} px")
    pick(page, "later")
    expect(lengths).to_have_text(["20.0 mm"])


def test_the_loupe_shows_what_lies_under_the_pointer_at_twice_the_zoom(page, visits):
    open_films(page, [visits / "later"], "later")
    page.click("#loupe")
    (left, top, width, _), _ = box_of(page)
    scale = width / 256
    page.keyboard.press("t")
    page.evaluate(FRAMES)
    page.mouse.move(left + 100.5 * scale, top + 120.5 * scale)
    page.evaluate(FRAMES)
    seen = page.evaluate(
        """() => {
            const glass = document.querySelector(".loupe"), { data } = glass.getContext("2d").getImageData(0, 0, glass.width, glass.height);
            return [glass.width, Array.from(data.filter((_, place) => place % 4 === 0))];
        }"""
    )
    glass = np.array(seen[1]).reshape(seen[0], seen[0])
    film = greys(page)[:, ::-1].astype(int)
    # So many pixels of the film lie from the middle of the glass to its edge.
    reach = int(seen[0] / 2 / (2 * scale)) - 1
    for dx, dy in ((0, 0), (-reach // 2, 3), (reach // 2, -reach // 2), (5, reach // 2)):
        x, y = seen[0] / 2 + dx * 2 * scale, seen[0] / 2 + dy * 2 * scale
        assert abs(glass[int(y), int(x)] - film[120 + dy, 100 + dx]) < 14
    page.keyboard.press("l")
    expect(page.locator(".loupe")).to_have_count(0)
    page.keyboard.down("l")
    expect(page.locator(".loupe")).to_be_visible()
    page.wait_for_timeout(500)
    page.keyboard.up("l")
    expect(page.locator(".loupe")).to_have_count(0)


def test_the_header_is_shown_with_what_the_detector_was_not_validated_for(page, visits, tmp_path):
    plain = tmp_path / "plain.png"
    Image.fromarray(radiograph("normal", 19)).save(plain)
    open_films(page, [visits / "later", visits / "earlier", plain], "later")
    panel = page.locator(".stage .panel")
    page.keyboard.press("q")
    for words in (
        "2 years",
        "AP",
        "DX",
        "ACME",
        "29 Feb 2024",
        "Feb 29, 2024",
        "256 × 256, 12 bits",
        "0.400 × 0.200 mm",
    ):
        if not words.endswith("2024"):
            expect(panel).to_contain_text(words)
    expect(panel).to_contain_text("2024")
    expect(panel.locator("dd.warned")).to_have_count(0)
    pick(page, "earlier")
    warned = panel.locator("dd.warned")
    expect(warned).to_have_count(3)
    for row, words in enumerate(("Outside the ages", "A view that", "another part of the body")):
        expect(warned.nth(row)).to_contain_text(words)
    expect(warned.nth(1)).to_contain_text("LL")
    pick(page, "plain.png")
    expect(panel).to_be_hidden()
    expect(page.locator("#header")).to_be_disabled()


def test_other_films_of_the_patient_open_beside_and_stay_out_of_the_table(page, visits):
    open_films(page, sorted(visits.iterdir()), "later")
    others = page.locator("#others")
    expect(others).to_contain_text("1 other film of this patient:")
    others.get_by_role("button").click()
    expect(page.locator(".stage .caption")).to_have_text(["later", "earlier"])
    expect(others.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as caught:
        page.click("#csv")
    with open(caught.value.path(), encoding="utf-8") as stream:
        assert not re.search(f"taken|2024|{patient_key('P1')}", stream.read())
    page.keyboard.press("c")
    pick(page, "other")
    expect(others).to_be_hidden()


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_axe_finds_nothing_serious_in_the_viewer(page, visits, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    if theme == "light":
        page.click("#theme")
    compare(page, visits)
    for key in ("q", "t", "l"):
        page.keyboard.press(key)
    page.evaluate(FRAMES)
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["target"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0

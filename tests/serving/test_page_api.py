"""The page of the HTTP interface in a real browser, on a service that really runs; its examples are run as they stand."""

import inspect
import json
import os
import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from pneumoscope.client import Client
from pneumoscope.data.reading import read_grey
from pneumoscope.serving.keys import new_key
from serving.conftest import running

pytestmark = pytest.mark.integration

SECONDS = 30_000
TRIED = (
    "post-v1-predict",
    "post-v1-predict-batch",
    "post-v1-evidence",
    "post-v1-film",
    "get-v1-history",
    "get-v1-bundle",
)


@pytest.fixture(scope="module")
def keyed(phantom_bundle, tmp_path_factory):
    """A service with keys and a history, and a key."""
    folder = tmp_path_factory.mktemp("keyed")
    key = new_key(folder / "keys", "me")
    with running(bundle=str(phantom_bundle), keys=folder / "keys", history=folder / "h.sqlite") as service:
        service.headers["Authorization"] = f"Bearer {key}"
        yield service, key


@pytest.fixture
def page(browser, keyed):
    """The page after the key was given; it loads nothing from elsewhere."""
    service, key = keyed
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    own = (str(service.base_url), "blob:", "data:")
    opened.on("request", lambda sent: None if sent.url.startswith(own) else wrong.append(sent.url))
    opened.goto(f"{service.base_url}/docs")
    opened.get_by_label("Key", exact=True).fill(key)
    opened.keyboard.press("Enter")
    expect(opened.locator("html[data-ready]")).to_have_count(1)
    yield opened
    context.close()
    assert wrong == []


def open_route(page, route):
    if not page.evaluate("(id) => document.getElementById(id).open", route):
        page.click(f"#{route} > summary")
    expect(page.locator(f"#{route} .responses")).to_be_visible()
    return page.locator(f"#{route}")


def test_every_route_is_shown_with_its_parameters_and_problems(page, keyed):
    schema = keyed[0].get("/v1/openapi.json").json()
    heads = page.locator(".route summary").all_inner_texts()
    expected = [
        f"{method.upper()} {path} {operation['summary']}"
        for tag in ("prediction", "bundle", "adaptation", "operation", "history", "readings", "pacs")
        for path, methods in schema["paths"].items()
        for method, operation in sorted(
            methods.items(), key=lambda each: ["get", "post", "put", "delete"].index(each[0])
        )
        if tag in operation["tags"]
    ]
    assert [" ".join(head.split()) for head in heads] == [line.replace("`", "") for line in expected]
    for node in page.locator(".route > details").all():
        route = open_route(page, node.get_attribute("id"))
        method, path = (route.locator(f"summary .{part}").first.inner_text() for part in ("method", "path"))
        operation = schema["paths"][path][method.lower()]
        names = [parameter["name"] for parameter in operation.get("parameters", ())]
        assert route.locator(".parameter .field").all_inner_texts() == names
        statuses = route.locator(".responses > li > strong").all_inner_texts()
        assert statuses == sorted(operation["responses"])
        assert ("unauthorised" in route.locator(".responses").inner_text()) == ("401" in statuses)
    # Limits stand beside the name, and parts of a schema open.
    predict = page.locator("#post-v1-predict")
    expect(predict.locator(".parameter", has_text="prevalence")).to_contain_text("0 < x < 1")
    expect(page.locator("#get-v1-history .parameter", has_text="limit")).to_contain_text("1 ≤ x ≤ 1000")
    predict.locator(".responses summary", has_text="PredictionWithEvidenceSchema").click()
    predict.locator(".schema summary", has_text="operating_point").click()
    expect(predict.locator(".schema .schema")).to_contain_text("threshold")


def test_a_route_has_an_address(page, keyed):
    page.goto(f"{keyed[0].base_url}/docs#get-v1-drift")
    expect(page.locator("#get-v1-drift .responses")).to_be_visible()


def test_a_file_is_sent_and_the_response_shown(page, keyed, films):
    route = open_route(page, "post-v1-predict")
    route.locator("select").first.select_option("balanced")
    page.fill("#post-v1-predict-prevalence", "0.2")
    page.set_input_files("#post-v1-predict-body", films[0])
    route.get_by_role("button", name="Send").click()
    query = {"operating_point": "balanced", "prevalence": 0.2}
    expected = keyed[0].post("/v1/predict", params=query, content=films[0].read_bytes()).json()
    shown = route.locator(".response pre")
    expect(shown).to_be_visible()
    assert json.loads(shown.inner_text()) == expected
    # A problem is a response, too.
    page.fill("#post-v1-predict-prevalence", "7")
    route.get_by_role("button", name="Send").click()
    expect(shown).to_contain_text("invalid_request")
    route = open_route(page, "post-v1-evidence")
    page.set_input_files("#post-v1-evidence-body", films[0])
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".response img")).to_be_visible()
    assert page.evaluate("() => document.querySelector('.response img').naturalWidth") == read_grey(films[0]).shape[1]
    route = open_route(page, "post-v1-predict-batch")
    page.set_input_files("#post-v1-predict-batch-body", films[:2])
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".response pre")).to_contain_text(films[1].name)


def test_nothing_that_deletes_or_switches_can_be_tried(page):
    for route in ("delete-v1-history", "put-v1-bundle", "post-v1-adaptations"):
        expect(open_route(page, route).get_by_role("button", name="Send")).to_have_count(0)


def examples(page, language):
    """Examples of the routes that are tried, in one language."""
    for route in TRIED:
        buttons = open_route(page, route).get_by_role("button", name=language, exact=True)
        if buttons.count():
            buttons.click()
            yield page.locator(f"#{route} pre").first.inner_text()


RUNNERS = {
    "curl": ["bash", "-ec"],
    "pneumoscope.client": [sys.executable, "-c"],
    "httpx": [sys.executable, "-c"],
    "JavaScript": ["node", "--input-type=module", "-e"],
}


@pytest.mark.parametrize("language", RUNNERS)
def test_the_examples_run_and_hold_no_key(page, keyed, films, tmp_path, language):
    service, key = keyed
    (tmp_path / "film.jpeg").write_bytes(films[0].read_bytes())
    open_route(page, "post-v1-predict")
    page.fill("#post-v1-predict-prevalence", "0.2")
    open_route(page, "get-v1-history")
    page.select_option("#get-v1-history-decision", "rejected")
    service.post("/v1/predict", params={"file": "rejected one"}, content=b"no image")
    written = list(examples(page, language))
    assert len(written) == (5 if language == "pneumoscope.client" else 6)
    said = ""
    for text in written:
        assert key not in text
        environment = os.environ | {"KEY": key}
        done = subprocess.run(
            [*RUNNERS[language], text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        said += done.stdout
    assert (tmp_path / "evidence.png").read_bytes().startswith(b"\x89PNG")
    assert "film.jpeg" in said
    assert "rejected one" in said
    assert "operating_points" in said


def test_every_method_of_the_client_has_an_example(page):
    names = page.evaluate("async () => [...(await import('/page/calls.js')).CLIENT_METHODS]")
    public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert set(names) == public - {"close"}


def test_it_speaks_french_around_the_english_of_the_schema(page):
    page.select_option("#language", "fr")
    expect(page.locator("h1")).to_have_text("Interface HTTP")
    expect(open_route(page, "get-v1-history")).to_contain_text("par défaut : 100")
    expect(page.locator(".route [lang=en]").first).to_have_text("Predict one image")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_axe_finds_nothing_and_it_fits(page, films, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    if theme == "light":
        page.click("#theme")
    route = open_route(page, "post-v1-predict")
    page.set_input_files("#post-v1-predict-body", films[0])
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".response pre")).to_be_visible()
    route.locator(".responses summary").first.click()
    open_route(page, "get-v1-history")
    found = Axe().run(page).response["violations"]
    # The notice stands between header and content, on every page.
    wrong = [(one["id"], [node["target"] for node in one["nodes"]][:5]) for one in found if one["id"] != "region"]
    assert not wrong, json.dumps(wrong)
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0

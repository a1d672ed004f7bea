"""The examples of docs/how-to/clients.md run as they stand, but for the address of the service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.conftest import running

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "clients.md"
ADDRESS = "http://127.0.0.1:8000"
RUNNERS = {
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
    "bash": ["bash", "-ec"],
}
EXAMPLES = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(phantoms, tmp_path_factory):
    """A folder as the examples expect it: one film, and a folder of films."""
    made = tmp_path_factory.mktemp("examples")
    (made / "films").mkdir()
    for number, film in enumerate(sorted(phantoms.rglob("*.jpeg"))[:6]):
        (made / "films" / f"{number}.jpeg").write_bytes(film.read_bytes())
    (made / "film.jpeg").write_bytes(film.read_bytes())
    return made


def run(language, text, folder, service, **environment):
    assert ADDRESS in text
    command = [*RUNNERS[language], text.replace(ADDRESS, str(service.base_url).rstrip("/"))]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_an_example_in_each_language():
    assert [language for language, _ in EXAMPLES] == ["python", "python", "javascript", "bash"]


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_an_example_prints_the_decision_of_the_service(service, folder, language, text):
    content = (folder / "film.jpeg").read_bytes()
    expected = service.post("/v1/predict", content=content).json()
    said = run(language, text, folder, service)
    assert expected["decision"] in said
    if "Client(" in text:
        for film in sorted((folder / "films").iterdir()):
            decision = service.post("/v1/predict", content=film.read_bytes()).json()["decision"]
            assert f"films/{film.name} {decision}" in said
        assert "unknown_operating_point: ask /v1/bundle" in said


def test_the_javascript_waits_for_a_busy_service(phantom_bundle, folder):
    """Six calls at once of the function on the page, at a service with room for two."""
    [text] = [text for language, text in EXAMPLES if language == "javascript"]
    text = text[: text.index("const { decision")] + (
        'const film = await openAsBlob("film.jpeg");\n'
        'console.log((await Promise.all(Array.from({ length: 6 }, () => predict("film.jpeg", film)))).length);'
    )
    with running(bundle=str(phantom_bundle), queue=1, images=1) as narrow:
        assert run("javascript", text, folder, narrow).strip() == "6"
        assert 'route="/v1/predict",status="503"' in narrow.get("/metrics").text

"""`report standards`: tables of reporting standards for shipped, adapted and own bundles; `report` without it writes a page."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("claim", "stard-ai", "tripod-ai", "model-card")
STATUSES = {"filled", "partly filled", "empty", "not applicable"}


@pytest.fixture
def site(phantoms, tmp_path):
    """Table of the phantom images of a folder with age, sex and view."""

    def write(name, split):
        files = sorted((phantoms / split).rglob("*.jpeg"))
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "class", "patient", "age", "sex", "view"])
            for number, file in enumerate(files):
                label = "normal" if "NORMAL" in file.parts else "pneumonia"
                writer.writerow([file, label, f"{split}{number // 2}", 3, "FM"[number % 2], "PA"])
        return name

    return write


def check_schema(record: dict) -> None:
    """Keys and types of the JSON of one standard."""
    assert set(record) == {
        *("format", "standard", "notice", "bundle", "evaluations", "pneumoscope", "counts", "to_fill", "items")
    }
    assert set(record["standard"]) == {"key", "name", "title", "citation", "doi", "numbering"}
    assert set(record["bundle"]) == {"name", "sha256", "parent"}
    assert re.fullmatch("[0-9a-f]{64}", record["bundle"]["sha256"])
    assert set(record["counts"]) == STATUSES
    assert sum(record["counts"].values()) == len(record["items"])
    for item in record["items"]:
        assert set(item) == {"number", "section", "topic", "status", "statements", "missing"}
        assert item["status"] in STATUSES
        assert item["statements"] or item["missing"]
        assert all(set(each) == {"fact", "text", "source", "applies"} for each in item["statements"])
        assert all(each["text"] and each["source"] for each in item["statements"])
        assert all(set(each) == {"fact", "label", "who", "where"} and each["who"] for each in item["missing"])
        assert (item["status"] in ("empty", "partly filled")) == bool(item["missing"])


def test_three_commands_from_an_evaluation_to_filled_tables(pneumoscope, site, phantom_bundle, tmp_path):
    data = site("site.csv", "train")
    assert pneumoscope("evaluate", "--bundle", phantom_bundle, "--data", data, "--out", "evaluation")[0] == 0
    assert pneumoscope("report", "standards", "--template", "facts.toml")[:2] == (0, "facts.toml\n")
    words = ("report", "standards", phantom_bundle, "--evaluation", "evaluation/report.json", "--facts", "facts.toml")
    code, out, err = pneumoscope(*words)
    assert code == 0, err
    assert "STARD-AI 2025   48 items: " in out
    assert "to fill: the data protection officer: deidentification, data_availability" in err
    for key in KEYS:
        assert {path.name for path in (tmp_path / "reporting-standards").glob(f"{key}.*")} == {
            f"{key}.{e}" for e in ("md", "html", "json")
        }
        check_schema(json.loads((tmp_path / "reporting-standards" / f"{key}.json").read_text()))
    text = (tmp_path / "reporting-standards" / "stard-ai.md").read_text()
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    flow = report["acceptance"]["flow"]["normal"]
    assert f"{sum(flow.values())} normal by the reference standard: {flow['normal']} normal" in text
    assert "sex F (n = 30): sensitivity" in text
    assert f"evaluation 1, `evaluation/report.json`: {report['films']} images of {report['patients']} patients" in text
    # The images are no part of the bundle's own data set; whether they are external, people state.
    claim = json.loads((tmp_path / "reporting-standards" / "claim.json").read_text())
    external = next(item for item in claim["items"] if item["number"] == "33")
    assert (external["status"], len(external["missing"])) == ("partly filled", 1)
    # Answers of people, and the same command again.
    facts = tmp_path / "facts.toml"
    facts.write_text(facts.read_text().replace('\nfunding = ""', '\nfunding = "A grant of the city."'))
    code, out, _ = pneumoscope(*words, "--standard", "claim", "--json")
    [record] = json.loads(out)["standards"]
    check_schema(record)
    assert record["items"][-1]["statements"] == [
        {"fact": "funding", "text": "A grant of the city.", "source": "facts.toml: openness.funding", "applies": True}
    ]
    assert json.loads(out)["files"] == [f"reporting-standards/claim.{ending}" for ending in ("md", "html", "json")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.zip"], "gone.zip"),
        (["--evaluation", "gone.json"], "expected the report.json of an evaluation at gone.json, found: No such file"),
        (["--evaluation", "."], "expected the report.json of an evaluation at ., found: Is a directory"),
        (["--facts", "gone.toml"], "expected a TOML file of facts at gone.toml, found: No such file"),
        (["--facts", "wrong.toml"], "found fundign (did you mean funding?)"),
        (["--template", "wrong.toml"], "expected no file at wrong.toml, found one"),
        (["--out", "wrong.toml"], "cannot write"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, pneumoscope, tmp_path):
    (tmp_path / "wrong.toml").write_text("[openness]\nfundign = 'x'\n")
    code, out, err = pneumoscope("report", "standards", *words)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong.toml"]


def test_an_evaluation_of_a_run_is_refused(pneumoscope, tmp_path):
    report = json.loads((ROOT / "results/detector/nano/report.json").read_text())
    del report["provenance"]["bundle"]
    (tmp_path / "run.json").write_text(json.dumps(report))
    code, _, err = pneumoscope("report", "standards", "nano", "--evaluation", "run.json")
    assert code == 1
    assert "(sha256 none): evaluate this bundle" in err


def test_report_without_a_command_is_a_page(pneumoscope, drawn_radiographs, tmp_path):
    films = sorted(drawn_radiographs.iterdir())[:2]
    for words in (("--out", "a.html", *films), (*films, "--out", "b.html"), ("page", *films, "--out", "c.html")):
        code, _, err = pneumoscope("report", *words)
        assert code == 0, err
    pages = [(tmp_path / f"{name}.html").read_text() for name in "abc"]
    assert pages[0] == pages[1] == pages[2]


def block(page: str, name: str) -> str:
    return re.search(f"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)[1]


def test_the_page_of_the_documentation_is_what_the_command_writes(pneumoscope, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    evaluation = "results/detector/default/report.json"
    words = ("standards", "default", "--evaluation", evaluation, "--facts", "docs/results/facts.toml")
    code, _, err = pneumoscope("report", *words, "--out", tmp_path)
    assert code == 0, err
    page = (ROOT / "docs/results/reporting-standards.md").read_text()
    for key in KEYS:
        written = (tmp_path / f"{key}.md").read_text().rstrip("\n")
        assert block(page, f"standards-{key}") == re.sub("^#", "##", written, flags=re.MULTILINE)

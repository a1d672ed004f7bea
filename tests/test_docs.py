"""The documentation holds: its Python runs, its commands and options exist, and its links lead somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from pneumoscope.cli import app
from pneumoscope.data.reading import read_grey
from radiographs import write_dicom

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "README.md", *DOCS.rglob("*.md")))
CODE_BLOCK = re.compile(r"^( *)```.*?^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
COMMAND = re.compile(r"^ *(?:.*\| )?(pneumoscope .+)$", re.MULTILINE)
COMMAND_IN_TEXT = re.compile(r"`(pneumoscope [^`]+)`")


def text_of(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def python_of(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.integration] if "adapt_site" in python_of(page) else [])
        for page in PAGES
        if python_of(page)
        and page != "docs/tutorial/own-network.md"  # on more images: test_own_network.py
        and "pneumoscope.client" not in python_of(page)  # with a service: serving/test_client_examples.py
    ],
)
def test_examples_run(page, drawn_radiographs, phantoms, tmp_path):
    (tmp_path / "film.jpeg").write_bytes((drawn_radiographs / "viral-1.png").read_bytes())
    shutil.copytree(phantoms / "train", tmp_path / "our-films")
    done = subprocess.run(
        [sys.executable, "-c", python_of(page)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "film.jpeg" in python_of(page):
        assert "refer" in done.stdout  # the image is a drawing


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", CODE_BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Relative links of a page that lead to no file or heading; from `docs/` also those that lead out of the site."""
    for link in LINK.findall(CODE_BLOCK.sub("", text)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        in_site = target.is_relative_to(DOCS) or not page.is_relative_to(DOCS)
        if not (in_site and target.is_file()) or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_to_files_and_headings(page):
    assert list(broken_links(ROOT / page, text_of(page))) == []


def test_broken_links_are_found():
    text = "[a](reference/cli.md#pneumoscope-predict) [b](reference/none.md) [c](index.md#none) [d](../README.md) [e](#none)"
    assert list(broken_links(DOCS / "index.md", text)) == [
        "reference/none.md",
        "index.md#none",
        "../README.md",
        "#none",
    ]


def check_command(line: str) -> None:
    """Parse a command line by the definitions of its command, without running it.

    Raises:
        click.UsageError: No such command or option, or an option without its value.
    """
    words, command = shlex.split(line, comments=True)[1:], get_command(app)
    while True:
        context = command.context_class(command, info_name=command.name)
        _, words, _ = command.make_parser(context).parse_args(words)
        if not hasattr(command, "commands") or not words:
            return
        _, command, words = command.resolve_command(context, words)


def commands_of(text: str) -> list[str]:
    """Command lines in a page's code blocks, fenced or indented, and within its text."""
    fenced = "\n".join(block[0] for block in CODE_BLOCK.finditer(text))
    rest = CODE_BLOCK.sub("", text)
    indented = "\n".join(re.findall(r"^ {4}.*$", rest, re.MULTILINE))
    return [*COMMAND.findall(fenced), *COMMAND.findall(indented), *COMMAND_IN_TEXT.findall(rest)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    for line in commands_of(text_of(page)):
        try:
            check_command(line.split(" ...")[0])
        except Exception as error:
            pytest.fail(f"{page}: {line}: {error}")


@pytest.mark.parametrize("line", ["pneumoscope foretell film.jpeg", "pneumoscope data split --sead 3"])
def test_unknown_commands_and_options_are_found(line):
    with pytest.raises(Exception, match=r"No such (command|option)"):
        check_command(line)


def test_every_reason_and_field_is_explained():
    from pneumoscope.types import Decision, Reason

    page = text_of("docs/reference/predictions.md")
    for word in (*Reason, *Decision):
        assert f"`{word.value}`" in page
    for field in ("file", "sha256", "decision", "reasons", "detail", "pneumonia_probability", "class_probability"):
        assert f"| `{field}` |" in page
    for field in ("operating_point", "evidence", "bundle", "notice"):
        assert f"| `{field}` |" in page


def run_as_printed(page: str, folder: Path) -> str:
    """Run the bash blocks of a page, in their order and in one shell without a network's cache; stdout and stderr."""
    script = "set -e\n" + "\n".join(re.findall(r"```bash\n(.*?)```", text_of(page), re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # A proxy that refuses all connections: what is printed here works offline.
    closed = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | closed | {"PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.integration
def test_a_student_follows_the_tutorial(tmp_path):
    run_as_printed("docs/tutorial/study.md", tmp_path)
    report = tmp_path / "runs" / "cnn_3_classes" / "evaluation"
    assert (report / "validation" / "report.html").is_file()
    assert (report / "test" / "report.html").is_file()
    assert "CNN" in (tmp_path / "runs" / "first-look" / "comparison.html").read_text(encoding="utf-8")


@pytest.mark.integration
def test_a_student_runs_the_notebook(tmp_path):
    """On phantoms; what is committed was run on radiographs, from the first cell to the last, and has the same code."""
    script, source = ROOT / "scripts" / "run_notebook.py", DOCS / "tutorial" / "notebook.ipynb"
    subprocess.run([sys.executable, script, source, tmp_path / "run.ipynb"], check=True, capture_output=True)
    committed, made = (json.loads(file.read_text(encoding="utf-8")) for file in (source, tmp_path / "run.ipynb"))
    kept, run = ([cell for cell in each["cells"] if cell["cell_type"] == "code"] for each in (committed, made))
    assert [cell["source"] for cell in kept] == [cell["source"] for cell in run]
    assert [cell["execution_count"] for cell in kept] == list(range(1, len(kept) + 1))
    for ours, theirs in zip(kept, run, strict=True):
        kinds = [[sorted(output.get("data", [])) for output in cell["outputs"]] for cell in (ours, theirs)]
        assert kinds[0] == kinds[1]
    text = json.dumps(run)
    assert "outside_population" in text  # a phantom is no radiograph
    assert "AUC          " in text


@pytest.mark.integration
def test_a_physicist_goes_from_a_table_to_decisions(phantoms, tmp_path):
    names = {"NORMAL": "unremarkable", "PNEUMONIA": "infiltrate"}
    rows = ["File;Diagnosis;Case"]
    for number, file in enumerate(sorted((phantoms / "train").rglob("*.jpeg"))):
        rows.append(f"{file};{names[file.parent.name]};{file.name.split('_')[0].removesuffix('.jpeg')}")
        if number % 9 == 0:
            rows.append(f"{tmp_path / 'none.png'};fracture;c{number}")  # of a class that is not named, and never read
    (tmp_path / "ours.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    shutil.copytree(phantoms / "test", tmp_path / "new-films")
    said = run_as_printed("docs/how-to/own-images.md", tmp_path)
    assert (
        "ours.csv: columns path from File, class from Diagnosis, patient from Case; infiltrate is pneumonia (40)"
        in said
    )
    assert "left out: fracture (7)" in said
    assert all((tmp_path / each).is_file() for each in ("before/report.html", "ours.html", "ours.zip", "page.html"))


@pytest.mark.integration
def test_an_engineer_predicts_files_and_batches(drawn_radiographs, phantoms, tmp_path):
    shutil.copy(drawn_radiographs / "viral-1.png", tmp_path / "film.jpeg")
    shutil.copytree(phantoms / "train", tmp_path / "folder")
    film = read_grey(drawn_radiographs / "viral-1.png")
    (tmp_path / "ward").mkdir()
    write_dicom(tmp_path / "ward" / "1.dcm", film)
    said = run_as_printed("docs/how-to/predict.md", tmp_path)
    assert "61 images" in said or "60 images" in said
    whole = (tmp_path / "answers.csv").read_text(encoding="utf-8")
    # Killed in the middle, the same command goes on: the table is the same.
    (tmp_path / "answers.csv").unlink()
    words = [str(Path(sys.executable).parent / "pneumoscope"), "predict", "folder/", "--out", "answers.csv"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("answers.csv.journal*")) and killed.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        killed.kill()
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == whole


@pytest.mark.integration
def test_a_hospital_gets_its_own_detector_as_the_page_says(phantoms, tmp_path):
    """Every command of `docs/how-to/hospital.md`, as it stands, on phantom images in folders of these names."""
    for name, part in (("our-films", "train"), ("new-films", "test")):
        shutil.copytree(phantoms / part, tmp_path / name)
    run_as_printed("docs/how-to/hospital.md", tmp_path)
    made = ["after/report.html", "before/report.html", "decisions.csv", "ours.html", "ours.zip", "page.html"]
    assert all((tmp_path / each).is_file() for each in made)


@pytest.mark.integration
def test_a_department_reports_an_evaluation_as_the_page_says(phantoms, tmp_path):
    shutil.copytree(phantoms / "train", tmp_path / "our-films")
    said = run_as_printed("docs/how-to/report-standards.md", tmp_path)
    assert "CLAIM 2024      44 items: " in said
    assert "to fill: the data protection officer: " in said
    assert (tmp_path / "reporting-standards" / "stard-ai.html").is_file()

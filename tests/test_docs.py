"""The documentation holds: its Python runs, its commands and options exist, and its links lead somewhere."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from pneumoscope.cli import app

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


@pytest.mark.integration
def test_a_hospital_gets_its_own_detector_as_the_page_says(phantoms, tmp_path):
    """Every command of `docs/how-to/hospital.md`, as it stands, on phantom images in folders of these names."""
    blocks = re.findall(r"```bash\n(.*?)```", text_of("docs/how-to/hospital.md"), re.DOTALL)
    commands = [line.strip() for block in blocks for line in block.splitlines()]
    commands = [command for command in commands if command]
    assert {command.split()[1] for command in commands} == {"evaluate", "adapt", "bundle", "predict", "report"}
    for name, part in (("our-films", "train"), ("new-films", "test")):
        shutil.copytree(phantoms / part, tmp_path / name)
    program = str(Path(sys.executable).parent / "pneumoscope")
    for command in commands:
        words = [program, *command.split()[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
    made = ["after/report.html", "before/report.html", "decisions.csv", "ours.html", "ours.zip", "page.html"]
    assert all((tmp_path / each).is_file() for each in made)

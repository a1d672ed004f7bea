"""The Python in the documentation runs as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/detecting.md")


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, drawn_radiographs, tmp_path):
    (tmp_path / "film.jpeg").write_bytes((drawn_radiographs / "viral-1.png").read_bytes())
    examples = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "refer" in done.stdout  # the image is a drawing


def test_every_reason_and_field_is_explained():
    from pneumoscope.types import Decision, Reason

    page = (ROOT / "docs/detecting.md").read_text(encoding="utf-8")
    for word in (*Reason, *Decision):
        assert f"`{word.value}`" in page
    for field in ("file", "sha256", "decision", "reasons", "detail", "pneumonia_probability", "class_probability"):
        assert f"| `{field}` |" in page
    for field in ("operating_point", "evidence", "bundle", "notice"):
        assert f"| `{field}` |" in page


@pytest.mark.integration
def test_a_hospital_gets_its_own_detector_as_the_page_says(phantoms, tmp_path):
    """Every command of `make it work at my hospital`, as it stands, on phantom images in folders of these names."""
    page = (ROOT / "docs/how-to.md").read_text(encoding="utf-8")
    section = page.split("## make it work at my hospital\n")[1].split("\n## ")[0]
    commands = [
        line.strip() for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
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

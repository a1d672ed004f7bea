"""The Containerfile and the unit are what their linters and this package say; `deploy/rehearse` runs them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pneumoscope.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_containerfile_passes_its_linter():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_container_has_no_rights_and_no_tools_to_build_with():
    text = (DEPLOY / "Containerfile").read_text()
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "RUN" not in last
    assert "uninstall --yes --quiet pip setuptools" in text


@pytest.mark.parametrize("name", ["Containerfile", "pneumoscope.service"])
def test_the_options_are_those_of_the_command(name):
    import typer

    known = typer.main.get_command(app).commands["serve"].params
    options = {option for parameter in known for option in parameter.opts}
    used = set(
        re.findall(
            r"(?<![\w-])--[a-z][a-z-]+",
            re.sub(r"HEALTHCHECK[^\n]*|RUN[^\n]*(\n &&[^\n]*)*|COPY[^\n]*", "", (DEPLOY / name).read_text()),
        )
    )
    assert used
    assert used <= options


def test_the_unit_is_whole(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    unit = (DEPLOY / "pneumoscope.service").read_text()
    # The program is looked for; here another stands for it.
    (tmp_path / "pneumoscope.service").write_text(unit.replace("/opt/pneumoscope/bin/pneumoscope", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "pneumoscope.service"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "pneumoscope.service" not in done.stderr

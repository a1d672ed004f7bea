"""The page on a network of one's own: its code as it stands, on phantoms."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_environment import run_with_keras
from pneumoscope.data.phantom import PhantomPlan, write_phantoms

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "tutorial" / "own-network.md").read_text(encoding="utf-8")
PYTORCH, SCIKIT_LEARN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[KERAS] = re.findall(r'```python title="Keras"\n(.*?)```', PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with `our-films`, of which a third has ten images of a class as a stress test needs them."""
    folder = tmp_path_factory.mktemp("own")
    write_phantoms(folder / "our-films", PhantomPlan(train=36, test=2))
    return folder


def check(out):
    """What a network prints: an AUC with its interval for each validation, and a verdict of three sentences."""
    lines = out.splitlines()
    for by, line in zip(("image", "patient", "cluster"), lines, strict=False):
        assert re.fullmatch(rf"held out by {by} +AUC [01]\.\d{{3}} \([01]\.\d{{3}}-[01]\.\d{{3}}\)", line)
    assert len(lines) >= 6
    assert re.search(r"this model|nobody can tell", lines[3])
    assert lines[5] == "No corruptions were tried."


@pytest.mark.parametrize("code", [PYTORCH, KERAS])
def test_a_network_takes_thirty_lines(code):
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30


def test_the_page_runs_with_pytorch_and_scikit_learn(folder):
    done = subprocess.run(
        [sys.executable, "-c", PYTORCH + SCIKIT_LEARN], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout)
    assert re.fullmatch(r"AUC [01]\.\d{3}, within clusters ([01]\.\d{3}|nan)", done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_page_runs_with_keras(folder, keras_python):
    done = run_with_keras(keras_python, "-c", KERAS, folder=folder)
    assert done.returncode == 0, done.stderr
    check(done.stdout)

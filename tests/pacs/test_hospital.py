"""Tests beside a real PACS: those in `hospital` run one file at a time in a network namespace of their own.

To see one alone, `pytest -m "" tests/pacs/test_hospital.py -k NAME`, or with options of one's own:

    PNEUMOSCOPE_HOSPITAL=1 unshare -rn python tests/network_namespace.py python -m pytest -m "" tests/pacs/hospital/NAME.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from network_namespace import can_isolate, isolated
from orthanc import missing

pytestmark = pytest.mark.integration
HOSPITAL = Path(__file__).with_name("hospital")
# Read before any test cleans the environment: the tests inside find the real radiographs, where there are any.
ENVIRONMENT = {**os.environ, "PNEUMOSCOPE_HOSPITAL": "1"}


@pytest.mark.parametrize("name", sorted(file.stem for file in HOSPITAL.glob("test_*.py")))
def test_hospital(name, tmp_path):
    run_inside(HOSPITAL / f"{name}.py", "not slow", tmp_path)


@pytest.mark.slow
def test_hospital_for_long(tmp_path):
    run_inside(HOSPITAL, "slow", tmp_path)


def run_inside(tests, marked, tmp_path):
    if not can_isolate():
        pytest.skip("no network namespace of its own can be had here, and Orthanc listens on every interface")
    if reason := missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "pytest", "-m", marked, "--basetemp", tmp_path / "inside", tests]
    done = subprocess.run(isolated(command), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-4_000:]}"
    assert "passed" in done.stdout or "skipped" in done.stdout, done.stdout

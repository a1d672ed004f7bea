"""Tests here need a PACS, which listens on every interface: `test_hospital.py` runs them in a network namespace."""

import os

import pytest

from orthanc import Orthanc

if not os.environ.get("PNEUMOSCOPE_HOSPITAL"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def orthanc(tmp_path):
    """An empty PACS at its default ports: 4242 for DICOM, 8042 for HTTP."""
    with Orthanc(tmp_path / "orthanc") as pacs:
        yield pacs

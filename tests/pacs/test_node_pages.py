"""The pages on the node say what its code says: every setting, and the tables of the conformance statement."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from pneumoscope.errors import ConfigError
from pneumoscope.pacs import KINDS
from pneumoscope.pacs.delivery import _SENT, _TOGETHER
from pneumoscope.pacs.dicomweb import _IMAGES, DicomWebSettings
from pneumoscope.pacs.fhir import FhirSettings
from pneumoscope.pacs.receiver import (
    _ANNOUNCED,
    _LONGEST_UNIT,
    _STATUS,
    _SUCCESS,
    _VERIFICATION,
    STORED,
    TRANSFER_SYNTAXES,
)
from pneumoscope.pacs.rules import Action, Rule
from pneumoscope.pacs.settings import NodeSettings, Peer, TlsSettings
from pneumoscope.pacs.watching import WatchSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
GUIDE = REFERENCE.parent / "how-to" / "pacs.md"
TABLES = {
    "The node": NodeSettings,
    "`[[peers]]`": Peer,
    "`[[rules]]`": Rule,
    "`[tls]`": TlsSettings,
    "`[dicomweb]`": DicomWebSettings,
    "`[fhir]`": FhirSettings,
    "`[watch]`": WatchSettings,
}
# Settings that are tables of their own.
SECTIONS = {"peers", "rules", "tls", "dicomweb", "fhir", "watch"}
# What has to be set beside a value that is tried.
NEEDED = {
    Peer: {"ae_title": "A", "host": "a"},
    DicomWebSettings: {"url": "http://a"},
    FhirSettings: {"url": "http://a"},
    WatchSettings: {"folder": "a"},
}


def section(page, heading):
    """Text of a page below a heading, up to the next one of any level."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def settings(heading):
    """Name of a setting to its cells on the page: default, range, meaning."""
    found = {}
    for line in section("node-settings.md", heading).splitlines():
        if line.startswith("| `"):
            name, *cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            found[name.strip("`")] = cells
    return found


@pytest.mark.parametrize("heading", TABLES)
def test_every_setting_is_on_the_page_with_its_default(heading):
    known = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(TABLES[heading])
        if not (TABLES[heading] is NodeSettings and field.name in SECTIONS)
    }
    assert {name: cells[0] for name, cells in settings(heading).items()} == {
        name: f"`{json.dumps(default)}`" for name, default in known.items()
    }


@pytest.mark.parametrize(
    ("heading", "name"),
    [(heading, name) for heading in TABLES for name, cells in settings(heading).items() if re.search(r"\d", cells[1])],
)
def test_ranges_are_those_of_the_code(heading, name):
    kind, text = TABLES[heading], settings(heading)[name][1]
    if name == "age":
        assert Rule(age="1-5").age == "1-5"
        return
    least, most = map(int, re.search(r"(\d+)(?:-|, below )(\d+)", text).groups())
    if "characters" in text:
        inside, outside = ["A" * least, "A" * most], ["A" * (least - 1), "A" * (most + 1)]
    elif "above" in text:
        inside, outside = [least + 0.5, most - 1], [least, most]
    else:
        inside, outside = [least, most], [least - 1, most + 1]
    for value in inside:
        kind(**NEEDED.get(kind, {}) | {name: value})
    for value in outside:
        with pytest.raises(ConfigError):
            kind(**NEEDED.get(kind, {}) | {name: value})


def test_choices_are_those_of_the_code():
    assert re.findall(r"`(\w+)`", settings("The node")["answers"][1]) == list(KINDS)
    assert re.findall(r"`(\w+)`", settings("`[[rules]]`")["action"][1]) == [action.value for action in Action]


CONFORMANCE = "dicom-conformance.md"


def uids(heading):
    """UIDs in the last column of the tables below a heading, in their order."""
    return re.findall(r"\| ([0-9.]+) \|$", section(CONFORMANCE, heading), re.MULTILINE)


def test_accepted_classes_and_transfer_syntaxes_are_those_of_the_code():
    assert uids("Accepted presentation contexts") == [_VERIFICATION, *STORED, *TRANSFER_SYNTAXES]


def test_proposed_classes_are_those_of_the_code():
    assert uids("Proposed presentation contexts") == list(_SENT)


def test_statuses_are_those_of_the_code():
    listed = re.findall(r"^\| ([0-9A-F]{4}) \|", section(CONFORMANCE, "Statuses returned to C-STORE"), re.MULTILINE)
    assert listed == sorted({f"{status:04X}" for status in (_SUCCESS, *_STATUS.values())})


def test_limits_are_those_of_the_code():
    policies, settings = section(CONFORMANCE, "Association policies"), NodeSettings()
    for words in (
        f"| {settings.associations} (`associations`)",
        f"| {settings.seconds} s (`seconds`)",
        f"| {settings.megabytes} MB (`megabytes`)",
        f"{_ANNOUNCED:,} bytes announced",
        f"more than {_LONGEST_UNIT:,} bytes",
        f"up to {_TOGETHER} images",
    ):
        assert words in policies, words
    assert f"{settings.attempts} times (`attempts`)" in section(CONFORMANCE, "Proposed presentation contexts")


def test_classes_that_are_retrieved_are_those_of_the_code():
    assert set(re.findall(r"\((1\.2\.[0-9.]+)\)", section(CONFORMANCE, "DICOMweb"))) == _IMAGES


def test_sentences_before_settings_say_whether_they_replace_the_file_or_are_added():
    blocks = re.findall(r'([^\n]*)\n\n```toml title="([^"]*)"\n', GUIDE.read_text(encoding="utf-8"))
    assert len(blocks) == 5
    for before, title in blocks:
        assert ("at the end of the file:" if title.startswith("added to") else "the whole file") in before


def test_the_guide_installs_from_a_clone_what_its_commands_need():
    text = GUIDE.read_text(encoding="utf-8")
    assert "    pip install '.[pacs,serve]'\n" in text
    assert "pip install 'pneumoscope" not in text

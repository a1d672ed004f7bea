"""An audit shows no name, date or value of a person that stands in a table or a header."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from dicom_objects import dataset_of, written
from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.audit import audit
from pneumoscope.data.audit_report import write_audit
from pneumoscope.data.index import build_index
from pneumoscope.data.privacy import is_vendor, may_identify, without_dates


@pytest.mark.parametrize(
    "name",
    ["PatientName", "name", "Surname", "MRN", "patient_mrn", "ID", "study id", "AccessionNumber", "StudyInstanceUID", "BirthDate", "dob",
     "birthdate", "Geburtsdatum", "Vorname", "phone", "home-address", "Street", "e_mail", "email", "InsuranceNo", "SSN", "IDs"],
)  # fmt: skip
def test_columns_that_may_identify_a_person_are_known(name):
    assert may_identify(name)


@pytest.mark.parametrize(
    "name", ["width", "idle", "grid", "fluid", "dose", "ward", "valid", "kVp", "site_id", "StationName", "mobile"]
)
def test_other_columns_are_kept(name):
    assert not may_identify(name)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("2019-03-04", "2019"), ("04.03.2019", "2019"), ("3/4/2019 12:30:01", "2019"), ("20190304", "2019"), ("2019-03", "2019"),
        ("4 Mar 2019", "2019"), ("March 4, 2019", "2019"), ("2019-03-04T12:30:01", "2019"), ("04.03.19", "19"),
        ("12345678", "12345678"), ("2019", "2019"), ("3.14", "3.14"), ("north", "north"),
    ],
)  # fmt: skip
def test_a_date_is_reduced_to_its_year(cell, shown):
    assert without_dates(cell) == shown


@pytest.fixture
def table(tmp_path, rng):
    """Table without patients; each column tells the class."""
    lines = ["path;class;PatientName;BirthDate;MRN;seen;reader;counted;ward;remark;few"]
    for number in range(63):
        kind = number % 2
        Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        name = ("Huber Anna", "Maier Otto")[kind]
        cells = [
            name,
            f"{1 + number % 28:02}.07.{1950 + kind}",
            f"{1234567 + 1000 * kind + number}",
            f"2019070{1 + kind}",
            name,
        ]
        cells += [
            f"{48213 + 5000 * kind + number}",
            ("north", "south")[kind],
            name + " came by bus",
            "xyz" if number < 7 else "",
        ]
        lines.append(";".join([f"{number}.png", ("cyst", "mass")[kind], *cells]))
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "t.csv"


def test_no_report_of_a_table_without_patients_names_a_person(table, tmp_path):
    source = open_any_classes(table)
    index = build_index(source)
    result = audit(index)
    found = {finding.subject or finding.code: finding for finding in result.findings}
    assert found["left_out_column"].message.endswith("identify a person: PatientName, BirthDate, MRN")
    assert found["left_out_column"].severity == "note"
    assert {"column reader", "column counted", "column ward", "column remark"} <= found.keys()
    assert "with north" in found["column ward"].message
    assert "with word 1" in found["column remark"].message
    assert "with word 1" in found["column reader"].message
    medians = next(cue.medians for cue in result.cues if cue.name == "column counted")
    assert medians == {"cyst": 48000, "mass": 53000}
    write_audit(result, index, source, tmp_path / "out", {"command": "test"})
    assert json.loads((tmp_path / "out/audit.json").read_text())["findings"]
    for name in ("audit.json", "audit.md", "audit.html"):
        text = re.sub(r"base64,[^\"]*", "", (tmp_path / "out" / name).read_text())
        for personal in ("Huber", "Anna", "Otto", "1950", "1951", "201907", "1234", "xyz", "4824", "5324"):
            assert personal not in text, (name, personal)


def test_free_text_of_headers_is_numbered_and_several_values_are_joined(tmp_path, rng):
    for number in range(60):
        kind = number % 2
        dataset = dataset_of(
            rng.integers(0, 4096, (40, 44), dtype=np.uint16),
            PatientID=f"p{number}",
            Manufacturer=("Dr Smith", "GE Healthcare")[kind],
            ManufacturerModelName=("Dr Smith's unit", "Unit of Jones")[kind],
            SoftwareVersions=[f"Smith{kind}", "2"],
        )
        file = tmp_path / ("cyst", "mass")[kind] / f"{number}.dcm"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(written(dataset))
    index = build_index(open_any_classes(tmp_path))
    assert {each["software"] for each in index.properties} == {"Smith0 / 2", "Smith1 / 2"}
    messages = {finding.subject: finding.message for finding in audit(index).findings}
    assert "with GE Healthcare" in messages["manufacturer"]
    for name in ("model", "software", "manufacturer"):
        assert f"with {name} 1" in messages[name]
        assert not re.search("Smith|Jones", messages[name])


def test_vendors_are_known_by_all_their_words():
    assert is_vendor("SIEMENS Healthineers")
    assert is_vendor("Philips Medical Systems")
    assert not is_vendor("Siemens of Dr Smith")
    assert not is_vendor("")

import pytest

from pneumoscope.data.names import parse_name
from pneumoscope.types import Etiology, Finding


@pytest.mark.parametrize(
    ("stem", "patient", "etiology"),
    [
        ("person1_bacteria_1", "person1", Etiology.BACTERIAL),
        ("person1_virus_6", "person1", Etiology.VIRAL),
        ("person447_virus_921_1", "person447", Etiology.VIRAL),
        ("IM-0115-0001", "IM-0115", Etiology.NONE),
        ("IM-0187-0001-0002", "IM-0187", Etiology.NONE),
        ("NORMAL2-IM-1427-0001", "NORMAL2-IM-1427", Etiology.NONE),
        ("BACTERIA-1008087-0001", "1008087", Etiology.BACTERIAL),
        ("VIRUS-1980593-0002", "1980593", Etiology.VIRAL),
        ("NORMAL-1003233-0001", "1003233", Etiology.NONE),
    ],
)
def test_names_of_both_publishers_are_parsed(stem, patient, etiology):
    name = parse_name(stem)
    assert name is not None
    assert (name.patient, name.etiology) == (patient, etiology)
    assert name.finding is (Finding.NORMAL if etiology is Etiology.NONE else Finding.PNEUMONIA)


@pytest.mark.parametrize("stem", ["", "scan7", "person_bacteria_1", "person1_fungus_2", "IM-0115", "BACTERIA-1"])
def test_other_names_are_not_guessed(stem):
    assert parse_name(stem) is None

import pytest

from pneumoscope.data.names import facts_of_name
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
def test_facts_of_name_reads_both_publishers(stem, patient, etiology):
    facts = facts_of_name(stem)
    assert facts is not None
    assert (facts.patient, facts.etiology) == (patient, etiology)
    assert facts.finding is (Finding.NORMAL if etiology is Etiology.NONE else Finding.PNEUMONIA)


@pytest.mark.parametrize("stem", ["", "scan7", "person_bacteria_1", "person1_fungus_2", "IM-0115", "BACTERIA-1"])
def test_facts_of_name_does_not_guess(stem):
    assert facts_of_name(stem) is None

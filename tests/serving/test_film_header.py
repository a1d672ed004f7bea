"""What a DICOM header says of film and patient reaches the page in response headers, whatever stands in it."""

import json
from datetime import date

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_objects import dataset_of, written
from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector

# Values that no header should have; pydicom warns where they are written.
pytestmark = pytest.mark.filterwarnings("ignore")
NAMED = {"PatientID": "P-4711", "PatientName": "Muster^Anna", "IssuerOfPatientID": "WARD"}


@pytest.fixture(scope="module")
def levels(films):
    return read_grey(films[0])


def film_of(service, levels, **attributes):
    """Answer of the service for a made DICOM object, and what its header Film-Header says."""
    answer = service.post("/v1/film", content=written(dataset_of(levels, 8, **attributes)))
    assert answer.status_code == 200, answer.text
    return answer, json.loads(answer.headers["film-header"])


def test_the_header_of_a_dicom_film_is_given_without_the_patients_name_and_identifier(service, levels):
    said = {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientAge": "030M",
        "PatientSex": "F",
        "ViewPosition": "AP",
        "BodyPartExamined": "CHEST",
        "Modality": "DX",
        "StudyDate": "20240229",
        "Manufacturer": "島津 Röntgen",
        "PixelSpacing": [0.15, 0.14],
        "WindowCenter": 128,
        "WindowWidth": 256,
    }
    answer, header = film_of(service, levels, **said, **NAMED)
    assert header == {
        "age_years": 2.5,
        "sex": "F",
        "view": "AP",
        "body_part": "CHEST",
        "modality": "DX",
        "taken": "2024-02-29",
        "manufacturer": "島津 Röntgen",
        "bits": 8,
        "spacing": [0.15, 0.14],
        "at_detector": False,
        "window": [128, 256],
    }
    assert answer.headers["film-header"].isascii()
    text = " ".join(f"{name}: {value}" for name, value in answer.headers.items())
    assert "4711" not in text
    assert "Muster" not in text


def test_headers_are_read_by_a_worker_process(service, levels, monkeypatch):
    """The service runs in this process: what it would read itself fails here."""
    content = written(dataset_of(levels, 8, **NAMED))
    monkeypatch.delattr("pneumoscope.data.dicom.decode_dicom")
    assert "film-header" in service.post("/v1/film", content=content).headers
    assert "film-patient" in service.post("/v1/predict", content=content).headers


def test_a_film_without_a_header_has_none(service, films):
    answer = service.post("/v1/film", content=films[0].read_bytes())
    assert answer.status_code == 200
    assert "film-header" not in answer.headers


@pytest.mark.parametrize(
    ("spacings", "expected"),
    [
        ({"PixelSpacing": [0.2, 0.2]}, ([0.2, 0.2], False)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, ([0.2, 0.1], True)),
        ({"PixelSpacing": [0.18, 0.18], "ImagerPixelSpacing": [0.2, 0.2]}, ([0.18, 0.18], False)),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, ([0.2, 0.2], True)),
        ({"PixelSpacing": [0.0, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, ([0.2, 0.2], True)),
        ({"PixelSpacing": [-1, 0.2]}, (None, False)),
        ({"PixelSpacing": 0.2}, (None, False)),
        ({"PixelSpacing": ["1e9", "1e9"]}, (None, False)),
        ({}, (None, False)),
    ],
)
def test_the_spacing_is_the_patients_where_the_header_knows_it_else_the_detectors(service, levels, spacings, expected):
    _, header = film_of(service, levels, **spacings)
    assert (header.get("spacing"), header["at_detector"]) == expected


def wrong(keyword, representation, value):
    """Element of another value representation than the keyword has."""
    return lambda dataset: dataset.add(DataElement(keyword, representation, value))


HOSTILE = {
    "huge manufacturer": wrong("Manufacturer", "UT", "x" * 100_000),
    "huge identifier": wrong("PatientID", "UT", "7" * 1_500_000),
    "control characters": wrong("Manufacturer", "LO", "a\x1b[31m\x07b"),
    "line break": wrong("Manufacturer", "LT", "ACME\r\nSet-Cookie: a=b"),
    "hidden characters": wrong("Manufacturer", "LO", "x\u202egpj.exe"),
    "spacing of text": wrong("PixelSpacing", "LO", "wide\\wider"),
    "spacing that is no number": wrong("ImagerPixelSpacing", "DS", "nan\\inf"),
    "spacing of many numbers": wrong("PixelSpacing", "DS", "\\".join(["0.1"] * 5000)),
    "age of numbers": wrong("PatientAge", "FD", 4.0),
    "date of numbers": wrong("StudyDate", "US", 7),
    "impossible date": wrong("StudyDate", "DA", "20230231"),
    "sequence for a manufacturer": wrong("Manufacturer", "SQ", Sequence([Dataset() for _ in range(50)])),
    "several views": wrong("ViewPosition", "CS", "PA\\LL"),
    "infinite window": wrong("WindowWidth", "DS", "inf"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_header_is_harmless(service, levels, hostile):
    dataset = dataset_of(levels, 8)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    HOSTILE[hostile](dataset)
    content = written(dataset)
    answer = service.post("/v1/film", content=content)
    assert answer.status_code == 200, answer.text
    assert len(answer.headers["film-header"]) < 2000
    assert set(json.loads(answer.headers["film-header"])) == {"bits", "at_detector"}
    assert "set-cookie" not in answer.headers
    predicted = service.post("/v1/predict", content=content)
    assert predicted.status_code == 200
    assert predicted.json()["reasons"] != ["unreadable"]
    assert "film-date" not in predicted.headers


def test_films_of_one_patient_have_one_key_that_does_not_tell_who_it_is(service, levels):
    def key(**attributes):
        return service.post("/v1/predict", content=written(dataset_of(levels, 8, **attributes))).headers.get(
            "film-patient"
        )

    first = key(**NAMED)
    assert first == key(**NAMED, StudyDate="20200101", PatientAge="004Y")
    assert len(first) == 16
    assert int(first, 16) >= 0
    others = {
        key(PatientID="P-4711"),
        key(**NAMED | {"IssuerOfPatientID": "OTHER"}),
        key(**NAMED | {"PatientID": "P-4712"}),
    }
    assert len({first, *others}) == 4
    assert key() is None
    assert key(PatientID="  ") is None


def test_the_name_of_a_file_of_the_data_set_tells_its_patient(service, films):
    content = films[0].read_bytes()

    def key(name):
        return service.post("/v1/predict", params={"file": name}, content=content).headers.get("film-patient")

    assert key("person12_bacteria_46.jpeg") == key("folder/person12_virus_47.jpeg") is not None
    assert key("person13_bacteria_49.jpeg") != key("person12_bacteria_46.jpeg")
    assert key("thorax.jpeg") is None
    assert key("") is None


def test_the_day_of_a_film_is_given(service, levels):
    content = written(dataset_of(levels, 8, StudyDate="20240229", AcquisitionDate="20240301"))
    answer = service.post("/v1/predict", content=content)
    assert date.fromisoformat(answer.headers["film-date"]) == date(2024, 3, 1)


def test_a_rejected_film_has_its_patient_too(service):
    blank = np.full((300, 300), 90, dtype=np.uint8)
    answer = service.post("/v1/predict", content=written(dataset_of(blank, 8, **NAMED, StudyDate="20240229")))
    assert answer.json()["decision"] == "rejected"
    assert len(answer.headers["film-patient"]) == 16
    assert answer.headers["film-date"] == "2024-02-29"


def test_the_body_of_a_prediction_says_nothing_of_the_patient(service, levels, phantom_bundle):
    content = written(dataset_of(levels, 8, **NAMED, StudyDate="20240229"))
    answer = service.post("/v1/predict", content=content)
    assert answer.json() == load_detector(phantom_bundle).predict(content).to_dict()
    assert not any(word in answer.text for word in ("4711", "Muster", "2024", answer.headers["film-patient"]))


def test_the_headers_are_in_the_schema(service):
    paths = service.get("/v1/openapi.json").json()["paths"]
    assert set(paths["/v1/film"]["post"]["responses"]["200"]["headers"]) >= {"Film-Header"}
    predicted = paths["/v1/predict"]["post"]["responses"]["200"]
    assert set(predicted["headers"]) == {"Film-Patient", "Film-Date"}
    assert "PredictionWithEvidenceSchema" in json.dumps(predicted["content"])

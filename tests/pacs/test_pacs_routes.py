"""Routes of the service to a PACS, against a small one that speaks DICOMweb; `hospital/test_pacs_page.py` is against Orthanc."""

import hashlib
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from bundles import bundle_of, lively_nano
from dicom_objects import written
from films import ROOT, film
from pacs_server import PacsServer
from pneumoscope.bundle import Scope
from pneumoscope.data.phantom import phantom_image
from pneumoscope.pacs.answers import read_report
from pneumoscope.pacs.queue import Queue
from serving.conftest import running
from serving.test_service import problem_of

NAME = "Muster"


def a_film(number, word="bacteria", **attributes):
    """File of a film of the patient P1, in a study of its own."""
    stored = phantom_image(word, np.random.default_rng(number), 256)
    return written(film(stored, number, **{"PatientID": "P1", "StudyDescription": "Chest"} | attributes))


@pytest.fixture(scope="module")
def films():
    """Of the patient P1 three studies, the last one with two films; films of others beside them."""
    later = {"StudyInstanceUID": f"{ROOT}.1.3", "StudyDate": "20240506", "AccessionNumber": "ACC3"}
    return {
        "first": a_film(1, StudyDate="20220101"),
        "second": a_film(2, "normal", StudyDate="20230101", computed=True),
        "third": a_film(3, **later),
        "lateral": a_film(4, "virus", **later, SeriesInstanceUID=f"{ROOT}.2.3", InstanceNumber=2),
        "later": a_film(5, StudyDate="20250101"),
        "namesake": a_film(6, PatientBirthDate="20010203", StudyDate="20220303"),
        "other": a_film(7, PatientID="P10", PatientName="Muller^Anna"),
        "hand": a_film(8, PatientID="P1", BodyPartExamined="HAND", StudyDate="20240507"),
        "ct": a_film(9, PatientID="P1", Modality="CT", StudyDate="20230505"),
    }


@pytest.fixture(scope="module")
def scoped_bundle(phantom_dataset, manifest, tmp_path_factory):
    """The phantoms' bundle, validated on children of 1 to 5 years."""
    images = np.array(phantom_dataset.images[:8])
    path = tmp_path_factory.mktemp("bundle") / "scoped.zip"
    known = replace(manifest, scope=Scope(ages=(1, 5)))
    bundle_of(lively_nano(images, input_side=64, mirrored=False), images, path, known)
    return path


@pytest.fixture
def pacs(films):
    server = PacsServer()
    server.add(*films.values())
    yield server
    server.close()


def node_file(folder, server, *lines, dicomweb=()):
    """Settings of a node, with the server."""
    file = folder / "node.toml"
    web = [f'url = "{server.url}"', "timeout_seconds = 5.0", 'body_part = ["CHEST"]', *dicomweb]
    file.write_text("\n".join(["# A node", *lines, "[dicomweb]", *web, ""]))
    return file


@pytest.fixture
def service(pacs, phantom_bundle, tmp_path):
    with running(bundle=str(phantom_bundle), node=node_file(tmp_path, pacs), history=tmp_path / "h.sqlite") as client:
        yield client


def search(client, **wanted):
    empty = dict.fromkeys(("patient_id", "patient_name", "accession_number", "since", "until"), "")
    return client.post("/v1/pacs/search", json=empty | wanted)


def found(client, **wanted):
    """Last parts of the UIDs of the studies."""
    answer = search(client, **wanted)
    assert answer.status_code == 200, answer.text
    return [int(study["study"].rpartition(".")[2]) for study in answer.json()["studies"]]


def address(number, series=None):
    return f"/v1/pacs/studies/{ROOT}.1.{number}/series/{ROOT}.2.{series or number}/instances/{ROOT}.3.{number}"


def send(client, content, number, **changes):
    bundle = client.get("/v1/bundle").json()["sha256"]
    query = {"sha256": hashlib.sha256(content).hexdigest(), "bundle": bundle, "file": f"film {number}"} | changes
    return client.post(f"{address(number)}/answers", params=query)


def test_studies_are_found_by_patient_accession_number_and_date_the_newest_first(service, pacs):
    assert found(service, patient_id="P1") == [5, 3, 2, 6, 1]
    assert sorted(found(service, patient_id="P*")) == [1, 2, 3, 5, 6, 7]
    assert found(service, patient_name="muster") == [5, 3, 2, 6, 1]
    assert found(service, patient_name="Muller, an") == [7]
    assert found(service, accession_number="ACC3") == [3]
    assert found(service, patient_id="P1", since="2023-01-01", until="2024-12-31") == [3, 2]
    assert found(service, since="2025-01-01") == [5]
    assert found(service, until="2022-01-01") == [1]
    [study] = search(service, accession_number="ACC3").json()["studies"]
    assert study == {
        "study": f"{ROOT}.1.3",
        "date": "2024-05-06",
        "time": "10:11",
        "patient_name": "Muster^Kind3",
        "patient_id": "P1",
        "birth_date": "2021-03-04",
        "accession_number": "ACC3",
        "description": "Chest",
        "images": 2,
    }
    assert {(each["Modality"], each["BodyPartExamined"]) for each in pacs.asked()} == {("CR", "CHEST"), ("DX", "CHEST")}


def test_an_identifier_finds_its_own_patient_alone(service, pacs, films):
    """A search puts wildcards for characters that Orthanc cannot decode: what they find beside the patient is left out."""
    pacs.add(a_film(20, PatientID="A/1"), a_film(21, PatientID="A_1"))
    assert found(service, patient_id="A/1") == [20]
    assert pacs.asked()[-1]["PatientID"] == "A?1"


def test_a_search_is_bounded(service, pacs, monkeypatch):
    monkeypatch.setattr("pneumoscope.serving.pacs_routes._MOST_STUDIES", 2)
    answer = search(service, patient_id="P1").json()
    assert [study["date"] for study in answer["studies"]] == ["2025-01-01", "2024-05-06"]
    assert answer["more"] is True
    monkeypatch.setattr("pneumoscope.serving.studies._MOST_SERIES", 1)
    assert search(service, patient_id="P1").json()["more"] is True
    assert {request.query["limit"][0] for request in pacs.requests[-1:]} == {"1"}
    for wanted in (
        {},
        {"patient_name": "  "},
        {"since": "yesterday"},
        {"patient_name": "x" * 65},
        {"server": "http://a"},
    ):
        assert problem_of(search(service, **wanted)) == "invalid_request"


def test_images_of_a_study_and_of_the_patient_s_earlier_ones(service):
    images = service.get(f"/v1/pacs/studies/{ROOT}.1.3").json()["images"]
    assert [(int(each["instance"].rpartition(".")[2]), each["earlier"]) for each in images] == [
        (3, False),
        (4, False),
        (2, True),
        (1, True),
    ]
    assert images[2] == {
        "study": f"{ROOT}.1.2",
        "series": f"{ROOT}.2.2",
        "instance": f"{ROOT}.3.2",
        "date": "2023-01-01",
        "patient_name": "Muster^Kind2",
        "patient_id": "P1",
        "accession_number": "ACC2",
        "modality": "CR",
        "view": "AP",
        "earlier": True,
    }
    assert problem_of(service.get(f"/v1/pacs/studies/{ROOT}.1.99")) == "not_found"
    assert problem_of(service.get("/v1/pacs/studies/1.2.x")) == "invalid_request"


def test_an_image_comes_as_the_pacs_has_it(service, pacs, films):
    answer = service.get(address(3))
    assert answer.content == films["third"]
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["cache-control"] == "no-store"
    report = written(film(np.zeros((8, 8), np.uint8), 30, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"))
    pacs.add(report)
    assert problem_of(service.get(address(30))) == "not_found"


def test_answers_are_sent_once_into_the_study_of_the_image(service, pacs, films):
    answer = send(service, films["third"], 3)
    assert answer.status_code == 200, answer.text
    sent = answer.json()
    assert (sent["answers"], sent["new"]) == (["sr", "sc"], True)
    [report] = pacs.objects(Modality="SR")
    [picture] = pacs.objects(Modality="OT")
    for made in (report, picture):
        assert (made.StudyInstanceUID, made.PatientID, str(made.PatientName)) == (f"{ROOT}.1.3", "P1", "Muster^Kind3")
        assert made.StationName == "PNEUMOSCOPE"
    predicted = service.post("/v1/predict?file=film+3", content=films["third"]).json()
    said = read_report(report)
    assert said["decision"] == predicted["decision"]
    assert said["probability"] == pytest.approx(predicted["pneumonia_probability"], abs=1e-4)

    assert send(service, films["third"], 3).json()["new"] is False
    assert set(pacs.stored.values()) == {1}
    assert len(pacs.stored) == 2
    # Every time, since each is a prediction.
    entries = service.get("/v1/history").json()["entries"]
    assert [entry["prediction"]["file"] for entry in entries] == ["film 3"] * 3


def test_what_the_pacs_did_not_take_is_sent_the_next_time_without_what_it_took(service, pacs, films):
    pacs.refuses["OT"] = 0xA702
    answer = send(service, films["third"], 3)
    assert problem_of(answer) == "pacs_failed"
    assert "found that it refuses sc: 0xA702 (out of resources)" in answer.json()["detail"]
    pacs.refuses.clear()
    assert send(service, films["third"], 3).json()["new"] is True
    assert sorted(pacs.stored.values()) == [1, 1]


def test_nothing_is_sent_that_was_not_confirmed(service, pacs, films):
    other = "0" * 64
    assert problem_of(send(service, films["third"], 3, sha256=other)) == "pacs_conflict"
    assert problem_of(send(service, films["third"], 3, bundle=other)) == "pacs_conflict"
    assert problem_of(send(service, films["third"], 3, operating_point="none")) == "unknown_operating_point"
    assert problem_of(service.post(f"{address(3)}/answers")) == "invalid_request"
    assert service.get(f"{address(3)}/answers").status_code == 405
    query = {"sha256": hashlib.sha256(films["third"]).hexdigest(), "bundle": service.get("/v1/bundle").json()["sha256"]}
    elsewhere = service.post(f"{address(3)}/answers", params=query, headers={"Origin": "https://elsewhere.example"})
    assert problem_of(elsewhere) == "cross_origin"
    assert not pacs.stored


def test_an_image_outside_of_what_was_validated_is_told_without_a_finding(pacs, films, scoped_bundle, tmp_path):
    """Even where the service accepts such images, and shows a finding."""
    with running(bundle=str(scoped_bundle), node=node_file(tmp_path, pacs), accept=("outside_age",)) as client:
        adult = a_film(40, PatientAge="040Y", PatientBirthDate="")
        pacs.add(adult)
        predicted = client.post("/v1/predict", content=adult).json()
        assert predicted["decision"] in ("normal", "pneumonia", "refer")
        assert predicted["validated"] is False
        assert send(client, adult, 40).status_code == 200
    said = read_report(pacs.objects(Modality="SR")[0])
    assert (said["status"], said["finding"], said["probability"]) == ("outside", None, None)


def test_an_image_that_cannot_be_answered_is_a_problem_of_one_line(service, pacs, films):
    damaged = films["third"][:-60_000]
    pacs.add(damaged)
    answer = send(service, damaged, 3)
    # A report that says so, or a reason why there is none; never a failure of the service.
    assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize(("lines", "dicomweb"), [(["silent = true"], []), ([], ["answers = false"])])
def test_settings_that_forbid_answers_forbid_them_here(pacs, films, phantom_bundle, tmp_path, lines, dicomweb):
    with running(bundle=str(phantom_bundle), node=node_file(tmp_path, pacs, *lines, dicomweb=dicomweb)) as client:
        assert client.get("/v1/pacs").json() == {"writable": False, "answers": ["sr", "sc"]}
        assert problem_of(send(client, films["third"], 3)) == "pacs_read_only"
    assert not pacs.stored


def test_a_pacs_that_is_away_is_a_problem_of_one_line(service, pacs, films):
    pacs.close()
    for answer in (search(service, patient_id="P1"), service.get(address(3)), send(service, films["third"], 3)):
        assert (answer.status_code, problem_of(answer)) == (502, "pacs_failed")
        assert "Connection refused" in answer.json()["detail"]


def test_a_pacs_that_hangs_holds_up_nobody_else(service, pacs, monkeypatch):
    over = threading.Event()
    pacs.answers = type(pacs.answers)(lambda request: over.wait(20))
    monkeypatch.setattr("pneumoscope.serving.studies._SECONDS", 0.2)
    answer = search(service, patient_id="P1")
    assert problem_of(answer) == "pacs_failed"
    assert "within 0.2 seconds" in answer.json()["detail"]
    assert service.get("/v1/history").status_code == 200
    over.set()


def test_keys_are_asked_for(pacs, phantom_bundle, tmp_path, pneumoscope):
    keys = tmp_path / "keys"
    _, key, _ = pneumoscope("serve", "--api-keys", keys, "--new-key", "ward")
    with running(bundle=str(phantom_bundle), node=node_file(tmp_path, pacs), keys=keys) as client:
        for answer in (
            client.get("/v1/pacs"),
            search(client, patient_id="P1"),
            client.get(address(3)),
            send_plain(client),
        ):
            assert problem_of(answer) == "unauthorised"
        assert pacs.requests == []
        client.headers["Authorization"] = f"Bearer {key.strip()}"
        assert found(client, accession_number="ACC3") == [3]


def test_the_pacs_is_not_opened_to_the_network_without_keys(pacs, phantom_bundle, tmp_path, pneumoscope):
    file = node_file(tmp_path, pacs)
    code, _, err = pneumoscope("serve", "--bundle", phantom_bundle, "--node", file, "--host", "0.0.0.0", "--port", 0)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: expected keys, as others than this machine reach 0.0.0.0 and with it the PACS")


def send_plain(client):
    return client.post(f"{address(3)}/answers", params={"sha256": "0" * 64, "bundle": "0" * 64})


def test_nobody_is_named_in_the_log(service, pacs, films, caplog):
    with caplog.at_level("DEBUG", "pneumoscope"):
        found(service, patient_name=NAME)
        send(service, films["third"], 3)
        pacs.close()
        search(service, patient_name=NAME, patient_id="P1")
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "/v1/pacs/search" in said
    assert hashlib.sha256(films["third"]).hexdigest() in said
    assert NAME not in said
    assert ROOT not in said


def test_without_a_server_there_is_no_pacs(phantom_bundle, tmp_path, pneumoscope):
    Queue(tmp_path / "node").close()
    file = tmp_path / "node.toml"
    file.write_text('folder = "node"\n')
    for node in (file, tmp_path / "node", None):
        with running(bundle=str(phantom_bundle), node=node) as client:
            assert problem_of(client.get("/v1/pacs")) == "pacs_off"
            assert problem_of(search(client, patient_id="P1")) == "pacs_off"
            assert (client.get("/v1/node").status_code == 200) is (node is not None)
    file.write_text('folder = "elsewhere"\n')
    for name in (file, tmp_path / "nothing"):
        code, _, err = pneumoscope("serve", "--node", name, "--port", 0)
        assert code == 1
        assert err.startswith("error: expected the settings file or the folder of a DICOM node at")
        assert err.count("\n") == 1
    assert not (tmp_path / "elsewhere").exists()


def test_without_the_extra_the_service_starts_and_says_what_it_lacks(tmp_path):
    """`pneumoscope[serve]` alone."""
    file = tmp_path / "node.toml"
    file.write_text('[dicomweb]\nurl = "http://127.0.0.1:1/dicom-web"\n')
    script = (
        "import sys\n"
        "for name in ('httpx', 'dicomweb_client', 'highdicom', 'pynetdicom', 'dicognito', 'fhir'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from pneumoscope.errors import ConfigError\n"
        "from pneumoscope.serving import app, pacs_routes\n"
        "from pneumoscope.serving.service import open_node\n"
        "try: open_node(Path(sys.argv[1]), 10)\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True)
    assert done.stdout == "expected httpx for the node, found none: pip install 'pneumoscope[pacs]'\n", done.stderr

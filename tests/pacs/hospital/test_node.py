"""The node beside a real PACS: films in by storescu, answers found in their studies by QIDO."""

import io
import json
import shutil
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image

from films import ROOT, SYNTAXES, pictures, write_film
from node_process import NodeProcess, until
from orthanc import Orthanc, storescu
from pneumoscope.inference.detector import load_detector
from pneumoscope.pacs.answers import read_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hospital")


@pytest.fixture(scope="module")
def films(folder):
    """Syntax to the file of a film, half of them CR."""
    return {
        syntax: write_film(folder / "films" / f"{syntax}.dcm", stored, number, syntax, computed=number % 2 == 0)
        for number, (syntax, stored) in enumerate(zip(SYNTAXES, pictures(len(SYNTAXES)), strict=True), 1)
    }


@pytest.fixture(scope="module")
def answered(folder, films):
    """PACS and node, once all films were sent to both and answered."""
    with (
        Orthanc(folder / "orthanc", modalities={"node": ("PNEUMOSCOPE", "127.0.0.1", 11112)}) as pacs,
        NodeProcess(folder) as node,
    ):
        for syntax, file in films.items():
            pacs.upload(file.read_bytes())
            sent = storescu(file, port=node.port, called="PNEUMOSCOPE", options=(SYNTAXES[syntax][1],))
            assert sent.returncode == 0, sent.stderr
        assert until(lambda: len(pacs.instances()) == 3 * len(films)), node.log.read_text()
        yield pacs, node


def objects(pacs, number):
    """Modality to object of the study of a film."""
    found = [pacs.file(each["ID"]) for each in pacs.instances(StudyInstanceUID=f"{ROOT}.1.{number}")]
    return {dataset.Modality: dataset for dataset in (pydicom.dcmread(io.BytesIO(content)) for content in found)}


@pytest.mark.parametrize("number", range(1, len(SYNTAXES) + 1))
def test_the_study_of_every_film_has_a_report_and_a_picture(answered, films, number):
    pacs, _ = answered
    [study] = pacs.qido("studies", StudyInstanceUID=f"{ROOT}.1.{number}")
    assert study["AccessionNumber"] == f"ACC{number}"
    series = pacs.qido(f"studies/{ROOT}.1.{number}/series")
    assert sorted(each["Modality"] for each in series) == sorted([["DX", "CR"][number % 2 == 0], "OT", "SR"])
    predicted = load_detector().predict(list(films.values())[number - 1])
    report = read_report(objects(pacs, number)["SR"])
    assert report["decision"] == predicted.decision.value
    assert report["source"] == f"{ROOT}.3.{number}"
    if predicted.validated:
        assert report["probability"] == pytest.approx(predicted.pneumonia_probability, abs=1e-6)


def test_highdicom_reads_the_report(answered):
    pacs, _ = answered
    for number in range(1, len(SYNTAXES) + 1):
        report = hd.sr.srread(io.BytesIO(objects_file(pacs, number, "SR")))
        [group] = report.content.get_image_measurement_groups()
        assert group.source_images[0].referenced_sop_instance_uid == f"{ROOT}.3.{number}"


def objects_file(pacs, number, modality):
    [found] = [
        each["ID"]
        for each in pacs.instances(StudyInstanceUID=f"{ROOT}.1.{number}")
        if pydicom.dcmread(io.BytesIO(pacs.file(each["ID"])), stop_before_pixels=True).Modality == modality
    ]
    return pacs.file(found)


def test_other_programs_find_no_error_in_what_the_pacs_holds(answered, tmp_path):
    pacs, _ = answered
    for number in range(1, len(SYNTAXES) + 1):
        for modality in ("SR", "OT"):
            file = tmp_path / f"{number}-{modality}.dcm"
            file.write_bytes(objects_file(pacs, number, modality))
            if modality == "SR":
                dumped = subprocess.run(["dsrdump", file], capture_output=True, text=True)
                assert (dumped.returncode, dumped.stderr) == (0, "")
                assert "Chest CAD Report" in dumped.stdout
            if shutil.which("dciodvfy"):
                checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
                assert "Error" not in checked.stdout + checked.stderr


def test_the_pacs_draws_the_picture(answered):
    pacs, _ = answered
    for each in pacs.instances(Modality="OT"):
        drawn = np.asarray(Image.open(io.BytesIO(pacs.picture(each["ID"]))).convert("RGB"))
        stored = pydicom.dcmread(io.BytesIO(pacs.file(each["ID"]))).pixel_array
        assert np.array_equal(drawn, stored)
        assert drawn.std() > 20


def test_a_film_that_is_sent_again_makes_no_duplicate(answered, films):
    pacs, node = answered
    before = {each["ID"] for each in pacs.instances()}
    delivered = counts(node)["delivered"]
    assert storescu(films["explicit"], port=node.port, called="PNEUMOSCOPE").returncode == 0
    assert until(lambda: audited(node).count("delivered") == delivered + 1)
    assert {each["ID"] for each in pacs.instances()} == before


def counts(node):
    return json.loads(node.command("queue", "show", "--json").stdout)["counts"]


def audited(node):
    return [json.loads(line)["event"] for line in (node.folder / "node" / "audit.jsonl").read_text().splitlines()]


def test_what_the_pacs_sends_of_its_own_is_answered_and_our_answers_are_left_alone(answered, films):
    pacs, node = answered
    ignored, answers = audited(node).count("ignored"), audited(node).count("answered")
    study = [each["ID"] for each in pacs.instances(StudyInstanceUID=f"{ROOT}.1.2")]
    pacs.send("node", study)
    assert until(lambda: audited(node).count("ignored") == ignored + 2)
    assert until(lambda: audited(node).count("answered") == answers + 1)
    for each in study:
        (node.folder / f"{each}.dcm").write_bytes(pacs.file(each))
    # -R proposes what is sent and no more.
    files = [node.folder / f"{each}.dcm" for each in study]
    assert storescu(*files, port=node.port, called="PNEUMOSCOPE", options=("-R",)).returncode == 0
    assert until(lambda: audited(node).count("ignored") == ignored + 4)
    assert until(lambda: audited(node).count("answered") == answers + 2)
    assert len(pacs.instances()) == 3 * len(films)


def test_what_is_delivered_leaves_no_file_and_the_log_names_nobody(answered):
    _, node = answered
    assert until(lambda: not list((node.folder / "node" / "images").iterdir()))
    said = node.log.read_text() + (node.folder / "node" / "audit.jsonl").read_text()
    assert "Muster" not in said
    assert "PATIENT" not in said
    assert ROOT not in said


def test_others_are_refused(answered, films):
    _, node = answered
    assert storescu(films["explicit"], port=node.port, called="PNEUMOSCOPE", calling="SOMEBODY").returncode != 0
    assert storescu(films["explicit"], port=node.port, called="ANOTHER").returncode != 0
    assert until(lambda: counts(node).get("refused: association") == 2)
    assert audited(node).count("association_refused") == 2
    said = node.log.read_text()
    assert "expected the AE title of a peer, found 'SOMEBODY' at 127.0.0.1: name it in [[peers]]" in said
    assert "expected a call of 'PNEUMOSCOPE', found 'STORESCU' at 127.0.0.1 that calls 'ANOTHER'" in said
    echo = subprocess.run(
        ["echoscu", "-aec", "PNEUMOSCOPE", "-aet", "STORESCU", "127.0.0.1", str(node.port)], capture_output=True
    )
    assert echo.returncode == 0

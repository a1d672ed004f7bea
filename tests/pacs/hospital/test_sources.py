"""Other ways in and out: a PACS that is searched by DICOMweb, a watched folder, TLS; and faults on the way out."""

import json
import os
import signal
import time
from collections import Counter

import pytest

from certificates import Authority
from films import ROOT, pictures, write_film
from node_process import NodeProcess, until
from orthanc import Orthanc, storescu


@pytest.fixture
def films(tmp_path):
    return [write_film(tmp_path / "films" / f"{n}.dcm", each, n) for n, each in enumerate(pictures(3, 256), 1)]


def kinds(pacs):
    return Counter(series["MainDicomTags"]["Modality"] for series in pacs.series())


def events(node):
    return Counter(
        json.loads(line)["event"] for line in (node.folder / "node" / "audit.jsonl").read_text().splitlines()
    )


def counts(node):
    return json.loads(node.command("queue", "show", "--json").stdout)["counts"]


def test_a_pacs_is_searched_and_its_studies_get_their_answers_by_dicomweb(tmp_path, films, orthanc):
    for film in films:
        orthanc.upload(film.read_bytes())
    more = f'[dicomweb]\nurl = "{orthanc.dicomweb_url}"\nevery_seconds = 1\ndays = 3650'
    with NodeProcess(tmp_path / "n", pacs_port=0, more=more) as node:
        assert until(lambda: kinds(orthanc) == {"DX": 3, "SR": 3, "OT": 3}), node.log.read_text()
        assert until(lambda: events(node)["delivered"] == 3)
        time.sleep(3)  # further searches find nothing new, the answers included
        assert events(node)["received"] == 3
        assert kinds(orthanc) == {"DX": 3, "SR": 3, "OT": 3}


def test_files_that_are_put_into_a_folder_are_answered_and_others_set_aside(tmp_path, films, orthanc):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with NodeProcess(tmp_path / "n", more=f'[watch]\nfolder = "{inbox}"\nevery_seconds = 0.5') as node:
        for film in films:
            film.rename(inbox / film.name)
        (inbox / "notes.txt").write_text("no image")
        assert until(lambda: kinds(orthanc) == {"SR": 3, "OT": 3}), node.log.read_text()
        assert until(lambda: (inbox / "refused" / "notes.txt").exists())
        assert [each.name for each in inbox.glob("*.dcm")] == []


def test_where_tls_is_set_nobody_comes_in_without_a_certificate(tmp_path, films):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("node")
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nauthority = "{ours.file}"'
    with NodeProcess(tmp_path / "n", more="silent = true\n" + tls) as node:

        def sent(*options):
            return storescu(films[0], port=node.port, called="PNEUMOSCOPE", options=options).returncode == 0

        def shown(authority, name):
            file, private = authority.issue(name)
            return "+tls", private, file, "+cf", ours.file

        assert not sent()
        assert not sent("+tla", "+cf", ours.file)  # without a certificate of its own
        assert not sent(*shown(others, "stranger"))
        assert until(lambda: counts(node).get("refused: association") == 3), node.log.read_text()
        assert "expected TLS with a certificate of the authority" in node.log.read_text()
        assert sent(*shown(ours, "modality"))
        assert until(lambda: counts(node)["kept"] == 1)


def test_a_pacs_that_is_away_gets_its_answers_when_it_is_back(tmp_path, films):
    with Orthanc(tmp_path / "orthanc") as pacs, NodeProcess(tmp_path / "n") as node:
        pacs.stop()
        assert storescu(*films, port=node.port, called="PNEUMOSCOPE").returncode == 0
        assert until(lambda: counts(node)["answered"] == 3)
        pacs.start()
        assert until(lambda: kinds(pacs) == {"SR": 3, "OT": 3}, 90)
        assert until(lambda: counts(node)["delivered"] == 3)
        assert counts(node)["dead"] == 0


def test_a_pacs_that_hangs_is_given_up_and_tried_again(tmp_path, films):
    with Orthanc(tmp_path / "orthanc") as pacs, NodeProcess(tmp_path / "n") as node:
        os.kill(pacs._process.pid, signal.SIGSTOP)
        try:
            assert storescu(*films, port=node.port, called="PNEUMOSCOPE").returncode == 0
            assert until(lambda: "tried again without end" in node.log.read_text(), 60)
        finally:
            os.kill(pacs._process.pid, signal.SIGCONT)
        assert until(lambda: kinds(pacs) == {"SR": 3, "OT": 3}, 90)
        assert until(lambda: counts(node)["delivered"] == 3)


def test_a_pacs_that_takes_no_answer_leaves_it_to_be_replayed(tmp_path, films):
    settings = {"AcceptedTransferSyntaxes": ["1.2.840.10008.1.2.4.50"]}
    with (
        Orthanc(tmp_path / "orthanc", settings=settings) as pacs,
        NodeProcess(tmp_path / "n", more="attempts = 1") as node,
    ):
        assert storescu(films[0], port=node.port, called="PNEUMOSCOPE").returncode == 0
        assert until(lambda: counts(node).get("dead to ORTHANC") == 1), node.log.read_text()
        shown = node.command("queue", "show").stdout
        assert "no delivery to ORTHANC: expected ORTHANC to take reports and pictures" in shown
        pacs.stop()
    with Orthanc(tmp_path / "orthanc") as pacs, NodeProcess(tmp_path / "n") as node:
        assert node.command("queue", "replay").stdout == "1 tried again\n"
        assert until(lambda: kinds(pacs) == {"SR": 1, "OT": 1})


def test_silently_answers_stay_here_and_are_compared_with_reports(tmp_path, films, orthanc):
    with NodeProcess(tmp_path / "n", options=("--silent",)) as node:
        assert storescu(*films, port=node.port, called="PNEUMOSCOPE").returncode == 0
        assert until(lambda: counts(node)["kept"] == 3)
        assert orthanc.instances() == []
        reports = tmp_path / "reports.csv"
        reports.write_text("accession,finding\nACC1,normal\nACC2,pneumonia\nACC3,pneumonia\nACC9,normal\n")
        done = node.command("compare", str(reports), "--out", str(tmp_path / "comparison"))
        assert done.returncode == 0, done.stderr
        found = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
        assert (found["compared"], found["answers"]["sent"]) == (3, 0)
        assert "Nobody saw these answers" in done.stdout
        checked = node.command_without_config("audit", "verify", str(node.folder / "node" / "audit.jsonl"))
        assert checked.returncode == 0
        assert "all intact" in checked.stdout


def test_answers_of_a_site_are_shared_without_who_it_is(tmp_path, films, orthanc):
    with NodeProcess(tmp_path / "n") as node:
        assert storescu(films[0], port=node.port, called="PNEUMOSCOPE").returncode == 0
        assert until(lambda: kinds(orthanc) == {"SR": 1, "OT": 1})
        answers = tmp_path / "answers"
        answers.mkdir()
        for number, each in enumerate(orthanc.instances()):
            (answers / f"{number}.dcm").write_bytes(orthanc.file(each["ID"]))
        done = node.command_without_config(
            "deidentify", str(answers), "--out", str(tmp_path / "shared"), "--include-burnt-in"
        )
        assert done.returncode == 0, done.stderr
        copies = list((tmp_path / "shared").rglob("*.dcm"))
        assert len(copies) == 2
        for copy in copies:
            content = copy.read_bytes()
            assert not any(each in content for each in (b"Muster", b"PATIENT1", b"ACC1", ROOT.encode(), b"20210304"))

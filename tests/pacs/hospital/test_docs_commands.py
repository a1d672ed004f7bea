"""`docs/how-to/pacs.md` as it is written: its files, its programs and its commands, in their order, beside a real Orthanc."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from films import ROOT, pictures, write_film
from node_process import until
from orthanc import storescu
from pneumoscope.config import from_table
from pneumoscope.pacs.settings import NodeSettings
from pneumoscope.types import NOTICE

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "pacs.md"
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)
PORTS = {"Orthanc": 8042, "node": 11112, "page": 8000}
SERIES = {"DX", "SR", "OT"}

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed, which the page uses"
)


class Reader:
    """A person who follows the page in a folder, one section after the other."""

    def __init__(self, folder):
        self.folder = folder
        parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        self.programs = {}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path}

    def follow(self, heading):
        """Follows a section; gives what its commands print, a text each."""
        found = [self._do(**block.groupdict()) for block in BLOCK.finditer(self.sections.pop(heading))]
        return [text for text in found if text is not None]

    def _do(self, language, title, text):
        title = title or ""
        if title.startswith("terminal: "):
            self.start(title.removeprefix("terminal: "), text)
        elif language == "bash":
            return self.run(text)
        elif title:
            name = title.removeprefix("added to ")
            if name == "node.toml" and name == title:
                self.stop("node")  # as the page says before it
            with (self.folder / name).open("w" if name == title else "a") as file:
                file.write(text)
        else:
            from_table(NodeSettings, tomllib.loads(text), "the page")
        return None

    def run(self, text):
        script = f"set -euo pipefail\n{text}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{self.log('node')}"
        return done.stdout

    def start(self, name, text):
        """Starts a program, again where it runs, and waits until it is ready: the node says so, with or without a port."""
        self.stop(name)
        said = self.log(name).count("PNEUMOSCOPE ")
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                ["bash", "-c", f"exec {text}"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        is_ready = (
            (lambda: self.log(name).count("PNEUMOSCOPE ") > said) if name == "node" else lambda: listens(PORTS[name])
        )
        assert until(is_ready, 60), self.log(name)

    def stop(self, name):
        if program := self.programs.pop(name, None):
            program.send_signal(signal.SIGINT)
            assert program.wait(60) == 0, self.log(name)
            # Ctrl-C comes from a person, who takes longer than a port to be free.
            assert until(lambda: not listens(PORTS[name]), 10)

    def log(self, name):
        file = self.folder / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def events(self, event):
        """Lines of the audit log of one event."""
        lines = (self.folder / "node" / "audit.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]


def listens(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    stored = pictures(1)[0]
    Image.fromarray(stored if stored.dtype == "uint8" else (stored >> 8).astype("uint8")).save(folder / "film.jpeg")
    found = Reader(folder)
    yield found
    for name in list(found.programs):
        found.stop(name)


def modalities(reader, patient):
    command = (
        f"curl -s 'http://127.0.0.1:8042/dicom-web/series?PatientID={patient}' | jq -r '.[][\"00080060\"].Value[0]'"
    )
    return set(reader.run(command).split())


def test_start(reader):
    [checked] = reader.follow("Start")
    settings, bundle, folder, *others = checked.splitlines()
    assert settings == "settings can be read"
    assert "can be loaded, and has the operating point balanced" in bundle
    assert folder == f"folder {reader.folder / 'node'} can be written, and a node uses it now"
    assert others == [
        "address 127.0.0.1:11112 is held by the node that runs",
        "ORTHANC 127.0.0.1:4242 takes associations",
        "STORESCU may send from 127.0.0.1",
    ]
    assert "PNEUMOSCOPE 127.0.0.1:11112\n" in reader.log("node")


def test_send_a_film(reader):
    blocks = list(BLOCK.finditer(reader.sections.pop("Send a film")))
    first, second, series, files, bundle = (block["text"] for block in blocks)
    reader.run(first)
    reader.run(second)
    # "After a few seconds": the command is given again until it shows them.
    assert until(lambda: reader.run(series).count("research use only") == 2, 60), reader.log("node")
    assert sorted(line.split("\t")[0] for line in reader.run(series).splitlines()) == sorted(SERIES)
    for line in ("SR\tpneumoscope report (research use only)", "OT\tpneumoscope evidence map (research use only)"):
        assert line in reader.run(series).splitlines()
        assert f"    {line}".replace("\t", "    ") in PAGE.read_text(encoding="utf-8")
    said = reader.run(files)
    assert "Chest CAD Report" in said
    assert NOTICE in said, "long texts are to be shown whole"
    with Image.open(reader.folder / "picture.png") as picture:
        assert max(picture.size) <= 1024
    assert from_table(NodeSettings, tomllib.loads(bundle), "the page").bundle == "ours.zip"


def test_choose_what_is_analysed(reader):
    reader.follow("Choose what is analysed")
    stored = pictures(1, height=160)[0]
    for number, (view, age, code) in enumerate([("LL", "003Y", 0x0124), ("AP", "009Y", 0), ("AP", "003Y", 0)], 1):
        film = write_film(reader.folder / "films" / f"{number}.dcm", stored, number, ViewPosition=view, PatientAge=age)
        sent = storescu(film, port=11112, called="PNEUMOSCOPE")
        assert (sent.returncode == 0) is (code == 0), sent.stderr
    assert len(reader.events("refused")) == 1
    assert len(reader.events("ignored")) == 1
    assert until(lambda: len(reader.events("delivered")) == 2), reader.log("node")


def test_search_a_dicomweb_server(reader):
    blocks = list(BLOCK.finditer(reader.sections["Search a DICOMweb server"]))
    *rest, last = blocks
    for block in rest:
        reader._do(**block.groupdict())
    assert until(lambda: set(reader.run(last["text"]).split()) == SERIES, 60), reader.log("node")
    reader.sections.pop("Search a DICOMweb server")
    assert "PNEUMOSCOPE without a DICOM port\n" in reader.log("node")
    assert (
        "Images come from the DICOMweb server. No peer is named, so that no DICOM port is open. Answers go to dicomweb."
        in (reader.log("node"))
    )
    assert {line["ae_title"] for line in reader.events("received")} == {"ORTHANC", "STORESCU", "dicomweb"}


def test_send_answers_to_a_fhir_server(reader):
    """No FHIR server is at hand here; `test_fhir.py` sends to one of its own."""
    assert reader.follow("Send answers to a FHIR server") == []


def test_open_studies_on_the_page(reader):
    [found] = reader.follow("Open studies on the page")
    assert found == "TRY2\tTRY2\t1\n"
    reader.stop("page")


def test_watch_a_folder(reader):
    reader.follow("Watch a folder")
    assert until(lambda: (reader.folder / "inbox" / "done" / "film.dcm").exists(), 60), reader.log("node")
    assert reader.events("received")[-1]["ae_title"] == "folder"
    delivered = len(reader.events("received"))
    assert until(lambda: len(reader.events("delivered")) == delivered)


def test_silently(reader):
    reader.follow("Try it silently first")
    delivered, answered = len(reader.events("delivered")), len(reader.events("answered"))
    shutil.copy(reader.folder / "films" / "3.dcm", reader.folder / "inbox" / "3.dcm")
    assert until(lambda: len(reader.events("answered")) == answered + 1, 60), reader.log("node")
    time.sleep(2)
    assert len(reader.events("delivered")) == delivered


def test_encrypted(reader):
    delivered = len(reader.events("delivered"))
    *_, said = reader.follow("Encrypt")
    assert "takes associations" in said
    assert until(lambda: len(reader.events("delivered")) == delivered + 1, 60), reader.log("node")
    film = reader.folder / "film.dcm"
    assert storescu(film, port=11112, called="PNEUMOSCOPE", calling="ORTHANC", options=["-xy"]).returncode != 0
    assert modalities(reader, "TRY1") == SERIES


def test_look_at_the_queue(reader):
    shown, replayed = reader.follow("Look at the queue")
    counts = {line.split()[0]: int(line.split()[-1]) for line in shown.splitlines()}
    assert counts["waiting"] == counts["answered"] == counts["dead"] == 0
    assert (counts["delivered"], counts["kept"]) == (2, 1)
    for name in counts.keys() - {"refused:"}:
        assert re.search(rf"^    {name} +\d+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert replayed == "0 tried again\n"


def test_what_is_kept(reader):
    [verified] = reader.follow("What is kept, where, and for how long")
    assert "all intact" in verified
    assert not list((reader.folder / "node" / "images").iterdir())
    assert "TRY1" not in reader.log("node") + (reader.folder / "node" / "audit.jsonl").read_text()
    assert ROOT not in reader.log("node")
    assert not [heading for heading, text in reader.sections.items() if BLOCK.search(text)]

"""Adaptation by the service: labelled images become a bundle in a process of their own, and the service switches to it."""

import contextlib
import csv
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from PIL import Image

from pneumoscope.adaptation.site import FEWEST_IMAGES
from pneumoscope.bundle import find_bundle, load_bundle
from pneumoscope.data.sources import open_source
from pneumoscope.errors import ConfigError
from pneumoscope.inference.detector import load_detector
from pneumoscope.serving.adaptations import Adaptations, Label
from pneumoscope.serving.settings import Settings
from pneumoscope.types import NamedImage
from serving.conftest import running
from serving.test_service import held_by, problem_of, wait_for

CLASSES = {"negative": "clear", "positive": "effusion"}


@pytest.fixture(scope="module")
def labelled(phantoms):
    """Label to the 72 phantom images."""
    files = sorted(phantoms.rglob("*.jpeg"))
    return {
        label: [file for file in files if ("PNEUMONIA" in file.parts) == (label == "positive")]
        for label in ("negative", "positive")
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A service with the small detector that ships, which may adapt it."""
    folder = tmp_path_factory.mktemp("adaptations")
    with running(bundle="nano", adaptations=folder) as client:
        client.folder = folder
        yield client


def form(files, names=None):
    names = names or [file.name for file in files]
    return [("files", (name, file.read_bytes())) for name, file in zip(names, files, strict=True)]


def send(client, identifier, labelled):
    for label, files in labelled.items():
        for start in range(0, len(files), 16):
            answer = client.post(
                f"/v1/adaptations/{identifier}/images", params={"label": label}, files=form(files[start : start + 16])
            )
            assert answer.status_code == 200, answer.text
    return answer.json()


def ended(client, identifier, seconds=120):
    """The record of an adaptation that has ended, and the stages that it went through."""
    stages, until = [], time.monotonic() + seconds
    while (record := client.get(f"/v1/adaptations/{identifier}").json())["state"] == "running":
        assert time.monotonic() < until
        stages.append(record["stage"])
        time.sleep(0.05)
    return record, [stage for stage, _ in itertools.groupby(stages) if stage]


@pytest.fixture(scope="module")
def adapted(site, labelled):
    """Id of an adaptation that made a bundle, and its stages."""
    begun = site.post("/v1/adaptations", params={**CLASSES, "name": "ours"})
    assert begun.status_code == 201
    assert begun.json()["state"] == "collecting"
    identifier = begun.json()["id"]
    assert problem_of(site.post("/v1/adaptations")) == "adaptation_conflict"
    record = send(site, identifier, labelled)
    assert (record["negatives"], record["positives"]) == tuple(map(len, labelled.values()))
    assert problem_of(site.get(f"/v1/adaptations/{identifier}/report")) == "adaptation_conflict"
    assert site.post(f"/v1/adaptations/{identifier}/start").status_code == 202
    record, stages = ended(site, identifier)
    assert record["state"] == "made", record
    return identifier, stages


def test_labelled_images_become_a_bundle_and_a_report(site, adapted, labelled):
    identifier, stages = adapted
    known = {"images_described", "candidates_cross-validated", "folds_cross-validated", "repeats_of_the_learning_curve"}
    assert set(stages) <= known
    record = site.get(f"/v1/adaptations/{identifier}").json()
    assert site.get("/v1/adaptations").json()["adaptations"] == [record]
    assert record["parent"] == find_bundle("nano").sha256
    result = record["result"]
    assert result["classes"] == ["clear", "effusion"]
    assert result["films"] + result["rejected"] == sum(map(len, labelled.values()))
    # The names of the phantom images tell their patients; numbers of test and training images recur.
    assert (result["patients_known"], result["patients"]) == (True, 30)
    report = site.get(f"/v1/adaptations/{identifier}/report")
    assert "Would more images help?" in report.text
    assert "sandbox" in report.headers["content-security-policy"]
    content = site.get(f"/v1/adaptations/{identifier}/bundle").content
    file = site.folder / identifier / "bundle.zip"
    assert content == file.read_bytes()
    bundle = load_bundle(file)
    assert (bundle.sha256, bundle.manifest.name) == (record["sha256"], "ours")
    # Nothing of the images is left.
    assert {path.name for path in file.parent.iterdir()} == {"adaptation.json", "bundle.html", "bundle.zip"}


def test_a_switch_loses_no_request_and_every_answer_is_of_one_bundle(site, adapted, films):
    identifier, _ = adapted
    detectors = [load_detector("nano"), load_detector(site.folder / identifier / "bundle.zip")]
    contents = {film.name: film.read_bytes() for film in films}
    expected = {
        detector.bundle.sha256: {name: detector.predict(content).to_dict() for name, content in contents.items()}
        for detector in detectors
    }
    answers, stop, workers = [], threading.Event(), len(worker_processes())

    def ask():
        with httpx.Client(base_url=site.base_url, timeout=60) as client:
            for name in itertools.cycle(contents):
                if stop.is_set():
                    return
                answers.append((name, client.post("/v1/predict", params={"file": name}, content=contents[name])))

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    used = [site.put("/v1/bundle", params={"adaptation": each}) for each in [identifier, ""] * 4]
    stop.set()
    for caller in callers:
        caller.join()
    assert [answer.json()["adaptation"] for answer in used] == [identifier, ""] * 4
    assert {answer.status_code for _, answer in answers} == {200}
    by_bundle = Counter(answer.json()["bundle"]["sha256"] for _, answer in answers)
    assert set(by_bundle) == set(expected)
    assert min(by_bundle.values()) >= 4
    for name, answer in answers:
        told = answer.json()
        assert told == expected[told["bundle"]["sha256"]][name] | {"file": name}
    until = time.monotonic() + 60
    while len(worker_processes()) != workers:
        assert time.monotonic() < until, "the processes of a bundle that is no longer in use did not end"
        time.sleep(0.05)


def processes(word, parent=None):
    """Ids of the children of a process, this one by default, with a word in their command, and of its zombies.

    Not those of the whole machine: other tests may run beside this one.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(above) == (parent or os.getpid()) and (
                state == "Z" or word.encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
    return found


def test_an_image_that_arrives_during_a_switch_is_predicted_by_the_bundle_it_began_with(site, adapted, films):
    identifier, _ = adapted
    content, first = films[0].read_bytes(), site.get("/v1/bundle").json()["sha256"]
    begun, go_on = threading.Event(), threading.Event()

    def slowly():
        yield content[:1000]
        begun.set()
        assert go_on.wait(60)
        yield content[1000:]

    answers = []
    caller = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{site.base_url}/v1/predict", content=slowly()))
    )
    caller.start()
    assert begun.wait(60)
    wait_for(lambda: held_by(site) > 0)
    try:
        assert site.put("/v1/bundle", params={"adaptation": identifier}).json()["name"] == "ours"
        assert site.post("/v1/predict", content=content).json()["bundle"]["name"] == "ours"
        go_on.set()
        caller.join()
        assert answers[0].status_code == 200
        assert answers[0].json()["bundle"]["sha256"] == first
    finally:
        go_on.set()
        site.put("/v1/bundle")


def worker_processes():
    """Worker processes of predictions, not of adaptations."""
    return processes("worker_main(int")


def adaptation_processes(parent=None):
    return processes("adaptation_main(int", parent)


def test_everything_that_is_told_follows_the_bundle_in_use(site, adapted, films):
    identifier, _ = adapted
    first = site.get("/v1/bundle").json()
    assert (first["adaptation"], first["accept"]) == ("", [])
    site.post("/v1/predict", content=films[0].read_bytes())
    try:
        told = site.put("/v1/bundle", params={"adaptation": identifier}).json()
        assert told == site.get("/v1/bundle").json()
        assert (told["classes"], told["parent"]) == (["clear", "effusion"], first["sha256"])
        assert site.get("/v1/performance").json()["site"]["made"]
        assert site.get("/v1/drift").json()["images"] == 0
        for _ in range(2):
            schema = site.get("/v1/openapi.json").json()
            assert "clear or effusion, by ours" in schema["info"]["description"]
            assert "pneumonia" not in schema["info"]["description"].lower()
            assert "effusion" in schema["components"]["schemas"]["PredictionSchema"]["properties"]["decision"]["enum"]
        assert site.post("/v1/predict", content=films[0].read_bytes()).json()["bundle"]["name"] == "ours"
        assert site.get("/v1/drift").json()["images"] == 0, "it was adapted to this film"
        again = io.BytesIO()
        Image.open(films[0]).save(again, "PNG")
        site.post("/v1/predict", content=again.getvalue())
        assert site.get("/v1/drift").json()["images"] == 1
        metrics = site.get("/metrics").text
        assert f'sha256="{told["sha256"]}"' in metrics
        assert first["sha256"] not in metrics
        assert problem_of(site.delete(f"/v1/adaptations/{identifier}")) == "adaptation_conflict"
    finally:
        assert site.put("/v1/bundle").json() == first
    assert "children" in site.get("/v1/openapi.json").json()["info"]["description"]


def test_an_adaptation_outlives_the_service_and_the_switch_does_not(adapted, site, tmp_path):
    identifier, _ = adapted
    folder = tmp_path / "kept"
    subprocess.run(["cp", "-r", site.folder, folder], check=True)
    unfinished = folder / ("0" * 16)
    unfinished.mkdir()
    (unfinished / "adaptation.json").write_text("{")
    (folder / "mine").mkdir()
    newer = folder / ("1" * 16)
    shutil.copytree(folder / identifier, newer)
    record = json.loads((newer / "adaptation.json").read_text())
    (newer / "adaptation.json").write_text(json.dumps(record | {"field_of_another_version": 1}))
    adaptations = Adaptations(Settings(adaptations=folder), find_bundle("nano"))
    assert [record.id for record in adaptations.records()] == [identifier]
    assert adaptations.record(identifier).classes == ("clear", "effusion")
    assert not unfinished.exists()
    assert (newer / "bundle.zip").exists()  # whatever its record says
    assert (folder / "mine").exists()
    with pytest.raises(ConfigError, match="another one using it"):
        Adaptations(Settings(adaptations=folder), find_bundle("nano"))
    adaptations.delete(identifier)
    assert not (folder / identifier).exists()
    adaptations.close()


def test_a_bundle_that_the_service_was_started_with_is_not_deleted(adapted, site, tmp_path):
    identifier, _ = adapted
    folder = tmp_path / "kept"
    shutil.copytree(site.folder, folder)
    with running(bundle=str(folder / identifier / "bundle.zip"), adaptations=folder) as client:
        assert problem_of(client.delete(f"/v1/adaptations/{identifier}")) == "adaptation_conflict"
    assert (folder / identifier / "bundle.zip").exists()


@pytest.fixture
def alone(phantom_bundle, tmp_path):
    """A service that may adapt, with small limits."""
    settings = {"adaptation_images": 60, "adaptation_bytes": 4_000_000}
    with running(
        bundle=str(phantom_bundle), adaptations=tmp_path / "a", images=16, accept=("outside_age",), **settings
    ) as client:
        client.folder = tmp_path / "a"
        yield client


def test_too_few_images_and_images_without_a_signal_make_no_bundle(alone, labelled, tmp_path):
    identifier = alone.post("/v1/adaptations").json()["id"]
    assert problem_of(alone.post(f"/v1/adaptations/{identifier}/start")) == "adaptation_conflict"  # no image yet
    send(alone, identifier, {label: files[:3] for label, files in labelled.items()})
    alone.post(f"/v1/adaptations/{identifier}/start")
    record, _ = ended(alone, identifier)
    assert record["state"] == "failed"
    assert "expected at least 20 normal and 20 pneumonia images" in record["problem"]
    assert problem_of(alone.get(f"/v1/adaptations/{identifier}/report")) == "not_found"
    assert problem_of(alone.put("/v1/bundle", params={"adaptation": identifier})) == "not_found"
    assert alone.get("/v1/bundle").json()["accept"] == ["outside_age"]
    assert {path.name for path in (alone.folder / identifier).iterdir()} == {"adaptation.json"}
    # The labels say nothing of the images.
    negatives = [file for label in labelled.values() for file in label[::2]]
    mixed = {
        "negative": negatives[:24],
        "positive": [f for ls in labelled.values() for f in ls if f not in negatives][:24],
    }
    identifier = alone.post("/v1/adaptations").json()["id"]
    send(alone, identifier, mixed)
    alone.post(f"/v1/adaptations/{identifier}/start")
    record, _ = ended(alone, identifier)
    assert record["state"] == "not_made", record["problem"]
    assert record["result"]["made"] is False
    assert record["sha256"] == ""
    assert "No better than chance" in alone.get(f"/v1/adaptations/{identifier}/report").text
    assert problem_of(alone.get(f"/v1/adaptations/{identifier}/bundle")) == "not_found"


def test_images_are_stored_under_safe_names_with_what_tells_the_patient(alone, films):
    identifier = alone.post("/v1/adaptations", params=CLASSES).json()["id"]
    names = ["../../etc/=1+1 é.png", "person7_virus_12.jpeg", "a\\b.jpg", "b.jpg"]
    alone.post(f"/v1/adaptations/{identifier}/images?label=negative", files=form(films[:4], names))
    alone.post(f"/v1/adaptations/{identifier}/images?label=positive", files=form(films[4:5], ["person7_virus_12.jpeg"]))
    folder = alone.folder / identifier / "images"
    assert oct(folder.parent.stat().st_mode)[-3:] == "700"
    stored = [
        "00001-_1_1__.png",
        "00002-person7_virus_12.jpeg",
        "00003-b.jpg",
        "00004-b.jpg",
        "00005-person7_virus_12.jpeg",
    ]
    assert sorted(path.name for path in folder.iterdir()) == stored
    assert (folder / stored[1]).read_bytes() == films[1].read_bytes()
    process = alone.post(f"/v1/adaptations/{identifier}/start")
    assert process.status_code == 202
    with (folder / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == stored
    assert [row["class"] for row in rows] == ["clear"] * 4 + ["effusion"]
    source = open_source(folder / "labels.csv", "effusion", "clear")
    patients = [image.patient for image in source.images]
    assert patients[1] == patients[4] == "person7"
    assert len(set(patients)) == 4
    assert [image.known_name for image in source.images] == [False, True, False, False, True]
    alone.delete(f"/v1/adaptations/{identifier}")


def test_an_adaptation_that_is_full_takes_no_more(alone, films):
    identifier = alone.post("/v1/adaptations").json()["id"]
    path = f"/v1/adaptations/{identifier}/images?label=positive"
    for _ in range(60 // 8):
        assert alone.post(path, files=form(films)).status_code == 200
    assert problem_of(alone.post(path, files=form(films))) == "adaptation_full"
    assert problem_of(alone.post(path, files=[("files", ("a", bytes(3_900_000)))])) == "adaptation_full"
    assert alone.get(f"/v1/adaptations/{identifier}").json()["positives"] == 56


def test_a_name_of_another_form_is_refused_in_words(alone):
    detail = alone.post("/v1/adaptations", params={"name": "a/b"}).json()["detail"]
    assert detail == "query.name: expected another form, as /v1/openapi.json describes it, found 'a/b'"


def test_a_request_that_comes_as_the_time_ends_keeps_the_adaptation(phantom_bundle, tmp_path):
    adaptations = Adaptations(Settings(adaptations=tmp_path / "a"), find_bundle(str(phantom_bundle)))
    record = adaptations.begin(("normal", "pneumonia"), "site")
    ended = adaptations._idle
    image = NamedImage("1.png", b"1")
    adaptations.add(record.id, Label.NEGATIVE, [image])
    ended.function()  # the timer had fired already, and waited for the request
    assert adaptations.record(record.id).negatives == 1
    adaptations._idle.function()
    assert adaptations.records() == []
    adaptations.close()


def test_an_adaptation_that_nobody_goes_on_with_is_deleted(phantom_bundle, films, tmp_path):
    with running(bundle=str(phantom_bundle), adaptations=tmp_path / "a", adaptation_seconds=3.0) as client:
        identifier = client.post("/v1/adaptations").json()["id"]
        path = f"/v1/adaptations/{identifier}/images?label=positive"
        assert client.post(path, files=form(films)).status_code == 200
        until = time.monotonic() + 60
        while client.get("/v1/adaptations").json()["adaptations"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]
        assert problem_of(client.post(path, files=form(films))) == "not_found"
        assert client.post("/v1/adaptations").status_code == 201


@pytest.mark.parametrize(
    "query", ["negative=a&positive=a", "negative=refer", "positive=pneumonia&negative=clear", "positive=%3D1", "name="]
)
def test_names_that_a_bundle_cannot_have_are_refused(alone, query):
    assert problem_of(alone.post(f"/v1/adaptations?{query}")) == "invalid_request"
    assert alone.get("/v1/adaptations").json()["adaptations"] == []


def test_without_a_folder_nobody_adapts(service):
    identifier = "0" * 16
    for method, path in (
        ("GET", ""), ("POST", ""), ("GET", f"/{identifier}"), ("DELETE", f"/{identifier}"), ("POST", f"/{identifier}/start"),
        ("POST", f"/{identifier}/images?label=positive"), ("GET", f"/{identifier}/report"), ("GET", f"/{identifier}/bundle"),
    ):  # fmt: skip
        assert problem_of(service.request(method, f"/v1/adaptations{path}")) == "adaptations_off", (method, path)
    assert problem_of(service.put("/v1/bundle", params={"adaptation": identifier})) == "adaptations_off"
    assert service.put("/v1/bundle").json() == service.get("/v1/bundle").json()
    for path in ("/v1/adaptations/..%2F..%2Fetc", "/v1/adaptations/ABC"):
        assert service.get(path).status_code in (404, 422)
    assert problem_of(service.put("/v1/bundle?adaptation=../x")) == "invalid_request"


@pytest.fixture
def many(alone, labelled):
    """Id of a running adaptation."""
    identifier = alone.post("/v1/adaptations").json()["id"]
    send(alone, identifier, {label: files[:30] for label, files in labelled.items()})
    assert alone.post(f"/v1/adaptations/{identifier}/start").status_code == 202
    return identifier


def test_a_cancelled_adaptation_leaves_neither_process_nor_file(alone, many):
    [pid] = adaptation_processes()
    until = time.monotonic() + 60
    while os.getpriority(os.PRIO_PROCESS, pid) != 10:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert problem_of(alone.post("/v1/adaptations")) == "adaptation_conflict"
    assert (
        problem_of(alone.post(f"/v1/adaptations/{many}/images?label=positive", files=[("files", b"x")]))
        == "adaptation_conflict"
    )
    assert alone.delete(f"/v1/adaptations/{many}").json() == {"deleted": 1}
    assert adaptation_processes() == []
    assert [path.name for path in alone.folder.iterdir()] == [".lock"]
    assert problem_of(alone.delete(f"/v1/adaptations/{many}")) == "not_found"


def test_a_process_that_is_killed_is_told(alone, many):
    [pid] = adaptation_processes()
    os.kill(pid, signal.SIGKILL)
    record, _ = ended(alone, many)
    assert record["state"] == "failed"
    assert "signal 9" in record["problem"]
    assert adaptation_processes() == []
    assert {path.name for path in (alone.folder / many).iterdir()} == {"adaptation.json"}


def test_a_bundle_that_was_altered_is_not_switched_to(site, adapted):
    identifier, _ = adapted
    file = site.folder / identifier / "bundle.zip"
    content = file.read_bytes()
    before = site.get("/v1/bundle").json()
    file.write_bytes(content[: len(content) // 2])
    try:
        assert problem_of(site.put("/v1/bundle", params={"adaptation": identifier})) == "adaptation_conflict"
    finally:
        file.write_bytes(content)
    assert site.get("/v1/bundle").json() == before


def test_a_stop_ends_what_is_at_work(phantom_bundle, labelled, tmp_path):
    with running(bundle=str(phantom_bundle), adaptations=tmp_path / "a") as client:
        identifier = client.post("/v1/adaptations").json()["id"]
        send(client, identifier, {label: files[:20] for label, files in labelled.items()})
        client.post(f"/v1/adaptations/{identifier}/start")
        assert len(adaptation_processes()) == 1
    assert adaptation_processes() == []
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]


@pytest.mark.integration
def test_a_service_that_is_killed_leaves_no_process_and_its_next_start_no_file(phantom_bundle, labelled, tmp_path):
    command = [sys.executable, "-m", "pneumoscope", "serve", "--port", "0", "--workers", "1"]
    command += ["--bundle", str(phantom_bundle), "--adaptations", str(tmp_path / "a"), "--no-request-log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
        with httpx.Client(base_url=service.stdout.readline().strip(), timeout=60) as client:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                try:
                    identifier = client.post("/v1/adaptations").json()["id"]
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            send(client, identifier, {label: files[:30] for label, files in labelled.items()})
            client.post(f"/v1/adaptations/{identifier}/start")
            while not client.get(f"/v1/adaptations/{identifier}").json()["done"]:
                time.sleep(0.05)
            [left] = adaptation_processes(service.pid)
        service.kill()
    until = time.monotonic() + 60
    while Path(f"/proc/{left}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    adaptations = Adaptations(Settings(adaptations=tmp_path / "a"), find_bundle(phantom_bundle))
    assert adaptations.records() == []
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]
    adaptations.close()


def test_the_page_knows_how_many_images_are_needed():
    package = Path(__file__).parents[2] / "src" / "pneumoscope"
    assert f"FEWEST = {FEWEST_IMAGES};" in (package / "serving" / "page" / "finding.js").read_text()

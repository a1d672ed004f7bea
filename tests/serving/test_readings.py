"""Readings: kept with the history, measured as `evaluate --data` measures, and images that the service keeps."""

import csv
import hashlib
import json
import stat
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dicom_objects import dataset_of, written
from pneumoscope.assessment.bundles import evaluate_bundle
from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.bundle import TRAINING_HASHES, find_bundle, load_bundle, save_bundle, training_hashes
from pneumoscope.data.locate import Location
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.evaluation.agreement import cohen_kappa
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.progress import silent
from pneumoscope.serving.settings import Settings
from serving.conftest import running
from serving.test_service import problem_of


def reading(content, reader="A", finding="positive", **changed):
    plain = {"reason": "", "comment": "", "blinded": True, "time": "2026-01-02T03:04:05.678Z"}
    return {"sha256": hashlib.sha256(content).hexdigest(), "reader": reader, "finding": finding} | plain | changed


@pytest.fixture
def kept(tmp_path, phantom_bundle):
    with running(
        bundle=str(phantom_bundle), history=tmp_path / "h.sqlite", kept_images=tmp_path / "films", kept_bytes=200_000
    ) as client:
        client.folder = tmp_path / "films"
        yield client


def test_the_later_reading_of_an_image_stays(kept):
    first, later = reading(b"1"), reading(b"1", finding="undecided", reason="subtle", time="2026-01-02T03:04:06.000Z")
    assert kept.put("/v1/readings", json=[first]).json() == {"kept": 1}
    kept.put("/v1/readings", json=[later, reading(b"1", reader="B", comment="«seen»")])
    kept.put("/v1/readings", json=[first])  # from a machine that was asleep
    assert kept.get("/v1/readings").json()["readings"] == [later, reading(b"1", reader="B", comment="«seen»")]
    gone = later | {"finding": "withdrawn", "time": "2026-01-02T03:04:07.000Z"}
    kept.put("/v1/readings", json=[gone])
    kept.put("/v1/readings", json=[later])
    assert kept.get("/v1/readings").json()["readings"][0] == gone


@pytest.mark.parametrize(
    "wrong",
    [
        {"finding": "ill"},
        {"reader": ""},
        {"reader": "x" * 61},
        {"sha256": "abc"},
        {"time": "yesterday"},
        {"comment": "x" * 2001},
        {"more": 1},
    ],
)
def test_another_reading_is_refused_and_none_is_kept(kept, wrong):
    answer = kept.put("/v1/readings", json=[reading(b"1"), reading(b"2") | wrong])
    assert problem_of(answer) == "invalid_request"
    assert f"body.1.{next(iter(wrong))}" in answer.json()["detail"]
    assert kept.get("/v1/readings").json() == {"readings": []}


def test_bodies_that_are_not_json_are_refused(kept):
    assert problem_of(kept.put("/v1/readings", content=b"[")) == "unsupported_media_type"
    as_json = {"Content-Type": "application/json"}
    assert problem_of(kept.put("/v1/readings", content=b"[", headers=as_json)) == "invalid_request"
    assert problem_of(kept.put("/v1/readings", content=b" " * (8 * 2**20 + 1), headers=as_json)) == "too_large"


def test_without_a_history_nothing_is_kept_but_measured_all_the_same(phantom_bundle):
    with running(bundle=str(phantom_bundle)) as service:
        assert problem_of(service.get("/v1/readings")) == "history_off"
        assert problem_of(service.put("/v1/readings", json=[])) == "history_off"
        assert problem_of(service.get("/v1/films")) == "films_off"
        assert service.post("/v1/readings/measures", json={"images": []}).json()["labelled"] == 0


def test_images_are_kept_with_their_decision_and_deleted_with_it(kept, films):
    content = [film.read_bytes() for film in films[:2]]
    for each in (content[0], content[0], content[1]):
        kept.post("/v1/predict?file=name", content=each)
    kept.put("/v1/readings", json=[reading(each) for each in content])
    entries = kept.get("/v1/films").json()["entries"]
    hashes = [entry["prediction"]["sha256"] for entry in entries]
    assert hashes == [hashlib.sha256(each).hexdigest() for each in content]
    assert kept.get(f"/v1/films/{hashes[0]}").content == content[0]
    assert stat.S_IMODE((kept.folder / hashes[0]).stat().st_mode) == 0o600
    assert problem_of(kept.get(f"/v1/films/{'0' * 64}")) == "not_found"
    kept.delete(f"/v1/history/{entries[0]['id']}")  # of two decisions on this image
    assert (kept.folder / hashes[0]).exists()
    kept.delete(f"/v1/history/{entries[0]['id'] - 1}")
    assert not (kept.folder / hashes[0]).exists()
    assert [each["sha256"] for each in kept.get("/v1/readings").json()["readings"]] == [hashes[1]]
    kept.delete("/v1/history")
    assert not any(kept.folder.iterdir())
    assert kept.get("/v1/readings").json() == {"readings": []}


def test_kept_images_are_found_after_a_start_and_have_a_limit(tmp_path, phantom_bundle, films):
    told = {"bundle": str(phantom_bundle), "history": tmp_path / "h.sqlite", "kept_images": tmp_path / "films"}
    content = [film.read_bytes() for film in films[:2]]
    with running(**told, kept_bytes=len(content[0])) as service:
        for each in content:
            assert service.post("/v1/predict", content=each).status_code == 200
    with running(**told) as service:
        [entry] = service.get("/v1/films").json()["entries"]
        assert service.get(f"/v1/films/{entry['prediction']['sha256']}").content == content[0]


def test_whose_image_it_is_is_known_after_a_start(tmp_path, phantom_bundle, films):
    told = {"bundle": str(phantom_bundle), "history": tmp_path / "h.sqlite", "kept_images": tmp_path / "films"}
    levels = read_grey(films[0])
    sent = [
        written(dataset_of(levels, 8, PatientID="P-4711", StudyDate="20240229")),
        written(dataset_of(levels, 8, StudyDate="20240301")),
        films[0].read_bytes(),
    ]
    with running(**told) as service:
        said = [service.post("/v1/predict?file=film", content=each).headers for each in sent]
    expected = [(each.get("film-patient", ""), each.get("film-date", "")) for each in said]
    assert [(len(patient), taken) for patient, taken in expected] == [(16, "2024-02-29"), (0, "2024-03-01"), (0, "")]
    with running(**told) as service:
        entries = service.get("/v1/films").json()["entries"]
        assert [(entry["patient"], entry["taken"]) for entry in entries] == expected
        for entry, content in zip(entries, sent, strict=True):
            assert service.get(f"/v1/films/{entry['prediction']['sha256']}").content == content
        service.delete("/v1/history")
        assert not any((tmp_path / "films").iterdir())


def test_images_are_kept_with_a_history_alone(tmp_path):
    with pytest.raises(ConfigError, match="--history"):
        Settings(kept_images=tmp_path)


def test_images_that_the_detector_was_trained_on_say_nothing(tmp_path, phantom_bundle, films):
    """Neither of how right it is, nor of how the images have changed."""
    known = load_bundle(phantom_bundle)
    content = [film.read_bytes() for film in films[:3]]
    hashes = [hashlib.sha256(each).hexdigest() for each in content]
    golden = known.golden | {TRAINING_HASHES: training_hashes(hashes[:2])}
    path = tmp_path / "trained.zip"
    save_bundle(path, known.manifest, known.model, golden, known.guard)
    image = {"decision": "pneumonia", "probability": 0.9, "reasons": [], "findings": {"A": "positive"}}
    with running(bundle=str(path)) as service:
        for each in content:
            service.post("/v1/predict", content=each)
        assert service.get("/v1/drift").json()["images"] == 1
        images = [image | {"path": f"{place}.png", "sha256": sha256} for place, sha256 in enumerate(hashes)]
        found = service.post("/v1/readings/measures", json={"images": images}).json()
    assert (found["labelled"], found["learnt"]) == (1, 2)
    assert sum(found["flow"]["pneumonia"].values()) == 1


def test_measures_are_those_of_evaluate(kept, films, phantom_bundle, tmp_path, phantoms):
    """For the same table: two readers, of whom one differs on an image, and one cannot say of another."""
    chosen = sorted(phantoms.rglob("*.jpeg"))[::5]
    images, rows = [], []
    for place, film in enumerate(chosen):
        prediction = kept.post("/v1/predict", content=film.read_bytes()).json()
        path = str(film.relative_to(phantoms))
        truth = "positive" if film.parent.name == "PNEUMONIA" else "negative"
        other = {3: "negative" if truth == "positive" else "positive", 4: "undecided"}.get(place, truth)
        findings = {"A": "undecided" if place == 4 else truth, "B": other}
        if place > 4:
            rows.append([path, {"positive": "pneumonia", "negative": "normal"}[truth]])
        images.append(
            {
                "path": path,
                "decision": prediction["decision"],
                "probability": prediction["pneumonia_probability"],
                "reasons": prediction["reasons"],
                "findings": findings,
            }
        )
    for place in range(3):
        rows.append([images[place]["path"], "pneumonia" if images[place]["findings"]["A"] == "positive" else "normal"])
    table = phantoms / "labels-of-readers.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "class"], *rows])
    bundle = find_bundle(str(phantom_bundle))
    with WorkerPool(bundle, 1) as pool:
        record = evaluate_bundle(
            bundle, pool, Location(table, "--data"), Evaluation(None, "test"), silent, tmp_path / "out"
        )
    table.unlink()
    found = kept.post("/v1/readings/measures", json={"images": images}).json()
    assert (found["labelled"], found["undecided"], found["contradictory"]) == (len(chosen) - 2, 1, 1)
    expected = json.loads(json.dumps(record["acceptance"]["measures"]).replace("NaN", "null"))
    assert found["measures"] == expected
    assert found["measures"]["sensitivity"]["value"] is not None
    assert found["flow"] == record["acceptance"]["flow"]
    [agreement] = found["agreement"]
    assert (agreement["readers"], agreement["images"], agreement["same"]) == (["A", "B"], len(chosen), len(chosen) - 1)
    assert 0 < agreement["kappa"]["low"] < agreement["kappa"]["value"] < agreement["kappa"]["high"] <= 1


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    one = rng.choice(["negative", "positive", "undecided"], 60, p=[0.5, 0.4, 0.1])
    other = np.where(rng.random(60) < 0.7, one, rng.permutation(one))
    found = cohen_kappa(list(one), list(other), [str(i // 2) for i in range(60)])
    assert found.value == pytest.approx(cohen_kappa_score(one, other))
    assert -1 <= found.low < found.value < found.high <= 1
    alone = cohen_kappa(list(one), list(other), [str(i) for i in range(60)])
    assert (alone.low, alone.high) != (found.low, found.high)


def test_kappa_without_disagreement_or_without_variety_has_no_interval():
    both = cohen_kappa(["a", "b", "a"], ["a", "b", "a"], ["1", "2", "3"])
    assert both.value == 1
    assert np.isnan(both.low)
    assert np.isnan(cohen_kappa(["a", "a"], ["a", "a"], ["1", "2"]).value)
    with pytest.raises(InputError):
        cohen_kappa([], [], [])


def test_readings_are_kept_through_a_day_of_time_zones(kept):
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert kept.put("/v1/readings", json=[reading(b"1", time=now)]).status_code == 200


@pytest.mark.parametrize("path", ["", ".", "/", "a/..", "IM-0001-0001.jpeg"])
@pytest.mark.parametrize("finding", ["negative", "positive", "undecided"])
def test_a_single_image_is_measured_whatever_its_path(kept, path, finding):
    image = {"path": path, "decision": "refer", "probability": None, "reasons": ["near_threshold"]}
    found = kept.post("/v1/readings/measures", json={"images": [image | {"findings": {"A": finding}}]})
    assert found.status_code == 200, found.text
    assert found.json()["labelled"] == int(finding != "undecided")


def test_more_readers_of_an_image_than_can_be_compared_are_refused(kept):
    image = {"path": "a", "decision": "normal", "probability": 0.1, "reasons": []}
    for readers, status in ((10, 200), (11, 422)):
        findings = {f"Dr {number}": "negative" for number in range(readers)}
        answer = kept.post("/v1/readings/measures", json={"images": [image | {"findings": findings}]})
        assert answer.status_code == status

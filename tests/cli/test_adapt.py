"""`adapt` and `calibrate`: a site's own bundle from its labelled images."""

import csv
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pneumoscope.bundle import TRAINING_HASHES, find_bundle, load_bundle, save_bundle, training_hashes
from pneumoscope.inference.detector import load_detector


@pytest.fixture(scope="module")
def rows(phantoms):
    """Path, class, etiology, patient and view of the 72 phantom images."""
    found = []
    for number, file in enumerate(sorted(phantoms.rglob("*.jpeg"))):
        positive = "PNEUMONIA" in file.parts
        etiology = ("bacterial" if "bacteria" in file.name else "viral") if positive else ""
        found.append(
            [file, "pneumonia" if positive else "normal", etiology, f"p{number // 2}", ["AP", "PA"][number % 2]]
        )
    return found


@pytest.fixture
def table(rows, tmp_path):
    """Writes a table of the phantom images, with labels changed or columns left out."""

    def write(change=lambda row: row, columns=("path", "class", "etiology", "patient", "view"), name="site.csv"):
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(change(list(row))[: len(columns)] for row in rows)
        return tmp_path / name

    return write


def test_a_site_gets_a_bundle_of_its_own_with_a_report(pneumoscope, table, rows, tmp_path):
    words = ("adapt", "--data", table(), "--bundle", "nano", "--workers", "1")
    code, out, err = pneumoscope(*words, "--out", "ours.zip", "--json")
    assert code == 0, err
    record = json.loads(out)
    parent, child = find_bundle("nano"), load_bundle(tmp_path / "ours.zip")
    assert record["parent_sha256"] == child.manifest.parent == parent.sha256
    assert record["films"] + record["rejected"] == len(rows)
    assert (record["patients"], record["patients_known"]) == (36, True)
    assert record["made"]
    low, high = (record["cross_validated"]["auc"][end] for end in ("low", "high"))
    assert 0.5 < low < record["auc"] < high <= 1
    assert {each["candidate"] for each in record["candidates"]} >= {"the parent, calibrated", "linear head, penalty 30"}
    assert record["learning_curve"]["points"][0]["images"] == 25
    assert {each["group"] for each in record["acceptance"]["groups"]} >= {"AP", "PA"}
    # What the bundle says of itself: the site, its parent, and no claim of the parent's.
    manifest = child.manifest
    assert (manifest.name, manifest.fitted_on) == (
        "ours",
        f"{record['films']} images of site.csv, each held out in turn",
    )
    assert manifest.training["parent"]["name"] == parent.manifest.name
    assert set(manifest.metrics) == {"site"}
    assert manifest.scope.views == ("AP", "PA")
    assert set(manifest.operating_points) == {"balanced", "sensitive", "specific"}
    assert (
        child.count_training_images(hashlib.sha256(row[0].read_bytes()).hexdigest() for row in rows) == record["films"]
    )
    assert load_detector(tmp_path / "ours.zip").verify() == 0
    page = (tmp_path / "ours.html").read_text()
    for word in ("ROC", "Would more images help?", "Do the files tell the label?", "Images to look at again", "AP"):
        assert word in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.html", "ours.zip", "site.csv"]
    # The tables of reporting standards: the site's figures and its parent, nothing of the parent's own.
    code, out, err = pneumoscope("report", "standards", "ours.zip", "--json")
    assert code == 0, err
    tables = json.loads(out)["standards"]
    assert {each["bundle"]["parent"] for each in tables} == {parent.sha256}
    texts = {s["fact"]: s["text"] for each in tables for item in each["items"] for s in item["statements"]}
    known_as = f"{parent.manifest.name} {parent.manifest.version}"
    assert texts["updating"].startswith(f"Adapted from {known_as} (SHA-256 {parent.sha256}) by: ")
    assert texts["training_size"] == f"Training: {record['films']} images of {record['patients']} patients."
    assert "site.csv" in texts["training_data"]
    assert texts["initialisation"] == f"The weights of the parent, {known_as}."
    assert f"AUC {record['auc']:.3f} (" in texts["internal_testing"]
    assert "stress validation" not in texts["internal_testing"]
    # The same command gives the same bytes.
    assert pneumoscope(*words, "--out", "again.zip", "--name", "ours")[0] == 0
    again = load_bundle(tmp_path / "again.zip")
    assert again.manifest.parts == manifest.parts


def test_predictions_of_a_linear_head_are_those_of_its_features_with_exact_evidence(pneumoscope, table, rows, tmp_path):
    words = ("--bundle", "nano", "--out", "ours.zip", "--method", "linear", "--workers", "1")
    assert pneumoscope("adapt", "--data", table(), *words)[0] == 0
    detector = load_detector(tmp_path / "ours.zip")
    head = detector.bundle.head
    [score] = detector.score_many([rows[0][0]], evidence=True, described=True)
    logit = score.description.features @ head["weight"].T + head["bias"]
    expected = detector.bundle.manifest.calibration.probabilities(logit[None])[0]
    np.testing.assert_allclose(score.class_probability, expected, atol=1e-6)
    images = detector.bundle.golden["films"]
    np.testing.assert_allclose(
        detector.evidence(images).mean(axis=(2, 3)) + head["bias"], detector.logits(images), atol=1e-3
    )


def test_classes_of_a_site_are_named_as_the_site_names_them(pneumoscope, phantoms, tmp_path):
    for number, file in enumerate(sorted(phantoms.rglob("*.jpeg"))):
        folder = tmp_path / "films" / ("Effusion" if "PNEUMONIA" in file.parts else "clear")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"{number}.jpeg")
    code, _, err = pneumoscope("adapt", "--data", "films", "--out", "a.zip", "--bundle", "nano")
    assert code == 1
    assert "add --positive NAME" in err
    words = ("--bundle", "nano", "--positive", "effusion")
    code, out, err = pneumoscope("adapt", "--data", "films", "--out", "ours.zip", *words)
    assert code == 0, err
    assert "linear head" in out
    assert "The patients of some images are not known" in (tmp_path / "ours.html").read_text()
    code, shown, _ = pneumoscope("bundle", "show", "ours.zip")
    assert "measured      by nested cross-validation: AUC " in shown
    one = sorted((tmp_path / "films" / "Effusion").iterdir())[0]
    code, line, _ = pneumoscope("predict", one, "--bundle", "ours.zip", "--json")
    record = json.loads(line)
    assert record["decision"] in ("clear", "effusion", "refer")
    assert set(record["class_probability"]) == {"clear", "effusion"}
    assert record["probability"] == record["class_probability"]["effusion"]
    assert pneumoscope("predict", "films", "--bundle", "ours.zip", "--out", "p.csv")[0] == 0
    assert pneumoscope("report", "films", "--bundle", "ours.zip", "--out", "p.html")[0] == 0
    # The new bundle's own images teach nothing about it; its images by other names do.
    code, _, err = pneumoscope("evaluate", "--bundle", "ours.zip", "--data", "films")
    assert code == 1
    assert "its training images" in err
    said = {name: (tmp_path / name).read_text() for name in ("ours.html", "p.csv", "p.html")}
    for name, text in (said | {"show": shown, "predict": line}).items():
        assert "pneumonia" not in text.lower(), name
        assert "effusion" in text.lower(), name


def test_an_evaluation_names_the_classes_of_the_bundle(pneumoscope, phantoms, tmp_path):
    files = sorted(phantoms.rglob("*.jpeg"))
    lines = [f"{f},{'effusion' if 'PNEUMONIA' in f.parts else 'clear'},p{i // 2}" for i, f in enumerate(files)]
    header = "path,class,patient"
    words = ("--bundle", "nano", "--positive", "effusion")
    (tmp_path / "fit.csv").write_text("\n".join([header, *lines[:20], *lines[24:64]]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join([header, *lines[20:24], *lines[64:]]) + "\n")
    code, _, err = pneumoscope("adapt", "--data", "fit.csv", "--out", "ours.zip", *words)
    assert code == 0, err
    code, out, err = pneumoscope("evaluate", "--bundle", "ours.zip", "--data", "test.csv", "--json", "--out", "r")
    assert code == 0, err
    record = json.loads(out)
    assert set(record["acceptance"]["flow"]) == {"clear", "effusion"}
    assert record["confusion_matrix"]["classes"] == ["clear", "effusion"]
    for file in ("report.md", "report.html"):
        assert "pneumonia" not in (tmp_path / "r" / file).read_text().lower()


def test_shuffled_labels_make_no_bundle(pneumoscope, table, rows, phantom_bundle, tmp_path):
    labels = [row[1] for row in rows]
    random.Random(0).shuffle(labels)
    order = iter(labels)
    data = table(lambda row: [row[0], next(order), row[3]], ("path", "class", "patient"))
    code, out, err = pneumoscope("adapt", "--data", data, "--bundle", phantom_bundle, "--out", "ours.zip")
    assert code == 4, err
    assert "no better than chance: not made" in out
    assert not (tmp_path / "ours.zip").exists()
    assert "no better than chance" in (tmp_path / "ours.html").read_text().lower()
    code, out, err = pneumoscope("adapt", "--data", data, "--bundle", phantom_bundle, "--out", "ours.zip", "--json")
    assert code == 4
    assert json.loads(out)["bundle"] is None
    assert json.loads(out)["cross_validated"]["auc"]["low"] <= 0.5


@pytest.mark.parametrize("etiologies", [True, False])
def test_calibrate_keeps_the_network_and_fits_thresholds(
    pneumoscope, table, rows, phantom_bundle, tmp_path, etiologies
):
    """The parent is not trained: labels are those that it predicts."""
    parent = load_detector(phantom_bundle)
    scores = [p.pneumonia_probability for p in parent.predict_many(str(row[0]) for row in rows)]
    # The higher two thirds are positive, of one kind and of the other in turn.
    rank = dict(zip([row[0] for row in rows], np.argsort(np.argsort(scores)).tolist(), strict=True))

    def relabel(row):
        positive = rank[row[0]] >= len(rows) // 3
        kind = ("bacterial" if rank[row[0]] % 2 else "viral") if positive and etiologies else ""
        return [row[0], "pneumonia" if positive else "normal", kind, row[0].name]

    data = table(relabel, ("path", "class", "etiology", "patient"))
    words = ("--bundle", phantom_bundle, "--out", "site.zip", "--workers", "1", "--json")
    code, out, err = pneumoscope("calibrate", "--data", data, *words)
    assert code == 0, err
    record = json.loads(out)
    child = load_bundle(tmp_path / "site.zip")
    assert record["method"] == "calibrate"
    assert (child.model, child.head) == (parent.bundle.model, None)
    assert child.manifest.classes == ("normal", "bacterial", "viral")
    assert bool(child.manifest.conformal) == etiologies
    assert {"sensitivity", "specificity", "auc"} <= set(record["cross_validated"])
    assert load_detector(tmp_path / "site.zip").verify() < 1e-3


def test_all_weights_are_fine_tuned_to_a_sites_own_classes(pneumoscope, table, tmp_path, monkeypatch):
    """From three classes to two: the new network describes the images again, for the population of the new bundle."""
    from pneumoscope.adaptation import fine_tuning

    monkeypatch.setattr(fine_tuning, "_EPOCHS", 2)
    data = table(lambda row: [row[0], "clear" if row[1] == "normal" else "effusion", "", row[3]])
    words = ("--bundle", "nano", "--method", "fine-tune", "--positive", "effusion", "--out", "ours.zip", "--json")
    code, out, err = pneumoscope("adapt", "--data", data, *words)
    assert code == 0, err
    record, child = json.loads(out), load_bundle(tmp_path / "ours.zip")
    assert record["method"] == "fine-tune"
    assert child.manifest.classes == ("clear", "effusion")
    assert (child.head, child.model == find_bundle("nano").model) == (None, False)
    assert record["learning_curve"]["answer"].endswith("linear head, penalty 300.")
    detector = load_detector(tmp_path / "ours.zip")
    assert detector.verify() < 1e-3
    decisions = [p.decision.value for p in detector.predict_many(str(file) for file in images_of(data))]
    assert decisions.count("rejected") + decisions.count("refer") < len(decisions) / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.html", "ours.zip", "site.csv"]


def images_of(table):
    with table.open(newline="") as stream:
        return [row["path"] for row in csv.DictReader(stream)]


def test_images_that_the_bundle_was_trained_on_are_refused(pneumoscope, phantoms, phantom_bundle, tmp_path):
    known = load_bundle(phantom_bundle)
    digests = [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((phantoms / "train").rglob("*.jpeg"))[:3]
    ]
    golden = known.golden | {TRAINING_HASHES: training_hashes(digests)}
    save_bundle(tmp_path / "known.zip", known.manifest, known.model, golden, known.guard)
    code, _, err = pneumoscope("adapt", "--data", phantoms, "--bundle", "known.zip", "--out", "site.zip")
    assert code == 1
    assert "expected images that the detector was not trained on, found 3 of its training images" in err
    code, _, err = pneumoscope("adapt", "--data", phantoms, "--bundle", "known.zip", "--out", "known.zip")
    assert code == 1
    assert "expected no file at known.zip, found one" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: [row[0], "normal" if row[3] in ("p0", "p1") else "pneumonia", "", row[3]],
            "expected at least 20 normal and 20 pneumonia images, found ",
        ),
        (
            lambda row: [row[0], row[1], "", "x" if row[1] == "normal" else row[3]],
            "expected images of at least 5 normal and 5 pneumonia patients, 10 in all, found 1 and",
        ),
        (lambda row: [row[0], "pneumonia", "", row[3]], "found 0 and 72"),
        (lambda row: [row[0], "other", "", row[3]], "expected classes out of normal, pneumonia"),
    ],
)
def test_what_supports_nothing_is_refused_in_one_line(pneumoscope, table, phantom_bundle, tmp_path, change, message):
    data = table(change, ("path", "class", "etiology", "patient"))
    code, out, err = pneumoscope("adapt", "--data", data, "--bundle", phantom_bundle, "--out", "ours.zip")
    assert code == 1
    assert out == ""
    error = err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "ours.zip").exists()


def test_one_image_with_two_labels_is_an_error(pneumoscope, rows, phantom_bundle, tmp_path):
    shutil.copy(rows[0][0], tmp_path / "copy.jpeg")
    other = "normal" if rows[0][1] == "pneumonia" else "pneumonia"
    lines = [f"{row[0]},{row[1]}" for row in rows] + [f"copy.jpeg,{other}"]
    (tmp_path / "site.csv").write_text("path,class\n" + "\n".join(lines) + "\n")
    code, _, err = pneumoscope("adapt", "--data", "site.csv", "--bundle", phantom_bundle, "--out", "ours.zip")
    assert code == 1
    assert "expected one label for one image" in err
    assert "copy.jpeg" in err
    assert "images described" not in err
    (tmp_path / "site.csv").write_text("path,class\n" + "\n".join([*lines[:-1], f"{rows[0][0]},{other}"]) + "\n")
    code, _, err = pneumoscope("adapt", "--data", "site.csv", "--bundle", phantom_bundle, "--out", "ours.zip")
    assert code == 1
    assert f"found {rows[0][0]} twice with two" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "films"], "found no --out: add it"),
        ([], "found no --data and --out: add it"),
        (["--data", "films", "--out", "x.zip", "--from", "pool"], "found --from without --suggest: leave it out"),
        (["--suggest", "5"], "found no --from: add it"),
        (["--suggest", "5", "--from", "pool", "--data", "films"], "found --data: leave it out"),
    ],
)
def test_options_that_do_not_go_together_are_named(pneumoscope, words, message):
    code, _, err = pneumoscope("adapt", *words)
    assert code == 1
    assert err.splitlines()[-1].endswith(message)


def test_files_that_do_not_exist_are_an_error_before_any_work(pneumoscope, rows, tmp_path):
    lines = [f"{row[0]},{row[1]}" for row in rows] + ["gone/1.png,normal", "gone/2.png,normal"]
    (tmp_path / "site.csv").write_text("path,class\n" + "\n".join(lines) + "\n")
    code, _, err = pneumoscope("adapt", "--data", "site.csv", "--bundle", "nano", "--out", "ours.zip")
    assert code == 1
    assert f"found 2 of {len(rows) + 2} missing, such as" in err
    assert [path.name for path in tmp_path.iterdir()] == ["site.csv"]


def test_test_images_are_left_out_and_unknown_patients_are_warned_of(pneumoscope, phantoms, phantom_bundle, tmp_path):
    for number, file in enumerate(sorted(phantoms.rglob("*.jpeg"))):
        part = "train" if "train" in file.parts else "test"
        folder = tmp_path / "films" / part / ("pneumonia" if "PNEUMONIA" in file.parts else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"{number}.jpeg")
    words = ("--data", "films", "--bundle", phantom_bundle, "--out", "ours.zip", "--method", "linear")
    code, out, err = pneumoscope("adapt", *words)
    assert code in (0, 4), err
    assert "12 test images are left out, for evaluate --split test" in err
    assert "over 60 images" in out
    assert "WARNING: The patients of some images are not known" in out


def test_calibrate_is_not_for_other_classes(pneumoscope, table, phantom_bundle):
    data = table(lambda row: [row[0], "clear" if row[1] == "normal" else "effusion", "", row[3]])
    words = ("--bundle", phantom_bundle, "--positive", "effusion", "--out", "ours.zip")
    code, _, err = pneumoscope("adapt", "--data", data, "--method", "calibrate", *words)
    assert code == 1
    assert "use pneumoscope adapt --method linear" in err
    assert "images described" not in err  # said before any of them is read
    code, _, err = pneumoscope("adapt", "--data", data, "--positive", "refer", "--out", "ours.zip")
    assert code == 1
    assert err.count("\n") == 1


def test_killed_at_any_moment_there_is_a_whole_bundle_or_none(table, tmp_path):
    data, out = table(), tmp_path / "ours.zip"
    command = [sys.executable, "-m", "pneumoscope", "adapt", "--data", data, "--bundle", "nano", "--out", out]
    for seconds in (0.5, 1.5, 3.0):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():
            load_bundle(out)
            out.unlink()
    # Descriptions of an interrupted run are found again, and those of other images are not taken for them.
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load_detector(out).verify() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.html", "ours.zip", "site.csv"]

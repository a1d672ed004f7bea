"""predict, report, calibrate and bundle as a user types them."""

import csv
import hashlib
import json
import re
import subprocess
import sys

import pytest

from pneumoscope.bundle import TRAINING_HASHES, load_bundle, save_bundle, training_hashes
from pneumoscope.inference.detector import load_detector

ACCEPT = ("--accept", "outside_population")


def test_the_shipped_detector_answers_for_real_images(pneumoscope, drawn_radiographs):
    """Drawings are no radiographs of children, so the site says that it accepts them."""
    code, out, err = pneumoscope("predict", drawn_radiographs, "--json", *ACCEPT)
    assert "warning: outside_population: such images get a decision" in err
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["file"].rpartition("/")[2] for record in records] == sorted(
        f.name for f in drawn_radiographs.iterdir()
    )
    for record in records:
        label = record["file"].rpartition("/")[2].partition("-")[0]
        assert record["decision"] == ("normal" if label == "normal" else "pneumonia")
        assert abs(sum(record["class_probability"].values()) - 1) < 1e-6
        assert record["bundle"]["name"] == "default"
        assert record["notice"].startswith("Research use only")
        assert record["reasons"] == ([] if record["validated"] else ["outside_population"])
        assert record["validated"] or "unlike the radiographs" in record["detail"]
    assert not all(record["validated"] for record in records)
    assert "6 images: 2 normal, 4 pneumonia" in err


def test_each_image_has_a_line_and_the_notice_follows(pneumoscope, drawn_radiographs):
    code, out, err = pneumoscope(
        "predict", drawn_radiographs / "viral-1.png", drawn_radiographs / "normal-1.png", "--bundle", "nano", *ACCEPT
    )
    assert code == 0
    first, second = out.splitlines()
    expected = r"pneumonia +\d+\.\d %  bacterial \d+ %, viral \d+ %, outside_population, not validated +.*viral-1.png$"
    assert re.match(expected, first)
    assert re.match(r"normal +\d+\.\d % .*normal-1.png$", second)
    assert "Research use only. Not a medical device." in err


def test_a_list_on_standard_input_a_bad_file_and_the_exit_code(pneumoscope, drawn_radiographs, tmp_path):
    (tmp_path / "bad.jpeg").write_bytes(b"not much")
    listed = f"{drawn_radiographs / 'normal-1.png'}\n{tmp_path / 'bad.jpeg'}\n{tmp_path / 'gone.png'}\n"
    code, out, err = pneumoscope("predict", "-", "--json", "--workers", "1", stdin=listed)
    assert code == 3
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["reasons"] for record in records[1:]] == [["unreadable"], ["unreadable"]]
    assert records[0]["pneumonia_probability"] < 0.5
    assert "2 could not be read" in err


def test_out_is_written_once_and_a_second_run_says_so(pneumoscope, drawn_radiographs):
    assert pneumoscope("predict", drawn_radiographs, "--out", "a.csv")[0] == 0
    code, _, err = pneumoscope("predict", drawn_radiographs, "--out", "a.csv")
    assert code == 1
    assert "expected no file at a.csv, found one" in err
    assert pneumoscope("predict", drawn_radiographs, "--out", "a.csv", "--overwrite", "--json")[0] == 0
    with open("a.csv", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "gone.jpeg"], "expected an image, a folder, a pattern or a table at gone.jpeg, found none"),
        (["predict", "."], "expected images, found none"),
        (["predict", ".", "--bundle", "gone.zip"], "expected a bundle"),
        (
            ["predict", "film.png", "--operating-point", "best"],
            "expected an operating point out of balanced, sensitive",
        ),
        (["predict", "film.png", "--prevalence", "1.5"], "expected prevalences between 0 and 1"),
        (["predict", "film.png", "--out", "a.xlsx"], "expected a file ending in .jsonl, .csv, .parquet"),
        (["bundle", "show", "gone.zip"], "expected a bundle"),
        (["bundle", "export", "gone", "--out", "a.zip", "--data", "none"], "expected a data set at none"),
        (["bundle", "export", "gone", "--out", "a.onnx"], "expected a file ending in .zip"),
        (["calibrate", "--data", "gone", "--out", "a.zip"], "expected"),
        (["calibrate", "--data", ".", "--out", "a.onnx"], "expected a file ending in .zip"),
        (["report", "gone"], "expected an image, a folder"),
    ],
)
def test_errors_are_one_line(pneumoscope, drawn_radiographs, tmp_path, words, message):
    (tmp_path / "film.png").write_bytes((drawn_radiographs / "normal-1.png").read_bytes())
    if words == ["predict", "."]:
        (tmp_path / "film.png").unlink()
    code, out, err = pneumoscope(*words)
    assert code == 1
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"film.png"}


def test_report_is_one_page_with_images_maps_and_what_was_rejected(pneumoscope, drawn_radiographs, tmp_path):
    (tmp_path / "bad.jpeg").write_bytes(b"<script>")
    code, out, _ = pneumoscope("report", drawn_radiographs, "bad.jpeg", *ACCEPT)
    assert code == 0
    assert out == "report.html\n"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 12
    assert "7 images: 2 normal, 4 pneumonia, 1 rejected" in page
    assert "Research use only. Not a medical device." in page
    for word in ("unreadable", "bad.jpeg", "threshold", "viral-2.png"):
        assert word in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_bundle_show_and_verify(pneumoscope):
    code, out, _ = pneumoscope("bundle", "show")
    assert code == 0
    for word in ("default 1", "balanced", "sensitive", "specific", "children of 1 to 5 years", "Not a medical device"):
        assert word in out
    assert json.loads(pneumoscope("bundle", "show", "nano", "--json")[1])["name"] == "nano"
    assert "golden outputs come out within" in pneumoscope("bundle", "verify", "nano")[1]
    assert json.loads(pneumoscope("bundle", "verify", "--json")[1])["largest_difference"] < 1e-3


@pytest.mark.parametrize("etiologies", [True, False])
def test_calibrate_makes_a_bundle_with_other_thresholds(pneumoscope, phantoms, phantom_bundle, tmp_path, etiologies):
    table = tmp_path / "site.csv"
    rows = []
    for position, file in enumerate(sorted(phantoms.rglob("*.jpeg"))):
        positive = "PNEUMONIA" in str(file)
        etiology = ("bacterial" if "bacteria" in file.name else "viral") if positive and etiologies else ""
        rows.append(f"{file},{'PNEUMONIA' if positive else 'NORMAL'},{etiology},p{position // 2}")
    table.write_text("path,class,etiology,patient\n" + "\n".join(rows) + "\n")
    code, out, err = pneumoscope(
        "calibrate", "--data", table, "--bundle", phantom_bundle, "--out", "site.zip", "--workers", "1", "--json"
    )
    assert code == 0, err
    record = json.loads(out)
    parent, child = load_bundle(phantom_bundle), load_bundle(tmp_path / "site.zip")
    assert record["parent"] == child.manifest.parent == parent.sha256
    assert record["films"] == len(rows)
    assert child.model == parent.model
    assert child.manifest.fitted_on == f"{len(rows)} films of site.csv"
    assert bool(child.manifest.conformal) == etiologies
    assert set(child.manifest.operating_points) == {"balanced", "sensitive", "specific"}
    assert set(child.manifest.metrics["site"]["cross_validated"]) == {"sensitivity", "specificity"}
    assert load_detector(tmp_path / "site.zip").verify() < 1e-3


def test_calibrate_refuses_training_images(pneumoscope, phantoms, phantom_bundle, tmp_path):
    known = load_bundle(phantom_bundle)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(phantoms.rglob("*.jpeg"))[:3]]
    golden = known.golden | {TRAINING_HASHES: training_hashes(digests)}
    save_bundle(tmp_path / "known.zip", known.manifest, known.model, golden, known.guard)
    code, _, err = pneumoscope("calibrate", "--data", phantoms, "--bundle", "known.zip", "--out", "site.zip")
    assert code == 1
    assert "expected images that the detector was not trained on, found 3 of its training images" in err
    code, _, err = pneumoscope("calibrate", "--data", phantoms, "--bundle", "known.zip", "--out", "known.zip")
    assert code == 1
    assert "expected no file at known.zip, found one" in err


def test_calibrate_needs_images_of_both_classes(pneumoscope, phantoms, phantom_bundle, tmp_path):
    images = sorted(phantoms.rglob("*.jpeg"))
    few = [f for f in images if "NORMAL" in str(f)][:5] + [f for f in images if "PNEUMONIA" in str(f)][:30]
    lines = [f"{f},{'PNEUMONIA' if 'PNEUMONIA' in str(f) else 'NORMAL'}" for f in few]
    (tmp_path / "few.csv").write_text("path,class\n" + "\n".join(lines) + "\n")
    code, _, err = pneumoscope("calibrate", "--data", "few.csv", "--bundle", phantom_bundle, "--out", "site.zip")
    assert code == 1
    assert "expected at least 20 normal and 20 pneumonia images that are not rejected, found 5 and 30" in err
    assert not (tmp_path / "site.zip").exists()


def test_a_run_of_the_study_becomes_a_bundle_with_equal_predictions(pneumoscope, phantoms, tmp_path):
    (tmp_path / "small.toml").write_text(
        'name = "small"\n[model]\narchitecture = "cnn"\nclasses = 3\n[preprocessing]\nheight = 64\nwidth = 64\n'
        "[training]\nepochs = 1\nbatch_size = 16\n"
    )
    assert pneumoscope("train", "small.toml", "--data", phantoms, "--out", "run")[0] == 0
    code, out, err = pneumoscope("bundle", "export", "run", "--out", "small.zip", "--data", phantoms)
    assert code == 0, err
    assert "ONNX Runtime answers as PyTorch does" in out
    manifest = load_bundle(tmp_path / "small.zip").manifest
    assert manifest.architecture == "cnn"
    assert manifest.training["largest_difference_of_onnx"] < 1e-4
    image = next(iter(sorted(phantoms.rglob("*.jpeg"))))
    code, out, _ = pneumoscope("predict", image, "--bundle", "small.zip", "--json", "--evidence", "maps")
    assert code == 0
    assert json.loads(out)["bundle"]["name"] == "small"
    code, _, err = pneumoscope("bundle", "export", "run", "--out", "other.zip", "--data", tmp_path / "gone")
    assert code == 1


def test_detection_works_where_torch_and_its_friends_are_not(drawn_radiographs, tmp_path):
    """As after `pip install .` without extras."""
    absent = ["torch", "scipy", "sklearn", "matplotlib", "lightning_fabric", "pyarrow", "onnx", "safetensors", "h5py"]
    code = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "from pneumoscope.cli import main\nsys.argv = ['pneumoscope', *sys.argv[1:]]\nmain()"
    )
    for words in (
        ["predict", drawn_radiographs / "normal-1.png"],
        ["report", drawn_radiographs, "--out", tmp_path / "r.html"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["predict", "film.png", "--out", "a.parquet"], "pyarrow", "parquet"),
        (["calibrate", "--data", "site", "--out", "a.zip"], "scipy", "calibrate"),
    ],
)
def test_a_missing_package_is_an_error_before_the_work(
    pneumoscope, drawn_radiographs, tmp_path, monkeypatch, words, package, extra
):
    (tmp_path / "film.png").write_bytes((drawn_radiographs / "normal-1.png").read_bytes())
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = pneumoscope(*words)
    assert code == 1
    assert out == ""
    assert f"expected the package {package}, found it missing: pip install 'pneumoscope[{extra}]'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]

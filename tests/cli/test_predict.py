"""predict, report and bundle as a user types them."""

import csv
import json
import re
import subprocess
import sys

import pytest

from pneumoscope.bundle import load_bundle

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
        assert record["validated"] or "the radiographs that the detector was validated on" in record["detail"]
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
        (["predict", "film.png", "--prevalence", "1.5"], "expected a prevalence above 0 and below 1"),
        (["predict", "film.png", "--out", "a.xlsx"], "expected a file ending in .jsonl, .csv, .parquet"),
        (["bundle", "show", "gone.zip"], "expected a bundle"),
        (
            ["bundle", "show", "nanoo"],
            "expected default, nano, best, or the path of a bundle, found nanoo (did you mean nano?)",
        ),
        (["bundle", "export", "gone", "--out", "a.zip", "--data", "none"], "expected a data set at none"),
        (["bundle", "export", "gone", "--out", "a.onnx"], "expected a file ending in .zip"),
        (["adapt", "--data", "gone", "--out", "a.zip"], "expected a data set at gone"),
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
    code, out, err = pneumoscope("report", drawn_radiographs, "bad.jpeg", *ACCEPT)
    assert (code, out) == (3, "report.html\n")
    assert "7 images: 2 normal, 4 pneumonia, 1 rejected; 1 could not be read" in err
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


def test_a_run_of_the_study_becomes_a_bundle_with_equal_predictions(pneumoscope, phantoms, tmp_path):
    (tmp_path / "small.toml").write_text(
        'name = "small"\n[model]\narchitecture = "cnn"\nclasses = 3\n[preprocessing]\nheight = 64\nwidth = 64\n'
        "[training]\nepochs = 1\nbatch_size = 16\n"
    )
    assert pneumoscope("train", "small.toml", "--data", phantoms, "--out", "run")[0] == 0
    code, out, err = pneumoscope("bundle", "export", "run", "--out", "small.zip", "--data", phantoms)
    assert code == 0, err
    assert "ONNX Runtime agrees with PyTorch" in out
    manifest = load_bundle(tmp_path / "small.zip").manifest
    assert manifest.architecture == "cnn"
    assert manifest.training["largest_difference_of_onnx"] < 1e-4
    image = next(iter(sorted(phantoms.rglob("*.jpeg"))))
    code, out, _ = pneumoscope("predict", image, "--bundle", "small.zip", "--json", "--evidence", "maps")
    assert code == 0
    assert json.loads(out)["bundle"]["name"] == "small"
    # It claims nothing that was not said of it.
    assert (manifest.licence, manifest.scope.ages) == ("not stated", None)
    assert manifest.intended_use.startswith("Research on images like the 60 of ")
    texts = ("--name", "ours", "--version", "2", "--intended-use", "Teaching.", "--licence", "MIT", "--ages", "18-90")
    code, _, err = pneumoscope("bundle", "export", "run", "--out", "told.zip", "--data", phantoms, *texts)
    assert code == 0, err
    found = load_bundle(tmp_path / "told.zip").manifest
    assert (found.name, found.version, found.intended_use, found.licence) == ("ours", "2", "Teaching.", "MIT")
    assert found.scope.ages == (18, 90)
    code, _, err = pneumoscope("bundle", "export", "run", "--out", "x.zip", "--data", phantoms, "--ages", "old")
    assert code == 1
    assert "expected detector.ages in completed years, such as 1-5, found 'old'" in err
    code, _, err = pneumoscope("bundle", "export", "run", "--out", "other.zip", "--data", tmp_path / "gone")
    assert code == 1


def test_detection_works_where_torch_and_its_friends_are_not(drawn_radiographs, phantoms, tmp_path):
    """As after `pip install .` without extras."""
    absent = ["torch", "sklearn", "matplotlib", "lightning_fabric", "pyarrow", "onnx", "safetensors", "h5py", "skimage"]
    code = (
        "import sys\nfrom importlib.abc import MetaPathFinder\n"
        "class Absent(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {absent}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pneumoscope.cli import main\nsys.argv = ['pneumoscope', *sys.argv[1:]]\nmain()"
    )
    for words in (
        ["predict", drawn_radiographs / "normal-1.png"],
        ["report", drawn_radiographs, "--out", tmp_path / "r.html"],
        ["adapt", "--data", phantoms, "--bundle", "nano", "--out", tmp_path / "ours.zip", "--workers", "1"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_a_missing_package_is_an_error_before_the_work(pneumoscope, drawn_radiographs, tmp_path, monkeypatch):
    (tmp_path / "film.png").write_bytes((drawn_radiographs / "normal-1.png").read_bytes())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, out, err = pneumoscope("predict", "film.png", "--out", "a.parquet")
    assert code == 1
    assert out == ""
    assert "expected the package pyarrow, found it missing: pip install 'pneumoscope[parquet]'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]

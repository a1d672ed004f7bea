"""The commands as a user types them: results, one-line errors, exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumoscope.data.audit_report import check_earlier_audit
from pneumoscope.data.phantom import PhantomPlan, write_phantoms
from pneumoscope.errors import DataError
from pneumoscope.files import write_text
from pneumoscope.types import SYNTHETIC_NOTICE

SMALL = """
name = "small"
[model]
architecture = "cnn"
[preprocessing]
height = 48
width = 48
[training]
epochs = 2
batch_size = 16
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


def test_models_lists_the_parameters_of_the_study(pneumoscope):
    code, out, _ = pneumoscope("models")
    assert code == 0
    for words in ("266,306", "352,835", "13,140,739", "21,802,784", "129,635", "93,248"):
        assert words in out
    code, out, _ = pneumoscope("models", "--json")
    assert {record["architecture"] for record in json.loads(out)} == {
        "cnn",
        "inception_v3",
        "stacked_cnn",
        "lite0",
        "mid",
        "nano",
    }


def test_version_and_help(pneumoscope):
    assert re.fullmatch(r"pneumoscope \d+\.\d+\.\d+\n", pneumoscope("--version")[1])
    code, out, _ = pneumoscope("--help")
    assert code == 0
    for noun in ("data", "models", "study", "train", "evaluate"):
        assert noun in out


def test_data_commands_answer_and_leave_files(pneumoscope, phantoms):
    code, out, err = pneumoscope("data", "index", "--data", phantoms, "--json")
    assert code == 0
    assert json.loads(out)["films"]["train normal"] == 20
    assert "72 films indexed" in err
    assert pneumoscope("data", "audit", "--data", phantoms)[1].splitlines()[-1].endswith(".")
    assert "file_cues" in json.loads(pneumoscope("data", "audit", "--data", phantoms, "--json")[1])
    assert "What predicts the label" in Path("runs/data/audit.html").read_text()
    code, out, _ = pneumoscope("data", "split", "--data", phantoms, "--seed", "3", "--json")
    assert len(json.loads(out)["hash"]) == 64
    assert "validation normal" in pneumoscope("data", "split", "--data", phantoms)[1]
    assert "72 films" in pneumoscope("data", "index", "--data", phantoms)[1]
    code, out, _ = pneumoscope("data", "overview", "--data", phantoms, "--json")
    assert Path(json.loads(out)["page"]).is_file()
    assert {f.name for f in Path("runs/data").iterdir()} >= {"index.csv", "audit.json", "split.csv", "overview.html"}


@pytest.mark.parametrize("verb", ["index", "split"])
def test_a_second_table_replaces_one_of_the_same_images_and_leaves_one_of_others(verb, pneumoscope, phantoms, tmp_path):
    for name in ("films", "others"):
        write_phantoms(tmp_path / name, PhantomPlan(20, 2, seed=len(name)))
    command, other = (("data", verb, "--data", tmp_path / name, "--out", "report") for name in ("films", "others"))
    table = Path(f"report/{verb}.csv")
    assert "replaces" not in pneumoscope(*command)[2]
    (tmp_path / "films").rename(tmp_path / "moved")
    next((tmp_path / "moved").rglob("*.jpeg")).unlink()
    moved = ("data", verb, "--data", tmp_path / "moved", "--out", "report")
    assert pneumoscope(*moved)[2].endswith(f"replaces {table}\n")
    kept = table.read_bytes()
    code, _, err = pneumoscope(*other)  # images of the same names
    assert code == 1
    assert f"error: expected no {verb}.csv of another data set in report, found one of 65 images (" in err
    assert "indexed" not in err
    assert table.read_bytes() == kept
    assert f"replaces {table}, one of 65 images (" in pneumoscope(*other, "--overwrite")[2]
    assert table.read_bytes() != kept
    assert pneumoscope(*moved, "--overwrite")[0] == 0
    assert table.read_bytes() == kept


@pytest.mark.parametrize("content", [b"mine", b"path,note\na,b\n", b"\xff\xfe\x00", b""])
def test_a_file_that_is_no_index_is_replaced_on_demand_alone(content, pneumoscope, phantoms, tmp_path):
    table = tmp_path / "report" / "index.csv"
    table.parent.mkdir()
    table.write_bytes(content)
    command = ("data", "index", "--data", phantoms, "--out", table.parent)
    code, _, err = pneumoscope(*command)
    assert code == 1
    assert "found one of unknown data: name another folder by --out, or add --overwrite" in err
    assert table.read_bytes() == content
    assert pneumoscope(*command, "--overwrite")[0] == 0


def test_a_second_audit_replaces_one_of_the_same_data_and_leaves_one_of_other_data(pneumoscope, phantoms, tmp_path):
    shutil.copytree(phantoms / "train", tmp_path / "films")
    command = ("data", "audit", "--data", tmp_path / "films", "--out", "report")
    assert "replaces" not in pneumoscope(*command)[2]
    first = Path("report/audit.json").read_text()
    next((tmp_path / "films").rglob("*.jpeg")).unlink()
    assert f"replaces the audit of films of {json.loads(first)['date'][:10]} in report" in pneumoscope(*command)[2]
    second = Path("report/audit.json").read_text()
    assert json.loads(first)["index_hash"] != json.loads(second)["index_hash"]
    other = ("data", "audit", "--data", phantoms, "--out", "report")
    code, _, err = pneumoscope(*other)
    assert code == 1
    assert "error: expected no audit of another data set in report, found that of films: name another folder by" in err
    assert Path("report/audit.json").read_text() == second
    assert "replaces the audit of films" in pneumoscope(*other, "--overwrite")[2]


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON", '{"report": "mine"}', '{"data": "", "data_id": ""}'])
@pytest.mark.parametrize("data", ["films", "."])
def test_a_file_that_is_no_audit_is_replaced_on_demand_alone(content, data, tmp_path):
    (tmp_path / "audit.json").write_text(content)
    with pytest.raises(
        DataError, match=r"found audit\.json of unknown data: name another folder by --out, or add --over"
    ):
        check_earlier_audit(tmp_path, Path(data))
    assert check_earlier_audit(tmp_path, Path(data), overwrite=True).startswith(
        "replaces audit.json of unknown data in"
    )


@pytest.mark.parametrize("name", ["audit.html", "audit.md"])
def test_a_page_without_an_audit_is_replaced_on_demand_alone(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"found {name} of unknown data: name another folder"):
        check_earlier_audit(tmp_path, Path("films"))
    assert "replaces" in check_earlier_audit(tmp_path, Path("films"), overwrite=True)
    assert check_earlier_audit(tmp_path / "none", Path("films")) == ""


def test_an_audit_of_data_of_the_same_name_elsewhere_is_replaced_on_demand_alone(
    pneumoscope, phantoms, tmp_path, monkeypatch
):
    out = tmp_path / "report"
    for site in ("a", "b"):
        shutil.copytree(phantoms / "train", tmp_path / site / "images")
    assert "replaces" not in pneumoscope("data", "audit", "--data", tmp_path / "a/images", "--out", out)[2]
    monkeypatch.chdir(tmp_path / "a/images")
    assert "replaces the audit of images of" in pneumoscope("data", "audit", "--data", ".", "--out", out)[2]
    first = (out / "audit.json").read_text()
    assert json.loads(first)["data"] == "images"
    assert re.fullmatch("[0-9a-f]{16}", json.loads(first)["data_id"])
    assert str(tmp_path) not in json.dumps({**json.loads(first), "command": ""})
    monkeypatch.chdir(tmp_path / "b/images")
    code, _, err = pneumoscope("data", "audit", "--data", ".", "--out", out)
    assert code == 1
    assert f"in {out}, found that of images at another path: name another folder by --out" in err
    assert (out / "audit.json").read_text() == first
    (out / "audit.json").write_text('{"data": "images", "date": "2026-01-02"}')
    with pytest.raises(DataError, match="found that of images by an earlier version"):
        check_earlier_audit(out, Path())


@pytest.mark.parametrize("below", ["", "report"])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_file_in_place_of_the_folder_is_an_error_before_any_image_is_read(
    below, overwrite, pneumoscope, phantoms, tmp_path
):
    (tmp_path / "file").write_text("mine")
    code, _, err = pneumoscope("data", "audit", "--data", phantoms, "--out", tmp_path / "file" / below, *overwrite)
    assert code == 1
    assert f"expected a folder for the report at {tmp_path / 'file' / below}, found Not a directory" in err
    assert "films indexed" not in err


def test_an_index_says_which_folders_it_leaves_out(pneumoscope, phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "films")
    shutil.move(tmp_path / "films/train/NORMAL", tmp_path / "films/train/TB")
    code, out, err = pneumoscope("data", "index", "--data", tmp_path / "films")
    assert code == 0
    assert "films, 0 unreadable, 20 left out; " in out
    assert "left out: TB (20); to use them, --class-map normal=normal,pneumonia=pneumonia,TB=CLASS with" in err
    out = pneumoscope("data", "index", "--data", tmp_path / "films", "--json")[1]
    assert json.loads(out)["left_out"] == {"TB": 20}


def test_phantoms_say_what_they_are(pneumoscope):
    code, out, err = pneumoscope("data", "phantoms", "--train", "20", "--test", "2")
    assert code == 0
    assert "says nothing about accuracy" in err
    assert len(list(Path(out.strip()).rglob("*.jpeg"))) == 66


def test_download_takes_what_is_there(pneumoscope, tmp_path):
    (tmp_path / "films/train").mkdir(parents=True)
    assert pneumoscope("data", "download", "--out", tmp_path / "films")[1].strip() == str(tmp_path / "films")
    assert json.loads(pneumoscope("data", "download", "--out", tmp_path / "films", "--json")[1])["folder"]


def test_audit_of_leaking_images_ends_with_exit_code_1(pneumoscope, tmp_path, phantoms):
    shutil.copytree(phantoms, tmp_path / "films")
    shutil.copy(next(phantoms.glob("train/NORMAL/*")), tmp_path / "films/test/NORMAL/IM-0900-0001.jpeg")
    code, _, err = pneumoscope("data", "audit", "--data", tmp_path / "films")
    assert code == 1
    assert "error: expected every film in one split, found 1 byte-identical group in two" in err
    assert Path("runs/data/audit.json").is_file()


def test_train_evaluate_and_their_second_runs(pneumoscope, config, phantoms, tmp_path):
    code, out, err = pneumoscope("train", config, "--data", phantoms, "--json")
    assert code == 0
    assert json.loads(out)["epochs"] == 2
    assert re.search(r"epoch  2/2  loss \d\.\d+ .* img/s", err)
    code, out, err = pneumoscope("evaluate", "runs/small", "--data", phantoms, "--why", "to test", "--json")
    assert code == 0
    assert json.loads(out)["films"] == 12
    # A ledger is continued where there is one, and begun by --ledger alone.
    assert not Path("results").exists()
    write_text(Path("results/test-ledger.jsonl"), "")
    shutil.rmtree("runs/small/evaluation")
    # Phantoms are no test images, wherever they lie, and their report says what they are.
    out = pneumoscope("evaluate", "runs/small", "--data", phantoms)[1]
    assert SYNTHETIC_NOTICE in out
    assert Path("results/test-ledger.jsonl").read_text() == ""
    shutil.rmtree("runs/small/evaluation")
    phantoms = shutil.copytree(phantoms, tmp_path / "films", ignore=shutil.ignore_patterns("phantoms.json"))
    pneumoscope("evaluate", "runs/small", "--data", phantoms, "--why", "to test")
    assert json.loads(Path("results/test-ledger.jsonl").read_text())["why"] == "to test"
    shutil.rmtree("runs/small/evaluation")
    pneumoscope("evaluate", "runs/small", "--data", phantoms, "--why", "elsewhere", "--ledger", "l.jsonl")
    assert json.loads(Path("l.jsonl").read_text())["why"] == "elsewhere"
    assert "| accuracy |" in pneumoscope("evaluate", "runs/small", "--data", phantoms, "--split", "validation")[1]
    before = Path("runs/small/model.safetensors").read_bytes()
    code, _, err = pneumoscope("train", config, "--data", phantoms)
    assert (code, err.splitlines()[-1].startswith("error: expected no run in runs/small, found one")) == (1, True)
    code, out, _ = pneumoscope("train", config, "--data", phantoms, "--resume", "runs/small")
    assert code == 0
    assert out.rstrip().endswith(f"next: pneumoscope evaluate runs/small --data {phantoms}")
    assert Path("runs/small/model.safetensors").read_bytes() == before
    config.write_text(SMALL.replace("epochs = 2", "epochs = 3"))
    code, _, err = pneumoscope("train", config, "--data", phantoms, "--resume", "runs/small")
    assert "training.epochs 3 instead of 2" in err


def test_a_short_training_on_a_few_images(pneumoscope, config, phantoms):
    code, out, err = pneumoscope("train", config, "--data", phantoms, "--epochs", "1", "--limit", "48")
    assert code == 0
    assert out.startswith("1 epochs")
    assert re.search(r"^4[0-9] films indexed", err, re.MULTILINE)
    assert json.loads(Path("runs/small/config.json").read_text())["training"]["epochs"] == 1
    code, out, _ = pneumoscope("evaluate", "runs/small", "--data", phantoms, "--why", "to test")
    assert code == 0


def test_an_audit_goes_on_without_images_that_cannot_be_read(pneumoscope, tmp_path, phantoms):
    data = spoilt(tmp_path, phantoms, "truncated film")
    assert pneumoscope("data", "audit", "--data", data)[0] == 1
    code, out, _ = pneumoscope("data", "audit", "--data", data, "--skip-unreadable")
    assert code == 0
    assert "1 film that cannot be read" in out


def test_resume_on_other_images_is_refused(pneumoscope, config, phantoms, tmp_path):
    assert pneumoscope("train", config, "--data", phantoms)[0] == 0
    other = write_phantoms(tmp_path / "other", PhantomPlan(train=20, test=4, seed=5))
    code, _, err = pneumoscope("train", config, "--data", other, "--resume", "runs/small")
    assert code == 1
    assert "found different ones (split_hash)" in err


def test_stacked_cnn_needs_a_base(pneumoscope, phantoms):
    code, _, err = pneumoscope("train", "stacked_cnn", "--data", phantoms)
    assert (code, "expected a finished cnn run by --base for stacked_cnn, found none" in err) == (1, True)


def spoilt(tmp_path, phantoms, fault):
    """A folder, table or file that is wrong in one way."""
    path = tmp_path / "data"
    if fault == "missing":
        return path
    if fault == "text file":
        path.write_text("hello")
    elif fault == "empty folder":
        path.mkdir()
    elif fault == "truncated film":
        shutil.copytree(phantoms, path)
        file = next(path.glob("train/NORMAL/*"))
        file.write_bytes(file.read_bytes()[:1500])
    elif fault == "table without paths":
        path = tmp_path / "films.csv"
        path.write_text("number,label\n1,normal\n")
    return path


@pytest.mark.parametrize("fault", ["missing", "text file", "empty folder", "truncated film", "table without paths"])
@pytest.mark.parametrize("command", [["study", "--only", "cnn_2_classes"], ["train", "cnn_2_classes"]])
def test_bad_data_is_one_line_and_exit_code_1(pneumoscope, tmp_path, phantoms, fault, command):
    code, out, err = pneumoscope(*command, "--data", spoilt(tmp_path, phantoms, fault))
    assert code == 1
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.match(r"error: (expected .* found .*: .*|1 film that cannot be read .*)", line)
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "none.toml"], 1, "expected a TOML configuration at none.toml"),
        (["evaluate", "none"], 1, "expected a run folder with config.json at none"),
        (
            ["evaluate", "none", "--bundle", "b.zip"],
            1,
            "expected a run folder, or --bundle, --out, --require and --accept, found both",
        ),
        (["evaluate", "--bundle", "b.zip"], 1, "expected a bundle (folder or zip with manifest.json"),
        (["study", "--only", "vgg"], 1, "expected an experiment out of"),
        (["study", "--only", "cnn_3_clases"], 1, "found 'cnn_3_clases' (did you mean cnn_3_classes?)"),
        (["train", "cnn_3_clases"], 1, "found 'cnn_3_clases' (did you mean cnn_3_classes?)"),
        (["study", "--limit", "3"], 2, "Invalid value"),
        (["study", "--precision", "fp8"], 1, "expected --precision auto, fp32 or bf16, found fp8"),
        (["study", "--colour"], 2, "No such option"),
        (["study", "--seeds", "0"], 2, "Invalid value"),
        (["paint"], 2, "No such command"),
        (["data", "index", "--data"], 2, "requires an argument"),
    ],
)
def test_wrong_arguments_are_errors(pneumoscope, phantoms, monkeypatch, words, code, message):
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(phantoms))
    found, _, err = pneumoscope(*words)
    assert found == code
    assert message in re.sub(r"\s+", " ", err)


def test_a_bundle_is_trained_and_evaluated(pneumoscope, phantoms, tmp_path):
    (tmp_path / "d.toml").write_text(
        'name = "d"\n[model]\narchitecture = "nano"\nfreeze_base = false\n[preprocessing]\nheight = 64\nwidth = 64\n'
        '[training]\nepochs = 1\noptimiser = "adamw"\n[detector]\nname = "d"\nfolds = 2\n'
    )
    code, out, _ = pneumoscope("train", "d.toml", "--data", phantoms)
    assert code == 0
    assert re.search(
        r"runs/d/bundle.zip: on the stress validation AUC 0\.\d+, sensitivity .*; next: pneumoscope evaluate --bundle runs/d/bundle.zip --data ",
        out,
    )
    code, out, _ = pneumoscope("evaluate", "--bundle", "runs/d/bundle.zip", "--data", phantoms, "--json")
    assert code == 0
    record = json.loads(out)
    assert record["films"] == 12
    assert {"sensitivity", "ece", "auc_viral_vs_bacterial"} <= record["measures"].keys()
    assert (tmp_path / "evaluation/bundle/test/report.html").is_file()


def test_wrong_inception_weights_are_an_error_before_training(pneumoscope, tmp_path, phantoms):
    (tmp_path / "w.h5").write_text("hello")
    code, _, err = pneumoscope("train", "inception_v3", "--data", phantoms, "--inception-weights", tmp_path / "w.h5")
    assert code == 1
    assert "expected Keras' Inception V3 notop weights (HDF5)" in err
    code, _, err = pneumoscope("train", "inception_v3", "--data", phantoms, "--inception-weights", tmp_path / "none.h5")
    assert "found no file: check --inception-weights" in err


def test_output_that_cannot_be_written_is_one_line(pneumoscope, tmp_path, phantoms):
    (tmp_path / "file").write_text("kept")
    code, _, err = pneumoscope("data", "index", "--data", phantoms, "--out", tmp_path / "file")
    assert code == 1
    assert "name another folder" in err
    assert (tmp_path / "file").read_text() == "kept"


def test_debug_shows_the_traceback(pneumoscope, tmp_path):
    with pytest.raises(Exception, match="expected a data set at"):
        pneumoscope("--debug", "data", "index", "--data", tmp_path / "none")


def test_missing_extra_is_one_line(pneumoscope, phantoms, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("pneumoscope.training", "pneumoscope.models"))]:
        monkeypatch.delitem(sys.modules, name)
    code, _, err = pneumoscope("train", "cnn_3_classes", "--data", phantoms)
    assert (code, "pip install 'pneumoscope[train]'" in err) == (1, True)


def environment(tmp_path):
    return os.environ | {"PNEUMOSCOPE_CACHE": str(tmp_path / "cache")}


@pytest.mark.integration
def test_ctrl_c_ends_a_training_and_says_how_to_resume(tmp_path, config, phantoms):
    config.write_text(SMALL.replace("epochs = 2", "epochs = 5000\npatience = 5000"))
    command = [sys.executable, "-m", "pneumoscope", "train", str(config), "--data", str(phantoms)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "runs/small/checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; to go on, pneumoscope train {config} --resume runs/small --data {phantoms}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs/small/model.safetensors").exists()


def test_reader_that_leaves_is_no_error(tmp_path):
    command = f"{sys.executable} -m pneumoscope models | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment(tmp_path))
    assert "architecture" in done.stdout
    assert "Traceback" not in done.stderr

"""`pneumoscope stress`, as a user calls it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumoscope.data.phantom import PhantomPlan, write_phantoms
from pneumoscope.errors import ConfigError

MODEL = """
calls = []

def brightness(images):
    calls.append(len(images))
    return images.mean(axis=(1, 2)) / 255

def fails(images):
    if len(calls) == 3:
        raise OSError("the licence has run out")
    return brightness(images)
"""


@pytest.fixture
def site(phantoms, tmp_path, monkeypatch):
    """Folder with a module of models; a folder of films per class."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site_models.py").write_text(MODEL)
    return phantoms / "train"


def stress(pneumoscope, *words):
    return pneumoscope("stress", *words, "--side", "96", "--corrupted", "0")


def test_a_function_is_tested_and_a_second_run_shows_it_a_few_images(pneumoscope, site, tmp_path):
    words = ("site_models:brightness", "--trust", "--data", site)
    code, out, err = stress(pneumoscope, *words)
    assert code == 0, err
    assert len(out.strip().splitlines()) == 5
    assert out.splitlines()[-1] == "stress/site_models-brightness/stress.html"
    folder = tmp_path / "stress" / "site_models-brightness"
    report = json.loads((folder / "stress.json").read_text())
    assert report["radiographs"] == {"negative": 20, "positive": 40}
    assert report["provenance"]["packages"]["pneumoscope"]
    import site_models

    site_models.calls.clear()
    code, out, _ = stress(pneumoscope, *words, "--json")
    assert (code, site_models.calls) == (0, [13])  # by which it is known again
    assert json.loads(out)["trials"] == report["trials"]


def test_an_edited_function_and_another_limit_start_anew_beside(pneumoscope, site, tmp_path):
    words = ("site_models:brightness", "--trust", "--data", site, "--json")
    _forget("site_models")
    assert stress(pneumoscope, *words)[0] == 0
    (tmp_path / "site_models.py").write_text(MODEL.replace("/ 255", "/ 1020"))
    _forget("site_models")
    code, out, err = stress(pneumoscope, *words)
    assert code == 0, err
    edited = json.loads(out)
    code, out, err = stress(pneumoscope, *words, "--limit", "30")
    assert code == 0, err
    assert json.loads(out)["radiographs"] != edited["radiographs"]
    stored = sorted((tmp_path / "stress" / "site_models-brightness" / "predictions").iterdir())
    assert len(stored) == 3
    highest = {np.load(folder / "unaltered.npy").max() for folder in stored}
    assert min(highest) < 0.26 < max(highest)


def test_a_limit_counts_the_split_that_is_tested(pneumoscope, site):
    words = ("site_models:brightness", "--trust", "--data", site.parent, "--split", "train", "--limit", "60", "--json")
    _forget("site_models")
    code, out, err = stress(pneumoscope, *words)
    assert code == 0, err
    assert json.loads(out)["radiographs"] == {"negative": 20, "positive": 40}


def test_a_limit_of_a_split_without_images_says_so(pneumoscope, site):
    words = ("site_models:brightness", "--trust", "--data", site.parent, "--split", "validation", "--limit", "60")
    _forget("site_models")
    code, _, err = stress(pneumoscope, *words)
    assert code != 0
    assert "expected validation images" in err
    assert "name another --split" in err


def test_a_model_that_fails_gets_one_line_and_goes_on(pneumoscope, site):
    _forget("site_models")
    code, _, err = stress(pneumoscope, "site_models:fails", "--trust", "--data", site)
    [line] = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 1
    assert "OSError: the licence has run out" in line
    import site_models

    site_models.calls.append(0)
    code, _, err = stress(pneumoscope, "site_models:fails", "--trust", "--data", site)
    assert code == 0, err


def test_what_runs_code_is_asked_for(pneumoscope, site):
    code, _, err = stress(pneumoscope, "site_models:brightness", "--data", site)
    assert code == 1
    assert "--trust" in err


def test_a_look_at_test_images_is_recorded(pneumoscope, site, tmp_path, monkeypatch):
    table = tmp_path / "ours.csv"
    files = sorted(site.rglob("*.jpeg"))
    rows = [f"{file},{'normal' if 'NORMAL' in file.parts else 'pneumonia'},test" for file in files]
    table.write_text("\n".join(["path,class,split", *rows]))
    ledger = tmp_path / "ledger.jsonl"
    words = ("--trust", "--data", table, "--ledger", ledger, "--why", "curiosity")
    code, _, err = stress(pneumoscope, "site_models:brightness", *words)
    assert code == 0, err
    [line] = map(json.loads, ledger.read_text().splitlines())
    assert (line["why"], line["model"], line["radiographs"]) == ("curiosity", "site_models:brightness", 60)
    assert set(line["result"]) == {"accuracy", "auc"}


def test_a_bundle_is_not_tested_on_what_it_was_trained_on(pneumoscope, site, phantom_bundle, monkeypatch):
    from pneumoscope.bundle import Bundle

    monkeypatch.setattr(Bundle, "count_training_images", lambda self, sha256: len(list(sha256)))
    code, _, err = stress(pneumoscope, phantom_bundle, "--data", site)
    assert code == 1
    assert "found 60 that it was" in err


def test_a_bundle_is_tested(pneumoscope, site, phantom_bundle):
    code, out, err = stress(pneumoscope, phantom_bundle, "--data", site, "--workers", "1")
    assert code == 0, err
    assert "AUC" in out


def test_several_models_are_compared(pneumoscope, site, tmp_path):
    words = ("site_models:brightness", "site_models:contrast", "--trust", "--data", site, "--limit", "30")
    (tmp_path / "site_models.py").write_text(
        MODEL + "\ndef contrast(images):\n    return 1 - images.std(axis=(1, 2)) / 255\n"
    )
    _forget("site_models")
    code, out, err = stress(pneumoscope, *words)
    assert code == 0, err
    assert "has the best stress score" in out
    assert out.splitlines()[-1] == "stress/comparison.html"
    record = json.loads((tmp_path / "stress" / "comparison.json").read_text())
    assert [each["model"] for each in record["models"]] == ["site_models:brightness", "site_models:contrast"]
    for name in ("brightness", "contrast"):
        assert (tmp_path / "stress" / f"site_models-{name}" / "stress.html").is_file()


def test_a_wrong_second_model_is_known_before_the_first_is_shown_anything(pneumoscope, site):
    _forget("site_models")
    code, _, err = stress(pneumoscope, "site_models:brightness", "site_models:absent", "--trust", "--data", site)
    assert code == 1
    assert "expected a function absent" in err
    import site_models

    assert site_models.calls == []


def test_folders_of_reports_are_named_after_their_models(tmp_path, monkeypatch):
    from pneumoscope.cli.stress import _folders

    for name in ("one/seed-0", "two/seed-0"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one" / "seed-0")
    assert _folders(["."], None) == [Path("stress/seed-0")]
    monkeypatch.chdir(tmp_path)
    assert _folders(["one/seed-0", "two/seed-0"], Path("out")) == [Path("out/one-seed-0"), Path("out/two-seed-0")]
    assert _folders(["default", "ours:predict"], None) == [Path("stress/default"), Path("stress/ours-predict")]
    with pytest.raises(ConfigError, match="name each once"):
        _folders(["one/seed-0", "./one/seed-0/"], None)


def test_one_model_twice_is_refused(pneumoscope, site):
    code, _, err = stress(pneumoscope, "site_models:brightness", "site_models:brightness", "--trust", "--data", site)
    assert code == 1
    assert "name each once" in err


def test_the_threshold_is_chosen_on_a_validation(pneumoscope, site, tmp_path):
    words = ("site_models:brightness", "--trust", "--data", site)
    other = write_phantoms(tmp_path / "other", PhantomPlan(train=20, test=1, seed=5))
    code, out, err = stress(pneumoscope, *words, "--validation", other, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert 0 < record["threshold"] < 1
    assert record["threshold"] not in (0.5, record["best_threshold"])
    assert record["threshold_from"].startswith("60 radiographs of ")
    code, _, err = stress(pneumoscope, *words, "--validation", site)
    assert code == 1
    assert "found 60 of those that are tested" in err
    code, _, err = stress(pneumoscope, *words, "--validation", other, "--threshold", "0.5")
    assert code == 1
    assert "leave out --threshold or --validation" in err


def test_classes_of_other_names_are_said_by_a_class_map(pneumoscope, site, tmp_path):
    _forget("site_models")
    for number, file in enumerate(sorted(site.rglob("*.jpeg"))):
        folder = tmp_path / "ours" / ("well" if "NORMAL" in file.parts else "ill")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"{number}.jpeg")
    words = ("site_models:brightness", "--trust", "--data", "ours")
    code, _, err = stress(pneumoscope, *words)
    assert code == 1
    assert "found the classes ill, well: say which is which by --class-map" in err.splitlines()[-1]
    code, _, err = stress(pneumoscope, *words, "--class-map", "well=normal,sick=pneumonia")
    assert code == 1
    assert "the classes of the class map in ours, found ill, well and none named sick" in err.splitlines()[-1]
    code, out, err = stress(pneumoscope, *words, "--class-map", "well=normal,ill=pneumonia", "--json")
    assert code == 0, err
    assert json.loads(out)["radiographs"] == {"negative": 20, "positive": 40}
    (tmp_path / "ours" / "well").rename(tmp_path / "ours" / "healthy")
    (tmp_path / "ours" / "ill").rename(tmp_path / "ours" / "sick")
    code, out, err = stress(pneumoscope, *words, "--json")
    assert code == 0, err
    assert "healthy is normal (20)" in err


def _forget(module):
    import sys

    sys.modules.pop(module, None)


def test_a_model_that_is_not_there_is_known_before_the_radiographs_are_read(pneumoscope, site):
    code, _, err = stress(pneumoscope, "no.onnx", "--data", site)
    assert code == 1
    assert err == "error: expected a model file at no.onnx, found none: check the path\n"

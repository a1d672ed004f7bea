"""README and docs say what `results/` says, and `results/` hangs together."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pages import words_of
from pneumoscope.bundle import SHIPPED
from pneumoscope.configs import shipped_config
from pneumoscope.detector_training.stress_validation import join_members, load_stress_validation, stress_set
from pneumoscope.evaluation.policy_fitting import fit_policy
from pneumoscope.inference.detector import load_detector
from pneumoscope.study.comparison import write_comparison

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
STUDY = RESULTS / "study"

# Prints every file that is opened while the pages are rendered.
OPENED = """
import sys
from pathlib import Path

opened = set()
sys.addaudithook(lambda event, arguments: opened.add(str(arguments[0])) if event == "open" else None)
sys.path.insert(0, "scripts")
from quoting.pages import PAGES, rendered

for page in PAGES:
    rendered(Path(page).read_text(encoding="utf-8"))
print(*opened, sep="\\n")
"""
READ_BY_TESTS = (
    "test-ledger.jsonl",
    "study/runs/*/seed-*/config.json",
    "study/runs/*/seed-*/provenance.json",
    "study/runs/*/seed-*/evaluation/test/report.json",
    "detector/**/folds/fold-*/hard-*.npz",
)


@pytest.fixture(autouse=True)
def _scripts_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


def files_of(folder):
    return {file for file in folder.rglob("*") if file.is_file()}


def test_pages_quote_the_results():
    done = subprocess.run(
        [sys.executable, "scripts/quote_results.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_stale_block_is_rendered_anew():
    from quoting.pages import rendered

    page = (ROOT / "docs/results/study.md").read_text()
    assert rendered(page) == page
    accuracy = json.loads((STUDY / "comparison.json").read_text())["models"][0]["over_seeds"]["accuracy"]["mean"]
    shown = f"| {100 * accuracy:.1f} ±"
    assert shown in page
    altered = page.replace(shown, "| 99.9 ±")
    assert rendered(altered) == page


def test_unknown_marker_is_an_error():
    from quoting.pages import rendered

    with pytest.raises(ValueError, match="found the marker studies"):
        rendered("<!-- studies -->\n<!-- /studies -->")


def test_every_result_is_quoted_named_or_tested():
    done = subprocess.run([sys.executable, "-c", OPENED], cwd=ROOT, capture_output=True, text=True, check=True)
    known = {ROOT / line for line in done.stdout.splitlines()}
    known |= {file for pattern in READ_BY_TESTS for file in RESULTS.glob(pattern)}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.toml")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    unread = [file for file in files_of(RESULTS) - known if str(file.relative_to(ROOT)) not in text]
    assert unread == []


def test_study_is_published_as_its_script_publishes():
    import publish_study

    assert files_of(STUDY) == {file for pattern in publish_study.KEPT for file in STUDY.glob(pattern)}


def test_comparison_is_that_of_the_reports_beside_it():
    comparison = json.loads((STUDY / "comparison.json").read_text())
    assert comparison["synthetic"] is False
    assert comparison["data"]["films"] == 5856
    for model in comparison["models"]:
        assert len(model["runs"]) >= 3
        for run in model["runs"]:
            report = json.loads(
                (STUDY / f"runs/{model['name']}/seed-{run['seed']}/evaluation/test/report.json").read_text()
            )
            assert report["measures"] == run["measures"]
            assert (report["films"], report["patients"]) == (624, 427)
            assert report["provenance"]["split_hash"] == comparison["data"]["split_hash"]
            right = sum(run["confusion_matrix"]["counts"][i][i] for i in range(len(run["confusion_matrix"]["classes"])))
            assert run["measures"]["accuracy"]["value"] == pytest.approx(right / 624)


def test_pages_of_the_comparison_are_made_from_its_record(tmp_path):
    write_comparison(json.loads((STUDY / "comparison.json").read_text()), tmp_path)
    assert (tmp_path / "comparison.md").read_text() == (STUDY / "comparison.md").read_text()
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads((STUDY / "comparison.json").read_text())
    page = words_of(tmp_path / "comparison.html")
    for words in ("Not reproduced. The slides&#39; 83.7 %", "79.6 (75.8-83.2)", "69.6 (64.8-74.1)", "73.3 ± 5.5 (3)"):
        assert words in page


def test_every_look_at_the_test_images_is_in_the_ledger():
    lines = [json.loads(line) for line in (RESULTS / "test-ledger.jsonl").read_text().splitlines()]
    told = {(line["model"], line.get("config_hash"), line["result"].get("accuracy")) for line in lines}
    for model in json.loads((STUDY / "comparison.json").read_text())["models"]:
        for run in model["runs"]:
            folder = STUDY / f"runs/{model['name']}/seed-{run['seed']}"
            config_hash = json.loads((folder / "provenance.json").read_text())["config_hash"]
            config = json.dumps(json.loads((folder / "config.json").read_text()), sort_keys=True)
            assert hashlib.sha256(config.encode()).hexdigest() == config_hash
            accuracy = round(run["measures"]["accuracy"]["value"], 4)
            assert (f"{model['name']}, seed {run['seed']}", config_hash, accuracy) in told


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_detectors_are_the_ones_that_were_measured(name):
    report = json.loads((RESULTS / f"detector/{name}/report.json").read_text())
    assert report["provenance"]["bundle"] == load_detector(name).bundle.sha256
    assert (report["split"], report["films"], report["patients"], report["synthetic"]) == ("test", 624, 427, False)
    lines = [json.loads(line) for line in (RESULTS / "test-ledger.jsonl").read_text().splitlines()]
    clusters = [line["result"] for line in lines if line.get("config_hash") == report["provenance"]["config_hash"]]
    assert round(report["measures"]["binary_accuracy"]["value"], 4) in {look["binary_accuracy"] for look in clusters}


@pytest.mark.parametrize(
    ("name", "members"), [("default", ["default"]), ("best", ["default", "best/members/ablation-lungs-128"])]
)
def test_decisions_are_fitted_on_out_of_fold_predictions(name, members):
    files = [sorted((RESULTS / "detector" / each / "folds").glob("fold-*/hard-0.npz")) for each in members]
    manifest = load_detector(name).bundle.manifest
    weights = [each["weight"] for each in manifest.training.get("members", [{"weight": 1.0}])]
    found = [[load_stress_validation(file) for file in each] for each in files]
    stress = stress_set([join_members(fold, weights) for fold in zip(*found, strict=True)])
    fitted = fit_policy(stress.logit, stress.label, shipped_config(name).detector, stress.weight)
    assert manifest.metrics["hard_validation"]["auc"] == pytest.approx(fitted.auc, abs=1e-6)
    for title, point in manifest.operating_points.items():
        assert point.threshold == pytest.approx(fitted.policy.operating_points[title].threshold, abs=1e-3)


def test_no_result_exceeds_100_kb_or_names_a_folder_of_a_machine():
    for file in files_of(RESULTS):
        assert file.stat().st_size <= 100_000, file
        content = file.read_bytes()
        assert f"{Path.home()}/".encode() not in content, file
        assert f"{ROOT}/".encode() not in content, file


def test_measures_in_the_package_are_those_of_results(monkeypatch):
    import publish_measured

    monkeypatch.chdir(ROOT)
    held = json.loads((ROOT / "src" / "pneumoscope" / "bundles" / "measured.json").read_text(encoding="utf-8"))
    assert held["study"] == publish_measured.study()
    for name in SHIPPED:
        folder = RESULTS / "detector" / name
        detector = load_detector(name)
        told = held["detectors"][detector.bundle.sha256]
        assert told == json.loads(json.dumps(publish_measured.detector(folder)))
        # The counts at the balanced point are those of the report.
        report = json.loads((folder / "report.json").read_text())
        at = told["curve"][round(100 * detector.bundle.manifest.operating_points["balanced"].threshold)]
        measures = report["measures"]
        assert at["true_positive"] / told["pneumonia"] == pytest.approx(measures["sensitivity"]["value"], abs=0.01)
        assert at["true_negative"] / told["normal"] == pytest.approx(measures["specificity"]["value"], abs=0.01)
        # What becomes of the images at an operating point is that of the same bundle and thresholds.
        for title, point in detector.bundle.manifest.operating_points.items():
            assert told["points"][title]["threshold"] == pytest.approx(point.threshold)
        referred = sum(
            told["balanced"]["flow"][truth][each] for truth in ("normal", "pneumonia") for each in ("refer", "outside")
        )
        assert referred / told["films"] == pytest.approx(told["points"]["balanced"]["referred"]["value"], abs=1e-4)

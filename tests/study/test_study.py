"""The whole study, really run, on a few phantoms."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.assessment.runs import assess_run
from pneumoscope.data.locate import Location
from pneumoscope.data.sources import open_source
from pneumoscope.downloading import Download
from pneumoscope.errors import ConfigError, DataError, DownloadError, RunError
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.models import weights
from pneumoscope.stress import read_radiographs
from pneumoscope.stress.models import open_model
from pneumoscope.study.comparison import draw_accuracies, reproductions, table_row
from pneumoscope.study.experiments import EXPERIMENTS, experiment, with_prerequisites
from pneumoscope.study.study import Study, StudyPlan, run_study, with_inception
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Workers
from pneumoscope.training.networks import load_network
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE, Split

PLAN = StudyPlan(seeds=2, epochs=1, precision="fp32")


@pytest.fixture(scope="module", autouse=True)
def no_weight_file():
    """Keras' weights are out of reach, so that Inception V3 starts from random ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "KERAS_FILE", Download("http://127.0.0.1:9/notop.h5", "md5", "0" * 32))
        yield


@pytest.fixture(scope="module")
def finished(phantoms, tmp_path_factory):
    """A finished study of phantoms: folder, comparison, messages, ledger."""
    out = tmp_path_factory.mktemp("study")
    messages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNEUMOSCOPE_CACHE", str(out / "cache"))
        patch.delenv("PNEUMOSCOPE_INCEPTION_WEIGHTS", raising=False)
        study = Study(Location(phantoms, "test", synthetic=True), PLAN, out / "out", out / "ledger.jsonl")
        record = run_study(study, Callbacks(message=messages.append))
    return out / "out", record, messages, out / "ledger.jsonl"


def test_every_network_is_trained_and_measured_with_every_seed(finished):
    out, record, _, _ = finished
    assert [model["name"] for model in record["models"]] == [e.name for e in EXPERIMENTS]
    for model in record["models"]:
        assert [run["seed"] for run in model["runs"]] == [0, 1]
        assert len(model["over_seeds"]["accuracy"]["values"]) == 2
        for seed in (0, 1):
            folder = out / "runs" / model["name"] / f"seed-{seed}" / "evaluation" / "test"
            assert len(load_predictions(folder / "predictions.csv")) == 12
            assert (folder / "report.html").is_file()


def test_every_output_of_a_synthetic_study_says_so(finished):
    out, record, _, ledger = finished
    assert SYNTHETIC_NOTICE in record["notice"]
    pages = [*out.rglob("*.html"), *out.rglob("report.md"), *out.glob("comparison.md"), *out.glob("comparison.json")]
    assert len(pages) == 2 + 10 + 10 + 2
    for page in pages:
        assert SYNTHETIC_NOTICE in page.read_text(), page
        assert NOTICE in page.read_text(), page
    assert "81.9" not in (out / "comparison.md").read_text(), "the slides' figures are of other films"
    assert not ledger.exists(), "phantoms are not the official test films"


def test_random_weights_are_reported(finished):
    _, record, messages, _ = finished
    assert any("Inception V3 starts from random weights" in line for line in messages)
    model = next(m for m in record["models"] if m["name"] == "inception_v3")
    assert model["weights"]["description"].startswith("random weights")


def test_stacked_cnn_builds_on_the_cnn_of_the_same_seed(finished):
    out, _, _, _ = finished
    for seed in (0, 1):
        cnn = load_network(RunFolder(out / f"runs/cnn_3_classes/seed-{seed}"))
        stacked = load_network(RunFolder(out / f"runs/stacked_cnn/seed-{seed}"))
        assert (stacked.base[0].weight == cnn.head[0][0].weight).all()
        origin = RunFolder(out / f"runs/stacked_cnn/seed-{seed}").provenance()["facts"]["weights"]
        assert origin["run"] == f"cnn_3_classes/seed-{seed}"


def test_a_run_is_stress_tested_by_what_it_is_evaluated_by(finished, phantoms):
    out, _, _, _ = finished
    run = out / "runs/cnn_2_classes/seed-0"
    settings = RunFolder(run).config().preprocessing
    source = open_source(phantoms)
    shown = read_radiographs(source.only([each.path for each in source.images]), None, settings.height)
    measured = load_predictions(run / "evaluation/test/predictions.csv")
    with open_model(str(run)) as model:
        found = model.predict(shown.images)
        assert model.name == "cnn_2_classes"
        assert model.count_seen(shown.file_sha256) > 30
        with pytest.raises(RunError, match="was not trained on"):
            model.check_unseen(shown.file_sha256)
    by_path = dict(zip(shown.names, found, strict=True))
    assert np.allclose([by_path[path] for path in measured.paths], measured.probability[:, 1], atol=1e-4)
    with pytest.raises(RunError, match="finish it with --resume"), open_model(str(out)):
        pass


def test_features_do_not_stay_behind(finished):
    assert not list(finished[0].rglob("*features*"))


def test_data_is_described(finished):
    out, record, messages, _ = finished
    assert {"index.csv", "split.csv", "audit.json", "overview.html"} <= {f.name for f in (out / "data").iterdir()}
    audit = json.loads((out / "data/audit.json").read_text())
    assert audit["verdict"] in messages
    assert audit["split_hash"] == record["data"]["split_hash"]


def test_second_run_trains_nothing_and_gives_the_same(finished, phantoms):
    out, record, _, ledger = finished
    stamps = {f: f.stat().st_mtime_ns for f in out.rglob("model.safetensors")}
    messages = []
    study = Study(Location(phantoms, "test", synthetic=True), PLAN, out, ledger)
    again = run_study(study, Callbacks(message=messages.append))
    assert again["models"] == record["models"]
    assert sum("trained already" in line for line in messages) == 10
    assert {f: f.stat().st_mtime_ns for f in out.rglob("model.safetensors")} == stamps


def validation_losses(file):
    return [float(row["val_loss"]) for row in csv.DictReader(file.read_text().splitlines())]


@pytest.mark.integration
def test_a_study_by_jobs_is_the_study(finished, phantoms, tmp_path):
    """Two networks, one of which builds on the other, each with two seeds."""
    alone = finished[0]
    plan, messages = replace(PLAN, only=("stacked_cnn",)), []
    study = Study(Location(phantoms, "test", synthetic=True), plan, tmp_path / "jobs", tmp_path / "ledger.jsonl")
    by_jobs = run_study(study, Callbacks(message=messages.append), Workers(2))
    built = ["cnn_3_classes", "stacked_cnn"]
    assert [model["name"] for model in by_jobs["models"]] == built
    for name in built:
        for seed in (0, 1):
            run = f"runs/{name}/seed-{seed}/metrics.csv"
            losses = [validation_losses(out / run) for out in (alone, tmp_path / "jobs")]
            assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert sum(line.endswith("trained already") for line in messages) == 4
    assert not list((tmp_path / "jobs").rglob("features*"))


def test_other_settings_do_not_go_into_the_same_folder(finished, phantoms):
    out, _, _, ledger = finished
    before = {f: f.read_bytes() for f in out.rglob("*.json")}
    other = Study(Location(phantoms, "test", synthetic=True), replace(PLAN, epochs=2), out, ledger)
    with pytest.raises(RunError, match=r"expected the same study as before in .* \(epochs differ\): change --out"):
        run_study(other, Callbacks())
    assert {f: f.read_bytes() for f in out.rglob("*.json")} == before


def test_real_images_without_weights_are_refused_before_any_training(phantoms, tmp_path):
    study = Study(
        Location(phantoms, "test"), replace(PLAN, only=("inception_v3",)), tmp_path / "out", tmp_path / "ledger"
    )
    with pytest.raises(DownloadError, match="or name a notop HDF5 file by --inception-weights"):
        run_study(study, Callbacks())
    assert not (tmp_path / "out").exists()


def test_a_study_without_weights_trains_the_rest_and_says_what_is_left_out(phantoms, tmp_path):
    messages = []
    study = Study(Location(phantoms, "test"), PLAN, tmp_path / "out")
    others, weights = with_inception(study, Callbacks(message=messages.append))
    assert weights is None
    assert [each.name for each in others.plan.experiments] == [e.name for e in EXPERIMENTS if e.name != "inception_v3"]
    assert messages[0].startswith("left out: inception_v3, whose weights are not at hand")
    assert "run the same command with --inception-weights FILE" in messages[0]


def test_real_test_images_leave_a_line_in_the_ledger(finished, phantom_dataset, tmp_path):
    run = tmp_path / "seed-0"
    shutil.copytree(finished[0] / "runs/cnn_3_classes/seed-0", run, ignore=shutil.ignore_patterns("evaluation"))
    ledger = tmp_path / "results" / "ledger.jsonl"
    on_test, on_validation = (Evaluation(split, "a test", ledger) for split in (Split.TEST, Split.VALIDATION))
    record = assess_run(RunFolder(run), phantom_dataset, on_test, "CNN")
    assess_run(RunFolder(run), phantom_dataset, on_validation, "CNN")
    again = assess_run(RunFolder(run), phantom_dataset, on_test, "CNN")
    assert again["measures"] == record["measures"]
    (line,) = [json.loads(text) for text in ledger.read_text().splitlines()]
    assert line["model"] == "cnn_3_classes, seed 0"
    assert line["why"] == "a test"
    assert line["split_hash"] == phantom_dataset.split.hash
    assert line["result"]["accuracy"] == pytest.approx(record["measures"]["accuracy"]["value"], abs=1e-4)
    assert {"date", "commit", "config_hash", "films"} <= line.keys()


def test_training_images_of_a_run_never_evaluate_it(finished, phantom_dataset, tmp_path):
    run = RunFolder(finished[0] / "runs/cnn_3_classes/seed-0")
    splits = [Split.TEST if split is Split.TRAIN else split for split in phantom_dataset.split.splits]
    other = replace(phantom_dataset, split=replace(phantom_dataset.split, splits=tuple(splits), hash="other"))
    evaluation = Evaluation(Split.TEST, "a test", tmp_path / "ledger", synthetic=True)
    with pytest.raises(RunError, match=r"was not trained on, found 5[0-9] of its training images"):
        assess_run(run, other, evaluation, "CNN")


def test_unfinished_run_is_not_measured(finished, phantom_dataset, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "runs/cnn_3_classes/seed-0", run)
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match="finish it with --resume"):
        assess_run(RunFolder(run), phantom_dataset, Evaluation(Split.TEST, "a test", synthetic=True), "CNN")


def test_prerequisites_come_along():
    assert [e.name for e in with_prerequisites(["stacked_cnn"])] == ["cnn_3_classes", "stacked_cnn"]
    with pytest.raises(ConfigError, match=r"expected an experiment out of cnn_2_classes, .* found 'vgg'"):
        experiment("vgg")


@pytest.mark.parametrize(
    ("changes", "message"), [({"seeds": 0}, "1 seed or more"), ({"limit": 5}, "100 images or more")]
)
def test_plans_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        StudyPlan(**changes)


def test_three_classes_need_etiologies(phantom_dataset):
    from pneumoscope.types import THREE_CLASS, Etiology, Finding

    rows = [
        replace(row, etiology=Etiology.UNKNOWN) if row.finding is Finding.PNEUMONIA else row
        for row in phantom_dataset.index.rows
    ]
    two_class = replace(phantom_dataset, index=replace(phantom_dataset.index, rows=tuple(rows)))
    positions = two_class.positions(Split.TEST)
    with pytest.raises(DataError, match=r"found 8 with pneumonia of unknown cause .*: use a model with two classes"):
        two_class.labels(THREE_CLASS, positions)


def model_of(*values, slides=0.71154, half=0.03):
    """A model of a comparison on 624 films, with a run per value; `half` is half the width of its interval."""
    runs = [
        {
            "seed": seed,
            "epochs": 7 + 2 * seed,
            "measures": {"accuracy": {"value": value, "low": value - half, "high": value + half}},
        }
        for seed, value in enumerate(values)
    ]
    accuracy = {"mean": float(np.mean(values)), "standard_deviation": 0.012, "values": list(values)}
    over_seeds = {"accuracy": accuracy, "binary_accuracy": {"mean": 0.9}, "sensitivity": {"mean": 0.95}}
    over_seeds |= {"specificity": {"mean": 0.6}, "auc": {"mean": 0.9512}}
    return {"title": "CNN", "slides_accuracy": slides, "films": 624, "over_seeds": over_seeds, "runs": runs}


def test_row_of_the_closing_table_has_the_range_of_the_seeds_and_no_interval_of_one():
    row = ["CNN", "71.2", "80.0 ± 1.2 (2)", "79.0-81.0", "90.0", "95.0", "60.0", "0.951", "7-9"]
    assert table_row(model_of(0.79, 0.81)) == row


@pytest.mark.parametrize(
    ("values", "slides", "half", "sentence"),
    [
        (
            (0.7, 0.8),
            0.75,
            0.01,
            "Reproduced. The slides' 75.0 % lies inside the range of our 2 trainings (70.0-80.0 %).",
        ),
        (
            (0.7, 0.8),
            0.82,
            0.03,
            "Partly reproduced. The slides' 82.0 % is above all of our 2 trainings (70.0-80.0 %), by 2.0 points at the least and "
            "by 7.0 on average, but inside the 95 % interval of seed 1 (77.0-83.0 %).",
        ),
        (
            (0.7, 0.72),
            0.69,
            0.04,
            "Reproduced within the interval. The slides' 69.0 % is below all of our 2 trainings (70.0-72.0 %), by 1.0 points at "
            "the least and by 2.0 on average, but inside the 95 % interval of each.",
        ),
        (
            (0.7, 0.8),
            0.9,
            0.03,
            "Not reproduced. The slides' 90.0 % is above all of our 2 trainings (70.0-80.0 %), by 10.0 points at the least and by "
            "15.0 on average, and outside the 95 % interval of each.",
        ),
        (
            (0.7, 0.8),
            0.5,
            0.03,
            "Not reproduced. The slides' 50.0 % is below all of our 2 trainings (70.0-80.0 %), by 20.0 points at the least and by "
            "25.0 on average, and outside the 95 % interval of each.",
        ),
        (
            (0.7,),
            0.72,
            0.03,
            "Reproduced within the interval. The slides' 72.0 % is above our only training (70.0 %), by 2.0 points, but inside its "
            "95 % interval (67.0-73.0 %).",
        ),
        (
            (0.7,),
            0.6,
            0.03,
            "Not reproduced. The slides' 60.0 % is below our only training (70.0 %), by 10.0 points, and outside its 95 % interval "
            "(67.0-73.0 %).",
        ),
        ((444 / 624,), 0.71154, 0.03, "Reproduced. The slides' 71.2 % equals that of our only training."),
        ((0.7,), None, 0.03, "No figure on the slides."),
    ],
)
def test_sentence_says_whether_the_slides_were_reproduced(values, slides, half, sentence):
    record = {"synthetic": False, "models": [model_of(*values, slides=slides, half=half)]}
    assert reproductions(record) == [["CNN", sentence]]
    assert reproductions(record | {"synthetic": True}) == []


def test_interval_that_is_undefined_holds_nothing():
    model = model_of(0.7, slides=0.72)
    model["runs"][0]["measures"]["accuracy"] |= {"low": None, "high": None}
    [[_, sentence]] = reproductions({"synthetic": False, "models": [model]})
    assert sentence.endswith("by 2.0 points, and without a 95 % interval.")


def test_chart_has_a_point_and_an_interval_per_seed_the_mean_as_a_line_and_the_slides_as_a_mark():
    models = [model_of(0.7, 0.8, slides=0.9), model_of(0.6, 0.7, slides=None)]
    [axes] = draw_accuracies(models, synthetic=False).axes
    assert not axes.patches, "no bar"
    marks = {
        marker: [float(x) for line in axes.lines if line.get_marker() == marker for x in line.get_xdata()]
        for marker in "oD"
    }
    assert marks == {"o": pytest.approx([70, 80, 60, 70]), "D": pytest.approx([90])}
    segments = [segment for each in axes.collections for segment in each.get_segments()]
    level = [segment[:, 0].tolist() for segment in segments if segment[0, 1] == segment[1, 1]]
    assert level == [pytest.approx(ends) for ends in ([67, 73], [77, 83], [57, 63], [67, 73])]
    upright = [segment[0, 0] for segment in segments if segment[0, 0] == segment[1, 0]]
    assert upright == pytest.approx([75, 90, 65]), "means, and a guide through the slides' mark"
    [phantoms] = draw_accuracies(models, synthetic=True).axes
    assert "D" not in [line.get_marker() for line in phantoms.lines]

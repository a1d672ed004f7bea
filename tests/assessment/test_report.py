import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from pages import words_of
from pneumoscope.assessment.figures import most_confident_mistakes
from pneumoscope.assessment.report import ReportContext, display_name, measure, write_report
from pneumoscope.errors import DataError, InputError
from pneumoscope.evaluation.predictions import PredictionTable, load_predictions, save_predictions
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

NAMES = ("normal", "bacterial", "viral")


@pytest.fixture
def table(rng):
    label = np.arange(60) % 3
    weight = np.exp(rng.normal(size=(60, 3)) + 2 * np.eye(3)[label])
    paths = tuple(f"test/film-{i}.jpeg" for i in range(60))
    patients = tuple(f"test/{i // 2}" for i in range(60))
    return PredictionTable(NAMES, paths, patients, label, weight / weight.sum(axis=1, keepdims=True))


HISTORY = [
    {"epoch": 1.0, "loss": 1.0, "val_loss": 1.1, "accuracy": 0.5, "val_accuracy": 0.4},
    {"epoch": 2.0, "loss": 0.9, "val_loss": 1.0, "accuracy": 0.6, "val_accuracy": 0.5},
]


def report(table, folder, synthetic=False, history=HISTORY):
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32), dtype=np.uint8)
    context = ReportContext("CNN", "test", synthetic, history, {"commit": "abc"})
    return write_report(measure(table, context), table, images, context, folder)


def test_report_has_n_prevalence_intervals_and_provenance(table, tmp_path):
    record = report(table, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["measures"] == record["measures"]
    assert (record["films"], record["patients"]) == (60, 30)
    assert record["prevalence_of_pneumonia"] == pytest.approx(2 / 3)
    assert record["films_per_class"] == {"normal": 20, "bacterial": 20, "viral": 20}
    assert record["provenance"] == {"commit": "abc"}
    expected = confusion_matrix(table.label, table.probability.argmax(axis=1))
    assert record["confusion_matrix"]["counts"] == expected.tolist()
    accuracy = record["measures"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_report_is_written_for_people_too(table, tmp_path):
    record = report(table, tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "https://" not in page
    for words in (NOTICE, "60 test films of 30 patients", f"{record['measures']['auc']['value']:.3f}"):
        assert words in page
        assert words in text
    assert SYNTHETIC_NOTICE not in page + text
    assert {f.name for f in tmp_path.iterdir()} == {
        "predictions.csv", "report.json", "report.md", "report.html",
        "confusion-matrix.png", "roc.png", "mistakes.png", "training.png",
    }  # fmt: skip


def test_synthetic_report_is_marked_everywhere(table, tmp_path):
    report(table, tmp_path, synthetic=True, history=[])
    for name in ("report.json", "report.md", "report.html"):
        assert SYNTHETIC_NOTICE in (tmp_path / name).read_text()
    assert not (tmp_path / "training.png").exists()


def test_most_confident_mistakes_come_first_with_their_names(table, tmp_path):
    answer = table.probability.argmax(axis=1)
    wrong = [i for i in range(60) if answer[i] != table.label[i]]
    surest = sorted(wrong, key=lambda i: -table.probability[i, answer[i]])[:8]
    assert most_confident_mistakes(table, 8).tolist() == surest
    mistakes = report(table, tmp_path)["surest_mistakes"]
    assert [mistake["file"] for mistake in mistakes] == [f"test/film-{i}.jpeg" for i in surest]


def test_network_without_mistakes_has_a_report(tmp_path):
    perfect = PredictionTable(NAMES, tuple("abc"), tuple("abc"), np.arange(3), np.eye(3))
    record = report(perfect, tmp_path)
    assert record["surest_mistakes"] == []
    assert record["measures"]["accuracy"]["value"] == 1
    assert "<p>No prediction is wrong.</p>" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "mistakes.png").exists()


def test_one_class_alone_has_a_report_with_undefined_measures(tmp_path):
    healthy = PredictionTable(NAMES, tuple("abc"), tuple("abc"), np.zeros(3, dtype=int), np.eye(3)[[0, 0, 1]])
    report(healthy, tmp_path)
    measures = json.loads((tmp_path / "report.json").read_text())["measures"]
    assert measures["auc"]["value"] is None
    assert measures["specificity"]["value"] == pytest.approx(2 / 3)
    page = (tmp_path / "report.html").read_text()
    assert "<p>All films are of one class: there is no curve.</p>" in page
    assert page.count("data:image/png;base64,") == 3
    assert not (tmp_path / "roc.png").exists()


def test_predictions_survive_a_round_trip(table, tmp_path):
    save_predictions(table, tmp_path / "predictions.csv")
    again = load_predictions(tmp_path / "predictions.csv")
    assert (again.class_names, again.paths, again.patients) == (table.class_names, table.paths, table.patients)
    assert np.array_equal(again.label, table.label)
    np.testing.assert_allclose(again.probability, table.probability, atol=1e-6)


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected a predictions\.csv"):
        load_predictions(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("path,label,probability_normal\na,viral,1\n")
    with pytest.raises(DataError, match="evaluate the run again"):
        load_predictions(tmp_path / "odd.csv")


def test_logits_are_refused(table):
    with pytest.raises(InputError, match="apply softmax"):
        PredictionTable(NAMES, table.paths, table.patients, table.label, np.log(table.probability))


def test_every_metric_has_a_display_name():
    assert display_name("recall_viral") == "recall, viral"
    assert display_name("auc_viral") == "AUC, viral"
    assert display_name("specificity") == "specificity"


def test_names_of_a_sites_own_classes_and_files_stay_as_they_are(rng, tmp_path):
    """Where one of them is called pneumonia, and is not the positive one."""
    label = np.arange(60) % 2
    probability = np.clip(0.5 + 0.2 * (2 * label - 1) + 0.3 * rng.normal(size=60), 0.01, 0.99)
    paths = tuple(f"normal ward/pneumonia-{i}.png" for i in range(60))
    names = ("pneumonia", "tuberculosis")
    rows = np.stack([1 - probability, probability], axis=1)
    record = report(PredictionTable(names, paths, tuple(map(str, range(60))), label, rows), tmp_path)
    assert record["surest_mistakes"][0]["file"].startswith("normal ward/pneumonia-")
    assert record["films_per_class"] == {"pneumonia": 30, "tuberculosis": 30}
    page, text = words_of(tmp_path / "report.html"), (tmp_path / "report.md").read_text()
    for words in ("AUC, tuberculosis vs pneumonia", "sensitivity for tuberculosis", "50.0 % with tuberculosis"):
        assert words in page
        assert words in text
    assert "|  | pneumonia | tuberculosis |" in text

import numpy as np
import pytest

from pages import words_of
from pneumoscope.assessment.report import ReportContext, measure, write_report
from pneumoscope.decision import Calibration, DecisionPolicy, is_referred, pneumonia_probability
from pneumoscope.evaluation.decisions import DecisionOutcomes, measure_decisions
from pneumoscope.evaluation.intervals import delong_interval
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.types import OperatingPoint

NAMES = ("normal", "bacterial", "viral")
POLICY = DecisionPolicy(
    Calibration(),
    0.5,
    {"balanced": OperatingPoint(0.5, 0.4, 0.6, 0.9, 0.9), "sensitive": OperatingPoint(0.2, 0.2, 0.2, 0.9, 0.9)},
    {"0.9": (0.21, 0.21, 0.21)},
)


def outcomes_of(table, outside=None, rejected=None):
    """Outcomes as `predict` decides: rejected images are not referred, images outside the population are."""
    nothing = np.zeros(len(table), dtype=bool)
    outside, rejected = (nothing if flags is None else flags for flags in (outside, rejected))
    probability = pneumonia_probability(table.probability)
    referred = {n: (is_referred(probability, p) | outside) & ~rejected for n, p in POLICY.operating_points.items()}
    return DecisionOutcomes(referred, outside & ~rejected, rejected)


def measured(table, outside=None, rejected=None, clusters=None):
    return measure_decisions(table, POLICY, outcomes_of(table, outside, rejected), clusters)


def table_of(probability, label, split=0.5):
    probability, label = np.asarray(probability, dtype=float), np.asarray(label)
    class_probability = np.stack([1 - probability, split * probability, (1 - split) * probability], axis=1)
    names = tuple(map(str, range(len(label))))
    return PredictionTable(NAMES, names, names, label, class_probability, 0.5)


@pytest.fixture
def table():
    return table_of([0.1, 0.3, 0.45, 0.7, 0.3, 0.55, 0.8, 0.9], [0, 0, 0, 0, 1, 1, 2, 2])


def test_operating_points_count_images_by_hand(table):
    record = measured(table)["operating_points"]
    balanced = {name: found["value"] for name, found in record["balanced"]["measured"].items()}
    assert balanced == {
        "sensitivity": 3 / 4,
        "specificity": 3 / 4,
        "accuracy": 6 / 8,
        "referred": 2 / 8,  # 0.45 and 0.55
        "accuracy_of_answered": 4 / 6,
    }
    assert record["sensitive"]["measured"]["referred"]["value"] == 0
    assert record["sensitive"]["measured"]["sensitivity"]["value"] == 1
    assert record["balanced"]["refer_to"] == 0.6
    low, high = (record["balanced"]["measured"]["accuracy"][end] for end in ("low", "high"))
    assert low < 0.75 < high


def test_rejected_images_are_neither_referred_nor_answered(table):
    rejected = np.arange(8) >= 6
    record = measured(table, outside=np.arange(8) == 7, rejected=rejected)
    assert record["rejected"]["value"] == 2 / 8
    plain = measured(table)["operating_points"]["balanced"]["measured"]
    point = record["operating_points"]["balanced"]["measured"]
    assert point["accuracy"]["value"] == plain["accuracy"]["value"]
    probability = table.probability[:6, 1:].sum(axis=1)
    point_of = POLICY.operating_points["balanced"]
    answered = ~is_referred(probability, point_of)
    right = ((probability >= point_of.threshold) == (table.label[:6] > 0))[answered]
    assert point["accuracy_of_answered"]["value"] == pytest.approx(right.mean())
    assert point["referred"]["value"] == pytest.approx((~answered).sum() / 8)


def test_images_outside_the_population_are_referred_whatever_the_prediction(table):
    outside = np.arange(8) == 7
    record = measured(table, outside=outside)
    assert record["outside"]["value"] == 1 / 8
    assert record["operating_points"]["balanced"]["measured"]["referred"]["value"] == 3 / 8
    assert record["operating_points"]["sensitive"]["measured"]["referred"]["value"] == 1 / 8
    assert record["operating_points"]["balanced"]["measured"]["accuracy"]["value"] == 6 / 8
    assert measured(table)["outside"]["value"] == 0


def test_most_confident_images_are_answered_first(table):
    answered = measured(table)["answered"]
    assert answered[0] == {"answered": 1.0, "accuracy": 0.75}
    fractions = [entry["answered"] for entry in answered]
    assert fractions == sorted(fractions, reverse=True)
    # By distance from 0.5 in log-odds: 0.1, 0.9, 0.8, then the two at 0.3 and that at 0.7; 0.45 and 0.55 are left out.
    assert answered[-1] == {"answered": 6 / 8, "accuracy": pytest.approx(4 / 6)}


def test_prediction_sets_are_counted_per_class(table):
    found = measured(table)["conformal"]["0.9"]
    assert found["coverage"] == {"normal": 1.0, "bacterial": 0.5, "viral": 1.0}
    assert found["empty"] == 0
    # Each etiology has half of the pneumonia: in the set from 0.42 on, normal up to 0.79.
    assert found["mean_size"] == pytest.approx((1 + 1 + 3 + 3 + 1 + 3 + 2 + 2) / 8)


def test_probabilities_are_calibrated_at_the_prevalence_of_the_images(rng):
    label = (rng.random(20_000) < 0.8).astype(int)
    # Scores calibrated for a prevalence of one half.
    probability = 1 / (1 + np.exp(-(rng.normal(size=20_000) * 2 + 2 * (2 * label - 1))))
    record = measured(table_of(probability, label))["calibration"]
    assert record["at_own_prevalence"]["prevalence"] == pytest.approx(0.8, abs=0.01)
    assert record["at_own_prevalence"]["ece"] < 0.012
    assert record["slope"] == pytest.approx(1, abs=0.05)
    assert record["intercept"] == pytest.approx(np.log(4), abs=0.1)


def test_clusters_are_measured_separately_the_largest_first(table):
    record = measured(table, clusters=np.array([3, 3, 3, 1, 3, 3, 3, 5]))["styles"]
    assert [entry["style"] for entry in record] == [3, 1, 5]
    assert record[0]["specificity"] == 1
    assert record[0]["sensitivity"] == pytest.approx(2 / 3)
    assert (record[1]["specificity"], record[1]["sensitivity"], record[1]["auc"]) == (0, None, None)


def test_images_of_one_class_have_no_calibration_line_but_a_report(tmp_path):
    table = table_of([0.1, 0.2, 0.7], [0, 0, 0])
    context = ReportContext("Detector", "test", False, [], {}, POLICY, None, outcomes_of(table))
    record = measure(table, context)
    assert "slope" not in record["decisions"]["calibration"]
    write_report(record, table, np.zeros((3, 16, 16), dtype=np.uint8), context, tmp_path)
    assert "undefined" in (tmp_path / "report.md").read_text()


def test_report_of_a_detector_shows_its_decisions(table, tmp_path):
    context = ReportContext("Detector", "test", False, [], {}, POLICY, np.zeros(8, dtype=int), outcomes_of(table))
    record = measure(table, context)
    write_report(record, table, np.zeros((8, 16, 16), dtype=np.uint8), context, tmp_path)
    page, text = words_of(tmp_path / "report.html"), (tmp_path / "report.md").read_text()
    assert page.count("data:image/png;base64,") == 5
    auc = delong_interval(1 - table.probability[:, 0], table.label > 0)
    for words in ("accuracy of the others", f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})", "Acquisition clusters"):
        assert words in page
    assert f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})" in text
    assert (tmp_path / "calibration.png").is_file()
    assert (tmp_path / "answered.png").is_file()

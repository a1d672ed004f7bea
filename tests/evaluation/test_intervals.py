import numpy as np
import pytest
from scipy import stats

from pneumoscope.errors import InputError
from pneumoscope.evaluation.intervals import (
    Estimate,
    auc_estimate,
    delong_difference,
    estimate_metrics,
    interval_of,
    number_text,
    patient_weights,
    range_text,
)
from pneumoscope.evaluation.metrics import weighted_roc_auc

NAMES = ("normal", "pneumonia")


def answers(right):
    """Two-class probabilities that are right where `right` is true, labels alternating."""
    right = np.asarray(right)
    label = np.arange(len(right)) % 2
    answer = np.where(right, label, 1 - label)
    return np.where(np.eye(2)[answer] > 0, 0.9, 0.1), label


def test_resamples_draw_whole_patients(rng):
    patients = ["a", "a", "b", "c", "c", "c"]
    weight = patient_weights(patients, rng, 500)
    assert (weight[:, 0] == weight[:, 1]).all()
    assert (weight[:, 3] == weight[:, 5]).all()
    assert (weight[:, 0] + weight[:, 2] + weight[:, 3] == 3).all()
    assert weight[:, 2].mean() == pytest.approx(1, abs=0.1)


def test_interval_of_independent_images_is_near_the_exact_one(rng):
    probability, label = answers(rng.random(400) < 0.8)
    found = estimate_metrics(probability, label, [str(i) for i in range(400)], NAMES)["accuracy"]
    exact = stats.binomtest(round(found.value * 400), 400).proportion_ci()
    assert found.low == pytest.approx(exact.low, abs=0.008)
    assert found.high == pytest.approx(exact.high, abs=0.008)


def test_images_of_one_patient_widen_the_interval(rng):
    right = np.repeat(rng.random(40) < 0.8, 10)
    probability, label = answers(right)
    alone = estimate_metrics(probability, label, [str(i) for i in range(400)], NAMES)["accuracy"]
    grouped = estimate_metrics(probability, label, [str(i // 10) for i in range(400)], NAMES)["accuracy"]
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_intervals_cover_the_true_value_at_their_level():
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        probability, label = answers(np.repeat(rng.random(150) < 0.85, 2))
        found = estimate_metrics(probability, label, [str(i // 2) for i in range(300)], NAMES, seed, 300)["accuracy"]
        covered += found.low <= 0.85 <= found.high
    assert 106 <= covered <= 120  # 95 % of 120 is 114; outside of this by chance once in a thousand


def test_the_seed_decides(rng):
    probability, label = answers(rng.random(60) < 0.7)
    patients = [str(i // 3) for i in range(60)]
    assert estimate_metrics(probability, label, patients, NAMES) == estimate_metrics(
        probability, label, patients, NAMES
    )


def test_undefined_measures_stay_undefined():
    found = estimate_metrics(np.array([[0.9, 0.1]] * 4), np.zeros(4, dtype=int), list("abcd"), NAMES)
    assert str(found["sensitivity"]) == "undefined"
    assert np.isnan(found["auc"].low)
    assert str(Estimate(0.5, 0.4, 0.6)) == "50.0 % (40.0-60.0)"


def test_lengths_must_agree():
    with pytest.raises(InputError, match="one patient per image"):
        estimate_metrics(np.array([[0.9, 0.1]]), np.array([0]), [], NAMES)


def two_scores(rng, patients, of_each):
    """Scores of `of_each` images of each patient, whose patient-level parts are common to its images."""
    positive = np.repeat(rng.random(patients) < 0.5, of_each)
    one, other = (
        signal * positive + np.repeat(rng.normal(size=patients), of_each) + 0.3 * rng.normal(size=len(positive))
        for signal in (1.5, 1.0)
    )
    return one, other, positive, [f"p{i // of_each}" for i in range(len(positive))]


@pytest.mark.parametrize("of_each", [1, 4])
def test_difference_of_two_aucs_is_as_the_bootstrap_over_patients_has_it(rng, of_each):
    one, other, positive, patients = two_scores(rng, 150, of_each)
    found, p = delong_difference(one, other, positive, patients)
    weight = patient_weights(patients, rng)
    drawn = weighted_roc_auc(one, positive, weight) - weighted_roc_auc(other, positive, weight)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(drawn.std(), rel=0.1)
    assert (p < 0.05) == (found.low > 0 or found.high < 0)


def test_copies_of_every_image_make_no_difference_more_certain(rng):
    one, other, positive, patients = two_scores(rng, 150, 1)
    once, p = delong_difference(one, other, positive, patients)
    four = [np.repeat(values, 4) for values in (one, other, positive)]
    copied, again = delong_difference(*four, [name for name in patients for _ in range(4)])
    assert (copied.value, copied.low, again) == pytest.approx((once.value, once.low, p))
    assert delong_difference(one, 2 * one + 1, positive, patients)[1] == 1.0


@pytest.mark.parametrize("patients", [10, 40])
def test_interval_of_an_auc_covers_the_true_value_with_few_patients(patients):
    """Six images of each patient, of which half are positive; the bootstrap covers 82 and 90 %."""
    true, hits, widths = stats.norm.cdf(1.5 / np.sqrt(2 * 1.09)), 0, []
    rng = np.random.default_rng(1)
    for _ in range(200):
        positive = np.repeat(np.arange(patients) % 2 == 1, 6)
        score = 1.5 * positive + np.repeat(rng.normal(size=patients), 6) + 0.3 * rng.normal(size=6 * patients)
        found = auc_estimate(score, positive, [f"p{i // 6}" for i in range(6 * patients)])
        assert 0 <= found.low < found.value <= found.high <= 1
        hits += found.low <= true <= found.high
        widths.append(found.high - found.low)
    assert 0.92 <= hits / 200 <= 0.99
    assert np.mean(widths) < (0.75 if patients == 10 else 0.3)


def test_an_auc_without_a_mistake_is_no_certainty():
    positive = np.arange(24) % 2 == 1
    found = auc_estimate(positive.astype(float), positive, [f"p{i}" for i in range(24)])
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 0.8


def test_an_undefined_interval_is_not_shown():
    assert str(interval_of(1.0, np.array([np.nan]))) == "100.0 %"


def test_a_range_below_zero_has_no_dash_beside_its_minus():
    assert str(Estimate(-0.2, -0.399, -0.011)) == "-20.0 % (-39.9 to -1.1)"
    assert Estimate(-0.2, -0.399, 0.011).as_number() == "-0.200 (-0.399 to 0.011)"
    assert Estimate(0.2, 0.0, 0.4).as_number(1) == "0.2 (0.0-0.4)"
    assert range_text(0.25, 0.5, 2) == "0.25-0.50"
    assert range_text(0.25, 0.5, 2, signed=True) == "+0.25 to +0.50"


def test_what_rounds_to_zero_has_no_sign():
    assert Estimate(0.5, -0.0001, 1.0).as_number(2) == "0.50 (0.00-1.00)"
    assert Estimate(-0.0001, -0.02, 0.0001).as_difference(2) == "0.00 (-0.02 to 0.00)"
    assert [number_text(value, 3, signed=True) for value in (0.0124, -0.0124, -0.0001)] == ["+0.012", "-0.012", "0.000"]


def test_percent_with_and_without_its_sign_and_differences_in_points():
    found = Estimate(0.9649, 0.901, 1.0)
    assert (str(found), found.as_percent(), found.as_percent(0)) == (
        "96.5 % (90.1-100.0)",
        "96.5 (90.1-100.0)",
        "96 (90-100)",
    )
    assert Estimate(0.006, -0.002, 0.016).as_difference(1, 100) == "+0.6 (-0.2 to +1.6)"
    undefined = Estimate(*3 * [float("nan")])
    assert {str(undefined), undefined.as_percent(), undefined.as_number(), undefined.as_difference()} == {"undefined"}

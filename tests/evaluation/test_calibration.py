import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from pneumoscope.decision import Calibration, at_prevalence, decide, is_referred, pneumonia_probability, softmax
from pneumoscope.errors import InputError
from pneumoscope.evaluation.calibration import (
    calibration_curve,
    calibration_line,
    ece_under_perfect_calibration,
    fit_calibration,
)
from pneumoscope.evaluation.conformal import coverage_per_class, fit_conformal, prediction_sets
from pneumoscope.evaluation.intervals import delong_interval
from pneumoscope.evaluation.metrics import brier_score, expected_calibration_error
from pneumoscope.evaluation.selective import fit_refer_band, risk_coverage
from pneumoscope.types import Decision, OperatingPoint


def drawn(count, seed, temperature=1.0, bias=(0.0, 0.0, 0.0)):
    """Logits of a calibrated network, miscalibrated by a temperature and biases, with labels."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(0, 2, (count, 3))
    label = np.array([rng.choice(3, p=p) for p in softmax(calibrated)])
    return (calibrated - np.asarray(bias)) * temperature, label


def test_calibration_recovers_temperature_and_biases():
    logit, label = drawn(20_000, 0, temperature=2.5, bias=(0.6, -0.2, -0.4))
    found = fit_calibration(logit, label)
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(found.bias, (0.6, -0.2, -0.4), atol=0.06)
    alone = fit_calibration(logit, label, biases=False)
    assert alone.bias == ()
    assert log_loss(label, found.probabilities(logit)) < log_loss(label, alone.probabilities(logit))
    assert log_loss(label, alone.probabilities(logit)) < log_loss(label, softmax(logit))


def test_calibration_weighs_images():
    logit, label = drawn(3000, 1)
    doubled = fit_calibration(np.concatenate([logit, logit[:500]]), np.concatenate([label, label[:500]]))
    weight = np.ones(3000)
    weight[:500] = 2
    weighted = fit_calibration(logit, label, weight=weight)
    assert weighted.temperature == pytest.approx(doubled.temperature, rel=1e-3)


def test_calibration_keeps_the_ranking_by_temperature():
    logit, label = drawn(500, 2)
    found = fit_calibration(logit, label, biases=False)
    np.testing.assert_array_equal(found.probabilities(logit).argmax(axis=1), logit.argmax(axis=1))


def test_calibration_without_a_class_is_refused():
    with pytest.raises(InputError, match=r"found none of \[2\]"):
        fit_calibration(np.zeros((4, 3)), np.array([0, 1, 1, 0]))
    with pytest.raises(InputError, match="temperature above 0"):
        Calibration(0.0)


def test_ece_by_hand_and_under_resampling():
    probability = np.array([0.05, 0.05, 0.95, 0.95])
    positive = np.array([False, True, True, True])
    weight = np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]])
    # first bin: probability 0.05, rate 0.5; last: probability 0.95, rate 1
    np.testing.assert_allclose(
        expected_calibration_error(probability, positive, weight, 10), [(0.45 * 2 + 0.05 * 2) / 4, 0.05]
    )
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, bool), np.zeros((1, 0)))[0])


def test_brier_and_line_agree_with_scikit_learn(rng):
    probability = rng.uniform(0.02, 0.98, 400)
    positive = rng.random(400) < expit(1.7 * np.log(probability / (1 - probability)) - 0.4)
    assert brier_score(probability, positive, np.ones((1, 400)))[0] == pytest.approx(
        brier_score_loss(positive, probability)
    )
    logit = np.log(probability / (1 - probability))[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit, positive)
    slope, intercept = calibration_line(probability, positive)
    assert slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_calibration_line_counts_images_by_their_weights(rng):
    probability = rng.uniform(0.02, 0.98, 300)
    positive = rng.random(300) < probability**2
    twice = rng.random(300) < 0.5
    copied = np.concatenate([np.arange(300), np.flatnonzero(twice)])
    expected = calibration_line(probability[copied], positive[copied])
    assert calibration_line(probability, positive, 1.0 + twice) == pytest.approx(expected, abs=1e-4)


def test_calibration_line_of_separable_classes_is_undefined():
    positive = np.array([False, False, True, True])
    assert np.isnan(calibration_line(np.array([0.1, 0.2, 0.6, 0.9]), positive)).all()
    assert np.isnan(calibration_line(np.array([0.9, 0.6, 0.2, 0.1]), positive)).all()
    slope, _ = calibration_line(np.array([0.1, 0.5, 0.5, 0.9]), positive)
    assert np.isfinite(slope)


def test_curve_has_every_image_once(rng):
    probability = rng.random(37)
    curve = calibration_curve(probability, probability > 0.5, 5)
    assert sum(n for _, _, n in curve) == 37
    assert [mean for mean, _, _ in curve] == sorted(mean for mean, _, _ in curve)


@pytest.mark.parametrize("probability", [[1.2], [-0.1], [float("nan")]])
def test_invalid_probabilities_are_refused(probability):
    with pytest.raises(InputError, match=r"expected probabilities in \[0, 1\]"):
        brier_score(np.array(probability), np.array([True]), np.ones((1, 1)))


def test_delong_is_the_sum_over_pairs(rng):
    score = np.round(rng.normal(0, 1, 60), 1)
    positive = rng.random(60) < 0.4
    score[positive] += 0.8
    pairs = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    m, n = pairs.shape
    variance = pairs.mean(axis=1).var(ddof=1) / m + pairs.mean(axis=0).var(ddof=1) / n
    found = delong_interval(score, positive)
    assert found.value == pytest.approx(pairs.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)
    assert np.isnan(delong_interval(score, np.zeros(60, bool)).low)


def test_prevalence_moves_probabilities_by_bayes_rule():
    probability = np.array([[0.5, 0.3, 0.2]])
    found = at_prevalence(probability, assumed=0.5, prevalence=0.2)
    # odds of pneumonia 1 turn into 1 * (0.2 / 0.8) / (0.5 / 0.5)
    assert pneumonia_probability(found)[0] == pytest.approx(0.2)
    assert found[0, 1] / found[0, 2] == pytest.approx(1.5)
    np.testing.assert_allclose(at_prevalence(found, 0.2, 0.5), probability)
    with pytest.raises(InputError, match="expected a prevalence above 0 and below 1"):
        at_prevalence(probability, 0.5, 1.0)


def test_decisions_have_three_answers():
    point = OperatingPoint(0.5, 0.4, 0.7, 0.9, 0.9)
    assert decide(np.array([0.1, 0.4, 0.5, 0.69, 0.7]), point) == [
        Decision.NORMAL,
        Decision.REFER,
        Decision.REFER,
        Decision.REFER,
        Decision.PNEUMONIA,
    ]
    without_band = OperatingPoint(0.5, 0.5, 0.5, 0.9, 0.9)
    assert decide(np.array([0.49, 0.5]), without_band) == [Decision.NORMAL, Decision.PNEUMONIA]
    with pytest.raises(InputError, match="expected 0 <= refer_from"):
        OperatingPoint(0.5, 0.6, 0.7, 0.9, 0.9)


def test_refer_band_contains_the_requested_fraction_and_lowers_the_risk(rng):
    logit = rng.normal(0, 2, 4000)
    positive = rng.random(4000) < expit(logit)
    probability = expit(logit)
    low, high = fit_refer_band(probability, 0.4, 0.1)
    referred = is_referred(probability, OperatingPoint(0.4, low, high, 0.9, 0.9))
    assert referred.mean() == pytest.approx(0.1, abs=0.002)
    wrong = (probability >= 0.4) != positive
    assert wrong[~referred].mean() < wrong.mean()
    answered, risk = risk_coverage(probability, positive, 0.4)
    assert answered[-1] == 1
    assert risk[-1] == pytest.approx(wrong.mean())
    assert risk[1999] < risk[-1]
    assert fit_refer_band(probability, 0.4, 0.0) == (0.4, 0.4)


def test_conformal_sets_have_the_coverage_of_each_class():
    logit, label = drawn(6000, 3)
    probability = softmax(logit)
    thresholds = fit_conformal(probability[:3000], label[:3000], 0.9)
    found = coverage_per_class(prediction_sets(probability[3000:], thresholds), label[3000:])
    np.testing.assert_allclose(found, 0.9, atol=0.03)
    few = fit_conformal(probability[:9], label[:9], 0.99)
    assert few == (0.0, 0.0, 0.0)
    assert np.isnan(coverage_per_class(np.ones((1, 2), bool), np.array([0]))[1])
    with pytest.raises(InputError, match="expected a coverage between 0 and 1"):
        fit_conformal(probability, label, 1.0)


def test_few_images_show_a_calibration_error_by_chance_alone(rng):
    probability = rng.random(400)
    few, many = (
        ece_under_perfect_calibration(probability[:100], 200),
        ece_under_perfect_calibration(np.tile(probability, 25), 200),
    )
    assert 0.05 < few.mean() < 0.15
    assert 0 < many.mean() < 0.02
    # Certain labels leave no error by chance.
    assert ece_under_perfect_calibration(np.array([0.0, 1.0, 1.0]), 10).max() == 0
    right = rng.random(10_000) < np.tile(probability, 25)
    measured = expected_calibration_error(np.tile(probability, 25), right, np.ones((1, 10_000)))[0]
    assert many.min() <= measured <= many.max()

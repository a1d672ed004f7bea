import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_curve

from pneumoscope.errors import InputError
from pneumoscope.evaluation.thresholds import (
    best_operating_point,
    operating_point_at_sensitivity,
    operating_point_at_specificity,
    sweep_thresholds,
)

SCORE = np.array([0.1, 0.2, 0.2, 0.6, 0.7, 0.9])
POSITIVE = np.array([False, False, True, False, True, True])


def test_points_worked_out_by_hand():
    points = sweep_thresholds(SCORE, POSITIVE)
    assert points.threshold == pytest.approx([0.1, 0.15, 0.4, 0.65, 0.8, 0.9])
    assert points.sensitivity == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 0])
    assert points.specificity == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])
    assert points.accuracy == pytest.approx([3 / 6, 4 / 6, 4 / 6, 5 / 6, 4 / 6, 3 / 6])


def test_chosen_points():
    assert best_operating_point(SCORE, POSITIVE).threshold == pytest.approx(0.65)
    assert operating_point_at_sensitivity(SCORE, POSITIVE, 0.9).threshold == pytest.approx(0.15)
    assert operating_point_at_specificity(SCORE, POSITIVE, 0.6).threshold == pytest.approx(0.4)
    assert operating_point_at_sensitivity(SCORE, POSITIVE, 1.0).sensitivity == 1
    assert operating_point_at_specificity(SCORE, POSITIVE, 1.0).specificity == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60))
def test_points_agree_with_scikit_learn(pairs):
    score = np.array([s / 8 for s, _ in pairs])
    positive = np.array([b for _, b in pairs])
    if positive.all() or not positive.any():
        with pytest.raises(InputError, match="expected finite scores of normal and pneumonia images"):
            sweep_thresholds(score, positive)
        return
    false, true, _ = roc_curve(positive, score, drop_intermediate=False)
    points = sweep_thresholds(score, positive)
    np.testing.assert_allclose(points.sensitivity[::-1], true)
    np.testing.assert_allclose(1 - points.specificity[::-1], false)
    expected = [balanced_accuracy_score(positive, score >= threshold) for threshold in points.threshold]
    assert points.balanced_accuracy == pytest.approx(expected)
    best = best_operating_point(score, positive, "balanced_accuracy")
    assert (best.sensitivity + best.specificity) / 2 == pytest.approx(points.balanced_accuracy.max())


def test_weights_equal_repeated_images(rng):
    score, positive = np.round(rng.random(50), 1), rng.random(50) < 0.5
    times = rng.integers(1, 4, 50)
    weighted = sweep_thresholds(score, positive, times.astype(float))
    repeated = sweep_thresholds(np.repeat(score, times), np.repeat(positive, times))
    for name in ("threshold", "sensitivity", "specificity", "accuracy"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name))


def test_score_that_is_not_a_number_is_refused():
    with pytest.raises(InputError, match="expected finite scores"):
        sweep_thresholds(np.array([0.1, np.nan]), np.array([True, False]))

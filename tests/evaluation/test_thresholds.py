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
    operating_points,
)

SCORE = np.array([0.1, 0.2, 0.2, 0.6, 0.7, 0.9])
SICK = np.array([False, False, True, False, True, True])


def test_points_worked_out_by_hand():
    points = operating_points(SCORE, SICK)
    assert [p.threshold for p in points] == pytest.approx([0.1, 0.15, 0.4, 0.65, 0.8, 0.9])
    assert [p.sensitivity for p in points] == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 0])
    assert [p.specificity for p in points] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])
    assert [p.accuracy for p in points] == pytest.approx([3 / 6, 4 / 6, 4 / 6, 5 / 6, 4 / 6, 3 / 6])


def test_chosen_points():
    assert best_operating_point(SCORE, SICK).threshold == pytest.approx(0.65)
    assert operating_point_at_sensitivity(SCORE, SICK, 0.9).threshold == pytest.approx(0.15)
    assert operating_point_at_specificity(SCORE, SICK, 0.6).threshold == pytest.approx(0.4)
    assert operating_point_at_sensitivity(SCORE, SICK, 1.0).sensitivity == 1
    assert operating_point_at_specificity(SCORE, SICK, 1.0).specificity == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60))
def test_points_agree_with_scikit_learn(pairs):
    score = np.array([s / 8 for s, _ in pairs])
    sick = np.array([b for _, b in pairs])
    if sick.all() or not sick.any():
        with pytest.raises(InputError, match="expected finite scores of normal and pneumonia films"):
            operating_points(score, sick)
        return
    false, true, _ = roc_curve(sick, score, drop_intermediate=False)
    points = operating_points(score, sick)
    np.testing.assert_allclose([p.sensitivity for p in points][::-1], true)
    np.testing.assert_allclose([1 - p.specificity for p in points][::-1], false)
    for point in points:
        expected = balanced_accuracy_score(sick, score >= point.threshold)
        assert point.balanced_accuracy == pytest.approx(expected)
    best = best_operating_point(score, sick, "balanced_accuracy")
    assert best.balanced_accuracy == pytest.approx(max(p.balanced_accuracy for p in points))


def test_weights_count_films_as_often_as_they_say(rng):
    score, sick = np.round(rng.random(50), 1), rng.random(50) < 0.5
    times = rng.integers(1, 4, 50)
    weighted = operating_points(score, sick, times.astype(float))
    repeated = operating_points(np.repeat(score, times), np.repeat(sick, times))
    for one, two in zip(weighted, repeated, strict=True):
        assert one.threshold == pytest.approx(two.threshold)
        assert one.sensitivity == pytest.approx(two.sensitivity)
        assert one.specificity == pytest.approx(two.specificity)
        assert one.accuracy == pytest.approx(two.accuracy)


def test_score_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="expected finite scores"):
        operating_points(np.array([0.1, np.nan]), np.array([True, False]))

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import (
    accuracy,
    balanced_accuracy,
    check_probabilities,
    compute_metrics,
    confusion_matrices,
    precision,
    recall,
    roc_auc,
    roc_curve,
)

NAMES = ("normal", "bacterial", "viral")


def answers(rng, count=300, classes=3, ties=False):
    """Labels and probabilities with some skill."""
    label = rng.integers(0, classes, count)
    logit = rng.normal(size=(count, classes)) + 1.2 * np.eye(classes)[label]
    if ties:
        logit = np.round(logit)
    weight = np.exp(logit)
    return label, weight / weight.sum(axis=1, keepdims=True)


def plain(label, probability, names=NAMES):
    return {
        name: value[0] for name, value in compute_metrics(probability, label, names, np.ones((1, len(label)))).items()
    }


def _reference_ece(score, positive, bins=15):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (score >= low) & ((score < high) | (high == 1))
        total += abs(positive[inside].sum() - score[inside].sum())
    return total / len(score)


@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_three_classes_equal_scikit_learn(seed, ties):
    label, probability = answers(np.random.default_rng(seed), ties=ties)
    found = plain(label, probability)
    answer = probability.argmax(axis=1)
    positive, score = label > 0, probability[:, 1:].sum(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(label, answer),
        "balanced_accuracy": reference.balanced_accuracy_score(label, answer),
        "binary_accuracy": reference.accuracy_score(positive, score >= 0.5),
        "binary_balanced_accuracy": reference.balanced_accuracy_score(positive, score >= 0.5),
        "sensitivity": reference.recall_score(positive, score >= 0.5),
        "specificity": reference.recall_score(~positive, score < 0.5),
        "auc": reference.roc_auc_score(positive, score),
        "auc_viral_vs_bacterial": reference.roc_auc_score(
            label[positive] == 2, probability[positive, 2] / probability[positive, 1:].sum(axis=1)
        ),
        "brier": reference.brier_score_loss(positive, np.minimum(score, 1)),
        "ece": _reference_ece(score, positive),
    }
    for position, name in enumerate(NAMES):
        one = label == position
        expected[f"recall_{name}"] = reference.recall_score(one, answer == position)
        expected[f"precision_{name}"] = reference.precision_score(one, answer == position)
        expected[f"auc_{name}"] = reference.roc_auc_score(one, probability[:, position])
    assert found == pytest.approx(expected, abs=1e-12)


def test_two_classes_equal_scikit_learn(rng):
    label, probability = answers(rng, classes=2)
    found = plain(label, probability, NAMES[:2])
    answer = probability.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(label, answer))
    assert found["sensitivity"] == pytest.approx(reference.recall_score(label, answer))
    assert found["specificity"] == pytest.approx(reference.recall_score(1 - label, 1 - answer))
    assert found["auc"] == pytest.approx(reference.roc_auc_score(label, probability[:, 1]))
    assert "binary_accuracy" not in found


def test_with_a_threshold_the_class_follows_from_the_decision(rng):
    label, probability = answers(rng)
    values = compute_metrics(probability, label, NAMES, np.ones((1, 300)), threshold=0.7)
    positive = probability[:, 1:].sum(axis=1) >= 0.7
    answer = np.where(positive, 1 + probability[:, 1:].argmax(axis=1), 0)
    assert values["accuracy"][0] == pytest.approx(reference.accuracy_score(label, answer))
    assert values["sensitivity"][0] == pytest.approx(reference.recall_score(label > 0, positive))
    assert values["recall_normal"][0] == pytest.approx(values["specificity"][0])


def test_weights_equal_repeated_images(rng):
    label, probability = answers(rng, 80)
    times = rng.integers(0, 4, 80)
    weighted = compute_metrics(probability, label, NAMES, times[None].astype(float))
    repeated = plain(np.repeat(label, times), np.repeat(probability, times, axis=0))
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated, abs=1e-12)


def test_confusion_matrix_equals_scikit_learn(rng):
    label, probability = answers(rng)
    answer = probability.argmax(axis=1)
    (found,) = confusion_matrices(label, answer, 3, np.ones((1, 300)))
    assert np.array_equal(found, reference.confusion_matrix(label, answer))


def test_hand_values():
    matrix = np.array([[3.0, 1.0], [2.0, 4.0]])
    assert accuracy(matrix) == pytest.approx(0.7)
    assert recall(matrix).tolist() == pytest.approx([3 / 4, 4 / 6])
    assert precision(matrix).tolist() == pytest.approx([3 / 5, 4 / 5])
    assert balanced_accuracy(matrix) == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert roc_auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)


def test_undefined_metrics_are_nan():
    assert np.isnan(roc_auc(np.array([0.1, 0.2]), np.array([1, 1])))
    assert np.isnan(roc_auc(np.array([]), np.array([])))
    matrix = np.array([[3.0, 0.0], [0.0, 0.0]])
    assert np.isnan(recall(matrix)[1])
    assert np.isnan(precision(matrix)[1])
    assert np.isnan(balanced_accuracy(matrix))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_is_invariant_to_order_and_monotone_maps_and_mirrors_with_the_label(pairs):
    score = np.array([float(s) for s, _ in pairs])
    positive = np.array([p for _, p in pairs])
    value = roc_auc(score, positive)
    if positive.all() or not positive.any():
        assert np.isnan(value)
        return
    assert roc_auc(score[::-1], positive[::-1]) == pytest.approx(value)
    assert roc_auc(np.exp(score / 3), positive) == pytest.approx(value)
    assert roc_auc(-score, positive) == pytest.approx(1 - value)
    assert roc_auc(score, ~positive) == pytest.approx(1 - value)
    assert value == pytest.approx(reference.roc_auc_score(positive, score))


def test_roc_curve_equals_scikit_learn(rng):
    label, probability = answers(rng, classes=2, ties=True)
    false, true = roc_curve(probability[:, 1], label > 0)
    expected = reference.roc_curve(label, probability[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(false, expected[0])
    np.testing.assert_allclose(true, expected[1])


@pytest.mark.parametrize(
    ("probability", "label", "message"),
    [
        ([[2.0, -1.0]], [0], r"expected probabilities in \[0, 1\]"),
        ([[0.2, 0.2]], [0], "sum to 1"),
        ([[np.nan, 1.0]], [0], r"expected probabilities in \[0, 1\]"),
        ([[0.5, 0.5]], [2], "expected labels in 0 to 1, found 2"),
        ([[0.5, 0.5]], [0, 1], r"\(n, classes\)"),
    ],
)
def test_invalid_probabilities_are_refused(probability, label, message):
    with pytest.raises(InputError, match=message):
        check_probabilities(np.array(probability), np.array(label))

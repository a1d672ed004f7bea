from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.adaptation import cross_validation
from pneumoscope.adaptation.cross_validation import (
    Candidate,
    choose,
    cross_validate,
    fit_candidate_policy,
    grouped_folds,
    nested_predictions,
)
from pneumoscope.adaptation.methods import LinearHeads, usable_methods
from pneumoscope.config import DetectorConfig
from pneumoscope.decision import pneumonia_probability
from pneumoscope.errors import DataError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.types import BINARY, THREE_CLASS, ClassScheme

OWN = ClassScheme(("clear", "effusion"))


def nested(images, methods):
    candidates = cross_validate(images, methods, np.arange(len(images)), 5)
    return nested_predictions(images, candidates, DetectorConfig(), lambda done, total: None)


def test_folds_keep_patients_whole_and_classes_even(rng):
    patients = [f"p{i}" for i in rng.integers(0, 60, 200)]
    positive = rng.random(200) < 0.3
    fold = grouped_folds(positive.astype(int), patients, 5)
    assert all(len(set(fold[np.array(patients) == name])) == 1 for name in set(patients))
    counts = np.array([[(fold == f)[positive == truth].sum() for truth in (False, True)] for f in range(5)])
    assert counts.min(axis=0)[0] >= 20
    assert counts.min(axis=0)[1] >= 7


def test_folds_have_both_classes_where_patients_have_both(rng):
    """Ten patients with images of both classes, and positives of five of them alone."""
    patients = [f"p{i // 8}" for i in range(80)]
    label = np.array([int(i // 8 < 5 and i % 8 < 1 + 3 * (i // 8 == 0)) for i in range(80)])
    for seed in range(5):
        fold = grouped_folds(label, patients, 5, seed)
        assert [set(label[fold == each]) for each in range(5)] == [{0, 1}] * 5


def test_fewer_folds_are_made_where_so_many_cannot_have_both_classes():
    label = np.array([1] * 3 + [0] * 20)
    fold = grouped_folds(label, [f"p{i}" for i in range(23)], 5)
    assert [set(label[fold == each]) for each in range(fold.max() + 1)] == [{0, 1}] * 3
    with pytest.raises(DataError, match="add patients"):
        grouped_folds(label, ["one"] * 3 + [f"p{i}" for i in range(20)], 5)


def test_three_classes_are_calibrated_however_large_the_penalty(site_images):
    """Out-of-fold intercepts would follow the etiologies of a fold, and outdo the features."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(60), rng.integers(1, 6, 60))[:120]
    label = rng.integers(0, 3, 60)[of]
    images = site_images(count=120, signal=0.0)
    features = images.features.copy()
    features[:, 0] += 1.5 * (label > 0)
    patients = tuple(f"p{i}" for i in of)
    images = replace(images, label=label, features=features, etiologies=True, patients=patients)
    [candidate] = cross_validate(images, [LinearHeads(THREE_CLASS, True, (3000.0,))], np.arange(120), 5)
    policy = fit_candidate_policy(candidate, images, np.arange(120), DetectorConfig()).policy
    probability = pneumonia_probability(policy.calibration.probabilities(candidate.logit))
    assert roc_auc(probability, label > 0) > 0.75
    assert probability.std() > 0.2


def test_simplest_candidate_within_one_standard_error_of_the_best_is_chosen():
    method = LinearHeads(BINARY, True, (30.0, 20.0, 10.0))

    def candidate(number, *auc):
        return Candidate(method, number, np.array(auc), np.zeros((1, 2)), np.zeros(1, dtype=int))

    worst, near, best = candidate(0, 0.6, 0.6), candidate(1, 0.81, 0.81), candidate(2, 0.78, 0.86)
    assert choose([worst, near, best]) is near
    assert choose([worst, replace(near, auc=np.array([0.7, 0.7])), best]) is best


def test_predictions_of_a_patient_do_not_depend_on_its_labels(site_images, monkeypatch):
    """Nothing of a held-out patient is used: with other labels in one outer fold its own predictions stay as they are."""
    images = site_images()
    fold = grouped_folds(images.label, images.patients, 5)

    def folds(label, patients, count, seed=0):
        return fold if len(label) == len(images) else grouped_folds(label, patients, count, seed)

    monkeypatch.setattr(cross_validation, "grouped_folds", folds)
    own = fold == 0
    changed = replace(images, label=np.where(own, 1 - images.label, images.label))
    methods = usable_methods(BINARY, BINARY, False, None)
    before, after = (nested(each, methods) for each in (images, changed))
    assert set(images.label[own]) == {0, 1}
    np.testing.assert_array_equal(after.probability[own], before.probability[own])
    assert before.chosen[0] == after.chosen[0]
    assert not np.array_equal(after.probability[~own], before.probability[~own])


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_at_chance_and_a_signal_is_found(site_images, seed):
    methods = usable_methods(BINARY, BINARY, False, None)
    noise, found = (site_images(signal=signal, seed=seed) for signal in (0.0, 3.0))
    assert 0.3 < roc_auc(nested(noise, methods).probability, noise.label) < 0.65
    assert roc_auc(nested(found, methods).probability, found.label) > 0.9


@pytest.mark.parametrize("signal", [0.0, 3.0])
def test_a_single_candidate_is_calibrated_by_the_other_folds(site_images, signal):
    images = site_images(signal=signal)
    found = nested(images, [LinearHeads(BINARY, True, (30.0,))])
    assert found.chosen == ()
    assert (roc_auc(found.probability, images.label) > 0.9) == (signal > 0)


def test_out_of_fold_logits_are_of_other_patients(site_images):
    images = site_images(signal=0.0)
    [candidate] = cross_validate(images, [LinearHeads(BINARY, True, (0.01,))], np.arange(len(images)), 5)
    assert roc_auc(candidate.logit[:, 1] - candidate.logit[:, 0], images.label) < 0.7
    train = np.arange(len(images))
    fitted = candidate.logits(images, train, train)
    assert roc_auc(fitted[:, 1] - fitted[:, 0], images.label) > 0.6


@pytest.mark.parametrize(
    ("parent", "site", "etiologies", "wanted", "expected"),
    [
        (THREE_CLASS, BINARY, False, None, [("calibrate", THREE_CLASS, False), ("linear", BINARY, True)]),
        (THREE_CLASS, BINARY, True, None, [("calibrate", THREE_CLASS, True), ("linear", THREE_CLASS, True)]),
        (BINARY, BINARY, False, "calibrate", [("calibrate", BINARY, True)]),
        (THREE_CLASS, OWN, False, None, [("linear", OWN, True)]),
        (OWN, OWN, False, None, [("calibrate", OWN, True), ("linear", OWN, True)]),
        (THREE_CLASS, OWN, False, "calibrate", []),
    ],
)
def test_methods_follow_from_the_classes(parent, site, etiologies, wanted, expected):
    found = usable_methods(parent, site, etiologies, wanted)
    assert [(method.name, method.scheme, method.etiologies) for method in found] == expected


def test_a_parent_of_two_classes_learns_both_etiologies_as_one(site_images):
    images = replace(site_images(count=180), label=np.repeat(np.arange(90) % 3, 2), etiologies=True)
    for method in usable_methods(BINARY, BINARY, True, None):
        assert set(method.labels(images)) == {0, 1}
        [logit, *_] = method.logits(images, np.arange(120), np.arange(120, 180))
        assert logit.shape == (60, 2)

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pneumoscope.adaptation.linear_head import fit_linear_heads
from pneumoscope.decision import softmax

PENALTIES = (300.0, 10.0, 1.0)


def drawn(rng, count, classes):
    features = rng.normal(size=(count, 20)) * rng.uniform(0.1, 5, 20) + 3
    scores = features[:, :classes] @ rng.normal(size=(classes, classes)) + 4 * rng.normal(size=(count, classes))
    return features, scores.argmax(axis=1)


@pytest.mark.parametrize("count", [15, 200])
@pytest.mark.parametrize("classes", [2, 3])
def test_heads_are_those_of_scikit_learn(rng, classes, count):
    features, label = drawn(rng, count, classes)
    weight = rng.uniform(0.5, 2, count)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    heads = fit_linear_heads(features, label, classes, PENALTIES, weight)
    for head, penalty in zip(heads, PENALTIES, strict=True):
        # The binary model of scikit-learn has one row of weights for the two of opposite sign here.
        inverse = (2 if classes == 2 else 1) / penalty
        expected = LogisticRegression(C=inverse, tol=1e-9, max_iter=10_000).fit(standard, label, weight)
        np.testing.assert_allclose(softmax(head(features)), expected.predict_proba(standard), atol=1e-5)


def test_a_feature_that_does_not_vary_and_separated_classes_are_no_trouble(rng):
    features, label = drawn(rng, 60, 2)
    features[:, 3] = 7.0
    features[:, 0] += 100 * label
    [head] = fit_linear_heads(features, label, 2, [0.1], np.ones(60))
    assert np.isfinite(head.weight).all()
    assert (head(features).argmax(axis=1) == label).all()


def test_logits_of_the_stored_arrays_are_those_of_the_head(rng):
    features, label = drawn(rng, 60, 3)
    [head] = fit_linear_heads(features, label, 3, [10.0], np.ones(60))
    stored = head.arrays()
    assert {name: array.dtype for name, array in stored.items()} == {"weight": np.float32, "bias": np.float32}
    np.testing.assert_allclose(features @ stored["weight"].T + stored["bias"], head(features), atol=1e-3)

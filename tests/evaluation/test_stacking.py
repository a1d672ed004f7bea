"""Weights of an ensemble's members."""

import numpy as np
import pytest

from pneumoscope.decision import softmax
from pneumoscope.evaluation.stacking import fit_member_weights


def cross_entropy(logits, label, weight):
    return -(weight * np.log(softmax(logits)[np.arange(len(label)), label])).sum()


@pytest.fixture
def members(rng):
    """Three members: two see the truth through noise of their own, the third sees nothing."""
    label = rng.integers(0, 3, 3000)
    truth = 2.0 * np.eye(3)[label]
    good, fair = (truth + rng.normal(0, noise, truth.shape) for noise in (1.0, 2.0))
    return [good, fair, rng.normal(0, 1, truth.shape)], label


def test_weights_follow_what_the_members_know(members):
    logits, label = members
    good, fair, blind = fit_member_weights(logits, label, np.ones(len(label)))
    assert good + fair + blind == pytest.approx(1)
    # Independent noise of variance v: the best weight is in proportion to 1 / v.
    assert good / fair == pytest.approx(4, rel=0.15)
    assert blind < 0.03


def test_a_member_is_never_subtracted(members):
    logits, label = members
    weights = fit_member_weights([logits[0], -logits[1]], label, np.ones(len(label)))
    assert weights == pytest.approx((1, 0))


def test_weighted_images_count_more(members, rng):
    logits, label = members
    first = rng.random(len(label)) < 0.5
    # Each member is right on one half of the images only.
    one, other = (np.where(part[:, None], logits[0], logits[2]) for part in (first, ~first))
    even = fit_member_weights([one, other], label, np.ones(len(label)))
    uneven = fit_member_weights([one, other], label, np.where(first, 9.0, 1.0))
    assert even[0] == pytest.approx(0.5, abs=0.05)
    assert uneven[0] > even[0] + 0.2


def test_members_that_know_nothing_count_alike(rng):
    label = rng.integers(0, 3, 50)
    nothing = np.zeros((50, 3))
    assert fit_member_weights([nothing, nothing], label, np.ones(50)) == (0.5, 0.5)
    assert fit_member_weights([nothing], label, np.ones(50)) == (1.0,)

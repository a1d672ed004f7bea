"""Learning curve, acquisition audit and population of a site."""

import numpy as np

from pneumoscope.adaptation.acquisition import audit_acquisition
from pneumoscope.adaptation.cross_validation import Candidate
from pneumoscope.adaptation.learning_curve import LearningCurve, learning_curve
from pneumoscope.adaptation.methods import LinearHeads
from pneumoscope.adaptation.population import fit_site_guard, site_scope
from pneumoscope.bundle import GuardLimits, Scope
from pneumoscope.inference.guard import Guard
from pneumoscope.inference.population import Descriptions
from pneumoscope.types import BINARY


def test_learning_curve_rises_with_images_and_says_so(site_images):
    images = site_images(count=400, signal=1.5)
    candidate = Candidate(LinearHeads(BINARY, True, (30.0,)), 0, np.zeros(5), np.zeros((1, 2)), np.zeros(1, dtype=int))
    done = []
    curve = learning_curve(images, candidate, lambda each, total: done.append((each, total)))
    assert curve.images == (25, 50, 100, 200, 320)
    assert curve.points[0]["auc"] < curve.points[-1]["auc"]
    assert done[-1] == (20, 20)


def test_more_images_would_help_where_the_last_step_is_worthwhile_and_no_chance():
    steady = 0.8 + 0.02 * np.random.default_rng(0).normal(size=20)
    assert LearningCurve((100, 200), np.stack([steady, steady + 0.03]), "a head").more_would_help
    assert "would help" in LearningCurve((100, 200), np.stack([steady, steady + 0.03]), "a head").answer
    assert not LearningCurve((100, 200), np.stack([steady, steady + 0.002]), "a head").more_would_help
    assert LearningCurve((30,), steady[None], "a head").more_would_help is None
    assert "Too few images" in LearningCurve((30,), steady[None], "a head").answer


def test_files_that_tell_the_label_are_a_warning(site_images):
    images = site_images(count=400, bytes_tell=True)
    probability = np.clip(images.file_properties[:, 3] / 20, 0, 1)
    found = audit_acquisition(images, probability)
    assert found.strongest[0] == "bytes per pixel"
    assert found.strongest[1] > 0.85
    assert found.auc > 0.8
    # The probability follows the bytes alone: among images alike in these, little is left.
    assert found.within < 0.85
    assert "bytes per pixel alone" in found.warning
    assert {"width", "JPEG quantisation"}.isdisjoint(found.properties)  # equal for all, and unknown


def test_files_that_say_nothing_are_none(site_images):
    images = site_images(count=400)
    found = audit_acquisition(images, np.random.default_rng(0).random(400))
    assert found.auc < 0.62
    assert found.warning == ""
    assert {"age", "view PA"} <= set(found.properties)


def test_images_of_the_site_are_inside_and_others_outside(site_images):
    images = site_images(count=200)
    parent = Guard(GuardLimits(0.5, 1.0, 2.0, 3.0, 0.5), None)
    guard, distance = fit_site_guard(parent, images)
    assert 0.95 < np.mean(distance <= 1) < 1
    assert (guard.limits.not_frontal_chest, guard.limits.suspicious_similarity) == (2.0, 0.5)
    other = site_images(count=200, seed=1)
    assert np.mean(guard.population.distance(other.guard) <= 1) > 0.8
    far = Descriptions(other.guard.features + 6, other.guard.layout + 6)
    assert (guard.population.distance(far) > 1).all()


def test_scope_has_the_ages_and_views_of_the_site(site_images):
    images = site_images()
    assert site_scope(images) == Scope((3, 6), ("AP", "PA"))

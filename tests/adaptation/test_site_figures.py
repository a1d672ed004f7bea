"""Learning curve, acquisition audit, population and acceptance of a site."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.adaptation import site
from pneumoscope.adaptation.acquisition import audit_acquisition
from pneumoscope.adaptation.adapt import adapt
from pneumoscope.adaptation.cross_validation import Candidate
from pneumoscope.adaptation.learning_curve import LearningCurve, learning_curve
from pneumoscope.adaptation.methods import LinearHeads
from pneumoscope.adaptation.population import fit_site_guard, site_scope
from pneumoscope.adaptation.site import RejectedImage
from pneumoscope.bundle import GuardLimits, Scope, find_bundle
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import SourceImage
from pneumoscope.inference.guard import Guard
from pneumoscope.progress import silent
from pneumoscope.types import BINARY, Etiology, Finding, ImageHeader, Split


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
    assert LearningCurve((100, 200), np.stack([steady, steady + 0.002]), "a head").more_would_help is False
    assert LearningCurve((30,), steady[None], "a head").more_would_help is None
    # Of few images: a gain that chance explains is no plateau.
    noisy = steady + 0.045 + np.where(np.arange(len(steady)) % 2, 0.2, -0.2)
    assert LearningCurve((25, 41), np.stack([steady, noisy]), "a head").more_would_help is None
    assert "Too few images" in LearningCurve((30,), steady[None], "a head").answer


def test_files_that_tell_the_label_are_a_warning(site_images):
    images = site_images(count=400, bytes_tell=True)
    probability = np.clip(images.file_properties[:, 3] / 20, 0, 1)
    found = audit_acquisition(images, probability)
    assert found.proven[0] == "bytes per pixel"
    assert found.strength("bytes per pixel").low > 0.85
    assert found.together.low > 0.8
    # The probability follows the bytes alone: among images alike in these, little is left.
    assert found.within.value < 0.85
    assert found.within.low < found.within.value < found.within.high
    assert "bytes per pixel alone" in found.warning
    assert {"width", "JPEG quantisation"}.isdisjoint(found.properties)  # equal for all, and unknown


def test_files_that_say_nothing_are_none(site_images):
    images = site_images(count=400)
    found = audit_acquisition(images, np.random.default_rng(0).random(400))
    assert found.together.value < 0.62
    assert found.warning == ""
    assert found.together_proven is False
    assert {"age", "view PA"} <= set(found.properties)


@pytest.mark.parametrize("seed", range(4))
def test_chance_among_few_images_is_no_warning(site_images, seed):
    images = site_images(count=40, seed=seed)
    found = audit_acquisition(images, np.random.default_rng(seed).random(40))
    assert found.strength(found.strongest[0]).value > 0.55
    assert found.warning == ""


def test_ages_that_tell_the_label_are_a_warning_of_their_own(site_images):
    images = site_images(count=200)
    headers = (
        replace(h, age_years=20.0 + 10 * p + i % 13)
        for i, (h, p) in enumerate(zip(images.headers, images.positive, strict=True))
    )
    found = audit_acquisition(replace(images, headers=tuple(headers)), np.random.default_rng(0).random(200))
    assert "age alone gives" in found.warning
    assert found.warning.endswith("of patients of the same ages and sexes.")


def test_images_of_the_site_are_inside_and_others_outside(site_images):
    images = site_images(count=200)
    parent = Guard(GuardLimits(0.5, 1.0, 2.0, 3.0, 0.5), None)
    guard, distance, outside = fit_site_guard(parent, images)
    assert 0.95 < np.mean(distance <= 1) < 1
    assert (guard.limits.not_frontal_chest, guard.limits.suspicious_similarity) == (2.0, 0.5)
    other = site_images(count=200, seed=1)
    assert np.mean(guard.population.distance(other.guard) <= 1) > 0.8
    far = replace(other.guard, features=other.guard.features + 6, layout=other.guard.layout + 6)
    assert (guard.population.distance(far) > 1).all()
    assert (outside >= (distance > 1)).all()


def test_an_exposure_that_only_its_own_patient_has_is_outside(site_images):
    images = site_images(count=60)
    exposure = images.guard.exposure.copy()
    exposure[7] += 5
    images = replace(images, guard=replace(images.guard, exposure=exposure))
    _, _, outside = fit_site_guard(Guard(GuardLimits(0.5, 1.0, 2.0, 3.0, 0.5), None), images)
    assert outside[7]
    assert outside.mean() < 0.2


def test_scope_has_the_ages_and_views_of_the_site(site_images):
    images = site_images()
    assert site_scope(images.headers) == Scope((3, 6), ("AP", "PA"))


def test_scope_binds_to_views_in_any_spelling_and_to_none_that_are_seldom_named(site_images):
    images = site_images()

    def viewed(*views):
        headers = (replace(header, view=view) for header, view in zip(images.headers, itertools.cycle(views)))
        return list(headers)

    assert site_scope(viewed("AP SUPINE", "POSTEROANTERIOR")).views == ("AP", "PA")
    assert site_scope(viewed("AP")).views == ("AP",)
    assert site_scope(viewed("AP", "PA", "FRONTAL")).views == ()


@pytest.mark.parametrize(
    ("viral", "patients", "expected"), [(20, 20, True), (19, 19, False), (20, 4, False), (0, 0, False)]
)
def test_etiologies_are_learnt_where_each_has_enough_images_and_patients(viral, patients, expected):
    def some(etiology, count, of):
        finding = Finding.NORMAL if etiology is Etiology.NONE else Finding.PNEUMONIA
        return [
            SourceImage(f"{etiology}/{i}", finding, etiology, f"{etiology}{i % of}", Split.TRAIN) for i in range(count)
        ]

    def tells(images):
        return site._tells_etiologies(images, [image.patient for image in images])

    usable = some(Etiology.NONE, 30, 30) + some(Etiology.BACTERIAL, 30, 30) + some(Etiology.VIRAL, viral, patients)
    assert tells(usable) == expected
    assert not tells(usable + some(Etiology.UNKNOWN, 1, 1))


def test_what_users_would_get_has_the_images_that_stay_without_a_decision(site_images):
    images = site_images(count=200, signal=3.0)
    headers = tuple(replace(header, age_years=None) for header in images.headers)
    views = ("LATERAL",) * 3
    headers = tuple(replace(h, view=v) for h, v in zip(headers, views, strict=False)) + headers[3:]
    refused = tuple(RejectedImage(i < 4, f"r{i}", ImageHeader(view="PA"), "inverted") for i in range(12))
    images = replace(images, headers=headers, rejected_images=refused)
    methods = [LinearHeads(BINARY, True, (300.0, 30.0))]
    found = adapt(find_bundle("nano"), images, BINARY, DetectorConfig(), methods, silent)
    flow, reasons = found.acceptance["flow"], found.acceptance["reasons"]
    assert (flow["normal"]["rejected"], flow["pneumonia"]["rejected"]) == (8, 4)
    assert sum(sum(counts.values()) for counts in flow.values()) == 212
    far = reasons["outside_population"]
    assert far >= np.sum(found.distance > 1) > 0
    assert (reasons["outside_view"], reasons["inverted"]) == (3, 12)
    assert far <= sum(counts["outside"] for counts in flow.values()) <= far + 3
    assert images.rejected == {"inverted": 12}
    measures = found.acceptance["measures"]
    assert measures["sensitivity_of_all"]["value"] < measures["sensitivity"]["value"]

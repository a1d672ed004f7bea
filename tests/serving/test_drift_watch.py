from dataclasses import replace

import pytest

from pneumoscope.evaluation.drift import Drift
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.drift import DriftWatch, reference_of


@pytest.fixture(scope="module")
def predictions(phantom_bundle, phantoms):
    return list(load_detector(phantom_bundle).predict_many(sorted(phantoms.rglob("*.jpeg"))))


@pytest.fixture(scope="module")
def reference(predictions):
    return reference_of([one.statistics for one in predictions], rejected=0)


def test_the_same_films_are_steady(predictions, reference):
    watch = DriftWatch(reference)
    for one in predictions:
        watch.add(one)
    report = watch.report()
    assert (report.images, report.rejected) == (len(predictions), 0)
    assert {moved.drift for moved in report.statistics.values()} == {Drift.STEADY}
    assert report.rejections is Drift.STEADY


def test_darker_films_drift_and_rejections_are_seen(predictions, reference):
    watch = DriftWatch(reference)
    for place, one in enumerate(predictions):
        darker = replace(one.statistics, brightness=one.statistics.brightness - 0.3)
        watch.add(replace(one, statistics=None if place % 3 == 0 else darker))
    report = watch.report()
    # 48 judged films are too few to tell of; the rejected ones are not.
    assert report.statistics["brightness"].drift is Drift.TOO_FEW
    assert report.rejections is Drift.DRIFTED
    watch = DriftWatch(reference)
    for one in predictions:
        watch.add(replace(one, statistics=replace(one.statistics, brightness=one.statistics.brightness - 0.3)))
    moved = watch.report().statistics
    assert moved["brightness"].drift is Drift.DRIFTED
    assert moved["contrast"].drift is Drift.STEADY


def test_an_image_counts_once_and_only_the_last_ones_count(predictions, reference, phantom_bundle):
    watch = DriftWatch(reference, window=10)
    for one in [*predictions[:4]] * 3:
        watch.add(one)
    assert watch.report().images == 4
    for one in predictions:
        watch.add(one)
    assert watch.report().images == 10
    watch.add(load_detector(phantom_bundle).predict(b"nothing"))
    assert watch.report().images == 10


def test_without_a_reference_only_the_images_are_counted(predictions):
    watch = DriftWatch(None)
    assert watch.report().rejected_share is None
    watch.add(predictions[0])
    report = watch.report()
    assert (report.images, report.statistics, report.rejected_reference) == (1, {}, None)

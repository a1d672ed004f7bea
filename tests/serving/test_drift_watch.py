from dataclasses import replace

import pytest

from pneumoscope.evaluation.drift import Drift
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.drift import DriftMonitor, fit_reference


@pytest.fixture(scope="module")
def predictions(phantom_bundle, phantoms):
    return list(load_detector(phantom_bundle).predict_many(sorted(phantoms.rglob("*.jpeg"))))


@pytest.fixture(scope="module")
def reference(predictions):
    return fit_reference([one.statistics for one in predictions], rejected=0)


def test_the_same_films_are_steady(predictions, reference):
    monitor = DriftMonitor(reference)
    for one in predictions:
        monitor.add(one)
    report = monitor.report()
    assert (report.images, report.rejected) == (len(predictions), 0)
    assert {moved.drift for moved in report.statistics.values()} == {Drift.STEADY}
    assert report.rejections is Drift.STEADY


def test_darker_films_drift_and_rejections_are_seen(predictions, reference):
    monitor = DriftMonitor(reference)
    for place, one in enumerate(predictions):
        darker = replace(one.statistics, brightness=one.statistics.brightness - 0.3)
        monitor.add(replace(one, statistics=None if place % 3 == 0 else darker))
    report = monitor.report()
    # 48 predictions are too few for a verdict; the rejected images are not.
    assert report.statistics["brightness"].drift is Drift.TOO_FEW
    assert report.rejections is Drift.DRIFTED
    monitor = DriftMonitor(reference)
    for one in predictions:
        monitor.add(replace(one, statistics=replace(one.statistics, brightness=one.statistics.brightness - 0.3)))
    moved = monitor.report().statistics
    assert moved["brightness"].drift is Drift.DRIFTED
    assert moved["contrast"].drift is Drift.STEADY


def test_an_image_counts_once_and_only_the_last_ones_count(predictions, reference, phantom_bundle):
    monitor = DriftMonitor(reference, window=10)
    for one in [*predictions[:4]] * 3:
        monitor.add(one)
    assert monitor.report().images == 4
    for one in predictions:
        monitor.add(one)
    assert monitor.report().images == 10
    monitor.add(load_detector(phantom_bundle).predict(b"nothing"))
    assert monitor.report().images == 10


def test_without_a_reference_only_the_images_are_counted(predictions):
    monitor = DriftMonitor(None)
    assert monitor.report().rejected_share is None
    monitor.add(predictions[0])
    report = monitor.report()
    assert (report.images, report.statistics, report.rejected_reference) == (1, {}, None)

from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.errors import BundleError, DataError
from pneumoscope.inference.guard import Guard, fit_guard
from pneumoscope.inference.population import Descriptions, NeighbourDistance, fit_population

CHANNELS, CELLS = 90, 256


class Station:
    """Radiographs whose features vary in ten directions, and export variants that move them in an eleventh."""

    def __init__(self, rng):
        self.rng = rng
        self.directions = rng.normal(size=(10, CHANNELS))
        self.export = rng.normal(size=CHANNELS)
        self.anatomy = rng.normal(size=(4, CELLS))

    def radiographs(self, n):
        rng = self.rng
        features = rng.normal(size=(n, 10)) @ self.directions + rng.normal(0, 0.1, (n, CHANNELS))
        layout = rng.normal(size=(n, 4)) @ self.anatomy + rng.normal(0, 0.1, (n, CELLS))
        return Descriptions(features, layout, rng.uniform(0.2, 0.6, (n, 3)))

    def exported(self, images, strength=3.0):
        moved = self.rng.uniform(-strength, strength, (len(images), 1)) * self.export
        return replace(images, features=images.features + moved)


@pytest.fixture
def station(rng):
    return Station(rng)


@pytest.fixture
def population(station, rng):
    training = station.radiographs(600)
    variants, held_out = station.exported(training), station.radiographs(600)
    return fit_population(training, variants, np.arange(600), held_out, 0.02, 500, rng)


def outside(population, images):
    return float((population.distance(images) > 1).mean())


def test_two_percent_of_other_radiographs_of_the_population_lie_outside(population, station):
    assert 0.005 < outside(population, station.radiographs(800)) < 0.05


def test_an_export_variant_lies_inside_and_the_same_change_in_another_direction_outside(population, station, rng):
    images = station.radiographs(300)
    assert outside(population, station.exported(images)) < 0.1
    moved = rng.choice([-3, 3], (300, 1)) * rng.normal(size=CHANNELS)
    assert outside(population, replace(images, features=images.features + moved)) > 0.95


def test_other_features_or_another_layout_alone_are_enough_to_lie_outside(population, station, rng):
    images = station.radiographs(200)
    noise = rng.normal(size=(200, CHANNELS))
    assert outside(population, replace(images, features=images.features + 2 * noise)) > 0.95
    assert outside(population, replace(images, layout=3 * rng.normal(size=(200, CELLS)))) > 0.95


def test_references_are_radiographs_and_variants_and_no_more_than_wanted(population, station, rng):
    assert population.features.references.shape == (500, 81)
    training = station.radiographs(30)
    few = fit_population(training, station.exported(training), np.arange(30), training, 0.02, 1000, rng)
    assert len(few.features.references) == 60


def test_a_guard_is_stored_and_read_without_a_change(population, station):
    guard = fit_guard(population, station.exported(station.radiographs(300), 6), np.linspace(0.7, 0.9, 11))
    arrays = guard.arrays()
    assert sum(array.nbytes for array in arrays.values()) < 300_000
    assert guard.limits.suspicious_similarity == pytest.approx(0.72)
    assert 1 < guard.limits.not_frontal_chest < guard.limits.not_a_radiograph
    again = Guard.from_bundle(_Stored(guard.limits, arrays))
    images = station.radiographs(100)
    np.testing.assert_allclose(again.population.distance(images), population.distance(images), rtol=1e-4)


class _Stored:
    """As much of a bundle as a guard reads."""

    def __init__(self, limits, arrays):
        self.manifest, self.guard = type("Manifest", (), {"guard": limits}), arrays
        self.guard_model, self.golden = b"", {"features": np.zeros((2, CHANNELS))}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features_components", lambda array: array[:-1]),
        ("features_references", lambda array: array[:4]),
        ("layout_references", lambda array: array[:, :-1]),
        ("layout_offset", lambda array: array * np.float32(np.nan)),
        ("layout_mean", lambda array: None),
        ("features_scale", lambda array: 0 * array),
        ("features_scale", lambda array: -array),
        ("layout_offset", lambda array: array.astype(complex)),
        ("exposure", lambda array: array[:, :2]),
        ("exposure", lambda array: array[::-1]),
        ("exposure", lambda array: array * np.float32(np.nan)),
        ("exposure", lambda array: None),
    ],
)
def test_arrays_that_are_no_guard_are_refused(population, name, change):
    guard = fit_guard(
        population, Descriptions(np.zeros((1, CHANNELS)), np.zeros((1, CELLS)), np.zeros((1, 3))), np.ones(3)
    )
    arrays = guard.arrays()
    altered = change(arrays.pop(name))
    if altered is not None:
        arrays[name] = altered
    with pytest.raises(
        BundleError, match=r"expected the arrays of an input guard in the bundle, found .*: get it again"
    ):
        Guard.from_bundle(_Stored(guard.limits, arrays))


def test_a_guard_for_another_network_is_refused(population):
    guard = fit_guard(
        population, Descriptions(np.zeros((1, CHANNELS)), np.zeros((1, CELLS)), np.zeros((1, 3))), np.ones(3)
    )
    stored = _Stored(guard.limits, guard.arrays())
    stored.golden = {"features": np.zeros((2, CHANNELS + 1))}
    with pytest.raises(BundleError, match="found features of 90 channels, 91 of the network: get it again"):
        Guard.from_bundle(stored)


def test_radiographs_that_are_all_alike_are_no_population(rng):
    alike = Descriptions(np.ones((20, CHANNELS)), np.ones((20, CELLS)), np.ones((20, 3)))
    with pytest.raises(DataError, match="expected radiographs that differ"):
        fit_population(alike, alike, np.arange(20), alike, 0.02, 10, rng)


def test_the_distance_is_that_to_the_fifth_nearest_reference(rng):
    references = rng.normal(size=(40, 4))
    distance = NeighbourDistance(np.zeros(3), np.ones(3), np.eye(3), np.zeros(4), np.eye(4), references)
    points = rng.normal(size=(7, 3))
    expected = [np.sort(np.linalg.norm(references - np.append(p, 0), axis=1))[4] for p in points]
    np.testing.assert_allclose(distance(points), expected)

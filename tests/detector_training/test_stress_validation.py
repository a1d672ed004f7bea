from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.config import ModelConfig, Preprocessing, SplitConfig
from pneumoscope.data.dataset import acquisition_clusters, load_dataset
from pneumoscope.data.labelled import labelled_images, oversample
from pneumoscope.detector_training.stress_validation import (
    StressValidation,
    auc_within_clusters,
    load_stress_validation,
    make_stress_images,
    run_stress_validation,
    stress_set,
)
from pneumoscope.errors import InputError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.models.registry import build_model
from pneumoscope.types import Split

SETTINGS = Preprocessing(64, 64, fit="chest")


@pytest.fixture(scope="module")
def dataset(phantoms, tmp_path_factory):
    split = SplitConfig(folds=2, by="style")
    dataset = load_dataset(phantoms, SETTINGS, split, tmp_path_factory.mktemp("films"))
    # Phantoms have no devices: half of the clusters are taken for minority clusters.
    return replace(dataset, clusters=replace(dataset.clusters, minority_clusters=tuple(range(0, 12, 2))))


@pytest.fixture(scope="module")
def found(dataset):
    return run_stress_validation(build_model(ModelConfig("cnn"), height=64, width=64), dataset, SETTINGS, "fp32")


def test_only_normals_are_altered_and_all_images_are_preprocessed(dataset):
    data = labelled_images(dataset, Split.VALIDATION, 3)
    shifted = make_stress_images(dataset, data, SETTINGS)
    same = (shifted.images == data.images[data.positions]).all(axis=(1, 2))
    np.testing.assert_array_equal(same, data.labels > 0)
    np.testing.assert_array_equal(shifted.labels, data.labels)
    assert shifted.images.shape[1:] == (64, 64)
    assert dataset.clusters.squashed_images.shape[1:] == (224, 224)


def test_unchanged_and_stress_images_are_predicted(found, dataset):
    np.testing.assert_array_equal(found.positions, dataset.positions(Split.VALIDATION))
    positive = found.label > 0
    np.testing.assert_allclose(found.unchanged[positive], found.stressed[positive], atol=1e-6)
    assert not np.allclose(found.unchanged[~positive], found.stressed[~positive], atol=1e-6)
    np.testing.assert_array_equal(found.cluster, dataset.clusters.cluster_of[found.positions])
    np.testing.assert_array_equal(found.minority, ~positive & (found.cluster % 2 == 0))


def test_minority_normals_are_oversampled_and_nothing_else(dataset):
    data = labelled_images(dataset, Split.TRAIN, 3)
    minority = dataset.clusters.minority_normals(data.positions, data.labels)
    assert 0 < minority.sum() < (data.labels == 0).sum()
    times = oversample(data, minority, 3)
    count = np.bincount(times.positions, minlength=len(data.images))[data.positions]
    np.testing.assert_array_equal(count, np.where(minority, 3, 1))
    label_of = dict(zip(data.positions.tolist(), data.labels.tolist(), strict=True))
    assert [label_of[p] for p in times.positions.tolist()] == times.labels.tolist()


def test_clusters_are_found_for_a_split_by_patient_too(phantom_dataset, dataset, tmp_path):
    clusters = acquisition_clusters(phantom_dataset, tmp_path)
    np.testing.assert_array_equal(clusters.cluster_of, dataset.clusters.cluster_of)
    assert acquisition_clusters(dataset, tmp_path / "unused") is dataset.clusters


def test_a_split_by_patient_has_no_stress_validation(phantom_dataset):
    with pytest.raises(InputError, match="expected a data set split by style"):
        run_stress_validation(build_model(ModelConfig("cnn")), phantom_dataset, Preprocessing(), "fp32")


def test_predictions_survive_a_round_trip(found, tmp_path):
    found.save(tmp_path / "a.npz")
    again = load_stress_validation(tmp_path / "a.npz")
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_half_of_the_weight_of_a_stress_set_is_on_normals_and_each_half_is_divided_equally():
    label = np.array([0, 0, 0, 1, 2, 1])
    minority = np.array([True, False, False, False, False, False])
    unchanged = np.full((6, 3), 1 / 3)
    stressed = np.tile([0.6, 0.3, 0.1], (6, 1))
    nothing = np.zeros(6, dtype=np.int64)
    result = stress_set([StressValidation(nothing, label, nothing, minority, unchanged, stressed)] * 2)
    assert len(result.label) == 12
    fraction = result.weight / result.weight.sum()
    assert fraction[result.label > 0].sum() == pytest.approx(0.5)
    assert fraction[[0, 6]].sum() == pytest.approx(0.25)
    assert fraction[result.label == 2].sum() == pytest.approx(0.25)
    np.testing.assert_allclose(np.exp(result.logit[1]), stressed[1])
    np.testing.assert_allclose(np.exp(result.logit[[0, 3]]), unchanged[[0, 3]])


def test_a_network_that_uses_only_the_cluster_has_no_auc_within_clusters(rng):
    cluster = rng.integers(0, 2, 400)
    label = (rng.random(400) < np.where(cluster == 1, 0.9, 0.1)).astype(int)
    probability = 0.2 + 0.6 * cluster + 1e-3 * rng.random(400)
    stressed = np.stack([1 - probability, probability / 2, probability / 2], axis=1)
    minority = (label == 0) & (cluster == 1)
    found = StressValidation(np.arange(400), label, cluster, minority, stressed, stressed)
    assert roc_auc(probability, label > 0) > 0.8
    assert 0.35 < auc_within_clusters(found) < 0.65
    seeing = 0.2 + 0.3 * cluster + 0.4 * label
    right = np.stack([1 - seeing, seeing / 2, seeing / 2], axis=1)
    assert auc_within_clusters(replace(found, stressed=right)) == 1
    assert np.isnan(auc_within_clusters(replace(found, label=np.zeros(400, dtype=int))))

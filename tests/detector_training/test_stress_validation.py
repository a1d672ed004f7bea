from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.config import ModelConfig, Preprocessing, SplitConfig
from pneumoscope.data.dataset import acquisition_clusters, load_dataset
from pneumoscope.data.labelled import labelled_images, repeated
from pneumoscope.detector_training.stress_validation import (
    StressValidation,
    auc_within_clusters,
    load_stress_validation,
    run_stress_validation,
    shifted_images,
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
    # Phantoms have no devices: half of the styles are called odd.
    return replace(dataset, clusters=replace(dataset.clusters, odd=tuple(range(0, 12, 2))))


@pytest.fixture(scope="module")
def found(dataset):
    return run_stress_validation(build_model(ModelConfig("cnn"), height=64, width=64), dataset, SETTINGS, "fp32")


def test_only_normals_are_shifted_and_all_go_through_the_preprocessing(dataset):
    data = labelled_images(dataset, Split.VALIDATION, 3)
    shifted = shifted_images(dataset, data, SETTINGS)
    same = (shifted.images == data.images[data.positions]).all(axis=(1, 2))
    np.testing.assert_array_equal(same, data.labels > 0)
    np.testing.assert_array_equal(shifted.labels, data.labels)
    assert shifted.images.shape[1:] == (64, 64)
    assert dataset.clusters.squashed.shape[1:] == (224, 224)


def test_answers_are_given_for_the_images_as_they_are_and_shifted(found, dataset):
    np.testing.assert_array_equal(found.positions, dataset.positions(Split.VALIDATION))
    positive = found.label > 0
    np.testing.assert_allclose(found.plain[positive], found.shifted[positive], atol=1e-6)
    assert not np.allclose(found.plain[~positive], found.shifted[~positive], atol=1e-6)
    np.testing.assert_array_equal(found.cluster, dataset.clusters.cluster_of[found.positions])
    np.testing.assert_array_equal(found.minority, ~positive & (found.cluster % 2 == 0))


def test_normals_of_odd_styles_are_repeated_and_nothing_else(dataset):
    data = labelled_images(dataset, Split.TRAIN, 3)
    odd = dataset.clusters.minority_normals(data.positions, data.labels)
    assert 0 < odd.sum() < (data.labels == 0).sum()
    times = repeated(data, odd, 3)
    count = np.bincount(times.positions, minlength=len(data.images))[data.positions]
    np.testing.assert_array_equal(count, np.where(odd, 3, 1))
    label_of = dict(zip(data.positions.tolist(), data.labels.tolist(), strict=True))
    assert [label_of[p] for p in times.positions.tolist()] == times.labels.tolist()


def test_looks_are_found_for_a_split_by_patient_too(phantom_dataset, dataset, tmp_path):
    clusters = acquisition_clusters(phantom_dataset, tmp_path)
    np.testing.assert_array_equal(clusters.cluster_of, dataset.clusters.cluster_of)
    assert acquisition_clusters(dataset, tmp_path / "unused") is dataset.clusters


def test_a_split_by_patient_has_no_hard_validation(phantom_dataset):
    with pytest.raises(InputError, match="expected a data set split by style"):
        run_stress_validation(build_model(ModelConfig("cnn")), phantom_dataset, Preprocessing(), "fp32")


def test_answers_survive_a_round_trip(found, tmp_path):
    found.save(tmp_path / "a.npz")
    again = load_stress_validation(tmp_path / "a.npz")
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_hard_set_has_half_of_its_weight_in_normals_and_shares_each_half_alike():
    label = np.array([0, 0, 0, 1, 2, 1])
    odd = np.array([True, False, False, False, False, False])
    plain = np.full((6, 3), 1 / 3)
    shifted = np.tile([0.6, 0.3, 0.1], (6, 1))
    nothing = np.zeros(6, dtype=np.int64)
    taken = stress_set([StressValidation(nothing, label, nothing, odd, plain, shifted)] * 2)
    assert len(taken.label) == 12
    share = taken.weight / taken.weight.sum()
    assert share[taken.label > 0].sum() == pytest.approx(0.5)
    assert share[[0, 6]].sum() == pytest.approx(0.25)
    assert share[taken.label == 2].sum() == pytest.approx(0.25)
    np.testing.assert_allclose(np.exp(taken.logit[1]), shifted[1])
    np.testing.assert_allclose(np.exp(taken.logit[[0, 3]]), plain[[0, 3]])


def test_a_network_that_reads_the_style_alone_is_caught(rng):
    style = rng.integers(0, 2, 400)
    label = (rng.random(400) < np.where(style == 1, 0.9, 0.1)).astype(int)
    probability = 0.2 + 0.6 * style + 1e-3 * rng.random(400)
    shifted = np.stack([1 - probability, probability / 2, probability / 2], axis=1)
    odd = (label == 0) & (style == 1)
    found = StressValidation(np.arange(400), label, style, odd, shifted, shifted)
    assert roc_auc(probability, label > 0) > 0.8
    assert 0.35 < auc_within_clusters(found) < 0.65
    seeing = 0.2 + 0.3 * style + 0.4 * label
    right = np.stack([1 - seeing, seeing / 2, seeing / 2], axis=1)
    assert auc_within_clusters(replace(found, shifted=right)) == 1
    assert np.isnan(auc_within_clusters(replace(found, label=np.zeros(400, dtype=int))))

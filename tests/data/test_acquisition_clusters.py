import numpy as np
import pytest

from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.acquisition_clusters import acquisition_features, fit_clusters
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.folds import minority_clusters
from pneumoscope.data.split import draw_cluster_validation
from pneumoscope.data.stress_images import store_like_pneumonias
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.types import Finding, Split


def rooms(count, seed):
    """Images of three rooms (soft, noisy, with a bright marker in a corner), and the room of each."""
    rng = np.random.default_rng(seed)
    room = np.arange(count) % 3
    yy, xx = np.mgrid[:64, :64] / 64
    images = np.empty((count, 64, 64), np.uint8)
    for i in range(count):
        chest = 90 + 40 * np.sin(4 * xx + rng.uniform(0, 0.3)) * np.cos(3 * yy) + rng.uniform(-3, 3)
        chest += rng.normal(0, 14 if room[i] == 1 else 1, chest.shape)
        if room[i] == 2:
            chest[:10, :10] = 250
        images[i] = chest.clip(0, 255)
    return images, room


def test_clusters_are_the_rooms_and_other_images_are_assigned_to_them():
    images, room = rooms(60, 0)
    model = fit_clusters(images, 3)
    found = model.predict(images)
    names = {int(found[room == r][0]) for r in range(3)}
    assert len(names) == 3
    others, other_room = rooms(30, 1)
    for r in range(3):
        assert set(found[room == r]) == set(model.predict(others)[other_room == r])


def test_features_have_a_fixed_length_and_are_finite():
    assert acquisition_features(rooms(5, 0)[0]).shape == (5, 33)
    assert acquisition_features(np.zeros((0, 64, 64), np.uint8)).shape == (0, 33)
    assert np.isfinite(acquisition_features(np.zeros((2, 64, 64), np.uint8))).all()


def test_fewer_images_than_clusters_are_refused():
    with pytest.raises(InputError, match="expected at least 12 films for 12 acquisition clusters, found 5"):
        fit_clusters(rooms(5, 0)[0])


def test_held_out_minority_clusters_are_trained_on_as_pneumonia_alone(phantom_dataset):
    index = phantom_dataset.index
    normal = np.array([row.finding is Finding.NORMAL for row in index.rows])
    # Cluster 0 is mostly normal, 1 and 2 have one patient's normals each, 3 none.
    cluster_of = np.where(normal, 0, 1 + np.arange(len(normal)) % 3)
    patients = sorted({row.patient for row in index.rows if row.finding is Finding.NORMAL and row.split is Split.TRAIN})
    for cluster, patient in ((1, patients[0]), (2, patients[1])):
        cluster_of[[row.patient == patient and row.split is Split.TRAIN for row in index.rows]] = cluster
    held_out = []
    for fold in range(3):
        split = draw_cluster_validation(index, cluster_of, seed=0, folds=3, fold=fold)
        train, validation = split.positions(Split.TRAIN), split.positions(Split.VALIDATION)
        held_out += validation.tolist()
        for cluster in (1, 2):
            assert len(set(cluster_of[train][normal[train]]) & {cluster}) == (0 if cluster == fold + 1 else 1)
        assert {1, 2, 3} <= set(cluster_of[train][~normal[train]])
        assert not {index.rows[i].patient for i in train} & {index.rows[i].patient for i in validation}
        assert split.positions(Split.TEST).tolist() == index.positions(Split.TEST).tolist()
    assert sorted(held_out) == index.positions(Split.TRAIN).tolist()


def test_minority_clusters_are_those_where_normals_are_few():
    cluster_of = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3])
    normal = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    assert minority_clusters(cluster_of, normal) == [3, 1]


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (3, 3)])
def test_impossible_folds_are_refused(phantom_dataset, folds, fold):
    cluster_of = np.zeros(len(phantom_dataset.index.rows), dtype=np.int64)
    with pytest.raises(ConfigError, match="expected 2 or more folds and a fold"):
        draw_cluster_validation(phantom_dataset.index, cluster_of, 0, folds, fold)


def test_a_data_set_can_be_split_by_cluster(phantoms, tmp_path):
    split = SplitConfig(folds=2, fold=1, by="style")
    one, two = (load_dataset(phantoms, Preprocessing(64, 64), split, tmp_path) for _ in range(2))
    assert one.split.hash == two.split.hash
    assert len(one.positions(Split.VALIDATION)) > 0
    assert len(one.positions(Split.TRAIN)) > 0


def test_altered_normals_have_the_sharpness_of_pneumonias(rng):
    from pneumoscope.data.index import sharpness

    noisy = np.clip(rng.normal(120, 25, (6, 96, 96)), 0, 255).astype(np.uint8)
    soft = (100 + 50 * np.sin(np.mgrid[:96, :96][1] / 9) + rng.normal(0, 2, (4, 96, 96))).astype(np.uint8)
    altered = store_like_pneumonias(noisy, soft, np.random.default_rng(0))
    measured = [[sharpness(f.astype(np.float32)) for f in images] for images in (noisy, soft, altered)]
    assert max(measured[2]) <= max(measured[1])
    assert max(measured[2]) < 0.1 * min(measured[0])
    np.testing.assert_array_equal(altered, store_like_pneumonias(noisy, soft, np.random.default_rng(0)))
    with pytest.raises(InputError, match="expected pneumonia films"):
        store_like_pneumonias(noisy, soft[:0], rng)

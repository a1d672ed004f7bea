"""The splitter and the scorer for scikit-learn."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate

from pneumoscope.data import ClusterFold, auc_within_clusters, load
from pneumoscope.errors import ConfigError, DataError, InputError


@pytest.fixture(scope="module")
def site():
    """Features, labels and groups: 300 images of 150 patients in 6 clusters, of which 0 to 3 are mostly positive.

    The first feature tells the cluster, the second the disease, with noise.
    """
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(150), 2)
    cluster = patient % 6
    label = np.repeat(rng.random(150) < np.where(np.arange(150) % 6 < 4, 0.75, 0.2), 2).astype(np.int64)
    features = np.column_stack([(cluster < 4) + rng.normal(0, 0.05, 300), label + rng.normal(0, 1.0, 300)])
    return features, label, np.column_stack([patient, cluster])


def test_folds_hold_out_each_image_once_and_keep_patients_whole(site):
    features, label, groups = site
    folds = list(ClusterFold(3).split(features, label, groups))
    assert len(folds) == ClusterFold(3).get_n_splits(features, label, groups) == 3
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(300))
    for train, held_out in folds:
        assert not set(groups[train, 0]) & set(groups[held_out, 0])
        assert not set(train) & set(held_out)
        assert train.dtype.kind == held_out.dtype.kind == "i"


def test_training_knows_a_cluster_whose_negatives_are_held_out_as_positive_alone(site):
    features, label, groups = site
    held_out_in = {}
    for fold, (train, held_out) in enumerate(ClusterFold(3).split(features, label, groups)):
        of_training = set(groups[train][label[train] == 0][:, 1])
        for cluster in range(4):
            if cluster in set(groups[held_out][label[held_out] == 0][:, 1]):
                assert cluster not in of_training
                assert cluster in set(groups[train][label[train] == 1][:, 1])
                held_out_in.setdefault(cluster, []).append(fold)
    assert sorted(held_out_in) == [0, 1, 2, 3]
    assert all(len(folds) == 1 for folds in held_out_in.values())


def test_a_splitter_follows_the_conventions_of_scikit_learn(site):
    features, label, groups = site
    splitter = ClusterFold(4, random_state=2)
    assert repr(splitter) == "ClusterFold(n_splits=4, random_state=2)"
    copy = clone(splitter, safe=False)
    assert copy is not splitter
    for (_, a), (_, b) in zip(
        splitter.split(features, label, groups), copy.split(features, label, groups), strict=True
    ):
        assert np.array_equal(a, b)
    others = list(ClusterFold(4, random_state=3).split(features, label, groups))
    assert any(
        not np.array_equal(a, b) for (_, a), (_, b) in zip(splitter.split(features, label, groups), others, strict=True)
    )
    assert cross_val_predict(LogisticRegression(), features, label, groups=groups, cv=splitter).shape == (300,)


def test_names_of_patients_and_bool_labels_do_as_well(site):
    features, label, groups = site
    named = np.array([[f"child {patient:03d}", f"room {cluster}"] for patient, cluster in groups])
    expected = list(ClusterFold(3).split(features, label, groups))
    found = list(ClusterFold(3).split(features, label.astype(bool), named))
    assert [len(held_out) for _, held_out in found] == [len(held_out) for _, held_out in expected]


def test_a_model_that_knows_the_cluster_passes_ordinary_validation_and_fails_here(site):
    features, label, groups = site
    shortcut = features[:, :1]
    ordinary = cross_validate(LogisticRegression(), shortcut, label, cv=3, scoring="roc_auc")["test_score"].mean()
    with sklearn.config_context(enable_metadata_routing=True):
        words = {"params": {"groups": groups}, "cv": ClusterFold(3)}
        known = cross_validate(LogisticRegression(), shortcut, label, scoring=auc_within_clusters, **words)[
            "test_score"
        ]
        honest = cross_validate(
            LogisticRegression(),
            features[:, 1:],
            label,
            scoring={"within": auc_within_clusters, "auc": "roc_auc"},
            **words,
        )
    assert ordinary > 0.7
    assert abs(known.mean() - 0.5) < 0.12
    assert honest["test_within"].mean() > known.mean() + 0.1
    assert honest["test_auc"].shape == (3,)


def test_the_scorer_is_the_mean_of_the_clusters_aucs(site):
    features, label, groups = site
    model = LogisticRegression().fit(features, label)
    score = model.decision_function(features)
    # Cluster 4 has two positives, one too few to count.
    parts = [groups[:, 1] == cluster for cluster in (0, 1, 2, 3, 5)]
    weights = [min(label[own].sum(), (1 - label[own]).sum()) for own in parts]
    expected = np.average([roc_auc_score(label[own], score[own]) for own in parts], weights=weights)
    assert auc_within_clusters(model, features, label, groups) == pytest.approx(expected)


def test_a_grid_search_takes_splitter_and_scorer(site):
    features, label, groups = site
    grid = {"C": [1e-4, 1.0]}
    plain = GridSearchCV(LogisticRegression(), grid, cv=ClusterFold(3), scoring="roc_auc").fit(
        features, label, groups=groups
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(LogisticRegression(), grid, cv=ClusterFold(3), scoring=auc_within_clusters)
        search.fit(features, label, groups=groups)
    assert plain.cv_results_["mean_test_score"].shape == search.cv_results_["mean_test_score"].shape == (2,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_what_does_not_do_gets_one_line(site):
    features, label, groups = site
    with pytest.raises(ConfigError, match="2 or more folds"):
        ClusterFold(1)
    for wrong in (None, groups[:, 0], groups[:-1]):
        with pytest.raises((InputError, ValueError), match=r"groups|inconsistent"):
            list(ClusterFold(3).split(features, label, wrong))
    for wrong in (None, np.array(["normal"] * 300), label.astype(float)):
        with pytest.raises(InputError, match="expected \\(n,\\) int labels"):
            list(ClusterFold(3).split(features, wrong, groups))
    with pytest.raises(DataError, match="expected at least 200 patients"):
        list(ClusterFold(200).split(features, label, groups))
    model = LogisticRegression().fit(features, label)
    with pytest.raises(InputError, match="enable_metadata_routing=True"):
        auc_within_clusters(model, features, label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="enable_metadata_routing=True"):
            cross_validate(
                model,
                features,
                label,
                groups=groups,
                cv=ClusterFold(3),
                scoring=auc_within_clusters,
                error_score="raise",
            )


def test_folds_of_loaded_radiographs_are_those_of_the_splitter(phantoms, tmp_path):
    loaded = load(phantoms, 32, classes=3, cache_folder=tmp_path)
    drawn = list(ClusterFold(3).split(loaded.images, loaded.labels, loaded.cluster_groups))
    # Of three classes the order differs, bacterial being 1 here and first by name; which patients are held out may, too.
    assert [set(groups) for groups in held_out_minorities(loaded, drawn)] == [
        set(groups) for groups in held_out_minorities(loaded, loaded.folds("cluster", 3))
    ]


def held_out_minorities(loaded, folds):
    """Groups of the minority negatives that each fold holds out."""
    for _, held_out in folds:
        yield [
            loaded.groups[i]
            for i in held_out
            if not loaded.positive[i] and loaded.positive[loaded.clusters == loaded.clusters[i]].mean() > 0.5
        ]

"""Radiographs as arrays: what `pneumoscope.data.load` gives, and the folds that are drawn from it."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

import pneumoscope.data
from pneumoscope import SplitConfig, load_dataset
from pneumoscope.config import Preprocessing
from pneumoscope.data import load
from pneumoscope.errors import ConfigError, DataError, InputError
from pneumoscope.types import Split


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def loaded(phantoms, cache):
    return load(phantoms, 32, cache_folder=cache)


def test_public_names_are_there_and_sorted():
    assert pneumoscope.data.__all__ == sorted(pneumoscope.data.__all__) == dir(pneumoscope.data)
    for name in pneumoscope.data.__all__:
        assert getattr(pneumoscope.data, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lead'"):
        pneumoscope.data.lead  # noqa: B018


def test_loading_needs_no_torch(phantoms, tmp_path):
    code = (
        "import importlib.abc, sys\n"
        "class NoTorch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from pneumoscope.data import ClusterFold, auc_within_clusters, load, save_medmnist\n"
        f"print(load({str(phantoms)!r}, 32))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "60 train images of 30 patients (normal 20, pneumonia 40), 32 x 32\n"


def test_arrays_are_those_of_the_data_set(phantoms, loaded, cache):
    dataset = load_dataset(phantoms, Preprocessing(32, 32), SplitConfig(), cache)
    rows = [(i, row) for i, row in enumerate(dataset.index.rows) if row.split is Split.TRAIN]
    assert loaded.images.dtype == np.uint8
    assert loaded.images.shape == (60, 32, 32)
    assert np.array_equal(loaded.images, dataset.images[[i for i, _ in rows]])
    assert loaded.names.tolist() == [row.path for _, row in rows]
    assert loaded.patients.tolist() == [row.patient for _, row in rows]
    assert loaded.file_sha256.tolist() == [row.sha256 for _, row in rows]
    assert loaded.class_names == ("normal", "pneumonia")
    assert loaded.labels.tolist() == [int(row.finding == "pneumonia") for _, row in rows]
    assert loaded.finest_labels.tolist() == [row.label for _, row in rows]
    assert loaded.positive.sum() == 40


def test_test_images_come_only_where_they_are_named(phantoms, loaded, cache):
    test = load(phantoms, 32, "test", classes=3, cache_folder=cache)
    assert not set(test.names) & set(loaded.names)
    assert all(name.startswith("test/") for name in test.names)
    assert np.bincount(test.labels).tolist() == [4, 4, 4]
    assert [test.class_names[label] for label in test.labels] == list(test.finest_labels)
    for split in ("validation", "all"):
        with pytest.raises(ConfigError, match="out of train, test and 2 or 3 classes"):
            load(phantoms, split=split)
    with pytest.raises(DataError, match="expected test films"):
        load(phantoms / "train", split="test", cache_folder=cache)


def covers_once(folds, count):
    return sorted(i for _, held_out in folds for i in held_out.tolist()) == list(range(count))


@pytest.mark.parametrize("by", ["image", "patient", "cluster"])
def test_every_image_is_held_out_once_and_each_class_in_every_fold(loaded, by):
    folds = loaded.folds(by, 3)
    assert covers_once(folds, 60)
    for train, held_out in folds:
        assert sorted([*train, *held_out]) == list(range(60))
        assert set(loaded.labels[held_out]) == {0, 1}
    again = loaded.folds(by, 3)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(folds, loaded.folds(by, 3, seed=1), strict=True))


def shared_patients(loaded, folds):
    return [len(np.intersect1d(loaded.patients[train], loaded.patients[held_out])) for train, held_out in folds]


def test_ordinary_folds_share_patients_and_the_others_do_not(loaded):
    assert min(shared_patients(loaded, loaded.folds("image", 3))) > 0
    assert shared_patients(loaded, loaded.folds("patient", 3)) == [0, 0, 0]
    assert shared_patients(loaded, loaded.folds("cluster", 3)) == [0, 0, 0]


def test_folds_are_those_by_which_the_detectors_are_trained(phantoms, loaded, cache):
    for by, name in (("patient", "patient"), ("cluster", "style")):
        for fold, (_, held_out) in enumerate(loaded.folds(by, 3)):
            dataset = load_dataset(phantoms, Preprocessing(32, 32), SplitConfig(0, 3, fold, name), cache)
            assert [loaded.names[i] for i in held_out] == dataset.paths(dataset.positions(Split.VALIDATION))


def test_negatives_of_a_minority_cluster_are_held_out_together(loaded):
    for train, held_out in loaded.folds("cluster", 3):
        for cluster in set(loaded.clusters):
            own = loaded.clusters == cluster
            negatives = np.flatnonzero(own & ~loaded.positive)
            if 0 < len(negatives) < (own & loaded.positive).sum():
                whole = set(loaded.groups[negatives])
                assert whole <= set(loaded.groups[train]) or whole <= set(loaded.groups[held_out])
                assert not whole & set(loaded.groups[train]) or not whole & set(loaded.groups[held_out])


def test_folds_that_cannot_be_drawn_are_refused(loaded):
    for by in ("image", "patient", "cluster"):
        with pytest.raises(ConfigError, match="2 or more folds"):
            loaded.folds(by, 1)
        with pytest.raises(DataError, match=r"expected at least 30 (patients|images) with the class"):
            loaded.folds(by, 30)
    with pytest.raises(ConfigError, match="found 'style'"):
        loaded.folds("style")


def test_few_images_load_and_only_clusters_need_more(phantoms, tmp_path):
    for folder in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "few" / folder).mkdir(parents=True)
        for file in sorted((phantoms / "train" / folder).iterdir())[:4]:
            shutil.copy(file, tmp_path / "few" / folder)
    few = load(tmp_path / "few", 32, cache_folder=tmp_path / "cache")
    assert len(few.folds("patient", 2)) == 2
    with pytest.raises(InputError, match="expected at least 12 films for 12 acquisition clusters, found 8"):
        few.folds("cluster", 2)


def test_a_site_has_classes_of_its_own(phantoms, tmp_path):
    for name, folder in (("NORMAL", "intact"), ("PNEUMONIA", "Fracture")):
        shutil.copytree(phantoms / "train" / name, tmp_path / "ours" / folder)
    ours = load(tmp_path / "ours", 32, positive="fracture", cache_folder=tmp_path / "cache")
    assert ours.class_names == ("intact", "fracture")
    assert ours.positive.sum() == 40
    assert (
        load(tmp_path / "ours", 32, positive="fracture", limit=30, cache_folder=tmp_path / "cache").positive.sum() == 20
    )


def test_what_is_not_there_or_cannot_be_read_gets_one_line(phantoms, tmp_path):
    with pytest.raises(DataError, match="found nothing there"):
        load(tmp_path / "nowhere")
    shutil.copytree(phantoms / "train", tmp_path / "damaged")
    next((tmp_path / "damaged" / "NORMAL").iterdir()).write_bytes(b"\xff\xd8 cut")
    with pytest.raises(DataError, match=r"damaged|cannot be read|unreadable"):
        load(tmp_path / "damaged", 32, cache_folder=tmp_path / "cache")
    assert len(load(tmp_path / "damaged", 32, skip_unreadable=True, cache_folder=tmp_path / "cache")) == 59


def test_a_second_call_reads_the_cache(phantoms, cache, loaded):
    before = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    stages = []
    load(phantoms, 32, cache_folder=cache, report=lambda name: stages.append(name) or (lambda done, total: None))
    assert stages == ["films indexed"]
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == before


def test_numbers_that_are_not_whole_are_refused(phantoms, loaded, cache):
    with pytest.raises(ConfigError, match=r"expected a whole number of pixels for the side, found 96\.5"):
        load(phantoms, 96.5, cache_folder=cache)
    for by in ("image", "patient", "cluster"):
        with pytest.raises(ConfigError, match=r"expected 2 or more folds, a whole number, found 2\.5"):
            loaded.folds(by, 2.5)


def test_radiographs_are_pickled_with_their_clusters(loaded):
    copied = pickle.loads(pickle.dumps(loaded))
    assert np.array_equal(copied.images, loaded.images)
    assert np.array_equal(copied.clusters, loaded.clusters)


def test_loading_searches_for_no_cues(phantoms, cache, monkeypatch):
    monkeypatch.setattr("pneumoscope.data.audit.find_cues", lambda *_: pytest.fail("cues were sought"))
    assert len(load(phantoms, 32, cache_folder=cache)) == 60
    dataset = load_dataset(phantoms, Preprocessing(32, 32), SplitConfig(), cache)
    monkeypatch.undo()
    assert dataset.audit is dataset.audit
    assert dataset.audit.cues

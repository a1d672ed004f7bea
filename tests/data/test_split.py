import shutil
from collections import Counter

import pytest

from pneumoscope.data.index import build_index
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation, load_split, save_split
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.types import Split


@pytest.fixture(scope="module")
def index(phantoms):
    return build_index(open_source(phantoms))


def test_no_patient_is_in_two_splits_and_every_class_is_held_out(index):
    for fold in range(10):
        split = draw_validation(index, seed=3, fold=fold)
        splits = {}
        for row, assigned in zip(index.rows, split.splits, strict=True):
            assert splits.setdefault(row.patient, assigned) is assigned
        held_out = Counter(index.rows[i].label for i in split.positions(Split.VALIDATION))
        assert set(held_out) == {"normal", "bacterial", "viral"}


def test_folds_cover_every_training_image_once(index):
    held_out = [i for fold in range(5) for i in draw_validation(index, 0, 5, fold).positions(Split.VALIDATION)]
    assert sorted(held_out) == index.positions(Split.TRAIN).tolist()


def test_test_images_stay_test_images(index):
    split = draw_validation(index, seed=0)
    assert split.positions(Split.TEST).tolist() == index.positions(Split.TEST).tolist()


def test_the_seed_determines_the_split(index):
    assert draw_validation(index, 1).hash == draw_validation(index, 1).hash
    assert draw_validation(index, 1).hash != draw_validation(index, 2).hash


def test_byte_identical_images_of_two_patients_stay_together(tmp_path, phantoms):
    for file in sorted(phantoms.rglob("*.jpeg")):
        target = tmp_path / file.relative_to(phantoms)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    original = tmp_path / "train/NORMAL/IM-0001-0001.jpeg"
    (tmp_path / "train/NORMAL/IM-0800-0001.jpeg").write_bytes(original.read_bytes())
    copied = build_index(open_source(tmp_path))
    position = {row.path: i for i, row in enumerate(copied.rows)}
    for seed in range(4):
        splits = draw_validation(copied, seed, folds=3).splits
        assert splits[position["train/NORMAL/IM-0001-0001.jpeg"]] is splits[position["train/NORMAL/IM-0800-0001.jpeg"]]


def test_split_survives_a_round_trip(index, tmp_path):
    split = draw_validation(index, 5, 4, 2)
    save_split(index, split, tmp_path / "split.csv")
    assert load_split(index, tmp_path / "split.csv") == split


def test_altered_split_is_refused(index, tmp_path):
    save_split(index, draw_validation(index, 5), tmp_path / "split.csv")
    text = (tmp_path / "split.csv").read_text()
    (tmp_path / "split.csv").write_text(text.replace(",test\n", ",train\n", 1))
    with pytest.raises(DataError, match="expected the split"):
        load_split(index, tmp_path / "split.csv")
    (tmp_path / "split.csv").write_text("path,side\n")
    with pytest.raises(DataError, match="draw it again"):
        load_split(index, tmp_path / "split.csv")


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (5, 5), (5, -1)])
def test_folds_out_of_range_are_refused(index, folds, fold):
    with pytest.raises(ConfigError, match="expected 2 or more folds"):
        draw_validation(index, 0, folds, fold)


def test_too_few_patients_are_refused(index):
    with pytest.raises(DataError, match="expected at least 30 patients with the class"):
        draw_validation(index, 0, folds=30)


def test_data_set_without_training_images_keeps_its_splits(tmp_path, phantoms):
    shutil.copytree(phantoms / "test", tmp_path / "test")
    only = build_index(open_source(tmp_path))
    assert len(only.rows) == 12
    assert set(draw_validation(only, seed=0).splits) == {Split.TEST}

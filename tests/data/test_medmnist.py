"""MedMNIST's npz file, written and read."""

import json
from collections import Counter

import numpy as np
import pytest

from pneumoscope import SplitConfig, load_dataset
from pneumoscope.config import Preprocessing
from pneumoscope.data import load, save_medmnist
from pneumoscope.data.sources import DataNames, open_source
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.types import BINARY, Split


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def dataset(phantoms, cache):
    return load_dataset(phantoms, Preprocessing(64, 64), SplitConfig(folds=5), cache)


def test_a_written_file_has_the_form_of_medmnist(dataset, tmp_path):
    path = save_medmnist(dataset, tmp_path / "new" / "pneumoniamnist_64.npz")
    # As MedMNIST's package opens it.
    found = np.load(path, mmap_mode="r")
    sizes = {"train": 48, "val": 12, "test": 12}
    for part, split in (("train", Split.TRAIN), ("val", Split.VALIDATION), ("test", Split.TEST)):
        images, labels, positions = found[f"{part}_images"], found[f"{part}_labels"], dataset.positions(split)
        assert (images.shape, images.dtype) == ((sizes[part], 64, 64), np.uint8)
        assert (labels.shape, labels.dtype) == ((sizes[part], 1), np.uint8)
        assert np.array_equal(images, dataset.images[positions])
        assert np.array_equal(labels.ravel(), dataset.labels(BINARY, positions))
        assert found[f"{part}_patients"].tolist() == dataset.patients(positions)
    assert not set(found["train_patients"]) & set(found["val_patients"])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_written_file_is_read_as_a_data_set(dataset, cache, tmp_path):
    path = save_medmnist(dataset, tmp_path / "pneumoniamnist_64.npz")
    with np.load(path) as arrays:
        for split, parts in (("train", ("train", "val")), ("test", ("test",))):
            read = load(path, 64, split, cache_folder=cache)
            expected = {
                f"{path.name}#{part}/{i}": (image.tobytes(), int(label[0]))
                for part in parts
                for i, (image, label) in enumerate(zip(arrays[f"{part}_images"], arrays[f"{part}_labels"], strict=True))
            }
            found = zip(read.names, read.images, read.labels.tolist(), strict=True)
            assert {name: (image.tobytes(), label) for name, image, label in found} == expected


def test_patients_of_a_written_file_group_the_images_that_are_read(dataset, cache, tmp_path):
    path = save_medmnist(dataset, tmp_path / "pneumoniamnist_64.npz")
    read = load_dataset(path, Preprocessing(64, 64), SplitConfig(seed=5, folds=4), cache)
    for splits in ((Split.TRAIN, Split.VALIDATION), (Split.TEST,)):
        before, after = (
            [name for split in splits for name in each.patients(each.split.positions(split))]
            for each in (dataset, read)
        )
        assert Counter(before) == Counter(after)
        assert len(set(after)) < len(after)
    train, validation = (set(read.patients(read.split.positions(split))) for split in (Split.TRAIN, Split.VALIDATION))
    assert not train & validation


def test_patients_that_do_not_fit_the_images_are_refused_and_unnamed_ones_are_apart(dataset, tmp_path):
    path = save_medmnist(dataset, tmp_path / "pneumoniamnist_64.npz")
    arrays = dict(np.load(path))
    arrays["test_patients"] = np.array(["a", "", ""] * 4)
    np.savez(path, **arrays)
    test = [image.patient for image in open_source(path).images if image.split is Split.TEST]
    assert (test.count("a"), len(set(test))) == (4, 9)
    for names, message in (
        (np.array(["a"]), r"expected 12 patients in test_patients of .*, found an array of shape \(1,\)"),
        (np.array(["a"] * 12, dtype=object), "expected text in test_patients of .*, found Object arrays"),
        (
            np.array([1.0, *[np.nan] * 11]),
            "expected text or whole numbers in test_patients of .*, found float64: write",
        ),
        (np.array([b"\xff"] * 12), "expected UTF-8 text in test_patients of .*, found 'utf-8' codec"),
    ):
        np.savez(path, **(arrays | {"test_patients": names}))
        with pytest.raises(DataError, match=message):
            open_source(path)


def test_patients_may_be_bytes_or_numbers_and_no_name_is_that_of_an_unnamed_one(dataset, tmp_path):
    path = save_medmnist(dataset, tmp_path / "pneumoniamnist_64.npz")
    arrays = {name: array for name, array in np.load(path).items() if name != "val_patients"}

    def patients(split, **changed):
        np.savez(path, **(arrays | changed))
        positions = {image.path.split("#")[1]: image.patient for image in open_source(path).images}
        return [positions[f"{split}/{i}"] for i in range(len(arrays[f"{split}_images"]))]

    assert patients("test", test_patients=np.array([b"a", b"", "é".encode()] * 4))[:3] == ["a", "test-1", "é"]
    assert patients("test", test_patients=np.arange(12, dtype=np.int16)) == [str(number) for number in range(12)]
    named = np.array([f"val-{position}" for position in range(12)])
    unnamed = patients("val", test_patients=named)
    assert not set(unnamed) & set(named)
    assert len(set(unnamed)) == len(arrays["val_images"]) > 1


def test_other_sizes_and_endings_are_refused(dataset, phantoms, cache, tmp_path):
    other = load_dataset(phantoms, Preprocessing(64, 28), SplitConfig(folds=5), cache)
    with pytest.raises(ConfigError, match="28, 64, 128 or 224 pixels, found 64 x 28"):
        save_medmnist(other, tmp_path / "x.npz")
    with pytest.raises(ConfigError, match=r"ending \.npz"):
        save_medmnist(dataset, tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file_that_the_other_commands_take(pneumoscope, phantoms, tmp_path):
    words = ("data", "export", "--data", phantoms, "--folds", "5", "--out", "pneumoniamnist.npz")
    code, out, err = pneumoscope(*words, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["films"] == {"train": 48, "validation": 12, "test": 12}
    assert record["side"] == 28
    code, out, err = pneumoscope("data", "index", "--data", "pneumoniamnist.npz", "--json")
    assert code == 0, err
    assert sum(json.loads(out)["films"].values()) == 72
    code, out, _ = pneumoscope(*words)
    assert (code, out.splitlines()[-1]) == (0, "pneumoniamnist.npz")
    code, _, err = pneumoscope(*words, "--side", "32")
    assert code == 1
    assert err.startswith("error: expected square images of 28")


def test_what_the_labels_of_an_archive_with_another_name_are_taken_for_is_said(dataset, tmp_path):
    for name, said in (("pneumoniamnist_64", ""), ("breastmnist", "0 is normal, 1 is pneumonia")):
        taken = open_source(save_medmnist(dataset, tmp_path / f"{name}.npz")).names_taken
        assert said in taken
        assert bool(taken) == bool(said)


def test_a_class_map_says_what_the_labels_of_an_archive_mean(dataset, tmp_path):
    file = save_medmnist(dataset, tmp_path / "breastmnist.npz")
    plain = open_source(file)
    mapped = open_source(file, names=DataNames(classes={"0": "pneumonia", "1": "normal"}))
    assert [image.path for image in mapped.images] == [image.path for image in plain.images]
    assert all(a.finding is not b.finding for a, b in zip(plain.images, mapped.images, strict=True))
    assert "0 is pneumonia (24), 1 is normal (48)" in mapped.names_taken
    one = open_source(file, names=DataNames(classes={"1": "pneumonia"}))
    assert (len(one.images), dict(one.left_out)) == (48, {"0": 24})
    with pytest.raises(DataError, match=r"expected the labels malignant in .*, found 0, 1: correct"):
        open_source(file, names=DataNames(classes={"malignant": "pneumonia"}))

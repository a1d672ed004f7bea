"""Data sets for a network of one's own."""

import numpy as np
import pytest
import torch

from pneumoscope import Preprocessing, RadiographDataset, SplitConfig, load_dataset
from pneumoscope.data import load
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.types import Split


@pytest.fixture
def dataset(phantoms, tmp_path):
    return load_dataset(str(phantoms), Preprocessing(32, 48), SplitConfig(folds=5, fold=1), tmp_path)


def test_items_are_images_with_their_classes(dataset):
    train = RadiographDataset(dataset, "train", classes=3)
    image, label = train[3]
    assert (image.dtype, image.shape) == (torch.float32, (1, 32, 48))
    position = dataset.positions(Split.TRAIN)[3]
    assert np.array_equal(image[0].numpy(), dataset.images[position].astype(np.float32) / 255)
    assert train.class_names[label] == dataset.index.rows[position].label
    assert train.paths[3] == dataset.index.rows[position].path
    assert train.class_names == ("normal", "bacterial", "viral")


def test_splits_have_other_patients_and_a_loader_takes_them(dataset):
    parts = {split: RadiographDataset(dataset, split) for split in Split}
    assert sum(map(len, parts.values())) == len(dataset.index.rows)
    assert not set(parts[Split.TRAIN].patients) & set(parts[Split.VALIDATION].patients)
    images, labels = next(iter(torch.utils.data.DataLoader(parts[Split.TEST], batch_size=5)))
    assert images.shape == (5, 1, 32, 48)
    assert labels.tolist() == parts[Split.TEST].labels[:5].tolist()


def test_a_transform_changes_the_image_alone(dataset):
    plain, turned = (
        RadiographDataset(dataset, "test", transform=each) for each in (None, lambda image: image.flip(-1))
    )
    assert torch.equal(turned[0][0], plain[0][0].flip(-1))
    assert turned[0][1] == plain[0][1]


@pytest.mark.parametrize(("split", "classes"), [("val", 2), ("train", 4)])
def test_other_splits_and_numbers_of_classes_are_refused(dataset, split, classes):
    with pytest.raises(ConfigError, match="expected a split out of train, validation, test and 2 or 3 classes"):
        RadiographDataset(dataset, split, classes)


def test_loaded_radiographs_are_taken_by_position_and_by_the_workers_of_a_loader(phantoms, tmp_path):
    loaded = load(phantoms, 32, classes=3, cache_folder=tmp_path)
    train, held_out = loaded.folds("patient", 4)[0]
    part = RadiographDataset(loaded, held_out, transform=lambda image: image.flip(-1))
    assert (len(part), part.class_names) == (len(held_out), ("normal", "bacterial", "viral"))
    assert part.patients == loaded.patients[held_out].tolist()
    assert part.paths == loaded.names[held_out].tolist()
    assert not set(part.patients) & set(RadiographDataset(loaded, train).patients)
    loader = torch.utils.data.DataLoader(part, batch_size=4, num_workers=2)
    images, labels = (torch.cat(each) for each in zip(*loader, strict=True))
    assert np.array_equal(labels.numpy(), loaded.labels[held_out])
    expected = loaded.images[held_out][:, None, :, ::-1].astype(np.float32) / 255
    assert np.array_equal(images.numpy(), expected)
    assert len(RadiographDataset(loaded)) == 60
    with pytest.raises(ConfigError, match="take them from folds"):
        RadiographDataset(loaded, "train")
    with pytest.raises(InputError, match="at least one image"):
        RadiographDataset(loaded, held_out[:0])


def test_positions_are_those_of_images_or_a_mask(phantoms, tmp_path):
    loaded = load(phantoms, 32, cache_folder=tmp_path)
    mask = np.zeros(60, dtype=bool)
    mask[[3, 7]] = True
    assert RadiographDataset(loaded, mask).paths == loaded.names[[3, 7]].tolist()
    assert RadiographDataset(loaded, [7, 3]).paths == loaded.names[[7, 3]].tolist()
    for none in ([], np.zeros(60, dtype=bool)):
        with pytest.raises(InputError, match="at least one image"):
            RadiographDataset(loaded, none)
    for wrong in ([999], [-1], [0.5], [[0, 1]], mask[:59]):
        with pytest.raises(InputError, match="expected whole numbers in 0 to 59, or 60 of True and False"):
            RadiographDataset(loaded, wrong)

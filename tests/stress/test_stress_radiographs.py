import shutil

import numpy as np
import pytest

from pneumoscope.data.sources import open_source
from pneumoscope.errors import DataError, InputError, UnreadableImage
from pneumoscope.stress import Radiographs, read_radiographs
from pneumoscope.types import Split


def test_donors_are_of_the_class_that_they_are_said_to_be_of(radiographs):
    same, other = radiographs.donors[True], radiographs.donors[False]
    assert (radiographs.positive[same] == radiographs.positive).all()
    assert (radiographs.positive[other] != radiographs.positive).all()
    assert all(radiographs.patients[a] != radiographs.patients[b] for a, b in enumerate(same))


def test_every_radiograph_gives_once_where_the_classes_are_of_one_size(radiographs):
    assert sorted(radiographs.donors[False]) == list(range(24))


def test_every_image_gives_once_within_its_class_to_another_patient(radiographs):
    # One patient of each class has half of the images.
    patients = [f"{number % 2}-{max(0, number - 11)}" for number in range(24)]
    uneven = Radiographs(radiographs.images, radiographs.positive, patients, radiographs.names)
    same = uneven.donors[True]
    assert sorted(same) == list(range(24))
    assert all(patients[a] != patients[b] for a, b in enumerate(same))


def test_donors_of_the_other_class_are_other_patients(radiographs):
    patients = [str(number // 2) for number in range(24)]
    both = Radiographs(radiographs.images, radiographs.positive, patients, radiographs.names)
    assert all(patients[a] != patients[b] for a, b in enumerate(both.donors[False]))


@pytest.mark.parametrize(("count", "negatives", "positives"), [(24, 12, 12), (100, 12, 12), (20, 10, 10), (4, 10, 10)])
def test_a_sample_has_both_classes(radiographs, count, negatives, positives):
    chosen = radiographs.sample(count)
    assert (np.diff(chosen) > 0).all()
    assert [(~radiographs.positive[chosen]).sum(), radiographs.positive[chosen].sum()] == [negatives, positives]


def test_the_hash_tells_images_and_labels(radiographs):
    changed = radiographs.images.copy()
    changed[3, 5, 5] ^= 1
    others = [
        Radiographs(changed, radiographs.positive, radiographs.patients, radiographs.names),
        Radiographs(radiographs.images, ~radiographs.positive, radiographs.patients, radiographs.names),
        Radiographs(radiographs.images, radiographs.positive, list(map(str, range(24))), radiographs.names),
    ]
    assert len({radiographs.sha256, *(each.sha256 for each in others)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((24, 96, 96))}, "float64"),
        ({"images": np.zeros((24, 96, 120), dtype=np.uint8)}, "squares"),
        ({"images": np.zeros((24, 64, 64), dtype=np.uint8)}, "at least 96"),
        ({"images": np.zeros((23, 96, 96), dtype=np.uint8)}, "found [23, 24]"),
        ({"patients": ["a"]}, "a patient and a name"),
        ({"positive": np.arange(24) > 15}, "found 8 of one"),
        ({"positive": np.arange(24) % 2}, "found int64"),
        ({"patients": ["a"] * 24}, "found 1 of one"),
    ],
)
def test_what_does_not_fit_is_refused(radiographs, change, message):
    fields = {name: getattr(radiographs, name) for name in ("images", "positive", "patients", "names")}
    with pytest.raises(InputError) as raised:
        Radiographs(**fields | change)
    assert message in str(raised.value)


def test_images_of_a_data_set_are_read_with_their_patients_and_clusters(phantoms):
    source = open_source(phantoms)
    found = read_radiographs(source, Split.TRAIN, 96)
    assert found.images.shape == (60, 96, 96)
    assert [found.positive.sum(), len(set(found.patients))] == [40, 30]
    assert found.clusters is not None
    assert set(found.clusters) == {0, 1}
    everything = read_radiographs(source, None, 96)
    assert len(everything) == 72


def test_a_split_without_images_is_named(phantoms):
    with pytest.raises(DataError, match="validation"):
        read_radiographs(open_source(phantoms), Split.VALIDATION)


def test_what_cannot_be_read_stops_or_is_left_out(phantoms, tmp_path):
    shutil.copytree(phantoms / "train", tmp_path / "site")
    (tmp_path / "site" / "NORMAL" / "damaged.jpeg").write_bytes(b"no image")
    source = open_source(tmp_path / "site")
    with pytest.raises(UnreadableImage):
        read_radiographs(source, None, 96)
    found = read_radiographs(source, None, 96, skip_unreadable=True)
    assert len(found) == len(found.file_sha256) == 60
    with pytest.raises(DataError, match="check the files"):
        read_radiographs(source.only(["NORMAL/damaged.jpeg"]), None, 96, skip_unreadable=True)

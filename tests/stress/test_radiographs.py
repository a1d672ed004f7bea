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


def test_a_single_patient_of_a_class_gives_to_itself(radiographs):
    alone = Radiographs(radiographs.images, radiographs.positive, ["a"] * 24, radiographs.names)
    assert (alone.donors[True] != np.arange(24)).all()


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
    ]
    assert len({radiographs.sha256, *(each.sha256 for each in others)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((24, 8, 8))}, "float64"),
        ({"images": np.zeros((23, 8, 8), dtype=np.uint8)}, "(23, 8, 8)"),
        ({"patients": ["a"]}, "a patient and a name"),
        ({"positive": np.arange(24) > 15}, "found 8 of one"),
    ],
)
def test_what_does_not_fit_is_refused(radiographs, change, message):
    fields = {name: getattr(radiographs, name) for name in ("images", "positive", "patients", "names")}
    with pytest.raises(InputError) as raised:
        Radiographs(**fields | change)
    assert message in str(raised.value)


def test_images_of_a_data_set_are_read_with_their_patients_and_clusters(phantoms):
    source = open_source(phantoms)
    found = read_radiographs(source, Split.TRAIN, 64)
    assert found.images.shape == (60, 64, 64)
    assert [found.positive.sum(), len(set(found.patients))] == [40, 30]
    assert found.clusters is not None
    assert set(found.clusters) == {0, 1}
    everything = read_radiographs(source, None, 64)
    assert len(everything) == 72


def test_a_split_without_images_is_named(phantoms):
    with pytest.raises(DataError, match="validation"):
        read_radiographs(open_source(phantoms), Split.VALIDATION)


def test_what_cannot_be_read_stops_or_is_left_out(phantoms, tmp_path):
    shutil.copytree(phantoms / "train", tmp_path / "site")
    (tmp_path / "site" / "NORMAL" / "damaged.jpeg").write_bytes(b"no image")
    source = open_source(tmp_path / "site")
    with pytest.raises(UnreadableImage):
        read_radiographs(source, None, 64)
    found = read_radiographs(source, None, 64, skip_unreadable=True)
    assert len(found) == len(found.file_sha256) == 60
    with pytest.raises(DataError, match="check the files"):
        read_radiographs(source.only(["NORMAL/damaged.jpeg"]), None, 64, skip_unreadable=True)

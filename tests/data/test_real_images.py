"""Index, audit and split of the Guangzhou radiographs agree with the published facts."""

from collections import Counter

import pytest

from pneumoscope.config import Preprocessing
from pneumoscope.data.audit import audit, near_duplicate_pairs
from pneumoscope.data.cache import cached_images
from pneumoscope.data.index import build_index
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation
from pneumoscope.types import Split


@pytest.fixture(scope="module")
def index(real_images):
    return build_index(open_source(real_images))


def test_counts_of_images_and_patients(index):
    assert Counter((row.split, row.label) for row in index.rows) == {
        (Split.TRAIN, "normal"): 1349,
        (Split.TRAIN, "bacterial"): 2538,
        (Split.TRAIN, "viral"): 1345,
        (Split.TEST, "normal"): 234,
        (Split.TEST, "bacterial"): 242,
        (Split.TEST, "viral"): 148,
    }
    with_word = {(row.patient, row.label) for row in index.rows}
    assert len(with_word) == 4097
    assert Counter(label for patient, label in with_word if patient.startswith("test/")) == {
        "normal": 225,
        "bacterial": 77,
        "viral": 126,
    }


def test_duplicates_are_in_one_split(index):
    result = audit(index)
    result.raise_for_errors()
    (duplicate,) = [finding for finding in result.findings if finding.code == "duplicate"]
    assert (duplicate.groups, len(duplicate.images)) == (30, 62)
    assert near_duplicate_pairs(index) == []


def test_validation_set_is_a_tenth_of_every_class(index):
    split = draw_validation(index, seed=0)
    held_out = Counter(index.rows[i].label for i in split.positions(Split.VALIDATION))
    assert held_out == {
        "normal": pytest.approx(135, abs=2),
        "bacterial": pytest.approx(254, abs=3),
        "viral": pytest.approx(134, abs=2),
    }


def test_originals_give_the_label_away(original_sample, tmp_path):
    source = open_source(original_sample)
    index = build_index(source)
    result = audit(index)
    cue = next(c for c in result.cues if c.name == "bytes per pixel")
    assert cue.auc.value > 0.99
    assert cue.medians["normal"] > 2 * cue.medians["pneumonia"]
    assert result.verdict.startswith("The file predicts the label: bytes per pixel alone")
    images = cached_images(source, index, Preprocessing(), tmp_path)
    assert (images[5] == prepare(source.read(index.rows[5].path), Preprocessing())).all()

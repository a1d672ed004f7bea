import numpy as np

from pneumoscope.data.styles import find_styles
from pneumoscope.models.registry import BuildRequest, build_model
from pneumoscope.study.hard_validation import shifted_films, validate_hard
from pneumoscope.training.batches import labelled_films
from pneumoscope.types import Split


def test_only_normals_are_shifted(phantom_dataset):
    data = labelled_films(phantom_dataset, Split.VALIDATION, 3)
    shifted = shifted_films(data)
    same = (shifted.films == data.films[data.positions]).all(axis=(1, 2))
    np.testing.assert_array_equal(same, data.labels > 0)
    np.testing.assert_array_equal(shifted.labels, data.labels)


def test_answers_are_given_for_the_films_as_they_are_and_shifted(phantom_dataset):
    styles = find_styles(phantom_dataset.films, 3)
    model = build_model("cnn", BuildRequest(3))
    found = validate_hard(model, phantom_dataset, styles, "fp32")
    np.testing.assert_array_equal(found.positions, phantom_dataset.positions(Split.VALIDATION))
    sick = found.label > 0
    np.testing.assert_allclose(found.plain[sick], found.shifted[sick], atol=1e-6)
    assert not np.allclose(found.plain[~sick], found.shifted[~sick], atol=1e-6)
    np.testing.assert_array_equal(found.style, styles.of(phantom_dataset.films[found.positions]))

import numpy as np
import pytest

from pneumoscope.models.registry import BuildRequest, build_model
from pneumoscope.study.hard_validation import (
    HardValidation,
    StyleReference,
    hard_set,
    load_hard_validation,
    shifted_films,
    style_reference,
    validate_hard,
)
from pneumoscope.training.batches import labelled_films
from pneumoscope.types import Split


@pytest.fixture(scope="module")
def found(phantom_dataset):
    reference = style_reference(phantom_dataset)
    # Phantoms have no devices: half of the styles are called odd.
    reference = StyleReference(reference.styles, tuple(range(0, 12, 2)))
    return validate_hard(build_model("cnn", BuildRequest(3)), phantom_dataset, reference, "fp32"), reference


def test_only_normals_are_shifted(phantom_dataset):
    data = labelled_films(phantom_dataset, Split.VALIDATION, 3)
    shifted = shifted_films(data)
    same = (shifted.films == data.films[data.positions]).all(axis=(1, 2))
    np.testing.assert_array_equal(same, data.labels > 0)
    np.testing.assert_array_equal(shifted.labels, data.labels)


def test_answers_are_given_for_the_films_as_they_are_and_shifted(found, phantom_dataset):
    answers, reference = found
    np.testing.assert_array_equal(answers.positions, phantom_dataset.positions(Split.VALIDATION))
    sick = answers.label > 0
    np.testing.assert_allclose(answers.plain[sick], answers.shifted[sick], atol=1e-6)
    assert not np.allclose(answers.plain[~sick], answers.shifted[~sick], atol=1e-6)
    np.testing.assert_array_equal(answers.style, reference.styles.of(phantom_dataset.films[answers.positions]))
    np.testing.assert_array_equal(answers.odd, ~sick & (answers.style % 2 == 0))


def test_answers_survive_a_round_trip(found, tmp_path):
    found[0].save(tmp_path / "a.npz")
    again = load_hard_validation(tmp_path / "a.npz")
    for name, value in vars(found[0]).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_hard_set_has_half_of_its_weight_in_normals_and_half_of_those_odd():
    label = np.array([0, 0, 0, 1, 2, 1])
    odd = np.array([True, False, False, False, False, False])
    plain = np.full((6, 3), 1 / 3)
    shifted = np.tile([0.6, 0.3, 0.1], (6, 1))
    nothing = np.zeros(6, dtype=np.int64)
    taken = hard_set([HardValidation(nothing, label, nothing, odd, plain, shifted)] * 2)
    assert len(taken.label) == 12
    share = taken.weight / taken.weight.sum()
    assert share[taken.label > 0].sum() == pytest.approx(0.5)
    assert share[[0, 6]].sum() == pytest.approx(0.25)
    np.testing.assert_allclose(np.exp(taken.logit[1]), shifted[1])
    np.testing.assert_allclose(np.exp(taken.logit[[0, 3]]), plain[[0, 3]])

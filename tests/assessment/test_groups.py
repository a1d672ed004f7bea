"""Groups of the acceptance test of a site."""

import pytest

from pneumoscope.assessment.acceptance import group_of, with_table
from pneumoscope.types import ImageHeader


@pytest.mark.parametrize(
    ("word", "sex"),
    [("Female", "F"), ("girl", "F"), ("m", "M"), (" MALE ", "M"), ("other", "O"), ("X", "X"), ("", "M")],
)
def test_a_tables_words_for_the_sex_are_those_of_headers(word, sex):
    assert group_of(with_table(ImageHeader(sex="M"), {"sex": word}))["sex"] == sex

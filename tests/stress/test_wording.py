from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.stress.wording import change, in_a_row, number, percent, whole_percent

NAN = float("nan")


def test_intervals_are_read_also_where_they_are_negative():
    assert number(Estimate(-0.205, -0.399, -0.011)) == "\u22120.205 (\u22120.399 to \u22120.011)"
    assert number(Estimate(0.9817, 0.97, 0.991), 2) == "0.98 (0.97 to 0.99)"
    assert percent(Estimate(0.5, -0.0001, 1.0)) == "50.0 % (0.0 to 100.0)"
    assert number(Estimate(NAN, NAN, NAN)) == percent(Estimate(NAN, NAN, NAN)) == "undefined"
    assert whole_percent(Estimate(0.9649, 0.901, 1.0)) == "96 (90 to 100)"
    assert (number(Estimate(0.5, NAN, NAN)), percent(Estimate(0.5, NAN, NAN))) == ("0.500", "50.0 %")


def test_changes_have_a_sign_but_for_none():
    assert [change(value) for value in (0.0124, -0.0124, 0.0, -0.0001)] == ["+0.012", "\u22120.012", "0.000", "0.000"]


def test_lists_in_words():
    assert [in_a_row(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert in_a_row(["a", "b"], "or") == "a or b"

from pneumoscope.stress.wording import in_a_row, shortened


def test_lists_in_words():
    assert [in_a_row(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert in_a_row(["a", "b"], "or") == "a or b"


def test_a_long_name_keeps_its_beginning_and_its_end():
    assert shortened("person1_bacteria_1.jpeg", 23) == "person1_bacteria_1.jpeg"
    assert shortened("person1946_bacteria_4874.jpeg", 22) == "person1946_\u2026_4874.jpeg"
    assert len(shortened("runs/" + 40 * "a" + "/model", 31)) == 31

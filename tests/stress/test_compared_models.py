"""Several models on the same radiographs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from simple_models import bright_corner, bright_lungs

from pneumoscope.errors import InputError
from pneumoscope.stress import Radiographs, compare, stress_test, write_comparison
from pneumoscope.stress.comparison import mean_corruption_error, order_in_words, seed_spreads


@pytest.fixture(scope="module")
def tests(radiographs):
    return [
        stress_test(model, radiographs, model=name, corrupted=20)
        for name, model in (("corner", bright_corner), ("lungs", bright_lungs))
    ]


def test_a_tie_is_called_one(tests):
    assert "the difference from lungs may be chance" in order_in_words(compare([tests[1], tests[1]], ["a", "b"]))


def test_few_images_in_clusters_give_no_stress_score(radiographs):
    """Each cluster has three of each class, or one class alone."""
    clusters = np.where(np.arange(24) < 6, 0, np.where(radiographs.positive, 1, 2))
    few = Radiographs(radiographs.images, radiographs.positive, radiographs.patients, radiographs.names, clusters)
    test = stress_test(bright_lungs, few, model="lungs", corrupted=0)
    assert test.measures.within_images == (3, 3)
    assert np.isnan(test.measures.within.value)
    assert "too few images" in test.verdict.sentences[1]
    assert "too few images for a stress score" in order_in_words(compare([test, test], ["a", "b"]))


def test_a_model_beside_itself_differs_by_nothing(tests):
    twice = compare([tests[1], tests[1]], ["a", "b"])
    assert [each.difference.value for each in twice] == [0, 0]
    assert (twice[1].difference.low, twice[1].difference.high) == (0, 0)
    assert twice[1].corruption_error == 1


def test_the_better_model_is_ahead_by_the_difference_of_the_scores(tests):
    corner, lungs = compare(tests, ["a", "b"])
    assert lungs.difference.value == pytest.approx(
        tests[1].measures.within.value - tests[0].measures.within.value, abs=1e-12
    )
    assert lungs.difference.low > 0
    words = order_in_words([corner, lungs])
    assert words.startswith("lungs has the best stress score")
    assert "may be chance" not in words
    assert "it has the best AUC on unaltered radiographs too" in words


def test_another_order_by_unaltered_radiographs_is_said(tests):
    measures = tests[0].measures
    plain = replace(measures.plain, auc=replace(measures.plain.auc, value=1.5))
    fooled = replace(tests[0], measures=replace(measures, trials=measures.trials | {"unaltered": plain}))
    words = order_in_words(compare([fooled, tests[1]], ["a", "b"]))
    assert "by the AUC on unaltered radiographs corner would have been chosen, 1.500" in words


def test_mean_corruption_error_is_the_mean_of_ratios():
    assert mean_corruption_error({"blur": 0.2, "noise": 0.3}, {"blur": 0.4, "noise": 0.2}) == pytest.approx(1.0)
    assert np.isnan(mean_corruption_error({}, {}))
    assert np.isnan(mean_corruption_error({"blur": 0.1}, {"blur": 0.0}))
    assert mean_corruption_error({"blur": 0.1, "noise": 0.1}, {"blur": 0.0, "noise": 0.2}) == 0.5


def test_trainings_of_one_recipe_show_what_the_seed_makes(tests):
    [spread] = seed_spreads(compare([tests[0], tests[1]], ["same", "same"]))
    scores = sorted(test.measures.within.value for test in tests)
    assert spread.stress_score == pytest.approx((scores[0], sum(scores) / 2, scores[1]))
    assert seed_spreads(compare(tests, ["one", "another"])) == []


def test_tests_on_other_radiographs_are_not_compared(tests, radiographs):
    positions = np.r_[1:24, 0]
    images, positive = radiographs.images[positions], radiographs.positive[positions]
    patients, names = ([each[i] for i in positions] for each in (radiographs.patients, radiographs.names))
    other = stress_test(bright_lungs, Radiographs(images, positive, patients, names), corrupted=0)
    with pytest.raises(InputError, match="expected tests on the same radiographs"):
        compare([tests[0], other], ["a", "b"])


def test_the_report_has_a_row_for_each_model_the_best_first(tests, tmp_path):
    record = write_comparison(compare(tests, ["same", "same"]), tmp_path, {"commit": "abc"}, synthetic=True)
    assert json.loads((tmp_path / "comparison.json").read_text())["models"][0]["model"] == "corner"
    assert record["models"][0]["mean_corruption_error"] == 1
    table = (tmp_path / "comparison.md").read_text()
    assert table.index("| lungs |") < table.index("| corner |")
    assert "What the seed makes" in table
    page = (tmp_path / "comparison.html").read_text()
    assert "Synthetic" in page
    assert page.count("<img") == 1

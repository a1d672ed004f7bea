import numpy as np
import pytest

from pneumoscope.errors import InputError
from pneumoscope.evaluation.acceptance import (
    DecidedImages,
    check_requirements,
    measure_acceptance,
    parse_requirements,
)


def decided(pairs, groups=None):
    """Images given by (label, decision, reasons...); each of a patient of its own."""
    return DecidedImages(
        np.array([{"pneumonia": 0.9, "normal": 0.1}.get(decision, 0.5) for _, decision, *_ in pairs]),
        np.array([label == "pneumonia" for label, *_ in pairs]),
        [decision for _, decision, *_ in pairs],
        [reasons for _, _, *reasons in pairs],
        np.array([decision == "refer" and "outside_population" in reasons for _, decision, *reasons in pairs]),
        [f"p{i}" for i in range(len(pairs))],
        groups or {},
    )


IMAGES = [
    *[("pneumonia", "pneumonia")] * 6,
    *[("pneumonia", "normal")] * 2,
    ("pneumonia", "refer", "near_threshold"),
    ("pneumonia", "refer", "near_threshold", "outside_population"),
    *[("normal", "normal")] * 8,
    ("normal", "pneumonia"),
    ("normal", "rejected", "inverted"),
]


def test_every_image_has_a_place_in_the_table_and_counts_by_both_rules():
    found = measure_acceptance(decided(IMAGES))
    assert found["flow"]["pneumonia"] == {"normal": 2, "pneumonia": 6, "refer": 1, "outside": 1, "rejected": 0}
    assert found["flow"]["normal"] == {"normal": 8, "pneumonia": 1, "refer": 0, "outside": 0, "rejected": 1}
    value = {name: measure["value"] for name, measure in found["measures"].items()}
    assert value["answered"] == 17 / 20
    assert value["sensitivity"] == 6 / 8
    assert value["specificity"] == 8 / 9
    assert value["accuracy"] == 14 / 17
    assert value["sensitivity_of_all"] == 6 / 10
    assert value["specificity_of_all"] == 8 / 10
    assert value["accuracy_of_all"] == 14 / 20
    assert found["reasons"] == {"near_threshold": 2, "outside_population": 1, "inverted": 1}
    for measure in found["measures"].values():
        assert measure["low"] <= measure["value"] <= measure["high"]


def test_predictive_values_are_those_of_the_decisions_at_the_prevalence_of_the_images():
    """Also where far more pneumonias than normals are referred."""
    images = [("pneumonia", "refer", "near_threshold")] * 80 + [("pneumonia", "pneumonia")] * 18
    images += [("pneumonia", "normal")] * 2 + [("normal", "normal")] * 90 + [("normal", "pneumonia")] * 10
    values = {each["prevalence"]: each for each in measure_acceptance(decided(images))["predictive_values"]}
    assert values[0.5]["ppv"]["value"] == pytest.approx(18 / 28)
    assert values[0.5]["npv"]["value"] == pytest.approx(90 / 92)
    assert values[0.1]["ppv"]["value"] == pytest.approx(0.1 * 0.18 / (0.1 * 0.18 + 0.9 * 0.1))
    assert values[0.1]["ppv"]["low"] < values[0.1]["ppv"]["value"] < values[0.1]["ppv"]["high"]


def test_images_of_one_patient_prove_nothing():
    images = decided([("pneumonia", "pneumonia")] * 19 + [("pneumonia", "normal")] + [("normal", "normal")] * 20)
    alone = DecidedImages(**(vars(images) | {"patients": ["p"] * 40}))
    found = measure_acceptance(alone)
    assert found["measures"]["sensitivity"]["low"] < 0.5
    assert found["measures"]["auc"]["low"] < 0.5
    checked = check_requirements(found["measures"], {"sensitivity": 0.5, "auc": 0.5})
    assert [each["proven"] for each in checked] == [False, False]
    assert [each["met"] for each in checked] == [True, True]


def test_a_fraction_of_all_has_an_interval_that_is_no_point():
    found = measure_acceptance(decided([("pneumonia", "pneumonia")] * 3 + [("normal", "normal")] * 40))["measures"]
    assert found["sensitivity"]["value"] == 1
    assert 0.3 < found["sensitivity"]["low"] < 0.5  # Wilson's interval of 3 of 3
    assert 0.9 < found["specificity"]["low"] < 1


def test_groups_stand_in_the_order_of_their_worst_measure():
    views = ["AP"] * 10 + ["PA"] * 10
    found = measure_acceptance(decided(IMAGES, {"view": views, "sex": [""] * 20}))["groups"]
    assert [(each["group"], each["images"]) for each in found] == [("AP", 10), ("PA", 10)]
    few = measure_acceptance(decided(IMAGES, {"view": ["AP"] * 9 + [""] * 11}))["groups"]
    assert few == []


def test_nobody_decided_and_unreadable_images_are_undefined_not_zero():
    silent = decided([("pneumonia", "rejected", "unreadable"), ("normal", "refer", "outside_population")])
    found = measure_acceptance(silent)["measures"]
    assert np.isnan(found["sensitivity"]["value"])
    assert found["sensitivity_of_all"]["value"] == 0
    unread = decided(IMAGES)
    unread.probability[-1] = np.nan
    assert measure_acceptance(unread)["measures"]["auc"]["value"] > 0.8


def test_requirements_are_met_by_the_value_and_proven_by_the_interval():
    measures = measure_acceptance(decided(IMAGES))["measures"]
    required = parse_requirements(["sensitivity=0.75", "specificity=0.99"])
    first, second = check_requirements(measures, required)
    assert (first["met"], first["proven"]) == (True, False)
    assert (second["met"], second["proven"]) == (False, False)
    [undefined] = check_requirements({"auc": {"value": float("nan"), "low": 0, "high": 1}}, {"auc": 0.1})
    assert undefined["met"] is False


@pytest.mark.parametrize("text", ["sensitivity", "sensitivity=", "sensitivity=95", "precision=0.9", "auc=0", "=0.5"])
def test_a_requirement_that_is_none_is_refused(text):
    with pytest.raises(
        InputError,
        match=r"expected a requirement such as sensitivity=0.95, of answered, .*, each once and above 0 up to 1, found",
    ):
        parse_requirements([text])


def test_a_requirement_stands_once():
    with pytest.raises(InputError, match="each once"):
        parse_requirements(["auc=0.9", "auc=0.5"])


@pytest.mark.parametrize("count", [20, 30, 50])
def test_fewer_mistakes_never_prove_less(count):
    lows = []
    for wrong in range(4):
        images = [("pneumonia", "pneumonia")] * (count - wrong) + [("pneumonia", "normal")] * wrong
        images += [("normal", "normal")] * 10 + [("normal", "pneumonia")] * 2
        lows.append(measure_acceptance(decided(images))["measures"]["sensitivity"]["low"])
    assert lows == sorted(lows, reverse=True)

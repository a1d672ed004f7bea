"""What a model is said to read, by predictions made up: of models that read nothing, one thing, and of few and many patients."""

import numpy as np
import pytest

from pneumoscope.stress import Radiographs
from pneumoscope.stress.battery import UNALTERED, battery, other_class, same_class
from pneumoscope.stress.measuring import draws_of, measure, reliances
from pneumoscope.stress.transplants import TRANSPLANTS
from pneumoscope.stress.verdict import is_excluded, is_read, verdict_on

SEEDS = 200
TRIALS = battery(0)


def patients_of_each_class(patients, images=1):
    """Radiographs, all black, of so many patients of each class with so many images each."""
    positive = np.repeat(np.arange(2 * patients) % 2 == 1, images)
    names = [str(number) for number in np.repeat(np.arange(2 * patients), images)]
    return Radiographs(np.zeros((len(positive), 96, 96), dtype=np.uint8), positive, names, names)


def predictions_of(radiographs, trials, rng, effect=1.5, reads=""):
    """Probabilities by the class and a noise drawn anew for every trial; by the class of the donor of what is read."""
    found = {}
    for trial in trials:
        given = ~radiographs.positive if trial == other_class(reads) else radiographs.positive
        logit = 2 * effect * given - effect + rng.normal(size=len(given))
        found[trial] = 1 / (1 + np.exp(-logit))
    return found


@pytest.mark.parametrize(("patients", "images", "effect"), [(5, 2, 1.5), (20, 1, 0)])
def test_a_model_that_reads_none_of_the_properties_is_rarely_said_to_read_one(patients, images, effect):
    """Six differences at 95 % each, by percentiles, would find one in 24 and 17 % of these."""
    radiographs = patients_of_each_class(patients, images)
    draws = draws_of(radiographs)
    trials = [UNALTERED, *(name(each) for each in TRANSPLANTS for name in (same_class, other_class))]
    said = [
        any(map(is_read, reliances(radiographs, predictions_of(radiographs, trials, rng, effect), draws).values()))
        for rng in map(np.random.default_rng, range(SEEDS))
    ]
    assert np.mean(said) < 0.05


def test_a_model_that_reads_one_property_is_said_to():
    radiographs = patients_of_each_class(5, 2)
    draws = draws_of(radiographs)
    trials = [UNALTERED, *(name(each) for each in TRANSPLANTS for name in (same_class, other_class))]
    found = [
        reliances(radiographs, predictions_of(radiographs, trials, rng, reads="corners"), draws)["corners"]
        for rng in map(np.random.default_rng, range(20))
    ]
    assert sum(map(is_read, found)) >= 18
    assert all(-1 <= each.difference.low <= each.difference.value <= each.difference.high <= 1 for each in found)


@pytest.mark.parametrize(("patients", "excluded"), [(10, False), (50, False), (80, True)])
def test_a_property_is_excluded_where_the_patients_suffice(patients, excluded):
    """Nothing changes under any exchange, which few patients might show by chance."""
    radiographs = patients_of_each_class(patients)
    found = reliances(
        radiographs,
        dict.fromkeys([trial.name for trial in TRIALS], radiographs.positive * 0.9),
        draws_of(radiographs),
    )
    assert {is_excluded(each) for each in found.values()} == {excluded}
    assert {each.difference.value for each in found.values()} == {0}


def sentences(patients, **exchanged):
    """Verdict on a model that is right but for the exchanges of these properties with the other class."""
    radiographs = patients_of_each_class(patients)
    predictions = {trial.name: radiographs.positive * 0.8 + 0.1 for trial in TRIALS}
    for name, wrong in exchanged.items():
        flipped = radiographs.positive ^ (np.arange(2 * patients) // 2 < wrong * patients)
        predictions[other_class(name)] = flipped * 0.8 + 0.1
    return verdict_on(measure(radiographs, TRIALS, predictions, 0.5))


def test_the_lungs_are_said_to_be_read_less_not_at_all_or_not_to_be_known():
    assert (
        "markers and edges) and, to a lesser degree, the lungs (from 100 to 50 %)."
        in sentences(80, corners=1, lungs=0.5).sentences[0]
    )
    assert "markers and edges), and not the lungs (from 100 to 100 %)." in sentences(80, corners=1).sentences[0]
    assert (
        "; whether it also reads the lungs is not shown (from 100 to 96 %)."
        in sentences(80, corners=1, lungs=0.03).sentences[0]
    )
    verdict = sentences(80, lungs=1, corners=0.5, exposure=0.4)
    assert (verdict.reads, verdict.also) == ("lungs", ("corners", "exposure"))
    assert verdict.sentences[0].endswith(
        "this model reads the lungs; it also reads the corners (from 100 to 50 %) and the grey levels (from 100 to 60 %)."
    )


def test_what_is_not_read_is_named_only_where_it_is_excluded():
    assert (
        "the grey levels and the lungs of a radiograph of the other class costs it 5 points"
        in sentences(80).sentences[0]
    )
    unsure = sentences(80, corners=0.03)
    assert unsure.reads == "nothing named"
    assert (
        "needed to say whether the exchange of the corners costs it 5 points of balanced accuracy."
        in unsure.sentences[0]
    )


def test_corruptions_count_the_balanced_error():
    """Ten negatives and thirty positives, all called positive under corruption: a quarter wrong, half in balance."""
    positive = np.arange(40) >= 10
    names = [str(number) for number in range(40)]
    radiographs = Radiographs(np.zeros((40, 96, 96), dtype=np.uint8), positive, names, names)
    trials = battery(400)
    plain = positive * 0.8 + 0.1
    predictions = {trial.name: np.full(40, 0.9) if trial.most else plain for trial in trials}
    found = measure(radiographs, trials, predictions, 0.5)
    assert set(found.corruption_error.values()) == {0.5}
    assert found.trials["JPEG 3"].accuracy.value == 0.75
    assert found.trials["JPEG 3"].balanced_accuracy_change.value == -0.5
    assert "of balanced accuracy lost); pixelation costs most, 50.0 points." in verdict_on(found).sentences[2]
    unchanged = measure(radiographs, trials, dict.fromkeys(predictions, plain), 0.5)
    assert (
        "withstands 23 (at most 2 points of balanced accuracy lost); none costs any."
        in verdict_on(unchanged).sentences[2]
    )

import numpy as np
import pytest
from simple_models import bright_corner, bright_lungs, phantom

from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.stress import Radiographs, stress_test
from pneumoscope.stress.report import write_report
from pneumoscope.stress.transplants import _coefficients


@pytest.fixture(scope="module")
def cornered():
    """Forty phantoms without any opacity, whose class is a white corner."""
    images = np.stack([phantom("normal", number) for number in range(40)])
    positive = np.arange(40) % 2 == 1
    images[positive, :12, :12] = 250
    return Radiographs(images, positive, [str(n) for n in range(40)], [f"{n}.png" for n in range(40)])


def test_a_model_that_reads_a_corner_is_found_out(cornered):
    test = stress_test(bright_corner, cornered, corrupted=0)
    assert test.verdict.reads == "corners"
    assert test.measures.reliance["corners"].difference.value == 1
    assert test.measures.reliance["lungs"].difference.value == 0
    first = test.verdict.sentences[0]
    assert "with those of a radiograph of the other class 0.0 %" in first
    # Forty patients are too few to exclude that it reads the lungs as well.
    assert (
        "reads the corners (markers and edges); whether it also reads the lungs is not shown (from 100 to 100 %)"
        in first
    )


def test_a_model_that_reads_the_lungs_is_said_to(radiographs):
    test = stress_test(bright_lungs, radiographs, corrupted=0)
    assert test.measures.plain.auc.value > 0.9
    assert test.verdict.reads == "lungs", test.verdict
    assert test.verdict.sentences[0].count("reads the lungs") == 1


def test_a_model_that_knows_nothing_is_said_to(radiographs):
    test = stress_test(lambda images: images[:, 0, 0] % 7 / 7, radiographs, corrupted=0)
    assert (test.verdict.reads, test.verdict.also) == ("chance", ())
    assert "is not shown to tell the classes apart" in test.verdict.sentences[0]


def test_a_model_that_reads_what_is_not_exchanged(radiographs):
    """It has the labels by heart, whatever it is shown."""
    labels = np.tile(radiographs.positive.astype(float), 100)
    shown = [0]

    def knows(images):
        start, shown[0] = shown[0] % 24, shown[0] + len(images)
        return labels[start : start + len(images)]

    test = stress_test(knows, radiographs, corrupted=0)
    assert test.verdict.reads == "nothing named"
    assert (
        "more patients are needed to say whether the exchange of any of these costs it 5 points"
        in test.verdict.sentences[0]
    )


def test_figures_are_those_of_the_answers(radiographs):
    test = stress_test(bright_lungs, radiographs, threshold=0.4, corrupted=20)
    plain, called = test.measures.plain, test.predictions["unaltered"] >= 0.4
    assert plain.accuracy.value == (called == radiographs.positive).mean()
    assert plain.sensitivity.value == called[radiographs.positive].mean()
    assert plain.specificity.value == (~called)[~radiographs.positive].mean()
    assert (plain.auc_change.value, plain.auc_change.low, plain.changed) == (0, 0, 0)
    assert plain.auc.low <= plain.auc.value <= plain.auc.high
    best = test.measures.best_threshold
    assert test.measures.best_accuracy == ((test.predictions["unaltered"] >= best) == radiographs.positive).mean()
    assert test.measures.best_accuracy >= plain.accuracy.value
    errors = [1 - test.measures.trials[f"JPEG {strength}"].balanced_accuracy.value for strength in range(1, 6)]
    assert test.measures.corruption_error["JPEG"] == pytest.approx(np.mean(errors))
    assert "Of 23 corruptions" in test.verdict.sentences[2]


def test_the_report_shows_the_verdict_and_where_the_model_changes_its_mind(cornered, tmp_path):
    test = stress_test(bright_corner, cornered, model="corner <1>", corrupted=20)
    record = write_report(test, tmp_path / "new", {"commit": "abc"}, synthetic=True)
    page = (tmp_path / "new" / "stress.html").read_text()
    assert "corner &lt;1&gt;" in page
    assert "<1>" not in page
    assert "Radiographs on which it decides otherwise" in page
    assert page.count("<img") == 3
    text = (tmp_path / "new" / "stress.md").read_text()
    assert all(sentence in text for sentence in test.verdict.sentences)
    assert record["verdict"]["reads"] == "corners"
    assert record["trials"]["unaltered"]["auc"]["value"] == 1


def test_a_page_without_changes_and_corruptions(radiographs, tmp_path):
    test = stress_test(lambda images: np.full(len(images), 0.5), radiographs, corrupted=0)
    write_report(test, tmp_path, {})
    page = (tmp_path / "stress.html").read_text()
    assert page.count("<img") == 1
    assert "No corruptions were tried." in page


def test_clusters_give_the_figure_within_them(radiographs):
    halves = Radiographs(
        radiographs.images, radiographs.positive, radiographs.patients, radiographs.names, np.arange(24) // 12
    )
    within = stress_test(bright_lungs, halves, corrupted=0)
    assert "within acquisition clusters" in within.verdict.sentences[1]
    alike = within.predictions["stored alike"]
    aucs = [
        np.mean([p > n for p in alike[half & halves.positive] for n in alike[half & ~halves.positive]])
        for half in (halves.clusters == 0, halves.clusters == 1)
    ]
    assert within.measures.within.value == pytest.approx(np.mean(aucs))


def test_classes_that_share_no_cluster_are_said_to(radiographs):
    apart = Radiographs(
        radiographs.images,
        radiographs.positive,
        radiographs.patients,
        radiographs.names,
        radiographs.positive.astype(np.int64),
    )
    test = stress_test(bright_lungs, apart, corrupted=0)
    assert "acquisition clusters with both classes have too few images" in test.verdict.sentences[1]
    assert "undefined" not in test.verdict.sentences[1]


def test_compression_that_only_one_class_has_is_found():
    """A model that reads how many coefficients of the cosine transform compression has set to zero."""
    images = np.stack([phantom("normal", number, 128) for number in range(40)])
    positive = np.arange(40) % 2 == 1
    images[positive] = [recompress_jpeg(image, 25) for image in images[positive]]
    names = [str(number) for number in range(40)]

    def zeros(shown):
        coefficients = [_coefficients(image)[:, 1:] for image in shown]
        return np.array([(np.abs(each) < 0.5).mean() for each in coefficients])

    test = stress_test(zeros, Radiographs(images, positive, names, names), corrupted=0)
    assert test.verdict.reads == "storage", test.verdict

"""Known answers of the audit's cues: leaks planted in drawn indexes and files are named, clean ones stay clean."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumoscope.data.audit import audit
from pneumoscope.data.cluster_labels import ClusterLabels
from pneumoscope.data.cue_report import cue_table
from pneumoscope.data.cue_search import _property_cues
from pneumoscope.data.cues import TOGETHER
from pneumoscope.data.index import Index, Measurement
from pneumoscope.data.joint_cue import joint_cues
from pneumoscope.data.labels import Labels
from pneumoscope.data.properties import properties_of
from pneumoscope.types import Etiology, Finding, IndexRow, Split

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "clean_audits.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("clean_audits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["clean_audits"] = module
    spec.loader.exec_module(module)
    return module


def index_of(rng, classes=("clear", "nodule"), train=120, test=60, images_of_patient=2, properties=None, measure=None):
    """Index of drawn images; `properties` and `measure` give what is planted, by class number and split."""
    rows, measurements, said = [], [], []
    for i in range(train + test):
        split = Split.TRAIN if i < train else Split.TEST
        patient = f"{split}{i // images_of_patient}"
        kind = (i // images_of_patient) % len(classes)
        finding = Finding.NORMAL if kind == 0 else Finding.PNEUMONIA
        size = int(rng.integers(200, 400)), int(rng.integers(200, 400))
        rows.append(
            IndexRow(
                f"{i}.png", f"{i:064}", finding, Etiology.UNKNOWN, patient, split, *size, 9, class_name=classes[kind]
            )
        )
        drawn = rng.normal(size=4)
        values = {
            "bytes_per_pixel": 1 + 0.1 * drawn[0],
            "quantisation": 20 + drawn[1],
            "sharpness": 50 + drawn[2],
            "contrast": 50 + drawn[3],
            "brightness": 120 + rng.normal(),
        }
        values |= measure(kind, split, rng) if measure else {}
        measurements.append(Measurement(**values, difference_hash=rng.bytes(32).hex()))
        usual = {
            "manufacturer": ("A", "B", "C")[rng.integers(3)],
            "station": f"s{rng.integers(40)}",
            "age": rng.normal(50, 9),
        }
        said.append(usual | (properties(kind, split, rng) if properties else {}))
    acquisition = rng.normal(size=(len(rows), 5))
    return Index(tuple(rows), tuple(measurements), properties=tuple(said), acquisition=acquisition)


def findings(result):
    return {finding.subject or finding.code: finding for finding in result.findings}


def cue(result, name, split=Split.TRAIN):
    return next(each for each in result.cues if each.name == name and each.split is split)


@pytest.mark.parametrize("seed", range(10))
def test_clean_sets_stay_clean(seed):
    rng = np.random.default_rng(seed)
    classes = [("clear", "nodule"), ("clear", "effusion", "nodule")][seed % 2]
    further = lambda kind, split, rng: {"column code": f"c{rng.integers(90)}", "view": ("AP", "PA")[rng.integers(2)]}  # noqa: E731
    result = audit(index_of(rng, classes, properties=further))
    assert result.findings == ()
    assert re.search(
        "hardly predicts the label|may predict the label, and the films are too few to say", result.verdict
    )


def test_a_random_column_of_many_words_says_nothing_however_many_there_are():
    rng = np.random.default_rng(0)
    for words in (2, 30, 100000):
        index = index_of(
            rng,
            properties=lambda kind, split, rng, n=words: {"column code": f"c{rng.integers(n)}"},
            images_of_patient=1,
        )
        found = cue(audit(index), "column code")
        assert 0.38 <= found.auc.value <= 0.62, words


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("manufacturer", lambda kind, rng: "A" if (kind == 1) == (rng.random() < 0.85) else "B"),
        ("view", lambda kind, rng: "AP" if (kind == 1) == (rng.random() < 0.85) else "PA"),
        ("age", lambda kind, rng: rng.normal(65 if kind == 1 else 45, 12)),
        ("bits stored", lambda kind, rng: 12 if (kind == 1) == (rng.random() < 0.85) else 10),
        ("window width", lambda kind, rng: rng.normal(3000 - 500 * kind, 300)),
        ("study year", lambda kind, rng: f"{int(rng.integers(2014, 2019)) - 2 * kind}"),
        ("column ward", lambda kind, rng: "north" if (kind == 1) == (rng.random() < 0.85) else "south"),
        ("column dose", lambda kind, rng: f"{rng.normal(3 + kind, 0.6):.3f}"),
        ("has KVP", lambda kind, rng: "yes" if (kind == 1) == (rng.random() < 0.85) else "no"),
        ("file format", lambda kind, rng: "PNG" if (kind == 1) == (rng.random() < 0.85) else "JPEG"),
        ("software given", lambda kind, rng: "1.0" if (kind == 1) == (rng.random() < 0.85) else ""),
    ],
)
def test_a_planted_word_or_number_is_named_with_what_to_do(name, planted):
    rng = np.random.default_rng(3)
    key = name.removesuffix(" given")
    found = findings(audit(index_of(rng, properties=lambda kind, split, rng: {key: planted(kind, rng)})))
    finding = found[name]
    assert (finding.code, finding.severity) == ("cue", "warning")
    assert "separates nodule from clear in train with AUC 0." in finding.message
    assert ", in test with 0." in finding.message
    assert len(finding.remedy) > 40
    assert {each for each in found if each not in (finding.subject, TOGETHER)} == set()


def test_words_that_point_the_other_way_in_the_test_images_are_below_one_half_there():
    rng = np.random.default_rng(1)
    planted = lambda kind, split, rng: {"view": ("AP", "PA")[kind if split is Split.TRAIN else 1 - kind]}  # noqa: E731
    result = audit(index_of(rng, properties=planted))
    assert (cue(result, "view").auc.value, cue(result, "view", Split.TEST).auc.value) == (1, 0)
    assert "that is, the other way" in findings(result)["view"].message
    assert "(nodule: 100 % of 60 with PA; 0 % of 60 with AP)" in findings(result)["view"].message.replace(
        "0 % of 60 with AP; 100 % of 60 with PA", "100 % of 60 with PA; 0 % of 60 with AP"
    )


def test_of_several_classes_the_one_that_is_told_is_named():
    rng = np.random.default_rng(2)
    index = index_of(
        rng,
        ("clear", "effusion", "nodule"),
        train=180,
        measure=lambda kind, split, rng: {"bytes_per_pixel": 1 + 0.1 * rng.normal() - 0.3 * (kind == 1)},
    )
    result = audit(index)
    found = cue(result, "bytes per pixel")
    assert (found.target, found.higher_in) == ("effusion", "others")
    assert "separates effusion from all others" in findings(result)["bytes per pixel"].message
    train = [i for i, row in enumerate(index.rows) if row.split is Split.TRAIN]
    effusion = [index.rows[i].class_name == "effusion" for i in train]
    expected = roc_auc_score(effusion, [-index.measurements[i].bytes_per_pixel for i in train])
    assert found.auc.value == pytest.approx(expected)


def test_what_properties_tell_better_together_is_found():
    def planted(kind, split, rng):
        weak = [(kind == 1) == (rng.random() < 0.66) for _ in range(4)]
        names = ("view", "sex", "modality", "software")
        return {name: ("a", "b")[each] for name, each in zip(names, weak, strict=True)}

    result = audit(index_of(np.random.default_rng(5), train=300, properties=planted))
    assert findings(result)[TOGETHER].code == "cues_together"
    alone = max(cue(result, name).auc.value for name in ("view", "sex", "modality", "software"))
    assert cue(result, TOGETHER).auc.value > alone + 0.03


def test_a_cue_that_is_a_patient_s_own_does_not_count_for_each_of_its_images():
    """Six patients of each class with twenty images each: a random number of the patient separates them often by chance."""
    rng = np.random.default_rng(0)
    of_patient = rng.normal(size=500)

    def planted(kind, split, rng):
        return {"dose": of_patient[next(count) // 20]}

    for _ in range(2):
        of_patient, count = rng.normal(size=500), iter(range(10**6))
        result = audit(index_of(rng, train=240, test=120, images_of_patient=20, properties=planted))
        assert "dose" not in findings(result)


def test_clusters_of_one_class_each_are_found():
    rng = np.random.default_rng(4)
    index = index_of(rng)
    shifted = index.acquisition + 6 * np.array([[row.class_name == "nodule"] for row in index.rows])
    result = audit(Index(index.rows, index.measurements, properties=index.properties, acquisition=shifted))
    assert findings(result)["acquisition cluster"].severity == "warning"
    assert result.clusters.cramers_v(Split.TRAIN) > 0.9
    assert sum(counts.sum() for counts in result.clusters.counts.values()) == len(index.rows)


def test_cramers_v_has_known_values():
    counts = {Split.TRAIN: np.array([[5, 0], [0, 5]]), Split.TEST: np.array([[4, 2], [8, 4]])}
    clusters = ClusterLabels(np.zeros(0, dtype=np.int64), ("a", "b"), counts)
    assert clusters.cramers_v(Split.TRAIN) == pytest.approx(1)
    assert clusters.cramers_v(Split.TEST) == pytest.approx(0)
    # chi-squared of [[10, 20], [20, 10]] is 60 * (10 * 10 - 20 * 20)^2 / 30^4
    other = ClusterLabels(np.zeros(0, dtype=np.int64), ("a", "b"), {Split.TRAIN: np.array([[10, 20], [20, 10]])})
    assert other.cramers_v(Split.TRAIN) == pytest.approx(np.sqrt(300**2 / 30**4))


def test_columns_are_numbers_or_words_by_what_they_hold():
    rows = tuple(
        {"column dose": f"{i / 7:.2f}", "column code": str(i % 3), "column note": "" if i % 2 else "x"}
        for i in range(30)
    )
    found = {each.name: each for each in properties_of(rows)}
    assert found["column dose"].is_number
    assert not found["column code"].is_number  # numbers of few values may be codes
    assert set(found["column note given"].values) == {"yes", "no"}
    assert found["column dose"].values[7] == pytest.approx(1.0)


def test_a_column_does_not_replace_the_property_of_the_file_that_has_its_name():
    rng = np.random.default_rng(6)

    def planted(kind, split, rng):
        return {"column width": f"{rng.normal(3 * kind):.3f}", "column age": f"{rng.normal():.3f}"}

    result = audit(index_of(rng, properties=planted))
    assert cue(result, "column width").auc.value > 0.95
    assert {cue(result, name).origin for name in ("width", "age")} == {"file", "header"}
    assert max(cue(result, name).auc.value for name in ("width", "age")) < 0.7
    _, rows = cue_table(result.cues)
    assert {"width", "column width"} <= {row[0] for row in rows}


def test_random_words_have_one_half_on_average():
    found, together = [], []
    for seed in range(60):
        planted = lambda kind, split, rng: {"view": f"v{rng.integers(12)}"}  # noqa: E731
        index = index_of(np.random.default_rng(seed), test=0, images_of_patient=1, properties=planted)
        labels = Labels.of(index, [row.split for row in index.rows])
        properties = list(properties_of(index.properties))
        cues = _property_cues(next(each for each in properties if each.name == "view"), labels, [Split.TRAIN], 0.95)
        found.append(cues[0].auc)
        together += [each.auc.value for each in joint_cues(properties, labels, [Split.TRAIN], 0.95)] if seed < 8 else []
    assert 0.48 <= np.mean([each.value for each in found]) <= 0.52
    assert sum(each.high < 0.5 for each in found) <= 5
    assert 0.44 <= np.mean(together) <= 0.56


def test_the_verdict_on_test_images_alone_names_their_cue():
    rng = np.random.default_rng(7)
    result = audit(index_of(rng, train=0, test=120, properties=lambda kind, split, rng: {"view": ("AP", "PA")[kind]}))
    assert findings(result)["view"].severity == "warning"
    assert result.verdict.startswith("The header predicts the label: view alone separates nodule from clear in test")


def test_the_verdict_counts_clusters_and_what_tells_together():
    rng = np.random.default_rng(4)
    index = index_of(rng)
    shifted = index.acquisition + 6 * np.array([[row.class_name == "nodule"] for row in index.rows])
    result = audit(Index(index.rows, index.measurements, properties=index.properties, acquisition=shifted))
    assert "hardly" not in result.verdict
    assert "acquisition cluster alone separates" in result.verdict


@pytest.mark.parametrize("name", ["device", "near duplicates across splits"])
def test_leaks_planted_in_files_are_named(experiment, name):
    assert experiment.planted(name, 1)["found"] == 1


def test_no_finding_in_clean_files(experiment):
    assert experiment.audited(0, **experiment.kind_of(0)).findings == ()

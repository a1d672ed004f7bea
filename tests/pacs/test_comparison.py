"""The node beside the radiologists: answers and reports that are made, whose comparison is known."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pages import words_of
from pneumoscope.data.sources import DataNames
from pneumoscope.errors import DataError, InputError
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.pacs.comparison import Report, Reports, SilentAnswer, compare, read_reports
from pneumoscope.pacs.comparison_page import lead_of, seen_in_words, write_comparison

START = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday


def answer(number, decision="normal", after=timedelta(0), **fields):
    received = START + after
    known = {
        "accession": f"A{number}",
        "study_uid": f"1.2.{number}",
        "sop_uid": f"1.2.{number}.1",
        "patient_key": f"p{number}",
        "study_date": "20260302",
        "received": received,
        "answered": received + timedelta(seconds=2),
        "decision": decision,
        "probability": {"normal": 0.1, "pneumonia": 0.9, "refer": 0.5, "rejected": None}[decision],
        "reasons": {"refer": ("near_threshold",), "rejected": ("too_small",)}.get(decision, ()),
        "outside": False,
        "bundle_sha256": "b" * 64,
    }
    return SilentAnswer(**(known | fields))


def report(number, positive, line=2, **fields):
    known = {"accession": f"A{number}", "study_uid": "", "sop_uid": "", "reported": None}
    return Report(line, positive=positive, **(known | fields))


def reports(*found, left_out=None):
    return Reports(tuple(found), left_out or {}, {})


def many(rng, count=200, days=27):
    """Answers over four weeks and their reports: a sensitivity near 0.9, a specificity near 0.8, some without a decision."""
    answers, found = [], []
    for number in range(count):
        positive = bool(rng.random() < 0.4)
        right = rng.random() < (0.9 if positive else 0.8)
        decision = ("pneumonia" if positive == right else "normal") if rng.random() > 0.1 else "refer"
        probability = float(np.clip(rng.normal(0.8 if decision == "pneumonia" else 0.2, 0.1), 0, 1))
        after = timedelta(days=days * number / count)
        answers.append(answer(number, decision, after, probability=probability))
        found.append(report(number, positive, number + 2, reported=START + after + timedelta(hours=5)))
    return answers, reports(*found)


def test_counts_and_measures_are_those_of_the_table(rng):
    answers, found = many(rng)
    result = compare(answers, found)
    truth = {each.accession: each.positive for each in found.reports}
    decided = [(each.decision == "pneumonia", truth[each.accession]) for each in answers if each.decision != "refer"]
    hit = sum(said and true for said, true in decided)
    positive = sum(true for _, true in decided)
    assert result["measures"]["sensitivity"]["value"] == pytest.approx(hit / positive)
    assert result["measures"]["sensitivity"]["low"] <= wilson_interval(hit, positive).low + 1e-12
    assert result["flow"]["pneumonia"]["pneumonia"] == hit
    assert result["agreement"]["decided"] == len(decided)
    assert result["agreement"]["same"] == sum(said == true for said, true in decided) < len(decided)
    assert result["agreement"]["kappa"]["value"] == pytest.approx(cohen_kappa_score(*zip(*decided, strict=True)))
    assert len(result["disagreements"]) == len(decided) - result["agreement"]["same"]
    wrong = result["disagreements"][0]
    assert {"pneumonia": True, "normal": False}[wrong["report"]] == truth[wrong["accession"]]
    assert wrong["decision"] != wrong["report"]
    assert (result["compared"], result["patients"], result["answers"]["unmatched"]) == (200, 200, 0)


def test_periods_are_weeks_of_twenty_studies_or_else_months(rng):
    weekly = compare(*many(rng))["periods"]
    assert (weekly["by"], [row["period"] for row in weekly["rows"]]) == (
        "week",
        ["2026-W10", "2026-W11", "2026-W12", "2026-W13"],
    )
    assert sum(row["compared"] for row in weekly["rows"]) == 200
    monthly = compare(*many(rng, 60, 59))["periods"]
    assert (monthly["by"], [row["period"] for row in monthly["rows"]]) == ("month", ["2026-03", "2026-04"])
    assert [row["compared"] for row in monthly["rows"]] == [31, 29]
    assert all(0 <= row["measures"]["specificity"]["low"] < 1 for row in monthly["rows"])


def test_several_images_of_a_study_are_one():
    films = [
        answer(1, "normal"),
        answer(1, "pneumonia", sop_uid="1.2.1.2", probability=0.7),
        answer(2, "normal"),
        answer(2, "refer", sop_uid="1.2.2.2", reasons=("outside_view",), outside=True),
        answer(3, "refer", outside=True, reasons=("outside_age",)),
        answer(3, "rejected", sop_uid="1.2.3.2"),
    ]
    result = compare(films, reports(*(report(number, number == 1) for number in (1, 2, 3))))
    assert result["compared"] == 3
    assert result["flow"]["pneumonia"]["pneumonia"] == 1
    assert (result["flow"]["normal"]["normal"], result["flow"]["normal"]["outside"]) == (1, 1)
    assert result["reasons"] == {"outside_age": 1}
    assert "pneumonia where one of them is decided so" in result["rule"]


def test_narrowest_identifier_counts_and_an_image_is_compared_once():
    films = [answer(1, "normal"), answer(1, "pneumonia", sop_uid="1.2.1.2")]
    of_images = reports(
        report(1, False, 2, sop_uid="1.2.1.1"),
        report(1, True, 3, sop_uid="1.2.1.2", study_uid="1.2.1"),
        report(1, True, 4, study_uid="1.2.1"),
    )
    result = compare(films, of_images)
    assert (result["compared"], result["agreement"]["same"], result["patients"]) == (2, 2, 1)
    assert result["reports"]["unmatched"] == {"its images have reports of their own": 1}


def test_unmatched_doubled_and_contradictory_reports_are_named():
    result = compare(
        [answer(number) for number in range(1, 6)],
        reports(
            report(1, False, 2),
            report(1, False, 3),
            report(2, False, 4),
            report(2, True, 5),
            report(9, True, 6),
            report(0, True, 7, accession=""),
            report(3, False, 8, accession="", study_uid="1.2.3"),
            left_out={"effusion": 2},
        ),
    )
    assert result["reports"] == {
        "lines": 9,
        "matched": 2,
        "unmatched": {
            "no answer to such an image": 1,
            "no identifier": 1,
            "doubled report": 1,
            "contradictory reports": 2,
        },
        "other_findings": {"effusion": 2},
        "contradictory": [{"report": "A2", "lines": [4, 5]}],
        "doubled": [{"report": "A1", "lines": [2, 3]}],
    }
    assert (result["answers"]["matched"], result["answers"]["unmatched"]) == (2, 3)


def test_last_answer_to_an_image_counts():
    late = timedelta(hours=1)
    twice = [answer(1, "normal", late, bundle_sha256="c" * 64), answer(1, "pneumonia")]
    result = compare(twice, reports(report(1, False)))
    assert (result["answers"]["superseded"], result["flow"]["normal"]["normal"]) == (1, 1)
    assert result["answers"]["bundles"] == {"c" * 64: 1}


def test_studies_of_a_patient_are_of_one_patient():
    films = [
        answer(1, patient_key="p"),
        answer(2, patient_key="p"),
        answer(3, patient_key=""),
        answer(4, patient_key=""),
    ]
    assert compare(films, reports(*(report(number, False) for number in range(1, 5))))["patients"] == 3


def test_turnaround_is_timed():
    answers = [
        answer(number, answered=START + timedelta(seconds=seconds)) for number, seconds in enumerate((1, 2, 3, 4, -60))
    ]
    found = reports(
        report(0, False, reported=START + timedelta(hours=3, seconds=1)),
        report(1, False, reported=START),
        report(2, False),
        report(3, False, reported=START - timedelta(hours=1)),
    )
    timed = compare(answers, found)["turnaround"]
    assert (timed["images"], timed["unusable"], timed["median_s"], timed["p95_s"]) == (4, 1, 2.5, pytest.approx(3.85))
    assert (timed["reports_with_time"], timed["before_report"]) == (3, 1)
    assert timed["median_hours_before_report"] == pytest.approx(-2 / 3600)


def test_drift_of_probabilities_and_rejections(rng):
    steady, found = many(rng, 400)
    drift = compare(steady, found)["drift"]
    assert (drift["period"], drift["images"]) == ("2026-W13", [200, 93])
    assert (drift["probability"]["level"], drift["rejections"]) == ("steady", "steady")
    moved = steady[:300] + [
        answer(
            number, "rejected" if number % 5 == 0 else "pneumonia", timedelta(days=27 * number / 400), probability=0.97
        )
        for number in range(300, 400)
    ]
    drift = compare(moved, found)["drift"]
    assert (drift["probability"]["level"], drift["rejections"]) == ("drifted", "drifted")
    assert drift["rejected"][1]["value"] == 18 / 93
    begun = [*steady, *(answer(number, "normal", timedelta(days=28)) for number in range(400, 404))]
    assert compare(begun, found)["drift"]["period"] == "2026-W13 to 2026-W14"
    assert compare(steady[:60], found)["drift"]["probability"]["level"] == "too_few"


EDGES = {
    "empty": ([], reports()),
    "no reports": ([answer(1), answer(2)], reports()),
    "no answers": ([], reports(report(1, True))),
    "no matches": ([answer(1)], reports(report(2, True))),
    "all referred": ([answer(number, "refer") for number in range(4)], reports(*(report(n, n > 1) for n in range(4)))),
    "one class": ([answer(number) for number in range(4)], reports(*(report(n, False) for n in range(4)))),
    "all rejected": (
        [answer(number, "rejected") for number in range(3)],
        reports(*(report(n, True) for n in range(3))),
    ),
}


@pytest.mark.parametrize("case", EDGES)
def test_what_cannot_be_measured_is_undefined(case, tmp_path):
    answers, found = EDGES[case]
    result = compare(answers, found)
    data, page = write_comparison(result, tmp_path / "comparison")
    stored = json.loads(data.read_text())
    assert (
        stored["compared"]
        == result["compared"]
        == (len(answers) if case in ("all referred", "one class", "all rejected") else 0)
    )
    assert "nan" not in page.read_text().lower().replace("nanobody", "")
    text = lead_of(result)
    if case in ("all referred", "all rejected"):
        assert text.endswith("none of them got a decision.")
        assert math.isnan(result["measures"]["sensitivity"]["value"])
        assert stored["measures"]["sensitivity"]["value"] is None
    elif case == "one class":
        assert "Sensitivity undefined, specificity 100.0 %" in text
    else:
        assert ("no answers" in text) == (not answers)
    assert text in words_of(page)


def test_table_of_reports_is_read_whatever_its_names(tmp_path):
    table = tmp_path / "reports.csv"
    table.write_text(
        "Accession No.;Finding;Report time;reader\nA1;Pneumonia;2026-03-02T10:00:00+01:00;x\nA2;no pneumonia;20260302100000;y\n"
        "A3;;;z\nA4;negative;2026-03-02;z\n"
    )
    found = read_reports(table)
    assert [(each.accession, each.positive, each.line) for each in found.reports] == [
        ("A1", True, 2),
        ("A2", False, 3),
        ("A4", False, 5),
    ]
    assert found.reports[0].reported == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert found.reports[1].reported == datetime(2026, 3, 2, 10).astimezone(UTC)
    assert found.reports[2].reported is None
    assert (found.left_out, found.columns["accession"]) == ({"": 1}, "Accession No.")


def test_findings_of_other_words_are_mapped(tmp_path):
    table = tmp_path / "reports.csv"
    table.write_text("StudyInstanceUID,befund\n1.2.1,Pneumonie\n1.2.2,o.B.\n1.2.3,Erguss\n")
    names = DataNames({"Pneumonie": "pneumonia", "o.B.": "normal"}, {"class": "befund"})
    found = read_reports(table, names)
    assert [(each.study_uid, each.positive) for each in found.reports] == [("1.2.1", True), ("1.2.2", False)]
    assert found.left_out == {"erguss": 1}
    with pytest.raises(DataError, match=r"line 2 of .* found 'pneumonie': say which") as raised:
        read_reports(table, DataNames(columns={"class": "befund"}))
    # An example that was copied as it stands would say what the word means; this one is refused.
    assert "'pneumonie=CLASS', with normal or pneumonia for CLASS" in str(raised.value)
    with pytest.raises(DataError, match=r"expected classes out of .* found CLASS"):
        read_reports(table, DataNames({"pneumonie": "CLASS"}, {"class": "befund"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accession,text\nA1,x\n", "column finding and a column accession"),
        ("finding\nnormal\n", "found finding: rename"),
    ],
)
def test_table_without_the_columns_is_refused(tmp_path, text, message):
    (tmp_path / "reports.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_reports(tmp_path / "reports.csv")
    with pytest.raises(DataError, match=r"expected a table at .*No such file"):
        read_reports(tmp_path / "none.csv")


def test_answer_of_another_kind_is_refused():
    with pytest.raises(InputError, match="expected one of normal, pneumonia, refer, rejected"):
        answer(1, probability=None, reasons=(), decision="normal", received=datetime(2026, 3, 2))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (0, "Nobody saw these answers when the reports were written."),
        (
            1,
            "Sent, or on their way, are the answers to 1 image of 3: they may have been seen when the reports were written. "
            "Nobody saw the others.",
        ),
        (
            3,
            "Sent, or on their way, are the answers to 3 images of 3: they may have been seen when the reports were written.",
        ),
    ],
)
def test_only_answers_that_were_not_sent_are_said_to_be_unseen(sent, said, tmp_path):
    answers = [answer(number, sent=number < sent) for number in range(3)]
    result = compare(answers, reports(report(0, False)))
    data, page = write_comparison(result, tmp_path)
    assert json.loads(data.read_text())["answers"]["sent"] == sent
    assert seen_in_words(result) == said
    assert f"What was compared. {said}" in page.read_text()
    assert lead_of(result).startswith("1 study of 1 patient, 2026-03-02")


def test_page_says_what_disagrees_and_what_contradicts(rng, tmp_path):
    answers, found = many(rng)
    found = reports(*found.reports, report(0, not found.reports[0].positive, 999))
    mixed = [*answers[:-1], answer(199, "normal", timedelta(days=27), bundle_sha256="c" * 64)]
    result = compare(mixed, found)
    _, page = write_comparison(result, tmp_path)
    text = words_of(page)
    assert "What was compared. Nobody saw these answers when the reports were written." in text
    for row in result["disagreements"]:
        assert f"<td>{row['accession']}</td>" in text
    assert "Reports that contradict each other are left out: A0, lines 2, 999." in text
    assert "The answers are of 2 bundles" in text
    assert text.count("<polygon") == 2  # a band for sensitivity and one for specificity
    assert text.count(">2026-W12</text>") == 2

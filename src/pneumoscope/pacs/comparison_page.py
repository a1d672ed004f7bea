"""Page on the node's answers against the radiologists' reports."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pneumoscope.assessment.acceptance import acceptance_tables
from pneumoscope.errors import listed
from pneumoscope.evaluation.drift import FEWEST, Drift
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.files import write_json
from pneumoscope.reporting.chart import Axis, Line, line_chart
from pneumoscope.reporting.page import Section, write_page
from pneumoscope.types import BINARY

_ROWS = 200


def write_comparison(result: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write `comparison.json` and `comparison.html` into a folder, atomically; gives both paths.

    Args:
        result: Plain data of `compare`.
        out: Folder.

    Raises:
        DataError: The folder cannot be written.
    """
    data, page = out / "comparison.json", out / "comparison.html"
    write_json(data, result)
    write_page(page, "The node and the radiologists", lead_of(result), _sections(result), False)
    return data, page


def lead_of(result: Mapping[str, Any]) -> str:
    """Result in a sentence or two."""
    answers, agreement = result["answers"], result["agreement"]
    if not answers["images"]:
        return "The node has given no answers."
    days = f"{answers['first'][:10]} to {answers['last'][:10]}"
    if not result["compared"]:
        return f"{_counted(answers['images'], 'image')} answered from {days}; none of them matches a report."
    measures = result["measures"]
    text = f"{_counted(result['compared'], 'study')} of {_counted(result['patients'], 'patient')}, {days}: "
    if not agreement["decided"]:
        return f"{text}none of them got a decision."
    sensitivity, specificity = (Estimate(**measures[name]) for name in ("sensitivity", "specificity"))
    return (
        f"{text}{agreement['decided']:,} with a decision, {agreement['same']:,} of these as the radiologist says. "
        f"Sensitivity {sensitivity}, specificity {specificity}."
    )


def seen_in_words(result: Mapping[str, Any]) -> str:
    """Sentence on whether the answers can have been seen when the reports were written; empty without answers."""
    images, sent = (result["answers"][name] for name in ("images", "sent"))
    if not images:
        return ""
    if not sent:
        return "Nobody saw these answers when the reports were written."
    others = " Nobody saw the others." if sent < images else ""
    return (
        f"Sent, or on their way, are the answers to {_counted(sent, 'image')} of {images:,}: "
        f"they may have been seen when the reports were written.{others}"
    )


def _counted(number: int, name: str) -> str:
    """Number with a noun that forms its plural by s or, after y, by ies."""
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    return f"{number:,} {name if number == 1 else plural}"


def _sections(result: Mapping[str, Any]) -> list[Section]:
    sections = [_numbers(result)]
    if result["compared"]:
        tables = acceptance_tables(
            {**result, "groups": [], "required": [], "accept": []},
            BINARY,
        )
        titles = {"What users get": "Decisions against reports"}
        texts = {"What users get": f"{result['rule']} Rows: the report. Columns: the node."}
        sections += [
            Section(titles.get(t.title, t.title), [texts.get(t.title, t.description)], t.header, t.rows) for t in tables
        ]
        sections.append(_over_time(result["periods"]))
    if result["drift"]:
        sections.append(_drift_section(result["drift"]))
    if result["answers"]["images"]:
        sections.append(_turnaround_section(result["turnaround"]))
    if result["compared"]:
        sections.append(_disagreements(result["disagreements"]))
    return sections


def _numbers(result: Mapping[str, Any]) -> Section:
    answers, reports, agreement = result["answers"], result["reports"], result["agreement"]
    kappa = Estimate(**agreement["kappa"])
    rows = [
        ["images answered", f"{answers['images']:,}"],
        ["of these sent, or on their way", f"{answers['sent']:,}"],
        ["of these without a report", f"{answers['unmatched']:,}"],
        ["lines in the table of reports", f"{reports['lines']:,}"],
        *([f"of these left out: {why}", f"{count:,}"] for why, count in reports["unmatched"].items()),
        *(
            [f"of these left out: finding {listed([word])}" if word else "of these left out: no finding", f"{count:,}"]
            for word, count in reports["other_findings"].items()
        ),
        ["studies compared", f"{result['compared']:,}"],
        ["of these with a decision", f"{agreement['decided']:,}"],
        ["same finding as the report", f"{agreement['same']:,}"],
        ["Cohen's kappa (95 % interval)", kappa.as_number(2)],
    ]
    warnings = []
    if contradictory := reports["contradictory"]:
        names = "; ".join(
            f"{each['report']}, lines {', '.join(map(str, each['lines']))}" for each in contradictory[:10]
        )
        warnings.append(f"Reports that contradict each other are left out: {names}.")
    if len(answers["bundles"]) > 1:
        names = ", ".join(f"{sha256[:12]} ({count:,})" for sha256, count in answers["bundles"].items())
        warnings.append(f"The answers are of {len(answers['bundles'])} bundles, {names}: the figures mix them.")
    if answers["superseded"]:
        rows.insert(1, ["earlier answers to the same images, not counted", f"{answers['superseded']:,}"])
    text = f"What was compared. {seen_in_words(result)}".strip()
    return Section("Answers and reports", [text], ["count", "number"], rows, warnings=warnings)


def _over_time(periods: Mapping[str, Any]) -> Section:
    rows = periods["rows"]
    names = ("answered", "sensitivity", "specificity")
    cells = [
        [
            each["period"],
            str(each["compared"]),
            str(each["positive"]),
            *(str(Estimate(**each["measures"][name])) for name in names),
        ]
        for each in rows
    ]
    lines = [_line(name, colour, rows) for name, colour in (("sensitivity", "#A04000"), ("specificity", "#0072B2"))]
    axis = _time_axis(periods["by"], [each["period"] for each in rows])
    # A chart each: of two bands above each other one hides the other.
    charts = [
        line_chart(f"{line.name} over time", [line], axis, Axis(line.name, (0, 0.25, 0.5, 0.75, 1)))
        for line in lines
        if len(line.points) > 1
    ]
    return Section(
        "Over time",
        [
            f"By {periods['by']} of receipt, of the studies with a decision. Few studies make wide intervals: a change matters where these "
            "do not overlap."
        ],
        [periods["by"], "studies", "pneumonia, by report", "with a decision", *names[1:]],
        cells,
        drawing=Markup("").join(charts),
        caption="Sensitivity and specificity of the decisions; bands are 95 % intervals over patients.",
    )


def _time_axis(by: str, periods: Sequence[str]) -> Axis:
    """Axis with at most six words, so that they do not overlap."""
    step = max(1, math.ceil((len(periods) - 1) / 5))
    ticks = list(range(0, len(periods), step))
    # The last tick is the end of the axis.
    if ticks[-1] != len(periods) - 1:
        ticks = [*(tick for tick in ticks if len(periods) - 1 - tick >= step), len(periods) - 1]
    return Axis(f"{by} of receipt", ticks, words=[periods[tick] for tick in ticks])


def _line(name: str, colour: str, rows: Sequence[Mapping[str, Any]]) -> Line:
    found = [(float(index), Estimate(**each["measures"][name])) for index, each in enumerate(rows)]
    known = [(index, each) for index, each in found if each.value == each.value]
    points = [(index, each.value) for index, each in known]
    return Line(name, points, colour, [(each.low, each.high) for _, each in known], marked=True)


def _drift_section(drift: Mapping[str, Any]) -> Section:
    levels = {
        Drift.TOO_FEW: f"too few to say: {FEWEST} images are needed in each",
        Drift.STEADY: "no drift",
        Drift.MOVED: "moved",
        Drift.DRIFTED: "drifted",
    }
    probability = drift["probability"]
    spread = [
        " / ".join("-" if each != each else f"{100 * each:.0f} %" for each in part) for part in probability["quartiles"]
    ]
    level = levels[Drift(probability["level"])]
    if probability["index"] == probability["index"]:
        level = f"{level}: index {probability['index']:.2f}, up to {probability['by_chance']:.2f} by chance"
    rows = [
        ["images", *map(str, drift["images"]), "-"],
        ["referred", *(str(Estimate(**each)) for each in drift["referred"]), "-"],
        ["rejected", *(str(Estimate(**each)) for each in drift["rejected"]), levels[Drift(drift["rejections"])]],
        ["probability of pneumonia, quartiles", *spread, level],
    ]
    text = "All answers, with or without a report. The probabilities are compared by their population stability index."
    return Section("Drift", [text], ["measure", "first half", f"last period, {drift['period']}", "level"], rows)


def _turnaround_section(turnaround: Mapping[str, Any]) -> Section:
    rows = [
        ["images", f"{turnaround['images']:,}"],
        ["median, receipt to answer", _seconds(turnaround["median_s"])],
        ["95 % are faster than", _seconds(turnaround["p95_s"])],
    ]
    if turnaround["unusable"]:
        rows.append(["left out: the clock was set back", f"{turnaround['unusable']:,}"])
    if count := turnaround["reports_with_time"]:
        rows += [
            ["answer before the report", f"{turnaround['before_report']:,} of {count:,}"],
            ["median, answer to report", f"{turnaround['median_hours_before_report']:.1f} h"],
        ]
    text = "From receipt to answer, and from the answer to the radiologist's report where the table has its time."
    return Section("Turnaround", [text], ["measure", "value"], rows)


def _seconds(value: float) -> str:
    return "-" if value != value else f"{value:.1f} s"


def _disagreements(rows: Sequence[Mapping[str, str]]) -> Section:
    more = f" The first {_ROWS} of {len(rows):,}; comparison.json has all." if len(rows) > _ROWS else ""
    if not rows:
        return Section("Disagreements", ["No decision differs from its report."])
    return Section(
        "Disagreements",
        [f"Studies whose decision differs from the report. This page stays in the department.{more}"],
        ["accession number", "the node", "the radiologist"],
        [[row["accession"] or "-", row["decision"], row["report"]] for row in rows[:_ROWS]],
    )

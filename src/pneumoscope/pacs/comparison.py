"""The node's answers against the radiologists' later reports; nobody saw those of a silent node before.

A report speaks of one image (by its SOP Instance UID), of a study (by its Study Instance UID) or of an order (by its accession number).
The images that it speaks of are compared with it as one. Sensitivity, specificity and their intervals are those of `pneumoscope evaluate`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.data.class_names import USUAL_WORDS, DataNames
from pneumoscope.data.tables import COLUMNS, name_of, read_rows
from pneumoscope.errors import DataError, InputError, listed
from pneumoscope.evaluation.acceptance import DecidedImages, measure_acceptance
from pneumoscope.evaluation.agreement import cohen_kappa
from pneumoscope.evaluation.drift import FEWEST, Drift, Reference, rejection_drift, statistic_drift
from pneumoscope.evaluation.intervals import Estimate, wilson_interval
from pneumoscope.types import Decision, Etiology, Finding

RULE = (
    "The images that a report speaks of count as one: pneumonia where one of them is decided so, normal where one is decided normal and none "
    "pneumonia, without a decision otherwise."
)
# Compared studies of a period, on average, from which on it is a week.
_FEWEST_IN_PERIOD = 20
_IDENTIFIERS = ("sop_uid", "study_uid", "accession")
_COLUMNS: Mapping[str, Sequence[str]] = {
    "accession": ("accession", "accessionnumber", "accessionno", "accessionnr", "order", "ordernumber"),
    "study_uid": ("studyuid", "studyinstanceuid", "study"),
    "sop_uid": ("sopuid", "sopinstanceuid", "imageuid", "instanceuid"),
    "class": (*COLUMNS["class"], "result", "report", "reading", "impression", "conclusion"),
    "reported": ("reported", "reporttime", "reportedat", "reportdate", "reportdatetime", "signed", "signedat", "time"),
}
_WORDS = {
    **USUAL_WORDS,
    **dict.fromkeys(("negative", "no", "0", "false"), (Finding.NORMAL, Etiology.NONE)),
    **dict.fromkeys(("positive", "yes", "1", "true"), (Finding.PNEUMONIA, Etiology.UNKNOWN)),
}


@dataclass(frozen=True)
class SilentAnswer:
    """Answer of the node to one image, which nobody saw unless it was sent.

    Attributes:
        accession: Accession number of the order; empty where unknown.
        study_uid: Study Instance UID.
        sop_uid: SOP Instance UID.
        patient_key: Hash of the patient's identifier; empty where unknown: the study then counts as a patient of its own.
        study_date: Date of the study as its header has it.
        received: Time of receipt, UTC.
        answered: Time of the answer, UTC.
        decision: normal, pneumonia, refer or rejected.
        probability: Probability of pneumonia in [0, 1]; None where there is none.
        reasons: Reasons of a referral or rejection.
        outside: Whether it is referred since the detector was not validated on such images.
        bundle_sha256: Hash of the bundle, 64 hex digits.
        sent: Whether it was sent, or is on its way, so that a radiologist may have seen it.

    Raises:
        InputError: Another decision, or a time without its zone.
    """

    accession: str
    study_uid: str
    sop_uid: str
    patient_key: str
    study_date: str
    received: datetime
    answered: datetime
    decision: str
    probability: float | None
    reasons: tuple[str, ...]
    outside: bool
    bundle_sha256: str
    sent: bool = False

    def __post_init__(self) -> None:
        if self.decision not in set(Decision) or self.received.tzinfo is None or self.answered.tzinfo is None:
            raise InputError(f"expected one of {listed(Decision)} and times with their zone, found {self}: correct it")


@dataclass(frozen=True)
class Report:
    """A radiologist's report.

    Attributes:
        line: Line of the table, from 2 on.
        accession: Accession number; empty where the table has none.
        study_uid: Study Instance UID; empty where the table has none.
        sop_uid: SOP Instance UID; empty where the table has none.
        positive: Whether it finds pneumonia.
        reported: Time of the report; None where the table has none that can be read.
    """

    line: int
    accession: str
    study_uid: str
    sop_uid: str
    positive: bool
    reported: datetime | None

    @property
    def name(self) -> str:
        """Identifier for a message or table."""
        return self.accession or self.study_uid or self.sop_uid


@dataclass(frozen=True)
class Reports:
    """Table of reports.

    Attributes:
        reports: Reports with a finding, in the order of the table.
        left_out: Finding of other lines to their number; empty text for lines without a finding.
        columns: Column to the name that the table has for it.
    """

    reports: tuple[Report, ...]
    left_out: Mapping[str, int]
    columns: Mapping[str, str]


def read_reports(table: Path | bytes, names: DataNames | None = None) -> Reports:
    """Read a table of reports: a finding, and an accession number, Study or SOP Instance UID; a time of the report where it has one.

    Args:
        table: CSV file, or its content.
        names: Names of findings, to normal or pneumonia, and of columns; those that are plain are known where None. With names of findings,
            lines with other ones are left out.

    Raises:
        DataError: No table, no such columns, or a finding that is not known.
    """
    names = names or DataNames()
    words = names.words(_WORDS)
    rows, columns, found = read_rows(table, names.columns, _COLUMNS)
    if "class" not in columns or not columns.keys() & set(_IDENTIFIERS):
        raise DataError(
            f"expected a column finding and a column accession, study_uid or sop_uid in {name_of(table)}, found {listed(found) or 'no header'}: "
            "rename them"
        )
    reports, left_out = [], Counter[str]()
    for line, row in enumerate(rows, start=2):
        cell = {column: (value or "").strip() for column, value in row.items()}
        word = cell["class"].lower()
        if word not in words:
            if word and not names.classes:
                raise DataError(
                    f"expected a finding such as pneumonia or normal in line {line} of {name_of(table)}, found {word!r}: say which "
                    f"it is in the class map, '{word}=CLASS', with normal or pneumonia for CLASS; lines with findings that it does not name are "
                    "left out"
                )
            left_out[word] += 1
            continue
        identifiers = {name: cell.get(name, "") for name in _IDENTIFIERS}
        positive = words[word][0] is Finding.PNEUMONIA
        reports.append(Report(line, positive=positive, reported=_time(cell.get("reported", "")), **identifiers))
    return Reports(tuple(reports), dict(left_out), columns)


def _time(text: str) -> datetime | None:
    """Time from ISO 8601 or DICOM's form, of this machine's time zone where it names none; None where there is no time of day."""
    for form in (datetime.fromisoformat, lambda each: datetime.strptime(each, "%Y%m%d%H%M%S")):
        try:
            return form(text).astimezone(UTC) if len(text) > 10 else None
        except ValueError:
            continue
    return None


@dataclass(frozen=True)
class _Unit:
    """Images that a report speaks of, and what was decided on them."""

    images: tuple[SilentAnswer, ...]
    report: Report

    @property
    def decision(self) -> str:
        decisions = {image.decision for image in self.images}
        return next(each for each in ("pneumonia", "normal", "refer", "rejected") if each in decisions)

    @property
    def probability(self) -> float:
        """Highest probability of the images with this decision; NaN where there is none."""
        known = [each.probability for each in self._of_decision if each.probability is not None]
        return max(known, default=math.nan)

    @property
    def reasons(self) -> list[str]:
        return sorted({reason for image in self._of_decision for reason in image.reasons})

    @property
    def outside(self) -> bool:
        return self.decision == "refer" and all(image.outside for image in self._of_decision)

    @property
    def patient(self) -> str:
        first = self.images[0]
        return first.patient_key or f"study {first.study_uid}"

    @property
    def received(self) -> datetime:
        return min(image.received for image in self.images)

    @property
    def answered(self) -> datetime:
        return max(image.answered for image in self.images)

    @property
    def _of_decision(self) -> list[SilentAnswer]:
        return [image for image in self.images if image.decision == self.decision]


def compare(answers: Sequence[SilentAnswer], reports: Reports) -> dict[str, Any]:
    """Compare the node's answers with the radiologists' reports; plain data, undefined numbers as NaN.

    Of several answers to one image the last counts. Of several reports on the same images the first counts where they agree; where they
    contradict each other, none does.

    Returns:
        rule: how the images of a study become one, in words.
        answers, reports: numbers, of what was not matched by why; contradictory and doubled reports by name and lines.
        compared, patients: numbers of studies and patients.
        agreement: studies with a decision, those with the same finding, Cohen's kappa with its interval over patients.
        flow, measures, predictive_values, reasons: as from `measure_acceptance`.
        periods: numbers and measures by week or month of receipt.
        drift: fractions referred and rejected, and probabilities, of the first half of all answers and of the last period.
        turnaround: seconds from receipt to answer; hours from the answer to the report.
        disagreements: accession number, decision and report of each study with another decision than its report.
    """
    images = _latest(answers)
    units, unmatched, named = _matched(images, reports.reports)
    spoken_of = {image.sop_uid for unit in units for image in unit.images}
    return {
        "rule": RULE,
        "answers": {
            "images": len(images),
            "superseded": len(answers) - len(images),
            "sent": sum(image.sent for image in images),
            "matched": len(spoken_of),
            "unmatched": len(images) - len(spoken_of),
            "first": images[0].received.isoformat(timespec="seconds") if images else None,
            "last": images[-1].received.isoformat(timespec="seconds") if images else None,
            "bundles": dict(Counter(image.bundle_sha256 for image in images)),
        },
        "reports": {
            "lines": len(reports.reports) + sum(reports.left_out.values()),
            "matched": len(units),
            "unmatched": dict(unmatched),
            "other_findings": dict(reports.left_out),
            **named,
        },
        "compared": len(units),
        "patients": len({unit.patient for unit in units}),
        "agreement": _agreement(units),
        **_measured(units),
        "periods": _periods(units),
        "drift": _drift(images),
        "turnaround": _turnaround(images, units),
        "disagreements": [
            {"accession": unit.images[0].accession, "decision": unit.decision, "report": _finding(unit)}
            for unit in units
            if unit.decision in ("normal", "pneumonia") and unit.decision != _finding(unit)
        ],
    }


def _latest(answers: Sequence[SilentAnswer]) -> list[SilentAnswer]:
    """Last answer to each image, in the order of receipt."""
    last = {answer.sop_uid: answer for answer in sorted(answers, key=lambda each: each.answered)}
    return sorted(last.values(), key=lambda each: (each.received, each.sop_uid))


def _matched(
    images: Sequence[SilentAnswer], reports: Iterable[Report]
) -> tuple[list[_Unit], Counter[str], dict[str, list[dict[str, Any]]]]:
    """Images with their reports; number of unmatched reports by why; contradictory and doubled reports."""
    index: dict[tuple[str, str], list[int]] = {}
    for position, image in enumerate(images):
        for name in _IDENTIFIERS:
            if identifier := getattr(image, name):
                index.setdefault((name, identifier), []).append(position)
    unmatched, groups = Counter[str](), dict[tuple[int, ...], list[Report]]()
    for report in reports:
        # The narrowest identifier that the report has says which images it speaks of.
        key = next(((name, value) for name in _IDENTIFIERS if (value := getattr(report, name))), None)
        if key is None:
            unmatched["no identifier"] += 1
        elif key not in index:
            unmatched["no answer to such an image"] += 1
        else:
            groups.setdefault(tuple(index[key]), []).append(report)
    taken, units = set[int](), []
    named: dict[str, list[dict[str, Any]]] = {"contradictory": [], "doubled": []}
    for positions, group in sorted(groups.items(), key=lambda each: (len(each[0]), each[0])):
        if len({report.positive for report in group}) > 1:
            named["contradictory"].append(_named(group))
            unmatched["contradictory reports"] += len(group)
        elif taken & set(positions):
            unmatched["its images have reports of their own"] += len(group)
        else:
            if len(group) > 1:
                named["doubled"].append(_named(group))
                unmatched["doubled report"] += len(group) - 1
            units.append(_Unit(tuple(images[position] for position in positions), group[0]))
        taken |= set(positions)
    return sorted(units, key=lambda unit: unit.received), unmatched, named


def _named(group: Sequence[Report]) -> dict[str, Any]:
    return {"report": group[0].name, "lines": [report.line for report in group]}


def _finding(unit: _Unit) -> str:
    return "pneumonia" if unit.report.positive else "normal"


def _measured(units: Sequence[_Unit]) -> dict[str, Any]:
    if not units:
        return {"flow": {}, "measures": {}, "predictive_values": [], "reasons": {}}
    measured = measure_acceptance(
        DecidedImages(
            np.array([unit.probability for unit in units], dtype=np.float64),
            np.array([unit.report.positive for unit in units], dtype=np.bool_),
            [unit.decision for unit in units],
            [unit.reasons for unit in units],
            np.array([unit.outside for unit in units], dtype=np.bool_),
            [unit.patient for unit in units],
            {},
        )
    )
    return {name: value for name, value in measured.items() if name != "groups"}


def _agreement(units: Sequence[_Unit]) -> dict[str, Any]:
    decided = [unit for unit in units if unit.decision in ("normal", "pneumonia")]
    same = sum(unit.decision == _finding(unit) for unit in decided)
    kappa = Estimate(math.nan, math.nan, math.nan)
    if decided:
        kappa = cohen_kappa(
            [unit.decision for unit in decided],
            [_finding(unit) for unit in decided],
            [unit.patient for unit in decided],
        )
    return {"decided": len(decided), "same": same, "kappa": asdict(kappa)}


def _week(time: datetime) -> str:
    year, week, _ = time.isocalendar()
    return f"{year}-W{week:02d}"


def _month(time: datetime) -> str:
    return f"{time:%Y-%m}"


def _periods(units: Sequence[_Unit]) -> dict[str, Any]:
    """Measures of each week, or of each month where weeks have fewer than 20 studies on average."""
    weeks = len({_week(unit.received) for unit in units})
    weekly = weeks > 0 and len(units) / weeks >= _FEWEST_IN_PERIOD
    of = _week if weekly else _month
    rows = []
    for period in sorted({of(unit.received) for unit in units}):
        here = [unit for unit in units if of(unit.received) == period]
        rows.append(
            {
                "period": period,
                "compared": len(here),
                "positive": sum(unit.report.positive for unit in here),
                "measures": _measured(here)["measures"],
            }
        )
    return {"by": "week" if weekly else "month", "rows": rows}


def _drift(images: Sequence[SilentAnswer]) -> dict[str, Any]:
    """First half of the answers against the last period, of weeks or months as the answers are many or few.

    A last period of fewer images than drift can be found in, such as a week that has just begun, is joined with those before it.
    """
    first, second = images[: len(images) // 2], images[len(images) // 2 :]
    if not first:
        return {}
    weeks = len({_week(image.received) for image in images})
    of = _week if len(images) / weeks >= FEWEST else _month
    last: list[SilentAnswer] = []
    for period in sorted({of(image.received) for image in second}, reverse=True):
        if len(last) < FEWEST:
            last = [image for image in second if of(image.received) == period] + last
    begin, end = of(last[0].received), of(last[-1].received)
    values, later = ([each.probability for each in part if each.probability is not None] for part in (first, last))
    rejected = [sum(each.decision == "rejected" for each in part) for part in (first, last)]
    level, probability = Drift.TOO_FEW, None
    # Wide bins on few values would say nothing.
    if len(values) >= FEWEST:
        reference = Reference.of({"probability": np.array(values, dtype=np.float64)}, rejected[0])
        level = rejection_drift(reference, rejected[1], len(last))[0]
        probability = statistic_drift(reference, "probability", np.array(later, dtype=np.float64))
    return {
        "period": begin if begin == end else f"{begin} to {end}",
        "images": [len(first), len(last)],
        "referred": [_share(part, "refer") for part in (first, last)],
        "rejected": [_share(part, "rejected") for part in (first, last)],
        "rejections": level.value,
        "probability": {
            "quartiles": [_quartiles(values), _quartiles(later)],
            "level": probability.drift.value if probability else Drift.TOO_FEW.value,
            "index": probability.index if probability else math.nan,
            "by_chance": probability.by_chance if probability else math.nan,
        },
    }


def _share(images: Sequence[SilentAnswer], decision: str) -> dict[str, float]:
    return asdict(wilson_interval(sum(image.decision == decision for image in images), len(images)))


def _quartiles(values: Sequence[float]) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist() if values else [math.nan] * 3


def _turnaround(images: Sequence[SilentAnswer], units: Sequence[_Unit]) -> dict[str, Any]:
    seconds = [(image.answered - image.received).total_seconds() for image in images]
    # A clock that was set back gives times below zero.
    usable = [each for each in seconds if each >= 0]
    hours = [
        (unit.report.reported - unit.answered).total_seconds() / 3600
        for unit in units
        if unit.report.reported is not None
    ]
    return {
        "images": len(usable),
        "unusable": len(seconds) - len(usable),
        "median_s": float(np.median(usable)) if usable else math.nan,
        "p95_s": float(np.quantile(usable, 0.95)) if usable else math.nan,
        "reports_with_time": len(hours),
        "before_report": sum(each > 0 for each in hours),
        "median_hours_before_report": float(np.median(hours)) if hours else math.nan,
    }

"""Report of a training on several hospitals: sites.json, sites.md and a self-contained sites.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumoscope.evaluation.intervals import Estimate, number_text, range_text
from pneumoscope.multi_site.leave_one_out import ALL, LeaveOneOut, Measured, Seen
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import NEUTRAL, drawing, png_of

_TITLE = "What a network of many hospitals is worth at the next one"
_HEADER = (
    "measured at",
    "network",
    "images / pneumonia / patients",
    "AUC",
    "right, %",
    "sensitivity, %",
    "specificity, %",
)
_HOW = (
    "Each hospital is left out once: a network is trained on all others, an epoch showing it each hospital and class equally often, and measured on all images of the "
    "hospital that it never saw. A fifth of the patients of every hospital is held out of all trainings, another fifth stops them and chooses the threshold at which both "
    "classes count alike. Images that a data set publishes as its test are not used. Intervals are 95 %, by bootstrap over patients."
)
_CHANCE = 0.5
_UNSEEN, _SEEN = "#D55E00", "#0072B2"


def write_report(result: LeaveOneOut, folder: Path, facts: dict[str, Any], synthetic: bool = False) -> dict[str, Any]:
    """Write sites.json, sites.md and sites.html into a run folder, each atomically.

    Args:
        result: Result.
        folder: Run folder.
        facts: Provenance: version, commit, date, machine.
        synthetic: Whether images are phantoms.

    Returns:
        What sites.json holds.
    """
    verdict = sentences(result)
    record = {"verdict": verdict} | result.to_dict() | {"synthetic": synthetic, "provenance": facts}
    sections = _sections(result, verdict, facts, synthetic)
    write_report_files(folder / "sites", record, _TITLE, verdict[0], sections, synthetic)
    return record


def sentences(result: LeaveOneOut) -> list[str]:
    """Verdict in a sentence on the whole, and one on each hospital."""
    unseen = [each.measures["auc"].value for each in result.next_site]
    own = [each.measures["auc"].value for each in result.own_sites if each.network == ALL]
    whole = (
        f"At a hospital that it never saw, a network of {_hospitals(len(unseen) - 1)} has an AUC of {_range(unseen)}; on held-out patients of "
        f"hospitals that it was trained on, the network of all hospitals has {_range(own)}."
    )
    return [whole, *map(_sentence, result.next_site, result.seen)]


def _hospitals(count: int) -> str:
    return "one other hospital" if count == 1 else f"{count} other hospitals"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return number_text(low) if number_text(low) == number_text(high) else range_text(low, high)


def _sentence(unseen: Measured, seen: Seen) -> str:
    unproven = "" if seen.gain.low > 0 or seen.gain.high < 0 else ", not shown to differ from 0"
    auc = unseen.measures["auc"]
    return (
        f"{unseen.site}: AUC {auc.as_number()} for a network that never saw it{_against_chance(auc)}. On its held-out patients, one that saw "
        f"other patients of it has an AUC that differs by {seen.gain.as_difference()}{unproven}."
    )


def _against_chance(auc: Estimate) -> str:
    """What the interval of an AUC says of chance, as the end of a sentence; empty where the AUC is better, or undefined."""
    if auc.high < _CHANCE:
        return ", worse than chance: what it reads, or the label, goes with the other class there"
    return ", not shown to be better than chance" if auc.low <= _CHANCE <= auc.high else ""


def _sections(result: LeaveOneOut, verdict: Sequence[str], facts: dict[str, Any], synthetic: bool) -> list[Section]:
    warnings = [
        f"{result.lookalikes} images look like images of another hospital: where two data sets share patients, as RSNA and NIH do, what is measured "
        "at one of them says nothing about a next hospital."
    ]
    return [
        Section("Hospital by hospital", text=verdict[1:], warnings=warnings if result.lookalikes else ()),
        Section(
            "At the next hospital",
            text=[_HOW],
            header=_HEADER,
            rows=_rows(result.next_site),
            picture=png_of(_figure(result, synthetic)),
            caption="AUC on the held-out patients of each hospital, of a network that never saw the hospital and of one that saw other patients of it.",
        ),
        Section(
            "At hospitals that a network was trained on",
            text=["Held-out patients, whom no training saw."],
            header=_HEADER,
            rows=_rows(result.own_sites),
        ),
        Section(
            "What it is worth to have seen the hospital",
            text=[
                "The same held-out patients, by both networks; difference by DeLong's paired test, clustered by patient."
            ],
            header=["hospital", "images", "AUC, never seen", "AUC, seen", "difference", "P"],
            rows=[
                [
                    each.site,
                    f"{each.images:,}",
                    each.unseen.as_number(),
                    each.seen.as_number(),
                    each.gain.as_difference(),
                    "< 0.001" if each.p < 0.001 else f"{each.p:.3f}",
                ]
                for each in result.seen
            ],
        ),
        Section(
            "Networks",
            header=["network", "trained on", "training images", "threshold"],
            rows=[
                [each.name, ", ".join(each.sites), f"{each.images:,}", f"{each.threshold:.3f}"]
                for each in result.networks
            ],
            text=[", ".join(f"{key} {value}" for key, value in facts.items() if isinstance(value, str))],
        ),
    ]


def _rows(measured: Sequence[Measured]) -> list[list[str]]:
    return [
        [
            each.site,
            each.network,
            f"{each.images:,} / {each.positives:,} / {each.patients:,}",
            each.measures["auc"].as_number(),
            *(each.measures[name].as_percent() for name in ("accuracy", "sensitivity", "specificity")),
        ]
        for each in measured
    ]


def _figure(result: LeaveOneOut, synthetic: bool) -> Any:
    with drawing(7, 1.4 + 0.7 * len(result.seen), synthetic) as figure:
        axes = figure.subplots()
        axes.axvline(_CHANCE, color=NEUTRAL, linewidth=1, linestyle=":")
        for name, colour, offset in (("never seen", _UNSEEN, 0.14), ("seen", _SEEN, -0.14)):
            found = [each.unseen if name == "never seen" else each.seen for each in result.seen]
            rows = [len(found) - 1 - number + offset for number in range(len(found))]
            values = [each.value for each in found]
            reach = [[e.value - e.low for e in found], [e.high - e.value for e in found]]
            axes.errorbar(values, rows, xerr=reach, fmt="o", color=colour, capsize=3, label=name)
        axes.set_yticks(range(len(result.seen)), [each.site for each in reversed(result.seen)])
        axes.set_ylim(-0.6, len(result.seen) - 0.4)
        axes.set_xlim(max(0.0, min(0.4, *(each.unseen.low - 0.03 for each in result.seen))), 1.0)
        axes.set_xlabel("AUC, held-out patients (95 % interval; dotted: chance)")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure

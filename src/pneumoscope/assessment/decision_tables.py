"""Tables of a report on a detector's decisions, from the plain data of `measure_decisions`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.types import ClassScheme


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: Heading.
        description: Explanation of the table, a paragraph.
        header: (columns,) names of the columns.
        rows: (rows, columns) cells.
    """

    title: str
    description: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def decision_tables(decisions: Mapping[str, Any], scheme: ClassScheme) -> list[Table]:
    """Tables on a detector's decisions, in the order of the report.

    Args:
        decisions: Plain data, as `measure_decisions` gives it.
        scheme: Classes of the detector.
    """
    tables = [
        _operating_points(decisions),
        _calibration(decisions, scheme),
        _coverages(decisions, scheme),
    ]
    if decisions["conformal"]:
        tables.append(_prediction_sets(decisions, scheme))
    return [*tables, _clusters(decisions, scheme)] if "styles" in decisions else tables


def format_estimate(name: str, estimate: Estimate) -> str:
    """Value and interval of a metric: plain numbers for an AUC, a calibration error and a Brier score, percent for others."""
    return estimate.as_number() if name.startswith(("auc", "ece", "brier")) else str(estimate)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def _operating_points(decisions: Mapping[str, Any]) -> Table:
    outside, rejected = Estimate(**decisions["outside"]), Estimate(**decisions["rejected"])
    return Table(
        "Operating points",
        "Chosen on validation films. Referred are the films near the threshold and those outside the population that the detector "
        f"was validated on ({outside}). The input guard rejects {rejected} of the films. Sensitivity, specificity and accuracy count "
        "referred and rejected films by their probability; the last column counts only films that get a decision.",
        ["point", "threshold", "sensitivity", "specificity", "accuracy", "referred", "accuracy of the others"],
        [
            [name, f"{point['threshold']:.3f}", *(str(Estimate(**value)) for value in point["measured"].values())]
            for name, point in decisions["operating_points"].items()
        ],
    )


def _calibration(decisions: Mapping[str, Any], scheme: ClassScheme) -> Table:
    calibration = decisions["calibration"]
    rows = [
        ["AUC with DeLong's interval", format_estimate("auc", Estimate(**decisions["auc_delong"]))],
        [
            "calibration error that chance alone shows, were every probability right",
            format_estimate("ece", Estimate(**calibration["ece_by_chance"])),
        ],
        ["prevalence that the probabilities assume", _percent(calibration["assumed_prevalence"])],
    ]
    if own := calibration.get("at_own_prevalence"):
        rows += [
            ["slope and intercept", _line(calibration["slope"], calibration["intercept"])],
            [f"calibration error, for the prevalence of {_percent(own['prevalence'])}", f"{own['ece']:.3f}"],
            ["Brier score, likewise", f"{own['brier']:.3f}"],
        ]
    return Table("Calibration in numbers", f"Of the probability of {scheme.positive}.", ["measure", "value"], rows)


def _line(slope: float, intercept: float) -> str:
    return f"{slope:.2f}, {intercept:.2f}" if slope == slope else "undefined: separated without a mistake"


def _coverages(decisions: Mapping[str, Any], scheme: ClassScheme) -> Table:
    return Table(
        "The surest films",
        f"Decisions {scheme.negative} or {scheme.positive}, when the least sure films are left out.",
        ["coverage", "accuracy"],
        [[_percent(entry["answered"]), _percent(entry["accuracy"])] for entry in decisions["answered"]],
    )


def _prediction_sets(decisions: Mapping[str, Any], scheme: ClassScheme) -> Table:
    return Table(
        "Prediction sets",
        "How often the set of classes holds the right one, where validation promised it.",
        ["promised", *scheme.names, "classes per set", "empty sets"],
        [
            [
                _percent(float(promised)),
                *map(_percent, sets["coverage"].values()),
                f"{sets['mean_size']:.2f}",
                _percent(sets["empty"]),
            ]
            for promised, sets in decisions["conformal"].items()
        ],
    )


def _clusters(decisions: Mapping[str, Any], scheme: ClassScheme) -> Table:
    return Table(
        "Acquisition clusters",
        "At the balanced point; clusters as found in the training films.",
        ["cluster", scheme.negative, scheme.positive, "specificity", "sensitivity", "AUC"],
        [
            [
                str(entry["style"]),
                str(entry["normal"]),
                str(entry["pneumonia"]),
                _percent(entry["specificity"]),
                _percent(entry["sensitivity"]),
                "-" if entry["auc"] is None else f"{entry['auc']:.3f}",
            ]
            for entry in decisions["styles"]
        ],
    )

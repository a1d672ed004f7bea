"""Report on an adaptation: one page, what the site's images support and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.adapt import Adaptation
from pneumoscope.adaptation.bundling import SiteDescription
from pneumoscope.assessment.acceptance import acceptance_tables
from pneumoscope.assessment.decision_tables import format_estimate
from pneumoscope.bundle import Bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.evaluation.metrics import Floats, roc_curve
from pneumoscope.reporting.chart import Axis, Line, line_chart
from pneumoscope.reporting.page import Section, write_page

_NEW, _PARENT, _CHANCE = "#D55E00", "#0072B2", "#999999"
_DOUBTED = 12
_NAMES = {
    "auc": "AUC",
    "sensitivity": "sensitivity, of the images with a decision",
    "specificity": "specificity, of the images with a decision",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}


def write_adaptation_report(path: Path, parent: Bundle, adaptation: Adaptation, description: SiteDescription) -> None:
    """Write the report on an adaptation as one HTML file, atomically."""
    images, scheme = adaptation.images, adaptation.scheme
    counts = f"{int((~images.positive).sum())} {scheme.negative}, {int(images.positive.sum())} {scheme.positive}"
    lead = (
        f"{len(images)} images of {adaptation.patients} patients in {description.origin} ({counts}). "
        f"{_capital(adaptation.verdict)}."
    )
    sections = [
        _performance(parent, adaptation),
        _candidates(adaptation),
        _curve(adaptation),
        _acquisition(adaptation),
        *(
            Section(table.title, [table.description], table.header, table.rows)
            for table in acceptance_tables(adaptation.acceptance | {"required": [], "accept": []}, scheme)
        ),
        _doubted(adaptation),
        _images(adaptation),
    ]
    write_page(
        path, f"Detector {description.name} {description.version} for {description.origin}", lead, sections, False
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _performance(parent: Bundle, adaptation: Adaptation) -> Section:
    found = adaptation.to_dict()["cross_validated"]
    rows = [[_NAMES[name], _estimate(name, Estimate(**value))] for name, value in found.items()]
    gain = adaptation.gain
    rows += [
        [f"AUC of {parent.manifest.name} on the same images", _estimate("auc", adaptation.parent_auc)],
        [
            "difference, DeLong's paired test, clustered by patient",
            f"{gain.as_difference()}, P {_p(adaptation.gain_p)}",
        ],
    ]
    positive = adaptation.images.positive
    theirs = pneumonia_probability(adaptation.images.parent_probability)
    lines = [
        Line("chance", [(0, 0), (1, 1)], _CHANCE),
        Line(parent.manifest.name, _roc(theirs, positive), _PARENT),
        Line("new bundle", _roc(adaptation.nested.probability, positive), _NEW),
    ]
    quarters = (0, 0.25, 0.5, 0.75, 1)
    return Section(
        "Performance on held-out patients",
        [
            f"{_validation(adaptation)} Intervals are 95 %, over patients: of an AUC by DeLong's variance, of the others by bootstrap. "
            "Probabilities assume that half of the images are positive."
        ],
        ["measure", "value (95 % interval)"],
        rows,
        drawing=line_chart(
            "ROC curves of the new bundle and of its parent",
            lines,
            Axis("1 - specificity", quarters),
            Axis("sensitivity", quarters),
        ),
        caption="ROC curves on held-out patients.",
        warnings=adaptation.warnings,
    )


def _validation(adaptation: Adaptation) -> str:
    if adaptation.nested.chosen:
        return "Nested cross-validation: each image is predicted by what the images of other patients chose and fitted."
    return (
        "Cross-validation: each image is predicted by what was fitted to the images of other patients, and calibrated on such "
        "predictions for the other folds."
    )


def _estimate(name: str, estimate: Estimate) -> str:
    if estimate.low != estimate.low:
        return "undefined" if estimate.value != estimate.value else f"{estimate.value:.2f}"
    return format_estimate(name, estimate)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _roc(probability: Floats, positive: NDArray[np.bool_]) -> list[tuple[float, float]]:
    false, true = roc_curve(probability, positive)
    return list(zip(false.tolist(), true.tolist(), strict=True))


def _candidates(adaptation: Adaptation) -> Section:
    rows = [
        [
            each.description + (", chosen" if each is adaptation.chosen else ""),
            f"{each.mean:.3f}",
            f"{each.standard_error:.3f}",
        ]
        for each in adaptation.candidates
    ]
    chosen = (
        "Chosen is the simplest, topmost one within one standard error of the best; the outer folds, each for itself, chose: "
        f"{', '.join(adaptation.nested.chosen)}."
        if adaptation.nested.chosen
        else "There was no other one to choose from."
    )
    return Section(
        "Candidates",
        [f"Mean AUC over {len(adaptation.chosen.auc)} folds by patient. {chosen}"],
        ["candidate", "AUC", "standard error"],
        rows,
    )


def _curve(adaptation: Adaptation) -> Section:
    points = adaptation.curve.points
    sizes = [point["images"] for point in points]
    line = Line(
        "AUC",
        [(point["images"], point["auc"]) for point in points],
        _NEW,
        [point["deviation"] for point in points],
        marked=True,
    )
    lowest = min(0.5, *(np.floor(10 * (point["auc"] - point["deviation"])) / 10 for point in points))
    stands_in = adaptation.curve.candidate != adaptation.chosen.description
    why = (
        "The curve is that of a linear head on the parent's features, since fine-tuning is too slow to repeat so often."
    )
    return Section(
        "Would more images help?",
        [adaptation.curve.answer, *([why] if stands_in else [])],
        ["images", "mean AUC", "standard deviation over repeats"],
        [[f"{p['images']:.0f}", f"{p['auc']:.3f}", f"{p['deviation']:.3f}"] for p in points],
        drawing=line_chart(
            "Learning curve", [line], Axis("images fitted to", sizes, True), Axis("AUC", _tenths(float(lowest)))
        )
        if len(sizes) > 1
        else Section.drawing,
        caption="AUC on held-out patients; the band is one standard deviation over 20 repeats.",
    )


def _tenths(lowest: float) -> list[float]:
    return [round(float(tick), 1) for tick in np.arange(lowest, 1.01, 0.1)]


def _acquisition(adaptation: Adaptation) -> Section:
    audit = adaptation.acquisition
    positive = adaptation.scheme.positive
    rows = [
        [
            name,
            f"higher in {positive}" if audit.properties[name].value >= 0.5 else f"lower in {positive}",
            audit.strength(name).as_number(2),
        ]
        for name in audit.strongest
    ]
    rows += [
        ["file properties, grey levels, spectrum, markers and view together", "", audit.together.as_number(2)],
        ["new bundle, among images that these rank alike (fifths)", "", audit.within_text],
    ]
    return Section(
        "Do the files tell the label?",
        [
            "AUC of what needs no look at the lung: 0.5 says nothing, 1 says all. What is far above 0.5 here is what a new head "
            "can learn instead. Grey levels also hold some of what disease changes. Intervals: 95 %, by bootstrap over patients."
        ],
        ["property", "direction", "AUC (95 % interval)"],
        rows,
    )


def _doubted(adaptation: Adaptation) -> Section:
    images, probability = adaptation.images, adaptation.nested.probability
    wrong = np.where(images.positive, 1 - probability, probability)
    worst: Sequence[int] = [int(i) for i in np.argsort(-wrong)[:_DOUBTED] if wrong[i] > 0.5]
    rows = [
        [images.paths[i], adaptation.scheme.names[int(images.positive[i])], f"{100 * probability[i]:.1f} %"]
        for i in worst
    ]
    return Section(
        "Images to look at again",
        ["Predicted most confidently against their label: a wrong label, or something that the bundle does not know."],
        ["image", "label", f"probability of {adaptation.scheme.positive}"],
        rows,
    )


def _images(adaptation: Adaptation) -> Section:
    images = adaptation.images
    rejected = ", ".join(f"{count} {reason}" for reason, count in images.rejected.items()) or "none"
    patients = (
        "Patients are known from the table, the file names or the headers."
        if images.known_patients
        else "The patients of some images are not known; each of these counts as a patient of its own. If some are of one patient, the "
        "figures above are too good: name them in a table with the column patient."
    )
    return Section("The images", [f"Rejected and left out: {rejected}.", patients])


def summary_lines(adaptation: Adaptation) -> list[str]:
    """Result in words, a line each, for the command line."""
    measures: dict[str, Any] = adaptation.acceptance["measures"]
    gain = adaptation.gain
    lines = [
        f"AUC of the parent on the same images {adaptation.parent_auc.as_number()}, "
        f"difference {gain.as_difference()}, P {_p(adaptation.gain_p)}",
        *(f"{name} {Estimate(**measures[name])}" for name in ("sensitivity", "specificity", "answered")),
        adaptation.curve.answer,
    ]
    if rejected := adaptation.images.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        lines.append(f"{sum(rejected.values())} images rejected, and counted as without a decision: {reasons}")
    return [*lines, *(f"WARNING: {warning}" for warning in adaptation.warnings)]

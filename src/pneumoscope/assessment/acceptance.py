"""Acceptance test of a bundle: decisions on labelled images of a site, against what the site requires. Needs no PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pneumoscope.assessment.decision_tables import Table, format_estimate
from pneumoscope.bundle import Bundle
from pneumoscope.data.ages import age_in_years
from pneumoscope.data.groups import normalised_sex, normalised_view
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.acceptance import DecidedImages, check_requirements, measure_acceptance
from pneumoscope.evaluation.intervals import Estimate, estimate_of
from pneumoscope.evaluation.metrics import Ints
from pneumoscope.inference.decide import Decider, ImageScore
from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import OUTSIDE, ClassScheme, Decision, ImageHeader, PredictionRequest

# Upper ends of the age groups, completed years.
_AGES = (
    (0, "under 1 year"),
    (5, "1 to 5 years"),
    (17, "6 to 17 years"),
    (39, "18 to 39 years"),
    (64, "40 to 64 years"),
)
_OLDEST = "65 years and older"
_OUTCOMES = {
    "normal": "decision normal",
    "pneumonia": "decision pneumonia",
    "refer": "near threshold",
    "outside": "outside population",
    "rejected": "rejected",
}
_NAMES = {
    "answered": "images with a decision",
    "sensitivity": "sensitivity, of those with a decision",
    "specificity": "specificity, of those with a decision",
    "accuracy": "accuracy, of those with a decision",
    "sensitivity_of_all": "sensitivity, no decision counted as wrong",
    "specificity_of_all": "specificity, no decision counted as wrong",
    "accuracy_of_all": "accuracy, no decision counted as wrong",
    "auc": "AUC, every probability counted",
}


def assess_acceptance(
    bundle: Bundle,
    scores: Sequence[ImageScore],
    label: Ints,
    patients: Sequence[str],
    groups: Sequence[Mapping[str, str]],
    required: Mapping[str, float],
    accept: tuple[str, ...],
) -> dict[str, Any]:
    """Decisions at the balanced operating point, measured; plain data of `measure_acceptance`, with the requirements' results.

    Args:
        bundle: Bundle that gave the scores.
        scores: (n,) scores, those of rejected images included.
        label: (n,) int, above 0 for pneumonia.
        patients: (n,) patient of each image.
        groups: (n,) age, sex and view of each image where a table has them; a DICOM header fills in what is left open.
        required: Name of a measure to its least value.
        accept: Reasons out of `types.OUTSIDE` for which images are not referred.
    """
    decide = Decider(bundle, PredictionRequest(accept=accept))
    predictions = [decide(score) for score in scores]
    of_image = [group_of(with_table(score.header, group)) for score, group in zip(scores, groups, strict=True)]
    images = DecidedImages(
        np.array([_probability(score) for score in scores]),
        np.asarray(label) > 0,
        [prediction.decision.value for prediction in predictions],
        [[reason.value for reason in prediction.reasons] for prediction in predictions],
        np.array([is_outside(prediction, accept) for prediction in predictions], dtype=np.bool_),
        patients,
        {by: [group[by] for group in of_image] for by in ("age", "sex", "view")},
    )
    measured = measure_acceptance(images)
    return name_classes(measured, bundle.manifest.scheme) | {
        "accept": list(accept),
        "required": check_requirements(measured["measures"], required),
    }


def name_classes(acceptance: dict[str, Any], scheme: ClassScheme) -> dict[str, Any]:
    """Result of `measure_acceptance` with the classes of a bundle as references and outcomes of its flow."""
    names = {"normal": scheme.negative, "pneumonia": scheme.positive}
    flow = {
        names[reference]: {names.get(outcome, outcome): count for outcome, count in counts.items()}
        for reference, counts in acceptance["flow"].items()
    }
    return acceptance | {"flow": flow}


def is_outside(prediction: Prediction, accept: tuple[str, ...]) -> bool:
    """Whether an image is referred since the detector was not validated on such, for a reason that is not accepted."""
    return prediction.decision is Decision.REFER and bool(set(prediction.reasons) & (set(OUTSIDE) - set(accept)))


def _probability(score: ImageScore) -> float:
    """Probability of pneumonia; NaN of an image that could not be read."""
    if score.class_probability is None:
        return float("nan")
    return float(pneumonia_probability(score.class_probability[None])[0])


def group_of(header: ImageHeader) -> dict[str, str]:
    """Age group, sex and view of an image; empty text where unknown."""
    years = header.age_years
    return {
        "age": "" if years is None else next((name for oldest, name in _AGES if years < oldest + 1), _OLDEST),
        "sex": header.sex,
        "view": normalised_view(header.view),
    }


def with_table(header: ImageHeader | None, table: Mapping[str, str]) -> ImageHeader:
    """Header of an image with age, sex and view of a table, where it has them; None for an image without a header."""
    known = header or ImageHeader()
    years = age_in_years(table.get("age", ""))
    return replace(
        known,
        age_years=known.age_years if years is None else years,
        sex=normalised_sex(table.get("sex", "")) or known.sex,
        view=table.get("view", "").upper() or known.view,
    )


def verdict(acceptance: Mapping[str, Any]) -> str:
    """Verdict on the requirements in one line; empty where there are none."""
    required = acceptance["required"]
    if not required:
        return ""
    unmet = [each for each in required if not each["met"]]
    parts = "; ".join(
        f"{each['name']} {format_estimate(each['name'], estimate_of(each))}, required {_least(each)}"
        + ("" if not each["met"] or each["proven"] else " (reached, but the interval begins below)")
        for each in (unmet or required)
    )
    return f"{'not met' if unmet else 'met'}: {parts}"


def acceptance_tables(acceptance: Mapping[str, Any], scheme: ClassScheme) -> list[Table]:
    """Tables on the acceptance, in the order of the report, with the class names of a bundle."""
    flow = acceptance["flow"]
    outcomes = {scheme.named(name): scheme.named(title) for name, title in _OUTCOMES.items()}
    tables = [
        Table(
            "What users get",
            "Reference standard against the decision at the balanced operating point, images without a decision included.",
            ["reference", *outcomes.values()],
            [[reference, *(str(counts[each]) for each in outcomes)] for reference, counts in flow.items()],
        ),
        Table(
            "Measures of the decisions",
            "An image that is referred or rejected gets no decision; it is left out in the measures of those with a decision, and "
            "wrong where no decision counts as wrong.",
            ["measure", "value (95 % interval)"],
            [[_NAMES[n], format_estimate(n, Estimate(**v))] for n, v in acceptance["measures"].items()],
        ),
        Table(
            "Predictive values",
            f"How often a decision is right, at a prevalence of {scheme.positive}, where as many images of each class get it as here.",
            ["prevalence", f"decision {scheme.positive} is right", f"decision {scheme.negative} is right"],
            [
                [f"{100 * each['prevalence']:.1f} %", str(Estimate(**each["ppv"])), str(Estimate(**each["npv"]))]
                for each in acceptance["predictive_values"]
            ],
        ),
    ]
    if acceptance["reasons"]:
        rows = [[reason, str(count)] for reason, count in acceptance["reasons"].items()]
        tables.append(
            Table("Reasons", "Of referrals and rejections; an image may have several.", ["reason", "images"], rows)
        )
    if acceptance["groups"]:
        tables.append(_groups_table(acceptance["groups"]))
    if acceptance["required"]:
        tables.append(Table("Verdict", verdict(acceptance), ["required", "least", "found"], _required_rows(acceptance)))
    return tables


def _groups_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    names = ("answered", "sensitivity_of_all", "specificity_of_all", "auc")
    return Table(
        "Groups",
        "The worst first; groups of ten images or more. No decision counts as wrong.",
        ["", "group", "images", "with a decision", "sensitivity", "specificity", "AUC"],
        [
            [
                each["by"],
                each["group"],
                str(each["images"]),
                *(format_estimate(name, Estimate(**each["measures"][name])) for name in names),
            ]
            for each in groups
        ],
    )


def _required_rows(acceptance: Mapping[str, Any]) -> list[list[str]]:
    return [
        [each["name"], _least(each), format_estimate(each["name"], estimate_of(each))]
        for each in acceptance["required"]
    ]


def _least(required: Mapping[str, Any]) -> str:
    """Least value in the unit of the measure."""
    return f"{required['least']:g}" if required["name"] == "auc" else f"{100 * required['least']:g} %"

"""Acceptance of a detector on labelled images: decisions as users get them, those without one included.

Images that are referred or rejected get no decision. Sensitivity, specificity and accuracy are given twice: of the images with a decision,
and of all images, where one without a decision counts as wrong (intention to diagnose).

Source: STARD-AI, Nature Medicine 2025, doi 10.1038/s41591-025-03953-8, items on indeterminate and missing index test results;
intention to diagnose, Schuetz et al., BMJ 2012, doi 10.1136/bmj.e6717.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import InputError, listed
from pneumoscope.evaluation.intervals import (
    Estimate,
    auc_estimate,
    fraction_estimate,
    interval_of,
    patient_weights,
    wilson_interval,
)
from pneumoscope.evaluation.metrics import Floats

Flags = NDArray[np.bool_]
# Prevalences at which predictive values are given, beside that of the images.
_PREVALENCES = (0.05, 0.1, 0.2, 0.5)
# Images of a group below which nothing is measured.
_FEWEST = 10
# What a site may require, beside `auc`.
_FRACTIONS = (
    *("answered", "sensitivity", "specificity", "accuracy"),
    *("sensitivity_of_all", "specificity_of_all", "accuracy_of_all"),
)
REQUIRABLE = (*_FRACTIONS, "auc")


@dataclass(frozen=True)
class DecidedImages:
    """Labelled images with a detector's decisions.

    Attributes:
        probability: (n,) probability of the positive class, in [0, 1]; NaN of an image that could not be read.
        positive: (n,) bool, reference standard.
        decision: (n,) decision of each image: normal, pneumonia, refer or rejected.
        reasons: (n,) reasons of each image.
        outside: (n,) bool, images that are referred since the detector was not validated on such.
        patients: (n,) patient of each image.
        groups: Name of a grouping, such as view, to the (n,) group of each image; empty text where unknown.
    """

    probability: Floats
    positive: Flags
    decision: Sequence[str]
    reasons: Sequence[Sequence[str]]
    outside: Flags
    patients: Sequence[str]
    groups: Mapping[str, Sequence[str]]

    def __getitem__(self, which: Flags) -> "DecidedImages":
        chosen = np.flatnonzero(which).tolist()
        return DecidedImages(
            self.probability[chosen],
            self.positive[chosen],
            [self.decision[i] for i in chosen],
            [self.reasons[i] for i in chosen],
            self.outside[chosen],
            [self.patients[i] for i in chosen],
            {},
        )


def measure_acceptance(images: DecidedImages) -> dict[str, Any]:
    """Measures of acceptance as plain data; fractions in [0, 1] with 95 % intervals by bootstrap over patients.

    Returns:
        flow: reference to outcome (a decision, `refer`, `outside` or `rejected`) to number of images.
        measures: fractions and `auc`, undefined as NaN.
        predictive_values: at several prevalences, how often a decision is right.
        reasons: reason to number of images.
        groups: measures of each group of at least ten images, the worst first.
    """
    measures = _measures(images)
    groups = [
        {"by": by, "group": group, "images": len(found.positive), "measures": _plain(_measures(found))}
        for by, of_image in images.groups.items()
        for group in sorted(set(of_image) - {""})
        if len((found := images[np.array([each == group for each in of_image])]).positive) >= _FEWEST
    ]
    return {
        "flow": _flow(images),
        "measures": _plain(measures),
        "predictive_values": _predictive_values(images),
        "reasons": dict(Counter(reason for reasons in images.reasons for reason in reasons).most_common()),
        "groups": sorted(groups, key=_worst),
    }


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _flow(images: DecidedImages) -> dict[str, dict[str, int]]:
    flow = {
        reference: dict.fromkeys(("normal", "pneumonia", "refer", "outside", "rejected"), 0)
        for reference in ("normal", "pneumonia")
    }
    for positive, decision, outside in zip(images.positive, images.decision, images.outside, strict=True):
        flow["pneumonia" if positive else "normal"]["outside" if outside else decision] += 1
    return flow


def _hits(images: DecidedImages) -> tuple[Flags, Flags]:
    """(n,) bool each: images with a decision, and images with the right one."""
    decided = np.array([decision in ("normal", "pneumonia") for decision in images.decision], dtype=np.bool_)
    right = np.array([decision == "pneumonia" for decision in images.decision]) == images.positive
    return decided, decided & right


def _measures(images: DecidedImages) -> dict[str, Estimate]:
    positive, everything = images.positive, np.ones(len(images.positive), dtype=np.bool_)
    weight = patient_weights(images.patients, np.random.default_rng(0))
    decided, right = _hits(images)
    among = (everything, decided & positive, decided & ~positive, decided, positive, ~positive, everything)
    hits = (decided, *(right,) * 6)
    estimates = {
        name: _fraction(hit, some, images.patients, weight)
        for name, hit, some in zip(_FRACTIONS, hits, among, strict=True)
    }
    read = np.isfinite(images.probability)
    patients = [patient for patient, finite in zip(images.patients, read, strict=True) if finite]
    if len(set(positive[read].tolist())) < 2:  # such as a group of healthy patients
        return estimates | {"auc": Estimate(float("nan"), float("nan"), float("nan"))}
    return estimates | {"auc": auc_estimate(images.probability[read], positive[read], patients)}


def _fraction(hit: Flags, among: Flags, patients: Sequence[str], weight: Floats) -> Estimate:
    """Fraction with its interval: the wider of bootstrap and Wilson's, both over patients.

    The bootstrap is too narrow near 0 and 1, so that one more error would prove more than none.
    """
    estimate = fraction_estimate(hit, among, weight)
    if estimate.value != estimate.value:
        return estimate
    count = len({patients[i] for i in np.flatnonzero(among).tolist()})
    around = wilson_interval(round(estimate.value * count), count)
    return Estimate(estimate.value, min(estimate.low, around.low), max(estimate.high, around.high))


def _predictive_values(images: DecidedImages) -> list[dict[str, Any]]:
    """Predictive values of the decisions, by Bayes' rule from the rates of decisions among all images of a class."""
    positive = images.positive
    rows = np.concatenate([np.ones((1, len(positive))), patient_weights(images.patients, np.random.default_rng(0))])
    said = {name: np.array([decision == name for decision in images.decision]) for name in ("pneumonia", "normal")}
    values = []
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = {
            (name, truth): (rows @ (hit & (positive == truth))) / (rows @ (positive == truth))
            for name, hit in said.items()
            for truth in (True, False)
        }
        # Images of one class alone have no prevalence to give values at.
        for prevalence in sorted({*_PREVALENCES, round(float(positive.mean()), 4)} - {0.0, 1.0}):
            odds = prevalence / (1 - prevalence)
            ppv = odds * rate["pneumonia", True] / (odds * rate["pneumonia", True] + rate["pneumonia", False])
            npv = rate["normal", False] / (rate["normal", False] + odds * rate["normal", True])
            estimates = {name: _bounded(v) for name, v in (("ppv", ppv), ("npv", npv))}
            values.append({"prevalence": prevalence} | _plain(estimates))
    return values


def _bounded(values: Floats) -> Estimate:
    """Estimate from the value on the images and those on the resamples; without an interval where all of them are equal."""
    estimate = interval_of(float(values[0]), values[1:])
    return estimate if estimate.low < estimate.high else Estimate(estimate.value, float("nan"), float("nan"))


def _worst(group: Mapping[str, Any]) -> float:
    """Lower of sensitivity and specificity of all images, undefined ones left out."""
    measures = group["measures"]
    values = [measures[name]["value"] for name in ("sensitivity_of_all", "specificity_of_all")]
    return min((value for value in values if value == value), default=1.0)


def parse_requirements(texts: Sequence[str]) -> dict[str, float]:
    """Requirements NAME=VALUE as a table.

    Raises:
        InputError: Unknown or repeated name, or a value outside (0, 1].
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            least = float(value)
        except ValueError:
            least = float("nan")
        if name not in REQUIRABLE or name in found or not 0 < least <= 1:
            raise InputError(
                f"expected a requirement such as sensitivity=0.95, of {listed(REQUIRABLE)}, each once and above 0 up to 1, found {text!r}: "
                "correct it"
            )
        found[name] = least
    return found


def check_requirements(
    measures: Mapping[str, Mapping[str, float]], required: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Result of each requirement.

    Args:
        measures: Name to value and interval, as in `measure_acceptance`.
        required: Name to the least value.

    Returns:
        For each requirement: name, least, value, low, high; `met`, whether the value reaches it; `proven`, whether the lower
        end of the interval does. An undefined value meets nothing.
    """
    return [
        {
            "name": name,
            "least": least,
            **measures[name],
            "met": bool(measures[name]["value"] >= least),
            "proven": bool(measures[name]["low"] >= least),
        }
        for name, least in required.items()
    ]

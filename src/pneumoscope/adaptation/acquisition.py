"""Acquisition: how far files, devices and exposures tell the label, which is what a new head would learn as well.

each property alone    size, compression, grey levels, view, age, sex: AUC of its value
all of them together   a linear head on file properties, acquisition features and view, by cross-validation
within its fifths      AUC of the new bundle among images that the acquisition ranks alike
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.cross_validation import OUTER_FOLDS, grouped_folds, positive_probability
from pneumoscope.adaptation.linear_head import fit_linear_heads
from pneumoscope.adaptation.site import FILE_PROPERTIES, SiteImages
from pneumoscope.assessment.acceptance import group_of
from pneumoscope.data.audit import NOTICEABLE_AUC
from pneumoscope.evaluation.intervals import patient_weights
from pneumoscope.evaluation.metrics import Floats, roc_auc, weighted_roc_auc
from pneumoscope.evaluation.policy_fitting import balancing_weights

# Penalty of the head: chosen beforehand, since the best of several tells something by chance.
_PENALTY = 100.0
_FIFTHS = 5
# Pairs of a positive and a negative image within fifths, below which an AUC says nothing.
_FEWEST_PAIRS = 100
# Probability of a warning by chance, for the properties together and for all of the acquisition.
_LEVEL = 0.025
# Properties of patients, not of files, by their first words.
_OF_PATIENTS = ("age", "sex")
# Fraction of the images of which a property must be known.
_KNOWN = 0.5


@dataclass(frozen=True)
class AcquisitionAudit:
    """Audit of how far the acquisition tells the label.

    Attributes:
        properties: Name of a property to its AUC for the positive class, in [0, 1], below 0.5 where positives have lower values.
        proven: Names of the properties whose AUC differs from 0.5 by more than chance.
        auc: Cross-validated AUC of all file properties, acquisition features and view together.
        auc_proven: Whether that is above 0.5 by more than chance.
        within: AUC of the new bundle within fifths of the images by acquisition; NaN where fewer than two fifths, or few pairs of
            images, are of both classes.
    """

    properties: dict[str, float]
    proven: tuple[str, ...]
    auc: float
    auc_proven: bool
    within: float

    def strength(self, name: str) -> float:
        """AUC of a property in its better direction, in [0.5, 1]."""
        return 0.5 + abs(self.properties[name] - 0.5)

    @property
    def warning(self) -> str:
        """Warning in words; empty where nothing tells the label noticeably and by more than chance."""
        telling = sorted(
            (name for name in self.proven if self.strength(name) >= NOTICEABLE_AUC), key=self.strength, reverse=True
        )
        if not telling and not (self.auc_proven and self.auc >= NOTICEABLE_AUC):
            return ""
        alone = f"{telling[0]} alone gives an AUC of {self.strength(telling[0]):.2f}, " if telling else ""
        patients = telling and telling[0].split(" ")[0] in _OF_PATIENTS
        within = (
            f"among images whose files and exposures are alike, its AUC is {self.within:.2f}"
            if self.within == self.within
            else "images of both classes that are stored alike are too few to tell"
        )
        advice = (
            "of patients of the same ages and sexes"
            if patients
            else "on the same devices, in the same views, stored alike"
        )
        return (
            f"The label can be predicted without the lung: {alone}files, devices and exposures together {self.auc:.2f}. "
            f"The new bundle may have learnt this; {within}. "
            f"Collect both classes {advice}."
        )

    @property
    def within_text(self) -> str:
        """AUC within fifths in words."""
        return f"{self.within:.2f}" if self.within == self.within else "too few images of both classes"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "properties": self.properties,
            "proven": list(self.proven),
            "auc": self.auc,
            "auc_within": self.within,
            "warning": self.warning,
        }


def audit_acquisition(images: SiteImages, probability: Floats) -> AcquisitionAudit:
    """Audit the acquisition of a site's images.

    Args:
        images: Images of the site.
        probability: (n,) out-of-fold probability of the positive class by the new bundle.
    """
    positive = images.positive
    values = dict(zip(FILE_PROPERTIES, images.file_properties.T, strict=True)) | _of_headers(images)
    known = {
        name: finite
        for name, value in values.items()
        if (finite := np.isfinite(value)).mean() >= _KNOWN
        and 0 < positive[finite].mean() < 1
        and value[finite].min() < value[finite].max()
    }
    properties = {name: roc_auc(values[name][own], positive[own]) for name, own in known.items()}
    score, every = _predicted_by_acquisition(images, values), np.ones(len(images), dtype=np.bool_)
    weight = patient_weights(images.patients, np.random.default_rng(0))
    proven = [
        name for name, own in known.items() if _is_proven(values[name], positive, own, weight, _LEVEL / len(known))
    ]
    auc = roc_auc(score, positive)
    return AcquisitionAudit(
        properties,
        tuple(proven),
        auc,
        auc > 0.5 and _is_proven(score, positive, every, weight, _LEVEL),
        _auc_within(probability, positive, score),
    )


def _is_proven(
    score: Floats, positive: NDArray[np.bool_], own: NDArray[np.bool_], weight: Floats, level: float
) -> bool:
    """Whether the AUC of a score, of the images `own`, differs from 0.5 at a level, by the bootstrap over patients."""
    drawn = weighted_roc_auc(score[own], positive[own], weight[:, own])
    low, high = np.nanquantile(drawn, [level / 2, 1 - level / 2])
    return bool(low > 0.5 or high < 0.5)


def _of_headers(images: SiteImages) -> dict[str, Floats]:
    """Name to (n,) values of age, and of each sex and view against all others; NaN where unknown."""
    found = {
        "age": np.array([np.nan if h.age_years is None else h.age_years for h in images.headers], dtype=np.float64)
    }
    for by in ("sex", "view"):
        groups = np.array([group_of(header)[by] for header in images.headers])
        for group in sorted(set(groups) - {""})[1:]:
            found[f"{by} {group}"] = np.where(groups == "", np.nan, groups == group)
    return found


def _predicted_by_acquisition(images: SiteImages, values: dict[str, Floats]) -> Floats:
    """(n,) out-of-fold logit of the positive class by a linear head on all that tells nothing of the patient."""
    columns = [value for name, value in values.items() if name in FILE_PROPERTIES or name.startswith("view")]
    known = [np.isfinite(column) for column in columns]
    filled = [
        np.where(finite, column, np.median(column[finite]) if finite.any() else 0)
        for column, finite in zip(columns, known, strict=True)
    ]
    features = np.concatenate([np.stack([*filled, *known], axis=1), images.style], axis=1)
    label, score = images.positive.astype(np.int64), np.zeros(len(images))
    fold = grouped_folds(label, images.patients, OUTER_FOLDS)
    for each in np.unique(fold):
        train, test = fold != each, fold == each
        weight = balancing_weights(label[train] > 0)
        [head] = fit_linear_heads(features[train], label[train], 2, [_PENALTY], weight)
        score[test] = positive_probability(head.centred(features[train], weight)(features[test]))
    return score


def _auc_within(probability: Floats, positive: NDArray[np.bool_], score: Floats) -> float:
    """AUC over the pairs of a positive and a negative image that lie in the same fifth of a score."""
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    fifth = rank * _FIFTHS // len(rank)
    pairs, right, fifths = 0.0, 0.0, 0
    for each in range(_FIFTHS):
        own = fifth == each
        count = float(positive[own].sum() * (~positive[own]).sum())
        if count:
            pairs, fifths = pairs + count, fifths + 1
            right += count * roc_auc(probability[own], positive[own])
    return right / pairs if fifths > 1 and pairs >= _FEWEST_PAIRS else float("nan")

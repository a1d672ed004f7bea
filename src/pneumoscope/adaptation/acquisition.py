"""Acquisition: how far files, devices and exposures tell the label, which is what a new head would learn as well.

each property alone    size, compression, grey levels, view, age, sex: AUC of its value
all of them together   a linear head on file properties, acquisition features and view, by cross-validation
within its fifths      AUC of the new bundle among images that the acquisition ranks alike
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.cross_validation import OUTER_FOLDS, grouped_folds, positive_probability
from pneumoscope.adaptation.linear_head import fit_linear_heads
from pneumoscope.adaptation.site import FILE_PROPERTIES, SiteImages
from pneumoscope.assessment.acceptance import group_of
from pneumoscope.data.cues import NOTICEABLE_AUC
from pneumoscope.evaluation.intervals import Estimate, interval_of, patient_weights
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
        properties: Name of a property to the AUC of its value for the positive class, below 0.5 where positives have lower values.
        proven: Names of the properties whose AUC differs from 0.5 by more than chance.
        together: Cross-validated AUC of all file properties, acquisition features and view together.
        together_proven: Whether that is above 0.5 by more than chance.
        within: AUC of the new bundle within fifths of the images by acquisition; None where fewer than two fifths, or few pairs of
            images, are of both classes.
    """

    properties: dict[str, Estimate]
    proven: tuple[str, ...]
    together: Estimate
    together_proven: bool
    within: Estimate | None

    def strength(self, name: str) -> Estimate:
        """AUC of a property in its better direction, which is at least 0.5."""
        found = self.properties[name]
        return found if found.value >= 0.5 else Estimate(1 - found.value, 1 - found.high, 1 - found.low)

    @property
    def strongest(self) -> list[str]:
        """Names of the properties, those that tell the label best first."""
        return sorted(self.properties, key=lambda name: -self.strength(name).value)

    @property
    def warning(self) -> str:
        """Warning in words; empty where nothing tells the label noticeably and by more than chance."""
        telling = [
            name for name in self.strongest if name in self.proven and self.strength(name).value >= NOTICEABLE_AUC
        ]
        if not telling and not (self.together_proven and self.together.value >= NOTICEABLE_AUC):
            return ""
        alone = f"{telling[0]} alone gives an AUC of {self.strength(telling[0]).value:.2f}, " if telling else ""
        patients = telling and telling[0].split(" ")[0] in _OF_PATIENTS
        within = (
            f"among images whose files and exposures are alike, its AUC is {self.within_text}"
            if self.within
            else "images of both classes that are stored alike are too few to tell"
        )
        advice = (
            "of patients of the same ages and sexes"
            if patients
            else "on the same devices, in the same views, stored alike"
        )
        return (
            f"The label can be predicted without the lung: {alone}files, devices and exposures together {self.together.value:.2f}. "
            f"The new bundle may have learnt this; {within}. "
            f"Collect both classes {advice}."
        )

    @property
    def within_text(self) -> str:
        """AUC within fifths in words."""
        return self.within.as_number(2) if self.within else "too few images of both classes"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "properties": {name: asdict(found) for name, found in self.properties.items()},
            "proven": list(self.proven),
            "together": asdict(self.together),
            "within": asdict(self.within) if self.within else None,
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
    score = _predicted_by_acquisition(images, values)
    weight = patient_weights(images.patients, np.random.default_rng(0))
    drawn = {name: weighted_roc_auc(values[name][own], positive[own], weight[:, own]) for name, own in known.items()}
    together, drawn_together = roc_auc(score, positive), weighted_roc_auc(score, positive, weight)
    return AcquisitionAudit(
        {name: interval_of(roc_auc(values[name][own], positive[own]), drawn[name]) for name, own in known.items()},
        tuple(name for name in known if _is_proven(drawn[name], _LEVEL / len(known))),
        interval_of(together, drawn_together),
        together > 0.5 and _is_proven(drawn_together, _LEVEL),
        _auc_within(probability, positive, score, weight),
    )


def _is_proven(drawn: Floats, level: float) -> bool:
    """Whether an AUC, drawn by the bootstrap over patients, differs from 0.5 at a level."""
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


def _auc_within(probability: Floats, positive: NDArray[np.bool_], score: Floats, weight: Floats) -> Estimate | None:
    """AUC over the pairs of a positive and a negative image that lie in the same fifth of a score.

    Args:
        probability: (n,) probability that is measured.
        positive: (n,) labels.
        score: (n,) score that the fifths are of.
        weight: (draws, n) weights of the bootstrap over patients.
    """
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    fifth = rank * _FIFTHS // len(rank)
    both = [own for each in range(_FIFTHS) if 0 < positive[own := fifth == each].mean() < 1]
    rows = np.concatenate([np.ones((1, len(rank))), weight])
    pairs, right = np.zeros(len(rows)), np.zeros(len(rows))
    for own in both:
        # A draw may lack one of the classes in a fifth, and has no pairs there.
        count = rows[:, own & positive].sum(axis=1) * rows[:, own & ~positive].sum(axis=1)
        auc = weighted_roc_auc(probability[own], positive[own], rows[:, own])
        pairs, right = pairs + count, right + count * np.where(count > 0, auc, 0)
    if len(both) < 2 or pairs[0] < _FEWEST_PAIRS:
        return None
    found = right[pairs > 0] / pairs[pairs > 0]
    return interval_of(float(found[0]), found[1:])

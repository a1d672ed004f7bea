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
from pneumoscope.evaluation.metrics import Floats, roc_auc
from pneumoscope.evaluation.policy_fitting import balancing_weights

# Penalties of the head; the one that tells most counts, as a warning should.
_PENALTIES = (1000.0, 100.0, 10.0)
_FIFTHS = 5
# Fraction of the images of which a property must be known.
_KNOWN = 0.5


@dataclass(frozen=True)
class AcquisitionAudit:
    """Audit of how far the acquisition tells the label.

    Attributes:
        properties: Name of a property to its AUC for the positive class, in [0, 1], below 0.5 where positives have lower values.
        auc: Cross-validated AUC of all file properties, acquisition features and view together.
        within: AUC of the new bundle within fifths of the images by acquisition; NaN where undefined.
    """

    properties: dict[str, float]
    auc: float
    within: float

    @property
    def strongest(self) -> tuple[str, float]:
        """Property that tells the label best, and its AUC in the better direction."""
        name = max(self.properties, key=lambda each: abs(self.properties[each] - 0.5))
        return name, 0.5 + abs(self.properties[name] - 0.5)

    @property
    def warning(self) -> str:
        """Warning in words; empty where the acquisition hardly tells the label."""
        name, alone = self.strongest
        if max(alone, self.auc) < NOTICEABLE_AUC:
            return ""
        return (
            f"The files tell the label: {name} alone gives an AUC of {alone:.2f}, files, devices and exposures together "
            f"{self.auc:.2f}. The new bundle may have learnt this instead of the lung; among images alike in it, its AUC is "
            f"{self.within:.2f}. Collect both classes on the same devices, in the same views, stored alike."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "properties": self.properties,
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
    properties = {
        name: roc_auc(value[known], positive[known])
        for name, value in values.items()
        if (known := np.isfinite(value)).mean() >= _KNOWN
        and 0 < positive[known].mean() < 1
        and value[known].min() < value[known].max()
    }
    score = _predicted_by_acquisition(images, values)
    return AcquisitionAudit(properties, roc_auc(score, positive), _auc_within(probability, positive, score))


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
    label, scores = images.positive.astype(np.int64), np.zeros((len(_PENALTIES), len(images)))
    fold = grouped_folds(label, images.patients, OUTER_FOLDS)
    for each in np.unique(fold):
        train, test = fold != each, fold == each
        weight = balancing_weights(label[train] > 0)
        heads = fit_linear_heads(features[train], label[train], 2, _PENALTIES, weight)
        scores[:, test] = [
            positive_probability(head.centred(features[train], weight)(features[test])) for head in heads
        ]
    return np.asarray(max(scores, key=lambda score: roc_auc(score, images.positive)))


def _auc_within(probability: Floats, positive: NDArray[np.bool_], score: Floats) -> float:
    """AUC over the pairs of a positive and a negative image that lie in the same fifth of a score."""
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    fifth = rank * _FIFTHS // len(rank)
    pairs, right = 0.0, 0.0
    for each in range(_FIFTHS):
        own = fifth == each
        count = float(positive[own].sum() * (~positive[own]).sum())
        if count:
            pairs += count
            right += count * roc_auc(probability[own], positive[own])
    return right / pairs if pairs else float("nan")

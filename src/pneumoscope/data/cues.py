"""Cues: properties of files, headers and tables that predict the label without what the image shows.

    numbers    AUC of the value, in the direction that it has in the training images
    words      AUC of the category: how much more frequent it is in a class, counted on other patients' images (five folds by patient;
               in the test images, on the training images), and the mean of the AUCs within the folds, weighted by pairs: between folds the
               frequencies of the others go against the labels. A word for every image says nothing, and gets 0.5
    together   AUC of boosted trees over all properties of file and header, fitted to other patients' images in the same way

With more than two classes each is separated from all others, and a cue is of the class that it separates best. Many properties are tested: the
lower bound of a cue is that of its interval at a level of 1 - 0.01 / tests (Bonferroni). A cue is predictive where that bound is above 0.5
and the AUC at least 0.65, or the bound above 0.55; or where the plain 95 % interval is above 0.65, as it is for a clear separation of few
patients. This third rule is not corrected for many properties; how often all three together name a cue in sets without one is measured
(experiments/clean_audits.py: a property of file, header or table in 1 of 200 sets, 0.1-2.8 %, before AUCs were taken within folds).

Source: target encoding, Micci-Barreca, SIGKDD Explorations 2001, doi 10.1145/507533.507538; intervals, `intervals.auc_estimate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumoscope.data.properties import Origin
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.types import Finding, Split

# AUC from which a cue is worth mentioning.
NOTICEABLE_AUC = 0.65
# Lower bound that counts all properties, above which a cue of a lower AUC predicts the label as well.
_LOWEST_BOUND = 0.55
CLUSTER = "acquisition cluster"
TOGETHER = "all of file and header"


@dataclass(frozen=True)
class Cue:
    """Separation of a class from the others by one property, without a network.

    Attributes:
        split: Split of the images.
        name: Name of the property.
        auc: AUC in the direction of `higher_in`, with its 95 % interval over patients; NaN where the property is constant or unknown,
            or a class has fewer than ten images. Below 0.5 the property points the other way than in the training images.
        higher_in: Class with the higher values in the training images, in these where the training images leave it open; of more than
            two classes `target`, or `others`; empty for words, and where the AUC is NaN.
        medians: Class to the median of its images, for numbers; NaN where a class has none.
        origin: `file`, `grey levels`, `header` or `column`.
        target: Class that is separated from the others; the second of two.
        lower_bound: Lower end of the interval that counts all properties; NaN where the AUC is.
        values: For words the most frequent ones: word, number of images, fraction of them in `target`.
    """

    split: Split
    name: str
    auc: Estimate
    higher_in: str
    medians: Mapping[str, float] = field(default_factory=dict)
    origin: Origin = "file"
    target: str = ""
    lower_bound: float = float("nan")
    values: tuple[tuple[str, int, float], ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the AUC is defined."""
        return self.auc.value == self.auc.value

    @property
    def is_predictive(self) -> bool:
        """Whether the property predicts the label by more than chance and by more than hardly."""
        proven = self.lower_bound > (0.5 if self.auc.value >= NOTICEABLE_AUC else _LOWEST_BOUND)
        return proven or self.auc.low >= NOTICEABLE_AUC

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        both = {f"{name}_median": self.medians[name] for name in Finding if name in self.medians}
        return {
            "split": self.split,
            "name": self.name,
            "auc": vars(self.auc),
            "higher_in": self.higher_in,
            **both,
            "medians": dict(self.medians),
            "origin": self.origin,
            "target": self.target,
            "lower_bound": self.lower_bound,
            "telling": self.is_predictive,
            "values": [list(each) for each in self.values],
        }

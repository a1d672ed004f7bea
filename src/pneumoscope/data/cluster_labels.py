"""Labels by acquisition cluster: whether images of one device and room are all of one class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.acquisition_clusters import CLUSTER_COUNT, fit_feature_clusters
from pneumoscope.data.index import Index
from pneumoscope.data.labels import class_names
from pneumoscope.evaluation.metrics import Ints
from pneumoscope.types import Split

# Images for each cluster.
_PER_CLUSTER = 25


@dataclass(frozen=True, eq=False)
class ClusterLabels:
    """Acquisition clusters of images, and the classes in each.

    Attributes:
        cluster_of: (n,) int, cluster of each image; 0 is the largest among the training images.
        classes: Names of the classes.
        counts: Split to (clusters, classes) int, number of images.
    """

    cluster_of: Ints
    classes: tuple[str, ...]
    counts: Mapping[Split, NDArray[np.int64]]

    def cramers_v(self, split: Split) -> float:
        """Cramér's V of cluster and class, in [0, 1]: 0 where every cluster has the same classes, 1 where each has one; NaN for one class.

        Source: Cramér, Mathematical Methods of Statistics, 1946, section 21.9.
        """
        counts = self.counts[split][:, self.counts[split].sum(axis=0) > 0].astype(np.float64)
        counts = counts[counts.sum(axis=1) > 0]
        if min(counts.shape) < 2:
            return float("nan")
        expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        return float(np.sqrt(chi_squared / counts.sum() / (min(counts.shape) - 1)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            split.value: {
                "cramers_v": self.cramers_v(split),
                "clusters": [
                    {
                        "cluster": number,
                        "images": int(row.sum()),
                        "classes": {name: int(count) for name, count in zip(self.classes, row, strict=True)},
                    }
                    for number, row in enumerate(counts, start=1)
                ],
            }
            for split, counts in self.counts.items()
        }


def find_cluster_labels(index: Index, splits: Sequence[Split]) -> ClusterLabels | None:
    """Cluster the images of an index by their acquisition features, those of the training images giving the clusters.

    Returns:
        Clusters; None where the index has no acquisition features, or fewer than 50 training images.
    """
    split = np.array(splits, dtype=object)
    present = [each for each in Split if (split == each).any()]
    if index.acquisition is None or not present:
        return None
    fitted = index.acquisition[split == present[0]]
    count = min(CLUSTER_COUNT, len(fitted) // _PER_CLUSTER)
    if count < 2:
        return None
    cluster_of = fit_feature_clusters(fitted, count).nearest(index.acquisition)
    names = class_names(index)
    label = np.array([names.index(row.coarse_label) for row in index.rows])
    counts = {
        each: np.bincount(
            cluster_of[split == each] * len(names) + label[split == each], minlength=count * len(names)
        ).reshape(count, len(names))
        for each in present
    }
    return ClusterLabels(cluster_of, tuple(names), counts)

"""Drift of the last images that a detector predicted, against the reference statistics of its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pneumoscope.decision import Floats
from pneumoscope.evaluation.drift import Drift, Reference, StatisticDrift, rejection_drift, statistic_drift
from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import STATISTICS, ImageStatistics, Reason

# Number of images in the window.
WINDOW = 1000
# Reasons of images that were not decoded: files of other formats are no drift of the images.
_NOT_DECODED = {Reason.UNREADABLE, Reason.UNSUPPORTED_DICOM}


def was_decoded(prediction: Prediction) -> bool:
    """Whether the image of a prediction was decoded, so that it counts for drift."""
    return not _NOT_DECODED.intersection(prediction.reasons)


def fit_reference(statistics: Sequence[ImageStatistics], rejected: int) -> Reference:
    """Fits reference statistics to at least one assessed image, and the number of further images that were rejected."""
    return Reference.of(_columns(statistics), rejected)


@dataclass(frozen=True)
class DriftReport:
    """Comparison of the last images with the reference.

    Attributes:
        images: Number of images in the window, unreadable ones excluded.
        rejected: Number of rejected images among them.
        rejected_share: Fraction of rejected images with the ends of its 95 % interval; None before the first image.
        rejected_reference: Fraction of rejected images in the reference; None where the bundle has no reference.
        rejections: Drift of the fraction of rejected images.
        statistics: Name of a statistic to its drift; empty where the bundle has no reference.
    """

    images: int
    rejected: int
    rejected_share: tuple[float, float, float] | None
    rejected_reference: float | None
    rejections: Drift
    statistics: dict[str, StatisticDrift]


class DriftMonitor:
    """Window over the statistics of the last images, by the hashes of their files; the images themselves are not kept.

    Attributes:
        reference: Reference statistics of the bundle; None where it has none.
    """

    def __init__(self, reference: Reference | None, window: int = WINDOW) -> None:
        """Starts with an empty window of at most `window` images."""
        self.reference = reference
        self._size = window
        # Hash to statistics, oldest first; None for a rejected image.
        self._window: dict[str, ImageStatistics | None] = {}

    def add(self, prediction: Prediction) -> None:
        """Adds a prediction to the window, unless its image is in the window already or was not decoded."""
        if was_decoded(prediction):
            self.add_image(prediction.sha256, prediction.statistics)

    def add_image(self, sha256: str, statistics: ImageStatistics | None) -> None:
        """Adds the statistics of a decoded image, None where it was rejected, unless it is in the window already."""
        if sha256 in self._window:
            return
        self._window[sha256] = statistics
        if len(self._window) > self._size:
            del self._window[next(iter(self._window))]

    def report(self) -> DriftReport:
        """Compares the window with the reference."""
        assessed = [statistics for statistics in self._window.values() if statistics]
        images = len(self._window)
        rejected = images - len(assessed)
        if self.reference is None:
            return DriftReport(images, rejected, None, None, Drift.TOO_FEW, {})
        drift, low, high = rejection_drift(self.reference, rejected, images)
        columns = _columns(assessed)
        return DriftReport(
            images,
            rejected,
            (rejected / images, low, high) if images else None,
            self.reference.rejected,
            drift,
            {name: statistic_drift(self.reference, name, columns[name]) for name in STATISTICS},
        )


def _columns(statistics: Sequence[ImageStatistics]) -> dict[str, Floats]:
    """Name of a statistic to its (n,) values."""
    return {name: np.array([getattr(image, name) for image in statistics], dtype=np.float64) for name in STATISTICS}

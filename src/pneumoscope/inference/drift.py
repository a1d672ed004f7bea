"""What a detector was asked about lately, beside what images were like when it was fitted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pneumoscope.decision import Floats
from pneumoscope.evaluation.drift import Drift, Moved, Reference, rejections, stability
from pneumoscope.types import STATISTICS, ImageStatistics, Prediction, Reason

# So many of the last images are looked at.
WINDOW = 1000
# An image that cannot be decoded says nothing of the images.
_NOT_DECODED = {Reason.UNREADABLE, Reason.UNSUPPORTED_DICOM}


def reference_of(judged: Sequence[ImageStatistics], rejected: int) -> Reference:
    """What images are like, from those that a detector judged and how many more it rejected; at least one judged."""
    return Reference.of(_columns(judged), rejected)


@dataclass(frozen=True)
class DriftReport:
    """How the last images compare with the reference.

    Attributes:
        images: How many of them, unreadable ones left out.
        rejected: Of these.
        rejected_share: The same as a share with the ends of its 95 % interval; None before the first image.
        rejected_reference: The reference's share.
        rejections: In a word.
        statistics: Name to how it has moved; empty where the bundle has no reference.
    """

    images: int
    rejected: int
    rejected_share: tuple[float, float, float] | None
    rejected_reference: float | None
    rejections: Drift
    statistics: dict[str, Moved]


class DriftWatch:
    """Keeps the statistics of the last images under their hashes, and nothing of the images."""

    def __init__(self, reference: Reference | None, window: int = WINDOW) -> None:
        """Begins with an empty window of at most `window` images."""
        self.reference = reference
        self._window = window
        self._last: dict[str, ImageStatistics | None] = {}

    def add(self, prediction: Prediction) -> None:
        """Takes note of a prediction; an image that is asked about again is no new one."""
        if _NOT_DECODED.intersection(prediction.reasons) or prediction.sha256 in self._last:
            return
        self._last[prediction.sha256] = prediction.statistics
        if len(self._last) > self._window:
            del self._last[next(iter(self._last))]

    def report(self) -> DriftReport:
        """How the window compares with the reference."""
        judged = [statistics for statistics in self._last.values() if statistics]
        images = len(self._last)
        rejected = images - len(judged)
        if self.reference is None:
            return DriftReport(images, rejected, None, None, Drift.TOO_FEW, {})
        word, low, high = rejections(self.reference, rejected, images)
        columns = _columns(judged)
        return DriftReport(
            images,
            rejected,
            (rejected / images, low, high) if images else None,
            self.reference.rejected,
            word,
            {name: stability(self.reference, name, columns[name]) for name in STATISTICS},
        )


def _columns(judged: Sequence[ImageStatistics]) -> dict[str, Floats]:
    return {name: np.array([getattr(image, name) for image in judged], dtype=np.float64) for name in STATISTICS}

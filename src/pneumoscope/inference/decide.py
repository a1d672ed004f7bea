"""Decision for the score of an image: the only code that makes a bundle's decisions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import Bundle
from pneumoscope.decision import Floats, at_prevalence, decide, pneumonia_probability
from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import BundleUsed, Decision, ImageHeader, ImageStatistics, PredictionRequest, Reason


@dataclass(frozen=True, eq=False)
class ImageDescription:
    """Description of an image by networks and alignment, from which a site's head and population are fitted.

    Attributes:
        features: (channels,) float32 features of the bundle's network.
        guard_features: (channels,) float32 features of the guard's network; the same where it has none of its own.
        layout: (256,) ranks of the aligned chest's grey levels.
        exposure: (3,) brightness, contrast and noise.
    """

    features: NDArray[np.float32]
    guard_features: NDArray[np.float32]
    layout: NDArray[np.floating]
    exposure: Floats


@dataclass(frozen=True, eq=False)
class ImageScore:
    """Score of an image, before a decision.

    Attributes:
        file: Name of the file as it was given; empty for an array or bytes without a name.
        sha256: SHA-256 of the file's bytes, or of an array's pixels; empty where the file could not be opened.
        rejection: Reason for a rejection; None for an image that is assessed.
        detail: Explanation in words of the rejection, of being outside, or of what could not be checked; empty otherwise.
        class_probability: (classes,) float64 in [0, 1], calibrated, at the manifest's prevalence; None where the network did
            not see the image.
        outside: Reasons for which the bundle was not validated on such images.
        evidence_map: (rows, columns) float32 within `frame`, contributions to the logit; None unless requested.
        frame: Top, left, bottom, right of the network's input, as fractions of the image's height and width.
        statistics: Statistics for drift monitoring; None where the network did not see the image.
        header: Header of a DICOM object; None for other files and where it cannot be read.
        description: Description of the image; None unless requested.
        zones: Fractions of the evidence for pneumonia in each lung zone; None without evidence, and where the lungs could not be placed.
    """

    file: str
    sha256: str
    rejection: Reason | None
    detail: str
    class_probability: Floats | None = None
    outside: tuple[Reason, ...] = ()
    evidence_map: NDArray[np.float32] | None = None
    frame: tuple[float, float, float, float] | None = None
    statistics: ImageStatistics | None = None
    header: ImageHeader | None = None
    description: ImageDescription | None = None
    zones: dict[str, float] | None = None


class Decider:
    """Turns scores into predictions for one request."""

    def __init__(self, bundle: Bundle, request: PredictionRequest) -> None:
        """Prepare the decisions.

        Raises:
            InputError: No such operating point, or a prevalence outside (0, 1).
        """
        manifest = bundle.manifest
        self._manifest = manifest
        self._point = manifest.operating_point(request.operating_point)
        self._shown = manifest.point_shown(request)
        self._prevalence = manifest.prevalence if request.prevalence is None else request.prevalence
        self._accepted = request.accept
        self._bundle = BundleUsed(manifest.name, manifest.version, bundle.sha256)

    def __call__(self, score: ImageScore) -> Prediction:
        """Predict for an image with this score."""
        if score.rejection is not None or score.class_probability is None:
            return self._rejected(score)
        calibrated = score.class_probability[None]
        shown = at_prevalence(calibrated, self._manifest.prevalence, self._prevalence)
        decision = decide(pneumonia_probability(calibrated), self._point)[0]
        reasons = []
        if decision is Decision.REFER:
            reasons.append(Reason.NEAR_THRESHOLD)
        if set(score.outside) - set(self._accepted):
            decision = Decision.REFER
        return Prediction(
            file=score.file,
            sha256=score.sha256,
            decision=decision,
            reasons=(*reasons, *score.outside),
            detail=score.detail,
            pneumonia_probability=float(pneumonia_probability(shown)[0]),
            class_probability=dict(zip(self._manifest.classes, shown[0].tolist(), strict=True)),
            operating_point=self._shown,
            evidence=None,
            bundle=self._bundle,
            notice=self._manifest.notice,
            validated=not score.outside,
            zones=score.zones,
            evidence_map=score.evidence_map,
            frame=score.frame,
            statistics=score.statistics,
            scheme=self._manifest.scheme,
            header=score.header,
        )

    def _rejected(self, score: ImageScore) -> Prediction:
        return Prediction(
            file=score.file,
            sha256=score.sha256,
            decision=Decision.REJECTED,
            reasons=(score.rejection or Reason.UNREADABLE,),
            detail=score.detail,
            pneumonia_probability=None,
            class_probability=None,
            operating_point=self._shown,
            evidence=None,
            bundle=self._bundle,
            notice=self._manifest.notice,
            scheme=self._manifest.scheme,
            header=score.header,
        )

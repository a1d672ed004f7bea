"""Page over a folder of images: the decisions, the most urgent images with their evidence, and the rejected ones."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope.bundle import Bundle
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import UnreadableImage
from pneumoscope.inference.batch import Summary, predict_files
from pneumoscope.inference.inputs import Inputs
from pneumoscope.inference.overlay import overlay, to_uint8
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.tasks import Each, Task
from pneumoscope.inference.zones import zones_in_words
from pneumoscope.reporting.page import write_template
from pneumoscope.types import Decision, PredictionRequest, Reason

if TYPE_CHECKING:
    from pneumoscope.inference.detector import Detector

# Images shown with pictures; a page of more is slow to open.
_SHOWN = 60
_ROWS = 2000
_BARS = 20
_PICTURE_SIDE = 320
_LEFT, _WIDE, _HIGH = 20.0, 600.0, 120.0
_COLOURS = {True: "#D55E00", False: "#0072B2"}
# Names of decisions in the page's style sheet.
_TONES = {Decision.PNEUMONIA: "positive", Decision.NORMAL: "negative", Decision.REFER: "refer"}
_URGENCY = {Decision.PNEUMONIA: 0, Decision.REFER: 1, Decision.NORMAL: 2}


@dataclass(frozen=True)
class Pictures:
    """A radiograph as two JPEG files, base64.

    Attributes:
        plain: The radiograph as it is.
        evidence: The radiograph with the evidence for pneumonia and for normal.
        zones: Lung zones that hold the evidence for pneumonia, in words.
    """

    plain: str
    evidence: str
    zones: str


@dataclass(frozen=True)
class DrawPictures(Task[Pictures | None]):
    """Pictures of images with their evidence; None for an image that has changed and is no longer assessed."""

    request: PredictionRequest = field(default_factory=PredictionRequest)

    def run(self, detector: "Detector", each: Each) -> list[Pictures | None]:
        """Pictures of all images."""
        return [self._draw(detector, image) for image in each(self.images)]

    def _draw(self, detector: "Detector", image: str) -> Pictures | None:
        request = self.request
        explained = detector.predict(image, request.operating_point, request.prevalence, evidence=True)
        if explained.evidence_map is None or explained.frame is None:
            return None
        try:
            pixels = read_grey(Path(image))
        except UnreadableImage:  # changed meanwhile
            return None
        drawn = overlay(pixels, explained.evidence_map, explained.frame)
        zones = zones_in_words(explained.zones) if explained.zones else "not placed"
        return Pictures(_jpeg(Image.fromarray(to_uint8(pixels))), _jpeg(drawn), zones)

    def reject(self, detector: "Detector", cause: str) -> list[Pictures | None]:
        """Gives no pictures."""
        return [None] * len(self.images)


def write_report(
    out: Path,
    inputs: Inputs,
    bundle: Bundle,
    pool: WorkerPool,
    request: PredictionRequest,
    follow: Callable[[int], None] = lambda more: None,
) -> Summary:
    """Predicts files and writes a self-contained HTML page about them.

    Args:
        out: Page to write.
        inputs: Files.
        bundle: Bundle of the pool.
        pool: Worker processes.
        request: Settings of the predictions.
        follow: Callback, called with the number of new predictions after every few.

    Raises:
        DataError: There is no image.
        PneumoscopeError: Bundle or settings are not as expected.
    """
    point = bundle.manifest.point_shown(request)
    summary = Summary()
    assessed: list[Prediction] = []
    rejected: list[Prediction] = []
    for predictions in predict_files(inputs.walk(), pool, request):
        for prediction in predictions:
            summary.add(prediction)
            (rejected if prediction.pneumonia_probability is None else assessed).append(prediction)
        follow(len(predictions))
    summary.check_not_empty()
    assessed.sort(key=lambda p: (_URGENCY[p.decision], -_probability(p), p.file))
    write_template(
        out,
        "predictions.html.jinja",
        title="Chest films analysed",
        lead=f"{summary.images:,} images: "
        + ", ".join(f"{n:,} {name}" for name, n in sorted(summary.decisions.items())),
        bundle=bundle.manifest,
        sha256=bundle.sha256,
        point=point,
        bars=_bars(np.array([_probability(p) for p in assessed]), point.threshold),
        edge=round(_LEFT + _WIDE * point.threshold, 1),
        shown=_with_pictures(assessed[:_SHOWN], pool, request),
        rows=[_row(p) for p in assessed[:_ROWS]],
        rejected=[{"file": p.file, "reason": _words(p.reasons[0]), "detail": p.detail} for p in rejected[:_ROWS]],
        more=_left_out(len(assessed), len(rejected)),
    )
    return summary


def _probability(prediction: Prediction) -> float:
    return prediction.pneumonia_probability or 0.0


def _words(reason: Reason) -> str:
    return reason.value.replace("_", " ")


def _left_out(assessed: int, rejected: int) -> str:
    if max(assessed, rejected) <= _ROWS:
        return ""
    return f"Tables end after {_ROWS:,} rows; pneumoscope predict --out FILE.csv gives them whole."


def _bars(probabilities: "np.typing.NDArray[np.float64]", threshold: float) -> list[dict[str, Any]]:
    counts, edges = np.histogram(probabilities, bins=_BARS, range=(0, 1))
    width, most = _WIDE / _BARS, max(1, int(counts.max()))
    return [
        {
            "x": round(_LEFT + number * width + 1, 1),
            "width": round(width - 2, 1),
            "height": round(_HIGH * int(count) / most, 1),
            "count": int(count),
            "colour": _COLOURS[bool((edges[number] + edges[number + 1]) / 2 >= threshold)],
            "label": f"{count} films between {100 * edges[number]:.0f} and {100 * edges[number + 1]:.0f} %",
        }
        for number, count in enumerate(counts)
    ]


def _row(prediction: Prediction) -> dict[str, Any]:
    positive = prediction.decision is not Decision.NORMAL
    return {
        "name": prediction.file,
        "decision": prediction.outcome,
        "tone": _TONES[prediction.decision],
        "probability": _probability(prediction),
        "reasons": ", ".join(map(_words, prediction.reasons)),
        "validated": prediction.validated,
        "etiologies": _etiologies(prediction) if positive else "",
    }


def _etiologies(prediction: Prediction) -> str:
    """Fractions of a pneumonia by etiology, in words; empty where the bundle knows none."""
    total = sum(prediction.etiologies.values())
    fractions = ", ".join(
        f"{name} {100 * value / total:.0f} %" for name, value in prediction.etiologies.items() if total
    )
    return f"if {prediction.scheme.positive}: {fractions}" if fractions else ""


def _with_pictures(
    predictions: Sequence[Prediction], pool: WorkerPool, request: PredictionRequest
) -> list[dict[str, Any]]:
    """Rows with pictures of images, which are predicted again: evidence maps of a million images would not fit into memory."""
    drawn = pool.run(DrawPictures([prediction.file], request) for prediction in predictions)
    return [
        _row(prediction)
        | {"plain": pictures.plain, "evidence": pictures.evidence}
        | {"zones": "" if prediction.decision is Decision.NORMAL else pictures.zones}
        for prediction, [pictures] in zip(predictions, drawn, strict=True)
        if pictures
    ]


def _jpeg(picture: Image.Image) -> str:
    picture = picture.convert("RGB")
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    with io.BytesIO() as buffer:
        picture.save(buffer, "JPEG", quality=80)
        return base64.b64encode(buffer.getvalue()).decode()

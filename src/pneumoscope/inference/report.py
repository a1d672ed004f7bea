"""A page over a folder of films: how they were decided, the most urgent with their evidence, and what was not judged."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.bundle import find_bundle
from pneumoscope.data.reading import read_grey
from pneumoscope.inference.batch import Asked, Summary, predict_files
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.inputs import Inputs
from pneumoscope.inference.overlay import as_shown, overlay
from pneumoscope.presentation.page import write_template
from pneumoscope.types import Decision, Prediction

# With pictures; a page of more is slow to open.
_SHOWN = 60
_ROWS = 2000
_BARS = 20
_PICTURE_SIDE = 320
_LEFT, _WIDE, _HIGH = 20.0, 600.0, 120.0
_COLOURS = {True: "#D55E00", False: "#0072B2"}
_URGENCY = {Decision.PNEUMONIA: 0, Decision.REFER: 1, Decision.NORMAL: 2}


def write_report(
    out: Path, inputs: Inputs, asked: Asked, workers: int = 1, follow: Callable[[int], None] = lambda more: None
) -> Summary:
    """Judges files and writes a self-contained HTML page about them.

    Args:
        out: Of the page.
        inputs: The files.
        asked: How; its evidence folder is not looked at.
        workers: Processes.
        follow: Told how many more are done.

    Raises:
        DataError: There is no image.
        PneumoscopeError: The bundle or what is asked of it is not as expected.
    """
    bundle = find_bundle(asked.bundle)
    _, point = bundle.manifest.at(asked.operating_point, asked.prevalence)
    asked = Asked(asked.bundle, asked.operating_point, asked.prevalence)
    summary = Summary()
    judged: list[Prediction] = []
    rejected: list[Prediction] = []
    for predictions in predict_files(inputs.walk(), asked, workers):
        for prediction in predictions:
            summary.add(prediction.as_json())
            (rejected if prediction.pneumonia_probability is None else judged).append(prediction)
        follow(len(predictions))
    summary.check_not_empty()
    judged.sort(key=lambda p: (_URGENCY[p.decision], -_chance(p), p.file))
    write_template(
        out,
        "predictions.html.jinja",
        title="Chest films judged",
        lead=f"{summary.images:,} images: "
        + ", ".join(f"{n:,} {name}" for name, n in sorted(summary.decisions.items())),
        bundle=bundle.manifest,
        sha256=bundle.sha256,
        point=point,
        bars=_bars(np.array([_chance(p) for p in judged]), point.threshold),
        edge=round(_LEFT + _WIDE * point.threshold, 1),
        shown=_with_pictures(judged[:_SHOWN], asked),
        rows=[_row(p) for p in judged[:_ROWS]],
        rejected=[{"file": p.file, "reason": p.reasons[0].value, "detail": p.detail} for p in rejected[:_ROWS]],
        more=_left_out(len(judged), len(rejected)),
    )
    return summary


def _chance(prediction: Prediction) -> float:
    return prediction.pneumonia_probability or 0.0


def _left_out(judged: int, rejected: int) -> str:
    if max(judged, rejected) <= _ROWS:
        return ""
    return f"Tables end after {_ROWS:,} rows; pneumoscope predict --out FILE.csv gives them whole."


def _bars(chances: "np.typing.NDArray[np.float64]", threshold: float) -> list[dict[str, Any]]:
    counts, edges = np.histogram(chances, bins=_BARS, range=(0, 1))
    width, most = _WIDE / _BARS, max(1, int(counts.max()))
    return [
        {
            "x": round(_LEFT + place * width + 1, 1),
            "width": round(width - 2, 1),
            "height": round(_HIGH * int(count) / most, 1),
            "count": int(count),
            "colour": _COLOURS[bool((edges[place] + edges[place + 1]) / 2 >= threshold)],
            "told": f"{count} films between {100 * edges[place]:.0f} and {100 * edges[place + 1]:.0f} %",
        }
        for place, count in enumerate(counts)
    ]


def _row(prediction: Prediction) -> dict[str, Any]:
    kinds = {k: v for k, v in (prediction.class_probability or {}).items() if k not in ("normal", "pneumonia")}
    sick = prediction.decision is not Decision.NORMAL
    return {
        "name": prediction.file,
        "decision": prediction.decision.value,
        "chance": _chance(prediction),
        "reasons": ", ".join(prediction.reasons),
        "kinds": ", ".join(f"{name} {100 * value:.0f} %" for name, value in kinds.items()) if sick else "",
    }


def _with_pictures(predictions: Sequence[Prediction], asked: Asked) -> list[dict[str, Any]]:
    """Asked once more, for their evidence: a map for each of a million films would not fit into memory."""
    detector = load_detector(asked.bundle)
    told = []
    for prediction in predictions:
        explained = detector.predict(Path(prediction.file), asked.operating_point, asked.prevalence, evidence=True)
        if explained.evidence_map is None or explained.frame is None:
            continue  # the file has changed since
        film = read_grey(Path(prediction.file))
        drawn = overlay(film, explained.evidence_map, explained.frame)
        told.append(_row(prediction) | {"plain": _jpeg(Image.fromarray(as_shown(film))), "evidence": _jpeg(drawn)})
    return told


def _jpeg(picture: Image.Image) -> str:
    picture = picture.convert("RGB")
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    with io.BytesIO() as buffer:
        picture.save(buffer, "JPEG", quality=80)
        return base64.b64encode(buffer.getvalue()).decode()

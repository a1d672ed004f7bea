"""A prediction as notebooks show it: the image, its evidence, the decision and the reasons."""

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pneumoscope.data.grey_levels import Grey, grey_levels
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import ConfigError, InputError, UnreadableImage
from pneumoscope.inference.overlay import FOR_NORMAL, FOR_PNEUMONIA, as_png, overlay, to_uint8
from pneumoscope.inference.zones import zones_in_words
from pneumoscope.types import Decision, NamedImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pneumoscope.inference.prediction import Prediction

_SIDE = 300
_COLOURS = {
    Decision.PNEUMONIA: "#b3401f",
    Decision.NORMAL: "#1f6fb3",
    Decision.REFER: "#8a6100",
    Decision.REJECTED: "#5b6770",
}


def as_html(prediction: "Prediction") -> str:
    """Fragment of HTML with the image, its evidence where that was computed, decision, probability and reasons."""
    pictures = "".join(
        f'<figure style="margin:0"><img alt="{escape(caption)}" src="data:image/png;base64,{_encoded(picture)}">'
        f'<figcaption style="font-size:.85em">{escape(caption)}</figcaption></figure>'
        for caption, picture in _pictures(prediction)
    )
    point = prediction.operating_point
    probability = prediction.pneumonia_probability
    lines = [
        f'<b style="color:{_COLOURS[prediction.decision]};font-size:1.3em">{escape(prediction.outcome)}</b>',
        "" if probability is None else f"{_of_what(prediction)}: {probability:.1%} (threshold {point.threshold:.1%})",
        "" if prediction.validated or probability is None else "<b>Not validated for such an image.</b>",
        *(f"<code>{reason}</code>" for reason in prediction.reasons),
        _zones(prediction),
        escape(prediction.detail),
        f"<small>{escape(prediction.file)}<br>{escape(prediction.bundle.name)} {escape(prediction.bundle.version)}, "
        f"operating point {escape(point.name)}. {escape(prediction.notice)}</small>",
    ]
    text = "".join(f'<p style="margin:.2em 0;text-align:left">{line}</p>' for line in lines if line)
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{pictures}<div style="max-width:36em">{text}</div></div>'


def _zones(prediction: "Prediction") -> str:
    if prediction.decision is Decision.NORMAL or not prediction.zones:
        return ""
    return f"Evidence for {escape(prediction.scheme.positive)}: {zones_in_words(prediction.zones)}"


def plot(prediction: "Prediction", image: Any = None, axes: "Axes | None" = None) -> "Axes":
    """Draws a prediction on Matplotlib axes; arguments as for `Prediction.plot`."""
    try:
        from matplotlib import pyplot
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ConfigError("expected Matplotlib to draw, found none: pip install 'pneumoscope[evaluate]'") from error
    pixels = _pixels(prediction, image)
    if pixels is None:
        raise InputError(
            "expected an image to draw, found a prediction that keeps none and has no file: name it, plot(image)"
        )
    if axes is None:
        axes = pyplot.figure(layout="constrained").subplots()
    explained = prediction.evidence_map is not None and prediction.frame is not None
    axes.imshow(_drawing(prediction, pixels), cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    shown = prediction.pneumonia_probability
    number = "" if shown is None else f", {_of_what(prediction)} {shown:.1%}"
    axes.set_title(f"{prediction.outcome}{number}", color=_COLOURS[prediction.decision])
    if explained:
        named = zip((prediction.scheme.positive, prediction.scheme.negative), (FOR_PNEUMONIA, FOR_NORMAL), strict=True)
        patches = [
            Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=f"evidence for {name}") for name, colour in named
        ]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)
    return axes


def _of_what(prediction: "Prediction") -> str:
    return f"probability of {escape(prediction.scheme.positive)}"


def _pixels(prediction: "Prediction", image: Any = None) -> Grey | None:
    """Grey levels of the image of a prediction; None where it cannot be had again."""
    image = prediction.image if image is None else image
    try:
        if isinstance(image, bytes | bytearray | memoryview | NamedImage):
            return read_grey(Path(), image.content if isinstance(image, NamedImage) else bytes(image))
        if image is None or isinstance(image, str | Path) or hasattr(image, "read"):
            name = image if isinstance(image, str | Path) else prediction.file
            return read_grey(Path(name)) if name else None
        return grey_levels(image)
    except (UnreadableImage, InputError):
        return None


def _drawing(prediction: "Prediction", pixels: Grey) -> Image.Image:
    if prediction.evidence_map is None or prediction.frame is None:
        return Image.fromarray(to_uint8(pixels))
    return overlay(pixels, prediction.evidence_map, prediction.frame)


def _pictures(prediction: "Prediction") -> list[tuple[str, Image.Image]]:
    """Captions and pictures: the image, and the image with its evidence."""
    pixels = _pixels(prediction)
    if pixels is None:
        return []
    pictures = [("image", Image.fromarray(to_uint8(pixels)))]
    if prediction.evidence_map is not None:
        caption = f"evidence: orange for {prediction.scheme.positive}, blue for {prediction.scheme.negative}"
        pictures.append((caption, _drawing(prediction, pixels)))
    for _, picture in pictures:
        picture.thumbnail((_SIDE, _SIDE))
    return pictures


def _encoded(picture: Image.Image) -> str:
    return base64.b64encode(as_png(picture)).decode()

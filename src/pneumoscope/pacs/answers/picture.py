"""Picture of a prediction: the film with its evidence, and above and below it what the prediction says.

Words stand beside the film, never on it. Who the patient is, is not drawn.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pneumoscope.inference.overlay import FOR_PNEUMONIA, FULL_STRENGTH, Pixels, overlay, to_uint8
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.zones import zones_in_words
from pneumoscope.pacs.answers import coding
from pneumoscope.types import Decision

# Longest side of the picture, and the narrowest one on which the words are legible, pixels.
LONGEST_SIDE = 1024
_NARROWEST = 640
# A small film is not enlarged by more than this.
_MOST_ENLARGED = 8
_MARGIN, _GAP = 16, 8
_BACKGROUND, _BAND = (0, 0, 0), (24, 26, 30)
_WHITE, _GREY = (240, 240, 240), (176, 180, 186)
# Legible on the band for those who do not tell red from green; the word says it too.
_COLOURS = {
    Decision.PNEUMONIA: FOR_PNEUMONIA,
    Decision.NORMAL: (92, 172, 255),
    Decision.REFER: (255, 204, 64),
    Decision.REJECTED: _GREY,
}
_HEADLINE, _NOTICE, _TEXT, _SMALL = 38, 23, 20, 17
_SCALE_HEIGHT, _SCALE_WIDTH = 18, 220
# Rows that one text may take; what is longer stands whole in the structured report.
_MOST_ROWS = 3


@dataclass(frozen=True)
class _Line:
    """Words of one size and colour, broken into lines where they are too long."""

    text: str
    size: int
    colour: tuple[int, int, int] = _WHITE

    @property
    def drawable(self) -> str:
        """Text in the letters that the font has: without accents, a question mark for other scripts."""
        return _drawable(self.text)


def draw_answer(prediction: Prediction, image: Pixels | None, model: str) -> Image.Image:
    """Draw a prediction, RGB, its longest side at most `LONGEST_SIDE`.

    Args:
        prediction: Prediction without what must not be said.
        image: (height, width) grey levels, bright is dense; None where the image could not be read.
        model: Name and version of the bundle.
    """
    above, below = _above(prediction), _below(prediction, model)
    width, bands, film = _layout(image, [above, below], _scale_height(prediction))
    top = _height(above, width)
    picture = Image.new("RGB", (width, bands + film[1]), _BAND)
    _write(picture, above, 0)
    picture.paste(_BACKGROUND, (0, top, width, top + film[1]))
    if image is None:
        words = _mask("The image could not be read.", _TEXT)
        picture.paste(_GREY, ((width - words.width) // 2, top + (film[1] - words.height) // 2), words)
    else:
        picture.paste(_film(prediction, image, film), ((width - film[0]) // 2, top))
    bottom = top + film[1]
    if _scale_height(prediction):
        _draw_scale(picture, prediction, bottom)
        bottom += _scale_height(prediction)
    _write(picture, below, bottom)
    return picture


def headline(prediction: Prediction) -> str:
    """Decision in a few words."""
    if prediction.decision is Decision.REJECTED:
        return coding.NO_ANSWER.meaning
    if prediction.pneumonia_probability is None:
        return coding.OUTSIDE.meaning
    if prediction.decision is Decision.REFER:
        return "Refer to a reader"
    outcome = prediction.outcome
    return outcome if prediction.scheme.is_own else outcome.capitalize()


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def reasons_in_words(prediction: Prediction) -> str:
    """Reasons with their codes, such as `Image too small (too_small)`; empty for none."""
    return "; ".join(f"{coding.REASONS[reason].meaning} ({reason.value})" for reason in prediction.reasons)


def _above(prediction: Prediction) -> list[_Line]:
    point = prediction.operating_point
    lines = [_Line(headline(prediction), _HEADLINE, _COLOURS[prediction.decision])]
    if (probability := prediction.pneumonia_probability) is not None:
        positive = prediction.scheme.positive
        lines.append(
            _Line(
                f"Probability of {positive} {_percent(probability)} (threshold {_percent(point.threshold)}, operating point {point.name})",
                _TEXT,
            )
        )
    else:
        lines.append(_Line("No finding and no probability are given for this image.", _TEXT))
    if reasons := reasons_in_words(prediction):
        lines.append(_Line(reasons, _TEXT))
    if prediction.pneumonia_probability is None and prediction.detail:
        lines.append(_Line(" ".join(prediction.detail.split()), _SMALL, _GREY))
    return lines


def _below(prediction: Prediction, model: str) -> list[_Line]:
    point, bundle = prediction.operating_point, prediction.bundle
    lines = []
    if prediction.pneumonia_probability is not None:
        measured = f" on {point.fitted_on}" if point.fitted_on else ""
        if prediction.zones and prediction.decision is not Decision.NORMAL:
            words = zones_in_words(prediction.zones)
            lines.append(_Line(f"Evidence for {prediction.scheme.positive}: {words}", _SMALL))
        lines.append(
            _Line(
                f"Sensitivity {_percent(point.sensitivity)}, specificity {_percent(point.specificity)}{measured}",
                _SMALL,
                _GREY,
            )
        )
    lines.append(_Line(f"pneumoscope, detector {model}, bundle {bundle.sha256[:12]}", _SMALL, _GREY))
    lines.append(_Line(prediction.notice, _NOTICE, _COLOURS[Decision.REFER]))
    return lines


def _film(prediction: Prediction, image: Pixels, size: tuple[int, int]) -> Image.Image:
    """Film at a size, with its evidence where there is any."""
    # Sharp as bicubic where the film becomes smaller, at two thirds of the time.
    smaller = size[0] < image.shape[1]
    resampling = Image.Resampling.HAMMING if smaller else Image.Resampling.BICUBIC
    small = Image.fromarray(to_uint8(image)).resize(size, resampling, reducing_gap=2.0)
    if prediction.evidence_map is None or prediction.frame is None:
        return small.convert("RGB")
    return overlay(np.asarray(small), prediction.evidence_map, prediction.frame)


def _layout(image: Pixels | None, bands: list[list[_Line]], scale: int) -> tuple[int, int, tuple[int, int]]:
    """Width of the picture, height of all that is not the film, and width and height of the film.

    The width decides how words break, and so how high the bands are; the bands, how large the film can be; the film, the width. The
    picture becomes narrower until the film, made for the bands of this very width, fills it.
    """
    width = LONGEST_SIDE
    while True:
        height = sum(_height(lines, width) for lines in bands) + scale
        film = _size(image, width, LONGEST_SIDE - height)
        if (narrower := max(film[0], _NARROWEST)) >= width:
            return width, height, film
        width = narrower


def _size(image: Pixels | None, widest: int, highest: int) -> tuple[int, int]:
    """Width and height of the film in the picture, at most so wide and so high."""
    if image is None:
        return widest, highest // 2
    height, width = image.shape
    scale = min(widest / width, highest / height, _MOST_ENLARGED)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scale_height(prediction: Prediction) -> int:
    return 0 if prediction.evidence_map is None else _SCALE_HEIGHT + 2 * _GAP


def _draw_scale(picture: Image.Image, prediction: Prediction, top: int) -> None:
    """Draw what the colours of the evidence mean."""
    x, y, scheme = _MARGIN, top + _GAP, prediction.scheme
    for part in (f"Evidence for {scheme.negative}", _ramp(), f"for {scheme.positive}"):
        if isinstance(part, str):
            part = _mask(_drawable(part), _SMALL)
            picture.paste(_WHITE, (x, y), part)
        else:
            picture.paste(part, (x, y))
        x += part.width + _GAP


@cache
def _ramp() -> Image.Image:
    """Colours of the evidence over a middle grey, from full strength for the negative class to that for the positive one."""
    evidence = np.linspace(-FULL_STRENGTH, FULL_STRENGTH, _SCALE_WIDTH, dtype=np.float32)[None]
    grey = np.full((_SCALE_HEIGHT, _SCALE_WIDTH), 128, dtype=np.uint8)
    return overlay(grey, evidence, (0.0, 0.0, 1.0, 1.0))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType")
    return font


def _drawable(text: str) -> str:
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return plain.encode("ascii", "replace").decode()


@lru_cache(maxsize=1024)
def _length(text: str, size: int) -> float:
    """Width of a text, pixels."""
    return float(_font(size).getlength(text))


def _broken(line: _Line, width: int) -> list[str]:
    """Text of a line broken between words, and within a word that is wider than the picture."""
    room, space = width - 2 * _MARGIN, _length(" ", line.size)
    rows: list[str] = []
    used = float(room)
    for word in _words(line, room):
        length = _length(word, line.size)
        if rows and used + space + length <= room:
            rows[-1] += f" {word}"
            used += space + length
        else:
            rows.append(word)
            used = length
    return rows if len(rows) <= _MOST_ROWS else [*rows[: _MOST_ROWS - 1], f"{rows[_MOST_ROWS - 1][:-1]}..."]


def _words(line: _Line, room: int) -> Iterator[str]:
    """Words of a line; one that is too wide for the picture in parts."""
    for word in line.drawable.split():
        while _length(word, line.size) > room:
            fits = [count for count in range(1, len(word)) if _length(word[:count], line.size) <= room]
            yield word[: fits[-1]]
            word = word[fits[-1] :]
        yield word


def _height(lines: list[_Line], width: int) -> int:
    return sum(_pitch(line) * len(_broken(line, width)) for line in lines) + 2 * _GAP


def _pitch(line: _Line) -> int:
    """Distance of the rows of a line, pixels."""
    return round(1.3 * line.size)


def _write(picture: Image.Image, lines: list[_Line], top: int) -> None:
    y = top + _GAP
    for line in lines:
        for row in _broken(line, picture.width):
            picture.paste(line.colour, (_MARGIN, y), _mask(row, line.size))
            y += _pitch(line)


@lru_cache(maxsize=64)
def _mask(text: str, size: int) -> Image.Image:
    """Text as the opacity of each pixel; most rows are the same for all films."""
    font = _font(size)
    _, _, right, bottom = font.getbbox(text)
    mask = Image.new("L", (max(1, round(right)), max(1, round(bottom))))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font)
    return mask

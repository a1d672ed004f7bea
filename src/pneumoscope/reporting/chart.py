"""Line charts as SVG, for pages of the base installation, which has no matplotlib."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 560.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 130.0, 14.0, 52.0
_GREY = "#555555"


@dataclass(frozen=True)
class Line:
    """Line of a chart.

    Attributes:
        name: Name, written at the end of the line.
        points: x and y of each point.
        colour: Colour, as CSS writes it.
        spread: Half the height of a band about each point, or its ends, lower and upper; empty for none.
        marked: Whether points are marked.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    spread: Sequence[float | tuple[float, float]] = ()
    marked: bool = False


@dataclass(frozen=True)
class Axis:
    """Axis of a chart.

    Attributes:
        label: Quantity with its unit.
        ticks: Values at which it is labelled; the first and the last are its ends.
        logarithmic: Whether equal ratios have equal lengths.
        words: Words at the ticks instead of their values; empty for the values.
    """

    label: str
    ticks: Sequence[float]
    logarithmic: bool = False
    words: Sequence[str] = ()

    def at(self, value: float) -> float:
        """Position of a value along the axis, 0 to 1."""
        first, last, here = (math.log(v) if self.logarithmic else v for v in (self.ticks[0], self.ticks[-1], value))
        return min(1.0, max(0.0, (here - first) / (last - first)))


def line_chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> Markup:
    """Draw a line chart.

    Args:
        title: Description for people who do not see it.
        lines: Lines, later ones above earlier ones.
        x: Horizontal axis.
        y: Vertical axis.
    """
    parts = [_grid(x, y), *(_line(each, x, y) for each in lines), _names(lines, y)]
    return Markup(
        '<svg viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" role="img" aria-label="{title}" '
        'style="max-width:100%;height:auto;font:13px system-ui,sans-serif">{body}</svg>'
    ).format(w=_WIDTH, h=_HEIGHT, title=title, body=Markup("").join(parts))


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.at(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.at(value) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(x: Axis, y: Axis) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y.ticks:
        at = _y(y, tick)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="{_GREY}">{tick:g}</text>')
    for index, tick in enumerate(x.ticks):
        at = _x(x, tick)
        word = escape(x.words[index]) if x.words else f"{tick:g}"
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="{_GREY}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle" fill="{_GREY}">{word}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle" fill="#222">{escape(x.label)}</text>')
    height = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(16 {height}) rotate(-90)" text-anchor="middle" fill="#222">{escape(y.label)}</text>'
    )
    parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="{_GREY}"/>')
    return Markup("".join(parts))  # noqa: S704 - numbers and escaped labels


def _line(line: Line, x: Axis, y: Axis) -> Markup:
    places = [(_x(x, px), _y(y, py)) for px, py in line.points]
    drawn = ""
    if line.spread:
        ends = [
            s if isinstance(s, tuple) else (py - s, py + s) for (_, py), s in zip(line.points, line.spread, strict=True)
        ]
        lower, upper = (
            [(_x(x, px), _y(y, pair[end])) for (px, _), pair in zip(line.points, ends, strict=True)] for end in (0, 1)
        )
        drawn += f'<polygon points="{_path([*upper, *reversed(lower)])}" fill="{escape(line.colour)}" opacity=".15"/>'
    drawn += f'<polyline points="{_path(places)}" fill="none" stroke="{escape(line.colour)}" stroke-width="2"/>'
    if line.marked:
        drawn += "".join(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{escape(line.colour)}"/>' for px, py in places
        )
    return Markup(drawn)  # noqa: S704 - numbers and escaped colours


def _names(lines: Sequence[Line], y: Axis) -> Markup:
    """Names beside the ends of the lines, moved apart where they would overlap."""
    drawn, last = "", _TOP - 16
    for line in sorted(lines, key=lambda each: -each.points[-1][1]):
        at = max(_y(y, line.points[-1][1]) + 4, last + 16)
        last = at
        drawn += f'<text x="{_WIDTH - _RIGHT + 8}" y="{at:.1f}" fill="{escape(line.colour)}">{escape(line.name)}</text>'
    return Markup(drawn)  # noqa: S704 - numbers and escaped names


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in points)

"""Figures and lists in words, for verdict, page and Markdown: intervals as `low to high`, which minus signs cannot make unreadable."""

from collections.abc import Iterable

from pneumoscope.evaluation.intervals import Estimate


def number(found: Estimate, digits: int = 3) -> str:
    """Value and interval, such as `0.982 (0.970 to 0.991)`; the value alone where there is no interval."""
    if found.value != found.value:
        return "undefined"
    value, low, high = (_minus(f"{each:.{digits}f}") for each in (found.value, found.low, found.high))
    return value if found.low != found.low else f"{value} ({low} to {high})"


def percent(found: Estimate) -> str:
    """Value and interval in percent, such as `96.0 % (90.1 to 99.0)`; the value alone where there is no interval."""
    if found.value != found.value:
        return "undefined"
    value, low, high = (_minus(f"{100 * each:.1f}") for each in (found.value, found.low, found.high))
    return f"{value} %" if found.low != found.low else f"{value} % ({low} to {high})"


def whole_percent(found: Estimate) -> str:
    """Value and interval in whole percent without the sign, such as `96 (90 to 99)`, for a column of a table."""
    return number(Estimate(*(100 * each for each in (found.value, found.low, found.high))), 0)


def change(value: float, digits: int = 3) -> str:
    """Change with its sign, such as `+0.012`; zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else _minus(text)


def in_a_row(words: Iterable[str], last: str = "and") -> str:
    """Words with commas, and `and` before the last."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def _minus(text: str) -> str:
    """Number with a minus sign, which zero does not have."""
    return text.removeprefix("-") if not float(text) else text.replace("-", "\u2212")

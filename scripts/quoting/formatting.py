"""Cells of the tables: shares in percent, estimates with intervals, medians and means with ranges."""

from collections.abc import Mapping, Sequence

from quoting.package import estimate_of, markdown_table, range_text


def table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Markdown table, with a paragraph below it where one is given."""
    lines = markdown_table(list(header), [list(row) for row in rows])
    return f"{lines}\n\n{note}" if note else lines


def percent(share: float, digits: int = 1) -> str:
    """Share in [0, 1] as a percentage without its sign."""
    return f"{100 * share:.{digits}f}"


def percent_interval(estimate: Mapping[str, float]) -> str:
    """Estimated share with its interval, in percent."""
    return estimate_of(estimate).as_percent()


def interval(estimate: Mapping[str, float], digits: int = 3) -> str:
    """Estimate with its interval: AUC, calibration error, Brier score."""
    return estimate_of(estimate).as_number(digits)


def difference(estimate: Mapping[str, float], digits: int = 3) -> str:
    """Difference with its interval, all with their signs."""
    return estimate_of(estimate).as_difference(digits)


def percent_range(shares: Sequence[float]) -> str:
    """Smallest and largest of some shares, in percent."""
    return range_text(100 * min(shares), 100 * max(shares), 1)


def percent_mean(shares: Sequence[float]) -> str:
    """Mean of some shares with their range, in percent."""
    return f"{percent(sum(shares) / len(shares))} ({percent_range(shares)})"


def mean(values: Sequence[float]) -> str:
    """Mean with range, three decimals."""
    return f"{sum(values) / len(values):.3f} ({range_text(min(values), max(values))})"


def median_range(spread: Mapping[str, float], digits: int = 1) -> str:
    """Median of repeated measurements with their range."""
    return f"{spread['median']:.{digits}f} ({range_text(spread['min'], spread['max'], digits)})"


def significant(value: float | None) -> str:
    """Number with three significant digits; a dash where it is unknown."""
    return "–" if value is None else f"{value:.3g}"


def order_of_magnitude(value: float | None) -> str:
    """Small number with one significant digit, such as 2e-16; empty where it was not measured."""
    return "" if value is None else "0" if value == 0 else f"{value:.0e}"


def duration(seconds: float) -> str:
    """Duration in the largest unit of which it holds at least two."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:,.0f} d"

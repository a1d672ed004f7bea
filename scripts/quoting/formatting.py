"""Cells of the tables: shares in percent, estimates with intervals, medians and means with ranges."""

from collections.abc import Mapping, Sequence

from quoting.package import markdown_table


def table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Markdown table, with a paragraph below it where one is given."""
    lines = markdown_table(list(header), [list(row) for row in rows])
    return f"{lines}\n\n{note}" if note else lines


def percent(share: float, digits: int = 1) -> str:
    """Share in [0, 1] as a percentage without its sign."""
    return f"{100 * share:.{digits}f}"


def percent_interval(estimate: Mapping[str, float]) -> str:
    """Estimated share with its interval, in percent."""
    value, low, high = (percent(estimate[part]) for part in ("value", "low", "high"))
    return f"{value} ({low}-{high})"


def interval(estimate: Mapping[str, float]) -> str:
    """Estimate with its interval, three decimals: AUC, calibration error, Brier score."""
    value, low, high = (f"{estimate[part]:.3f}" for part in ("value", "low", "high"))
    return f"{value} ({low}-{high})"


def percent_range(shares: Sequence[float]) -> str:
    """Smallest and largest of some shares, in percent."""
    return f"{percent(min(shares))}-{percent(max(shares))}"


def percent_mean(shares: Sequence[float]) -> str:
    """Mean of some shares with their range, in percent."""
    return f"{percent(sum(shares) / len(shares))} ({percent_range(shares)})"


def mean(values: Sequence[float]) -> str:
    """Mean with range, three decimals."""
    return f"{sum(values) / len(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def median_range(spread: Mapping[str, float], digits: int = 1) -> str:
    """Median of repeated measurements with their range."""
    median, low, high = (f"{spread[part]:.{digits}f}" for part in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


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

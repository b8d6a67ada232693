"""Numbers as tables show them; a dash stands for one that is missing."""

from __future__ import annotations

from math import isnan

COUNTS = frozenset(
    {"tp", "fp", "tn", "fn", "alerts_per_million", "missed_per_million", "tokens"}
)
ROUGH = frozenset({"samples_per_second", "forward_passes", "peak_memory_mib"})
# small where few samples are positive: with fewer digits it would be 0
SMALL = frozenset({"precision"})
BOUND_WIDTHS = frozenset(
    f"gap_{summary}{quantity}"
    for summary in ("mean", "p95")
    for quantity in ("", "_categories", "_uncertainty")
)
# Seconds of single samples: of a keyword list and of a large model in one column.
_LATENCY = "latency_p"
_SHORT = 0.1  # below, significant digits and no decimals
_INTEGER_FROM = 1000  # seconds, tokens: decimals of larger numbers are noise


def format_metric(
    value: float | None, metric: str, decimals: int, missing: str = "-"
) -> str:
    """Return a metric's value: counts and large numbers whole, others rounded.

    Speeds, passes and memory have one decimal.

    Widths of bounds are often below the last decimal; these are written like ``3e-07``,
    and short times with two significant digits.
    """
    if value is None:
        return missing
    if metric in COUNTS or abs(value) >= _INTEGER_FROM:
        return f"{value:.0f}"
    if metric in ROUGH:
        return f"{value:.1f}"
    if metric in BOUND_WIDTHS and 0 < value < 0.5 * 10.0**-decimals:
        return f"{value:.0e}"
    if _LATENCY in metric and abs(value) < _SHORT:
        return f"{value:.2g}"
    if metric in SMALL and 0 < value < 9.5 * 10.0**-decimals:
        return f"{value:.2g}"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0 turns -0.0 into 0.0


def round_as_shown(value: float, metric: str, decimals: int) -> float:
    """Return a value so that those are equal that read the same in a table."""
    if _LATENCY in metric or metric in ROUGH:
        return float(format_metric(value, metric, decimals))
    return round(value, decimals)


def format_metric_interval(
    low: float | None, high: float | None, metric: str, decimals: int
) -> str:
    """Return ``[low high]``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    ends = (format_metric(end, metric, decimals) for end in (low, high))
    return f"[{' '.join(ends)}]"


def format_number(value: float | None, decimals: int = 3) -> str:
    """Return a number that belongs to no metric, ``-`` for None and NaN."""
    if value is None or isnan(value):
        return "-"
    return format_metric(value, "", decimals)


def format_percent(value: float | None) -> str:
    """Return a share in per cent with one decimal."""
    return "-" if value is None or isnan(value) else f"{100 * value:.1f} %"


def format_whole_percent(value: float) -> str:
    """Return a share in whole per cent."""
    return f"{100 * value:.0f} %"


def format_interval(low: float | None, high: float | None) -> str:
    """Return ``[low, high]``, or nothing where there is no interval."""
    if low is None or high is None or isnan(low) or isnan(high):
        return ""
    return f"[{low:.3f}, {high:.3f}]"

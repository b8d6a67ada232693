"""Text for tables: numbers as shown, names without what could upset a terminal."""

from __future__ import annotations

import unicodedata

COUNTS = frozenset({"tp", "fp", "tn", "fn"})
GAPS = frozenset({"gap_mean", "gap_p95"})
_WHOLE_FROM = 1000  # decimals of larger numbers are noise


def shown(value: float | None, metric: str, decimals: int, missing: str = "-") -> str:
    """Return a number as tables show it: counts and large numbers whole.

    Gaps of bounds that decimals cannot show are written as powers of ten.
    """
    if value is None:
        return missing
    if metric in COUNTS or abs(value) >= _WHOLE_FROM:
        return f"{value:.0f}"
    if metric in GAPS and 0 < value < 0.5 * 10.0**-decimals:
        return f"{value:.0e}"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.000"


def interval(low: float | None, high: float | None, metric: str, decimals: int) -> str:
    """Return ``[low high]``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{shown(low, metric, decimals)} {shown(high, metric, decimals)}]"


def printable(text: str) -> str:
    """Return text on one line, without control, format or surrogate characters."""
    kept = (
        " " if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char
        for char in text
    )
    return " ".join("".join(kept).split())


def encodable(text: str, encoding: str) -> str:
    """Return text that can be written, with ``?`` for what the encoding lacks."""
    return text.encode(encoding, errors="replace").decode(encoding)

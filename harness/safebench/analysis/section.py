"""One titled table of text, and how numbers are written in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from safebench.reporters.text import shown

TEXT_LIMIT = 300  # characters of a prompt that a table shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table: headers and rows of text, the first `left` columns flush left.

    `level` 1 opens a combination, 2 is a table of it.
    """

    title: str
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left: int = 1
    notes: tuple[str, ...] = ()
    level: int = 2


def number(value: float | None, decimals: int = 3) -> str:
    """Return a number as tables show it, ``-`` for none."""
    none = value is None or isnan(value)
    return shown(None if none else value, "", decimals)


def percent(value: float | None) -> str:
    """Return a share in per cent with one decimal."""
    none = value is None or isnan(value)
    return "-" if none or value is None else f"{100 * value:.1f} %"


def whole(value: float) -> str:
    """Return a share in whole per cent."""
    return f"{100 * value:.0f} %"


def interval(low: float | None, high: float | None) -> str:
    """Return ``[low, high]``, or nothing where there is no interval."""
    if low is None or high is None or isnan(low) or isnan(high):
        return ""
    return f"[{low:.3f}, {high:.3f}]"

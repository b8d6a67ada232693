"""Exact tests and intervals of counts; all assume independent samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import betaincinv, ndtri

from .interval import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]


class McNemar(NamedTuple):
    """Rows where only b is right, where only a is right, and the exact p-value."""

    b01: int
    b10: int
    p: float


def mcnemar(y: Array, a: Array, b: Array) -> McNemar:
    """Test whether decisions a and b are right equally often on the same samples.

    Two-sided exact binomial test of the discordant rows; p is 1 without any.
    """
    truth, first, second = (np.asarray(each).astype(bool) for each in (y, a, b))
    right_a, right_b = first == truth, second == truth
    b01, b10 = int((~right_a & right_b).sum()), int((right_a & ~right_b).sum())
    count = b01 + b10
    p = float(stats.binomtest(b01, count).pvalue) if count else 1.0
    return McNemar(b01, b10, p)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a share, k of n; 0 to 1 without samples."""
    _counts(k, n)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k / n if n else None, low, high, "clopper-pearson", n)


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the score interval of a share, k of n (Wilson 1927)."""
    _counts(k, n)
    if not n:
        return Interval(None, 0.0, 1.0, "wilson", n)
    z = float(ndtri((1 + level) / 2))
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * ((share * (1 - share) + spread / 4) / n) ** 0.5 / (1 + spread)
    low = 0.0 if k == 0 else middle - half
    high = 1.0 if k == n else middle + half
    return Interval(share, low, high, "wilson", n)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number (Holm 1979); None stays None.

    Of the adjusted values each below alpha may be called a finding: the chance of any
    false one is at most alpha, however the tests depend on each other.
    """
    known = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted


def _counts(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")

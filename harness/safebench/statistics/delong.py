"""Variance, interval and tests of AUROC without resampling (DeLong et al. 1988).

Midranks give the placements in O(n log n) (Sun and Xu 2014). Samples must be
independent: with groups use `metric_interval` and `paired_difference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]


ROUNDING = 1e-29  # of equal placements: their variance may come out as this


@dataclass(frozen=True, slots=True)
class DeLong:
    """An area, or the difference of two, with standard error and normal interval.

    `z` and `p` (two-sided) test a difference of zero. Without spread (areas of 0 or 1,
    one sample of a class) ends, z and p are None.
    """

    value: float
    se: float
    low: float | None
    high: float | None
    z: float | None = None
    p: float | None = None


def delong(y: Array, a: Array, b: Array | None = None, level: float = 0.95) -> DeLong:
    """Return the AUROC of scores `a` (n,), or AUROC of `b` minus that of `a`.

    Raises ValueError if `y` (n,) has one class only, or a score is NaN.
    """
    first = _placements(y, a)
    if b is None:
        area, positive, negative = first
        return _normal(area, _variance(positive, negative), level, lowest=0.0)
    second = _placements(y, b)
    value = second[0] - first[0]
    variance = _variance(second[1] - first[1], second[2] - first[2])
    found = _normal(value, variance, level, lowest=-1.0)
    if not variance:
        return found
    z = value / variance**0.5
    p = float(2 * stats.norm.sf(abs(z)))
    return DeLong(found.value, found.se, found.low, found.high, float(z), p)


def delong_unpaired(y1: Array, a: Array, y2: Array, b: Array) -> DeLong:
    """Return the AUROC of `b` on `y2` minus that of `a` on other samples, `y1`.

    `z` is a t statistic, with Welch and Satterthwaite's degrees of freedom.
    """
    first, second = delong(y1, a), delong(y2, b)
    value, parts = second.value - first.value, (first.se**2, second.se**2)
    variance = sum(parts)
    if not variance:
        return DeLong(value, 0.0, None, None)
    sizes = (len(y1), len(y2))
    freedom = variance**2 / sum(
        part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)
    )
    t, se = value / variance**0.5, variance**0.5
    half = float(stats.t.ppf(0.975, freedom)) * se
    p = float(2 * stats.t.sf(abs(t), freedom))
    return DeLong(value, se, value - half, value + half, t, p)


def _placements(y: Array, score: Array) -> tuple[float, Array, Array]:
    """Return the area, and the share of the other class that each sample beats.

    Positives (m,): share of negatives below; negatives (k,): share of positives above;
    ties count as half.
    """
    truth = np.asarray(y).astype(bool)
    positive, negative = np.asarray(score)[truth], np.asarray(score)[~truth]
    m, k = len(positive), len(negative)
    if not m or not k:
        raise ValueError("an AUROC needs samples of both classes")
    if np.isnan(score).any():
        raise ValueError("a score is NaN: leave such samples out")
    together = stats.rankdata(np.concatenate([positive, negative]))
    beaten = (together[:m] - stats.rankdata(positive)) / k
    above = 1 - (together[m:] - stats.rankdata(negative)) / m
    return float(beaten.mean()), beaten, above


def _variance(positive: Array, negative: Array) -> float:
    """Return the variance of the area, 0 where there is none or none can be told."""
    parts = (positive, negative)
    if min(map(len, parts)) < 2:  # noqa: PLR2004 - one sample tells no spread
        return 0.0
    found = float(sum(x.var(ddof=1) / len(x) for x in parts))
    return found if found > ROUNDING else 0.0


def _normal(value: float, variance: float, level: float, lowest: float) -> DeLong:
    """Return value and interval, which ends at `lowest` and 1 at most."""
    if not variance:
        return DeLong(value, 0.0, None, None)
    half = float(stats.norm.ppf((1 + level) / 2)) * variance**0.5
    low, high = max(lowest, value - half), min(1.0, value + half)
    return DeLong(value, variance**0.5, low, high)

"""From resampled values to an interval and, by inverting it, to a p-value.

BCa: Efron 1987, bias-corrected and accelerated; the acceleration comes from a jackknife
over groups (over blocks of groups where there are many: the estimate of the
acceleration has the same mean). Percentile: where the metric is no smooth function of
the data. Basic: the percentile interval mirrored at the value, for errors of
calibration, which every resample overstates as much again as the data do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from .interval import Interval

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

FEWEST = 5  # groups below which no interval is given
TIE = 1e-12
DEFINED = 0.5  # share of draws that must have a value


def interval(
    values: Array,
    draws: int,
    groups: int,
    *,
    method: str = "bca",
    level: float = 0.95,
    difference: bool = False,
) -> Interval:
    """Return the interval of ``values[0]``, of which the rest are resamples.

    `values` (1 + draws + J,): the data, bootstrap draws, leave-out samples; NaN where
    undefined. For a `difference` the p-value of zero is given, too.
    """
    value = _number(values[0])
    if value is None:
        return Interval(None, None, None, "undefined", groups)
    if method == "none":
        return Interval(value, None, None, "no interval is known to hold", groups)
    if groups < FEWEST:
        return Interval(value, None, None, f"fewer than {FEWEST} groups", groups)
    sampled = values[1 : 1 + draws]
    sampled = sampled[np.isfinite(sampled)]
    if len(sampled) < DEFINED * draws or not len(sampled):
        return Interval(value, None, None, "undefined in most draws", groups)
    if np.ptp(sampled) < TIE:
        return _constant(value, groups, difference=difference)
    shift, bend = 0.0, 0.0
    if method == "basic":
        sampled = 2 * value - sampled
    elif method == "bca":
        shift = _quantile_of(sampled, value)
        bend = _acceleration(values[1 + draws :])
    tail = (1 - level) / 2
    ends = [_corrected(ndtri(at), shift, bend) for at in (tail, 1 - tail)]
    low, high = np.quantile(sampled, ndtr(ends)).tolist()
    if difference:
        p = _p_of_zero(sampled, shift, bend, groups)
        return Interval(value, low, high, method, groups, p)
    if method == "basic":  # an error is not below 0
        low, high = max(low, 0.0), max(high, 0.0)
    return Interval(value, low, high, method, groups)


def _constant(value: float, groups: int, *, difference: bool) -> Interval:
    """Return what can be said if every draw gives the same."""
    if difference and abs(value) < TIE:
        return Interval(0.0, 0.0, 0.0, "no difference in any draw", groups, 1.0)
    return Interval(value, None, None, "no spread", groups)


def _quantile_of(sampled: Array, value: float) -> float:
    """Return the normal quantile of a value's place among the draws, ties as half."""
    tie = TIE * max(1.0, abs(value))
    below = (sampled < value - tie).mean()
    equal = (np.abs(sampled - value) <= tie).mean()
    edge = 0.5 / len(sampled)
    return float(ndtri(np.clip(below + equal / 2, edge, 1 - edge)))


def _acceleration(left_out: Array) -> float:
    """Return a sixth of the skewness of the leave-out values, negated and scaled."""
    left_out = left_out[np.isfinite(left_out)]
    if not len(left_out):
        return 0.0
    influence = left_out.mean() - left_out
    squares = float((influence**2).sum())
    if squares < TIE**2:
        return 0.0
    cubes = float((influence**3).sum())
    return cubes / (6 * float(squares**1.5))


def _corrected(z: float, shift: float, bend: float) -> float:
    """Return the normal quantile of the draws that stands for the quantile z."""
    moved = shift + z
    return float(shift + _stretched(moved, 1 - bend * moved))


def _stretched(z: float, by: float) -> float:
    """Divide; where BCa's correction has passed its pole, the quantile is infinite."""
    return z / by if by > 0 else math.copysign(math.inf, z)


def _p_of_zero(sampled: Array, shift: float, bend: float, groups: int) -> float:
    """Return 1 - level of the interval that ends at zero, at least 2 / (draws + 1).

    Where zero lies beyond every draw they cannot tell how far: there it is the p-value
    of a t statistic, the mean of the draws over their spread. A floor of 2 / draws
    times the number of tests would hide any difference from Holm's adjustment.
    """
    if sampled.min() > 0 or sampled.max() < 0:
        freedom = groups - 1
        # a draw of G groups spreads less than G new groups would
        spread = float(sampled.std()) * math.sqrt(groups / freedom)
        return float(2 * stdtr(freedom, -abs(float(sampled.mean())) / spread))
    u = _quantile_of(sampled, 0.0) - shift
    z = _stretched(u, 1 + bend * u) - shift
    least = 2 / (len(sampled) + 1)
    return float(np.clip(2 * min(ndtr(z), ndtr(-z)), least, 1.0))


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

"""Intervals from resampled values, and p-values by inverting them.

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
from scipy.special import ndtr, ndtri

from .interval import Interval, clopper_pearson
from .resampling_weights import count_groups, draw_weights
from .sufficient_statistics import mean_of_first, resampled_values, value_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .resampling_weights import ResamplingWeights

    Groups = Sequence[Any] | Array


MIN_GROUPS = 5  # with fewer, draws take too few values to tell an interval
TIE_TOLERANCE = 1e-12  # equal values of a metric differ by rounding
MIN_DEFINED_SHARE = 0.5  # of draws; with fewer, those left are not representative
NO_SPREAD = "no spread"


def bootstrap_interval(
    values: Array,
    n_resamples: int,
    n_groups: int,
    *,
    method: str = "bca",
    level: float = 0.95,
    difference: bool = False,
) -> Interval:
    """Return the interval of ``values[0]``, of which the rest are resamples.

    `values` (1 + B + J,): the data, bootstrap draws, leave-out samples; NaN where
    undefined. `method` is ``bca``, ``percentile``, ``basic`` or ``none``. For a
    `difference` the p-value of zero is given, too.
    """
    value = _finite_or_none(values[0])
    if value is None:
        return Interval(None, None, None, "undefined", n_groups)
    if method == "none":
        return Interval(value, None, None, "no interval is known to hold", n_groups)
    if n_groups < MIN_GROUPS:
        return Interval(value, None, None, f"fewer than {MIN_GROUPS} groups", n_groups)
    sampled = values[1 : 1 + n_resamples]
    sampled = sampled[np.isfinite(sampled)]
    if len(sampled) < MIN_DEFINED_SHARE * n_resamples or not len(sampled):
        return Interval(value, None, None, "undefined in most draws", n_groups)
    # The correction below divides by the spread; and equal draws say that the data are
    # few, not that the value is certain.
    if np.ptp(sampled) < TIE_TOLERANCE:
        return _degenerate_interval(value, n_groups, difference=difference)
    shift, acceleration = 0.0, 0.0
    if method == "basic":
        sampled = 2 * value - sampled
    elif method == "bca":
        # Bias and skewness: a share near 1 has draws that lie mostly below it, so that
        # the plain quantiles would be shifted and too narrow on one side.
        shift = _normal_quantile_of(sampled, value)
        acceleration = _acceleration(values[1 + n_resamples :])
    tail = (1 - level) / 2
    ends = [_bca_quantile(ndtri(at), shift, acceleration) for at in (tail, 1 - tail)]
    low, high = np.quantile(sampled, ndtr(ends)).tolist()
    if difference:
        p = _p_value(sampled, shift, acceleration)
        return Interval(value, low, high, method, n_groups, p)
    if method == "basic":  # mirrored ends may be below 0, where no error is
        low, high = max(low, 0.0), max(high, 0.0)
    return Interval(value, low, high, method, n_groups)


def _degenerate_interval(value: float, n_groups: int, *, difference: bool) -> Interval:
    """Return what can be said if every draw gives the same."""
    if difference and abs(value) < TIE_TOLERANCE:
        return Interval(0.0, 0.0, 0.0, "no difference in any draw", n_groups, 1.0)
    return Interval(value, None, None, NO_SPREAD, n_groups)


def _normal_quantile_of(sampled: Array, value: float) -> float:
    """Return the normal quantile of a value's place among the draws, ties as half."""
    tie = TIE_TOLERANCE * max(1.0, abs(value))
    # Counted with a tolerance: metrics of few samples take few values, and equal ones
    # differ in their last digits with the order of summation.
    below = (sampled < value - tie).mean()
    equal = (np.abs(sampled - value) <= tie).mean()
    # A value beyond all draws has no finite quantile: it counts as half a draw from the
    # edge.
    edge = 0.5 / len(sampled)
    return float(ndtri(np.clip(below + equal / 2, edge, 1 - edge)))


def _acceleration(left_out: Array) -> float:
    """Return a sixth of the skewness of the leave-out values, negated and scaled."""
    left_out = left_out[np.isfinite(left_out)]
    if not len(left_out):
        return 0.0
    influence = left_out.mean() - left_out
    squares = float((influence**2).sum())
    if squares < TIE_TOLERANCE**2:
        return 0.0
    cubes = float((influence**3).sum())
    return cubes / (6 * float(squares**1.5))


def _bca_quantile(z: float, shift: float, acceleration: float) -> float:
    """Return the normal quantile of the draws that stands for the quantile z."""
    shifted = shift + z
    return float(shift + _divide_or_infinite(shifted, 1 - acceleration * shifted))


def _divide_or_infinite(z: float, denominator: float) -> float:
    """Divide; where BCa's correction has passed its pole, the quantile is infinite."""
    return z / denominator if denominator > 0 else math.copysign(math.inf, z)


def _p_value(sampled: Array, shift: float, acceleration: float) -> float:
    """Return 1 - level of the interval that ends at zero, at least 2 / (draws + 1).

    Where zero lies beyond every draw they cannot tell how far.
    """
    u = _normal_quantile_of(sampled, 0.0) - shift
    z = _divide_or_infinite(u, 1 + acceleration * u) - shift
    least = 2 / (len(sampled) + 1)
    return float(np.clip(2 * min(ndtr(z), ndtr(-z)), least, 1.0))


def _finite_or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def mean_interval(
    values: Any,
    groups: Groups | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean of `values` (n,), NaN left out, with its BCa interval.

    For shares of right answers: 1, 0, and 0.5 for a tie. All 0 or all 1 has the exact
    interval over groups, since no draw would show a spread.
    """
    column = np.asarray(values, dtype=float)
    weights = draw_weights(groups, len(column), n_resamples=n_resamples, seed=seed)
    interval = _mean_bootstrap(column, weights, level)
    if interval.method == NO_SPREAD and interval.value in (0.0, 1.0):
        successes = int(interval.value) * interval.n_groups
        return clopper_pearson(successes, interval.n_groups, level)
    return interval


def mean_difference(
    a: Any,
    b: Any,
    groups: Groups | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean of `b` - `a` over samples that have both, with p."""
    column = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    weights = draw_weights(groups, len(column), n_resamples=n_resamples, seed=seed)
    return _mean_bootstrap(column, weights, level, difference=True)


def _mean_bootstrap(
    column: Array, weights: ResamplingWeights, level: float, *, difference: bool = False
) -> Interval:
    known = ~np.isnan(column)
    index = weights.group_index[known]
    statistics = value_sums(index, weights.n_groups, column[known])
    (values,) = resampled_values(statistics, [mean_of_first], weights)
    return bootstrap_interval(
        values,
        weights.n_resamples,
        count_groups(index),
        level=level,
        difference=difference,
    )

"""Quantiles of few samples with an interval that assumes no distribution.

The ends are samples themselves: how many samples lie below the true quantile is
binomial, whatever the distribution (David and Nagaraja, Order Statistics, 2003, 7.1).
Samples in groups are no independent draws: there the interval of the share below the
quantile, by groups, is carried over to the samples (Woodruff 1952).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from .interval import Interval, clustered_share

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from safebench.typing import Array


def quantile_interval(
    values: Sequence[float],
    share: float,
    groups: Sequence[Hashable],
    level: float = 0.95,
) -> Interval:
    """Return the quantile of n `values` (linear between samples) and its interval.

    `groups` (n,) say which samples belong together. An interval that would have to end
    beyond the samples is none, and `note` says how many it takes. At least one value.
    """
    ordered = np.sort(np.asarray(values, float))
    value = float(np.quantile(ordered, share))
    n, n_groups = len(ordered), len(set(groups))
    if n_groups == n:
        return _exact(ordered, value, share, level)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    below = (np.asarray(values, float) <= value).astype(float)
    least = fewest_samples(share, level)
    if n_groups < least:
        note = f"an interval needs {least} groups"
        return Interval(value, None, None, note, n_groups)
    ends = clustered_share(index, below, n_groups, level)
    low = ordered[max(math.ceil(ends.low * n) - 1, 0)]
    high = ordered[min(math.ceil(ends.high * n), n) - 1]
    return Interval(value, float(low), float(high), "woodruff", n_groups)


def _exact(ordered: Array, value: float, share: float, level: float) -> Interval:
    n, tail = len(ordered), (1 - level) / 2
    # P(at most k samples lie below the quantile), k = 0 .. n
    at_most = bdtr(np.arange(n + 1), n, share)
    low = int((at_most <= tail).sum())  # the low-th smallest; 0: none
    high = int((at_most < 1 - tail).sum()) + 1
    if low < 1 or high > n:
        note = f"an interval needs {fewest_samples(share, level)} samples"
        return Interval(value, None, None, note, n)
    return Interval(
        value, float(ordered[low - 1]), float(ordered[high - 1]), "order statistics", n
    )


def fewest_samples(share: float, level: float = 0.95) -> int:
    """Return from how many samples on a quantile has an exact interval."""
    rarer = max(share, 1 - share)
    return math.ceil(math.log((1 - level) / 2) / math.log(rarer))

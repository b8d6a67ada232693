"""Intervals: a number with what sampling leaves open, in closed form for shares.

A share has the mid-P interval, Clopper and Pearson's with half the probability of what
was observed (Lancaster 1961): it holds at 0 and at 1, where a bootstrap has no spread.
Samples in groups count as many as are independent: their number over the design effect
(Korn and Graubard 1998). A function of shares has the ends of each of them combined
(MOVER: Zou and Donner 2008; for functions that are no sums, Newcombe 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, ndtri, stdtrit

from .resampling_weights import count_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval; None where nothing can be said.

    `method` names how it was made (``mid-p``, ``newcombe``, ``percentile``, or why
    there is none), `n_groups` how many independent groups it rests on, `note` what a
    reader must know. `p` is the two-sided p-value of the hypothesis that a difference
    is zero, by the same method (beyond the last resample by a t statistic); None for
    what is no difference.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n_groups: int
    p: float | None = None
    note: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the interval lies wholly on one side of zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a proportion, k of n; 0 to 1 without samples."""
    _check_counts(k, n)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k / n if n else None, low, high, "clopper-pearson", n)


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion, k of n; 0 to 1 without samples."""
    _check_counts(k, n)
    if not n:
        return Interval(None, 0.0, 1.0, "wilson", n)
    low, high = wilson_interval(np.array(k), np.array(n), level)
    return Interval(k / n, float(low), float(high), "wilson", n)


def wilson_interval(
    successes: Array, n: Array, level: float = 0.95
) -> tuple[Array, Array]:
    """Return the ends of Wilson's score interval (1927), NaN where n is 0.

    `successes` may be an expected count, hence no integer.
    """
    z = ndtri((1 + level) / 2)
    n = np.where(n > 0, n, np.nan)
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # rounding can push the ends of 0 of n and of n of n off 0 and 1
    low = np.where(successes <= 0, 0.0 * n, np.maximum(middle - half, 0.0))
    high = np.where(successes >= n, 1.0 + 0.0 * n, np.minimum(middle + half, 1.0))
    return low, high


def _check_counts(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")


class Share(NamedTuple):
    """A share with its ends, and what each group adds to its error, (G,)."""

    value: float
    low: float
    high: float
    residuals: Array


def clustered_share(
    index: Array, hits: Array, n_groups: int, level: float = 0.95
) -> Share:
    """Return the mean of `hits` (n,), 0 to 1, of which group `index` (n,) says whose.

    `n_groups` is the number of groups in the data, of which some may have no sample.
    """
    total, size = float(hits.sum()), len(hits)
    share = total / size
    residuals = np.bincount(index, hits - share, n_groups) / size
    effective = effective_size(index, hits, residuals, level)
    low, high = mid_p_interval(share * effective, effective, level)
    return Share(share, low, high, residuals)


def effective_size(index: Array, hits: Array, residuals: Array, level: float) -> float:
    """Return how many independent samples tell as much about a share.

    Never more than there are, nor fewer than if all samples of a group agreed, which is
    assumed where all samples do: then nothing says how alike those of a group are.
    """
    size, share = len(hits), float(hits.mean())
    sizes = np.bincount(index)
    fewest = size**2 / float((sizes.astype(float) ** 2).sum())
    groups = int((sizes > 0).sum())
    if groups == size:
        return float(size)
    if not 0 < share < 1 or groups == 1:
        return fewest
    variance = groups / (groups - 1) * float((residuals**2).sum())
    design_effect = max(variance * size / (share * (1 - share)), 1.0)
    # what the variance is an estimate from, as in a t-test: groups of the rarer kind
    rarer = min(count_groups(index[hits > 0]), count_groups(index[hits < 1]))
    freedom = max(rarer - 1, 1)
    known = ndtri((1 + level) / 2) / stdtrit(freedom, (1 + level) / 2)
    return float(max(size / design_effect * known**2, fewest))


def mid_p_interval(
    hits: float, size: float, level: float = 0.95
) -> tuple[float, float]:
    """Return the ends of the mid-P interval; either number may be no integer."""
    hits = min(max(hits, 0.0), size)
    tail = (1 - level) / 2
    # of 0 of n and of n of n the half never reaches the tail: the end is 0 or 1
    low = _mid_p_end(hits, size, tail) if hits > 0 else 0.0
    high = _mid_p_end(hits, size, 1 - tail) if hits < size else 1.0
    return low, high


def _mid_p_end(hits: float, size: float, goal: float) -> float:
    """Return the share at which P(more hits) + P(as many) / 2 is `goal`."""

    def excess(share: float) -> float:
        at_least = betainc(hits, size - hits + 1, share) if hits > 0 else 1.0
        more = betainc(hits + 1, size - hits, share) if hits < size else 0.0
        return float((at_least + more) / 2 - goal)

    # between the shares at which either of both is
    least = betaincinv(hits, size - hits + 1, goal) if hits > 0 else 0.0
    most = betaincinv(hits + 1, size - hits, goal) if hits < size else 1.0
    return float(brentq(excess, least, most))


def function_of_shares(
    function: Callable[[Sequence[float]], float], shares: Sequence[Share]
) -> tuple[float, float]:
    """Return the ends of a function of shares, each moved to its own ends in turn.

    How far each moves the value is added as errors are, with the correlation that
    groups give the shares.
    """
    middle = [share.value for share in shares]
    value = function(middle)
    moved = np.array(
        [
            [
                function([*middle[:i], end, *middle[i + 1 :]]) - value
                for end in (share.low, share.high)
            ]
            for i, share in enumerate(shares)
        ]
    )
    correlations = _correlations(np.stack([share.residuals for share in shares]))
    ends = []
    for sign in (-1, 1):
        steps = np.maximum((sign * moved).max(axis=1), 0)
        # which way a share went to move the value down, or up
        direction = np.where((sign * moved).argmax(axis=1) == 0, -1, 1) * steps
        # correlations of few groups may cancel what no share alone would
        spread = max(float(direction @ correlations @ direction), 0.0)
        ends.append(value + sign * np.sqrt(spread))
    return float(ends[0]), float(ends[1])


def difference_ends(
    a: Interval, b: Interval, correlation: float
) -> tuple[float, float] | None:
    """Return the ends of b minus a from the intervals of both (MOVER, Zou 2007).

    The lower end is as far from the difference as b is from its lower and a from its
    upper end, added as errors are; `correlation` is that of both estimates. None
    where one of both has no interval.
    """
    if a.value is None or a.low is None or a.high is None:
        return None
    if b.value is None or b.low is None or b.high is None:
        return None

    def reach(of_b: float, of_a: float) -> float:
        square = of_b**2 + of_a**2 - 2 * correlation * of_b * of_a
        return float(np.sqrt(max(square, 0.0)))

    difference = b.value - a.value
    return (
        difference - reach(b.value - b.low, a.high - a.value),
        difference + reach(b.high - b.value, a.value - a.low),
    )


def _correlations(residuals: Array) -> Array:
    """Return correlations of rows (shares, G); those of a row without spread are 0."""
    products = residuals @ residuals.T
    lengths = np.sqrt(np.diag(products))
    scale = np.outer(lengths, lengths)
    correlations: Array = np.zeros_like(products)
    np.divide(products, scale, out=correlations, where=scale > 0)
    np.fill_diagonal(correlations, 1.0)
    return correlations

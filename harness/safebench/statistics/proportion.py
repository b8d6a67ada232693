"""Intervals of shares of samples, and of functions of several shares.

A share has the mid-P interval, Clopper and Pearson's with half the probability of what
was observed (Lancaster 1961): it holds at 0 and at 1, where a bootstrap has no spread.
Samples in groups count as many as are independent: their number over the design effect
(Korn and Graubard 1998). A function of shares has the ends of each of them combined
(MOVER: Zou and Donner 2008; for functions that are no sums, Newcombe 2013).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array


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
    rarer = min(len(np.unique(index[hits > 0])), len(np.unique(index[hits < 1])))
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


def _correlations(residuals: Array) -> Array:
    """Return correlations of rows (shares, G); those of a row without spread are 0."""
    products = residuals @ residuals.T
    lengths = np.sqrt(np.diag(products))
    scale = np.outer(lengths, lengths)
    correlations: Array = np.zeros_like(products)
    np.divide(products, scale, out=correlations, where=scale > 0)
    np.fill_diagonal(correlations, 1.0)
    return correlations

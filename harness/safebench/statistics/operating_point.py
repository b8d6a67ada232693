"""The interval of a recall where a given share of the negatives is flagged.

Two things are not known: how many of the positives are above the threshold, and where
the threshold is at which so many negatives are. Each has its interval, and the recall
has both combined as errors are (MOVER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom, rankdata

from .influence import influence_variance, student_factor
from .proportion import clustered_share

if TYPE_CHECKING:
    from safebench.typing import Array


def operating_point_ends(
    index: Array, n_groups: int, level: float, y: Array, score: Array, limit: float
) -> tuple[float, float]:
    """Return the ends of the recall at the threshold with an FPR of `limit`.

    `y` (n,) bool with both classes, `score` (n,), `index` (n,) the group of each.
    """
    positives, negatives = np.sort(score[y]), np.sort(score[~y])[::-1]
    allowed = int(limit * len(negatives) + 1e-9)
    hits = score[y] > negatives[allowed]
    share = clustered_share(index[y], hits.astype(float), n_groups, level)
    lowest, highest = _recalls_at_limits(
        positives, negatives, _independent(index[~y], score[~y], level), limit, level
    )
    down = np.hypot(share.value - share.low, max(share.value - lowest, 0.0))
    up = np.hypot(share.high - share.value, max(highest - share.value, 0.0))
    return max(share.value - down, 0.0), min(share.value + up, 1.0)


def _recalls_at_limits(
    positives: Array, negatives: Array, size: float, limit: float, level: float
) -> tuple[float, float]:
    """Return the recall at the highest and at the lowest threshold there may be.

    Of `size` independent negatives so many are above the threshold as a binomial
    distribution says. If that may be none, the threshold lies beyond the highest
    negative, and how far is told by two normal distributions of equal variance.
    """
    tail = (1 - level) / 2
    scale = len(negatives) / size
    fewest = int(binom.ppf(tail, int(size), limit) * scale)
    most = int(np.ceil(binom.ppf(1 - tail, int(size), limit) * scale))
    highest = _share_above(positives, negatives[min(most, len(negatives) - 1)], "left")
    if fewest:
        return _share_above(positives, negatives[fewest - 1], "right"), highest
    at_top = _share_above(positives, negatives[0], "right")
    rate = 1 - tail ** (1 / size)
    if rate <= limit:
        return at_top, highest
    return float(ndtr(ndtri(at_top) - ndtri(rate) + ndtri(limit))), highest


def _share_above(values: Array, threshold: float, side: str) -> float:
    """Return the share of sorted values at or above ("left"), or above a threshold."""
    below = np.searchsorted(
        values, threshold, side="left" if side == "left" else "right"
    )
    return float(1 - below / len(values))


def _independent(index: Array, score: Array, level: float) -> float:
    """Return how many independent samples order as well as these, by their ranks."""
    ranks = rankdata(score)
    variance = influence_variance(index, (ranks - ranks.mean()) / len(ranks))
    student = student_factor(variance.n_groups, variance.n, level)
    return max(variance.n / variance.design_effect / student**2, 1.0)

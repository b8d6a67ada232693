"""Intervals that need no resampling: shares, and areas under ROC curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]

Z = 1.959963984540054  # two-sided 95 %


def wilson(successes: Array, n: Array) -> tuple[Array, Array]:
    """Return Wilson's 95 % interval of a share (Wilson 1927); NaN where n is 0.

    `successes` may be an expected count, hence no integer.
    """
    n = np.where(n > 0, n, np.nan)
    share = successes / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def area(positive: Array, score: Array) -> float:
    """Return P(score of a positive > that of a negative), ties as half (AUROC)."""
    ranks = stats.rankdata(score)
    m, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))


def area_interval(
    positive: Array, score: Array, groups: Sequence[str]
) -> tuple[float, float] | None:
    """Return the 95 % interval of an AUROC, samples of one group being dependent.

    Obuchowski's variance (Biometrics 1997), which is DeLong's where each sample is its
    own group, on the logit scale. None where the variance says nothing: an area of 0
    or 1, or fewer than two groups of a class.
    """
    theta = area(positive, score)
    variance = _variance(positive, _placed(positive, score), groups)
    if variance is None or variance <= 0 or not 0 < theta < 1:
        return None
    half = Z * np.sqrt(variance) / (theta * (1 - theta))
    low, high = special.expit(special.logit(theta) + np.array([-half, half]))
    return float(low), float(high)


def area_difference(
    positive: Array, score: Array, other: Array, groups: Sequence[str]
) -> tuple[float, float, float] | None:
    """Return the AUROC of `other` minus that of `score` with its 95 % interval.

    Both rank the same samples, which the variance takes into account as in
    `area_interval`. None where a class has fewer than two groups.
    """
    gap = area(positive, other) - area(positive, score)
    apart = _placed(positive, other) - _placed(positive, score)
    variance = _variance(positive, apart, groups)
    if variance is None:
        return None
    half = float(Z * np.sqrt(max(variance, 0.0)))
    return gap, gap - half, gap + half


def _placed(positive: Array, score: Array) -> Array:
    """Return the share of the other class on whose right side each sample is, (k,).

    Centred: minus the area, which is the mean of the shares of either class.
    """
    every, own = stats.rankdata(score), np.empty(len(score))
    own[positive] = stats.rankdata(score[positive])
    own[~positive] = stats.rankdata(score[~positive])
    m, n = int(positive.sum()), int((~positive).sum())
    beats = (every - own) / np.where(positive, n, m)
    placed: Array = np.where(positive, beats, 1 - beats) - area(positive, score)
    return placed


def _variance(positive: Array, placed: Array, groups: Sequence[str]) -> float | None:
    """Return the variance of an area, or of a difference of areas, from placements."""
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    m, n = int(positive.sum()), int((~positive).sum())
    size = int(group.max()) + 1
    by_pos = np.bincount(group, np.where(positive, placed, 0.0), size)
    by_neg = np.bincount(group, np.where(positive, 0.0, placed), size)
    with_pos = np.unique(group[positive]).size
    with_neg = np.unique(group[~positive]).size
    if min(with_pos, with_neg) < 2:  # noqa: PLR2004
        return None
    return float(
        (with_pos / (with_pos - 1)) * (by_pos**2).sum() / m**2
        + (with_neg / (with_neg - 1)) * (by_neg**2).sum() / n**2
        + 2 * (size / (size - 1)) * (by_pos * by_neg).sum() / (m * n)
    )

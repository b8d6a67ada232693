"""AUROC with the variance that follows from its placements, without resampling.

The variance is Obuchowski's (Biometrics 1997) for samples in dependent groups. Where
each sample is a group of its own it is that of DeLong et al. (1988): one formula serves
both. Midranks give the placements in O(n log n) (Sun and Xu 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

MIN_VARIANCE = 1e-29  # rounding gives equal placements a variance of about 1e-32
MIN_GROUPS = 2  # of a class: one group has no spread


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


def compute_auroc(positive: Array, score: Array) -> float:
    """Return P(score of a positive > that of a negative), ties as half.

    `positive` (n,) bool with both classes, `score` (n,).
    """
    ranks = stats.rankdata(score)
    m, n = int(positive.sum()), int((~positive).sum())
    # the Mann-Whitney statistic: positives' ranks less those they have of one another
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))


def auroc_interval(
    positive: Array, score: Array, groups: Sequence[Any], level: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of an AUROC, samples of one group being dependent.

    On the logit scale, where the estimate is closer to normal and no end leaves 0 to 1.
    None where the variance says nothing: an area of 0 or 1, or fewer than two groups of
    a class.
    """
    area = compute_auroc(positive, score)
    variance = auroc_variance(positive, placement_values(positive, score), groups)
    if variance is None or variance <= 0 or not 0 < area < 1:
        return None
    half = _z(level) * np.sqrt(variance) / (area * (1 - area))
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return float(low), float(high)


def auroc_difference(
    positive: Array,
    score: Array,
    other: Array,
    groups: Sequence[Any],
    level: float = 0.95,
) -> tuple[float, float, float] | None:
    """Return the AUROC of `other` minus that of `score` with its interval.

    Both rank the same samples, and the variance is that of their difference. None
    where a class has fewer than two groups.
    """
    difference = compute_auroc(positive, other) - compute_auroc(positive, score)
    placements = placement_values(positive, other) - placement_values(positive, score)
    variance = auroc_variance(positive, placements, groups)
    if variance is None:
        return None
    half = float(_z(level) * np.sqrt(max(variance, 0.0)))
    return difference, difference - half, difference + half


def delong(y: Array, a: Array, b: Array | None = None, level: float = 0.95) -> DeLong:
    """Return the AUROC of scores `a` (n,), or AUROC of `b` minus that of `a`.

    Of independent samples: with groups use `auroc_interval`, or the bootstrap. Raises
    ValueError if `y` (n,) has one class only, or a score is NaN.
    """
    truth, scores = _checked(y, a)
    value, placements = compute_auroc(truth, scores), placement_values(truth, scores)
    if b is None:
        return _normal_interval(value, _delong_variance(truth, placements), level, 0.0)
    _, others = _checked(y, b)
    value = compute_auroc(truth, others) - value
    placements = placement_values(truth, others) - placements
    variance = _delong_variance(truth, placements)
    difference = _normal_interval(value, variance, level, lowest=-1.0)
    if not variance:
        return difference
    z = value / variance**0.5
    p = float(2 * stats.norm.sf(abs(z)))
    return DeLong(
        difference.value, difference.se, difference.low, difference.high, float(z), p
    )


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


def placement_values(positive: Array, score: Array) -> Array:
    """Return the share of the other class on whose right side each sample is, (n,).

    Centred: minus the area, which is the mean of the shares of either class.
    """
    overall, within = stats.rankdata(score), np.empty(len(score))
    within[positive] = stats.rankdata(score[positive])
    within[~positive] = stats.rankdata(score[~positive])
    m, n = int(positive.sum()), int((~positive).sum())
    beaten = (overall - within) / np.where(positive, n, m)
    shares: Array = np.where(positive, beaten, 1 - beaten)
    return shares - compute_auroc(positive, score)


def auroc_variance(
    positive: Array, placements: Array, groups: Sequence[Any] | Array
) -> float | None:
    """Return the variance of an area, or of a difference of areas, from placements.

    `placements` (n,) are centred; `groups` (n,) may hold both classes, whose placements
    then covary. None where a class has fewer than two groups.
    """
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    m, n = int(positive.sum()), int((~positive).sum())
    size = int(group.max()) + 1
    by_pos = np.bincount(group, np.where(positive, placements, 0.0), size)
    by_neg = np.bincount(group, np.where(positive, 0.0, placements), size)
    with_pos = np.unique(group[positive]).size
    with_neg = np.unique(group[~positive]).size
    if min(with_pos, with_neg) < MIN_GROUPS:
        return None
    return float(
        (with_pos / (with_pos - 1)) * (by_pos**2).sum() / m**2
        + (with_neg / (with_neg - 1)) * (by_neg**2).sum() / n**2
        + 2 * (size / (size - 1)) * (by_pos * by_neg).sum() / (m * n)
    )


def _delong_variance(positive: Array, placements: Array) -> float:
    """Return the variance of independent samples, 0 where there is none or unknown."""
    variance = auroc_variance(positive, placements, np.arange(len(positive)))
    return variance if variance is not None and variance > MIN_VARIANCE else 0.0


def _checked(y: Array, score: Array) -> tuple[Array, Array]:
    truth, scores = np.asarray(y).astype(bool), np.asarray(score)
    if truth.all() or not truth.any():
        raise ValueError("an AUROC needs samples of both classes")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN: leave such samples out")
    return truth, scores


def _normal_interval(
    value: float, variance: float, level: float, lowest: float
) -> DeLong:
    """Return value and interval, which ends at `lowest` and 1 at most."""
    if not variance:
        return DeLong(value, 0.0, None, None)
    half = _z(level) * variance**0.5
    low, high = max(lowest, value - half), min(1.0, value + half)
    return DeLong(value, variance**0.5, low, high)


def _z(level: float) -> float:
    return float(special.ndtri((1 + level) / 2))

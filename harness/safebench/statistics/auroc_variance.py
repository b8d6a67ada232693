"""AUROC with the variance that follows from its placements, without resampling.

The variance is Obuchowski's (Biometrics 1997) for samples in dependent groups. Where
each sample is a group of its own it is that of DeLong et al. (1988): one formula serves
both. Midranks give the placements in O(n log n) (Sun and Xu 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize, special

from .resampling_weights import count_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

MIN_VARIANCE = 1e-29  # rounding gives equal placements a variance of about 1e-32
MIN_GROUPS = 2  # of a class: one group has no spread
SHRINKAGE = 20  # groups of a class whose variance counts half


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


def average_ranks(values: Array) -> Array:
    """Return the ranks of values (n,) from 1 on, equal ones with their mean.

    NaN has no rank: where there is one, all ranks are NaN.
    """
    # as SciPy's `rankdata`, whose module takes a third of a command's start
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def compute_auroc(positive: Array, score: Array) -> float:
    """Return P(score of a positive > that of a negative), ties as half.

    `positive` (n,) bool with both classes, `score` (n,).
    """
    ranks = average_ranks(score)
    m, n = int(positive.sum()), int((~positive).sum())
    # the Mann-Whitney statistic: positives' ranks less those they have of one another
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))


def partial_auroc(
    positive: Array, score: Array, min_fpr: float = 0.0, max_fpr: float = 1.0
) -> float:
    """Return the area under the ROC curve between two false positive rates.

    Points of the curve are joined by lines, as pROC does; 0 to `max_fpr` - `min_fpr`.
    """
    place = np.unique(-score, return_inverse=True)[1].reshape(-1)
    levels = int(place.max()) + 1
    tpr, fpr = (
        np.r_[0, np.bincount(place[kind], minlength=levels).cumsum()] / kind.sum()
        for kind in (positive, ~positive)
    )
    # where the curve is vertical the area is that of the ends of the lines alone
    cut = np.clip(fpr, min_fpr, max_fpr)
    width, rise = np.diff(fpr), np.diff(tpr)
    slope = np.divide(rise, width, out=np.zeros_like(rise), where=width > 0)
    middle = tpr[:-1] + slope * ((cut[:-1] + cut[1:]) / 2 - fpr[:-1])
    return float((np.diff(cut) * middle).sum())


def auroc_interval(
    positive: Array, score: Array, groups: Sequence[Any] | Array, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of an AUROC, samples of one group being dependent.

    A score interval (Newcombe 2006, method 5): each end is the area from which the one
    that was found lies 1.96 standard errors away, these being as large as they are at
    the end. It holds where few positives show hardly any spread. The variance is
    Newcombe's formula times what placements say that it is off, groups included; few
    groups of a class count for little against the formula itself. For an area of 0 or
    1 it is exact, over the groups of the smaller class: the least area that separates
    all of them in one case of 20. None with fewer than two groups of a class.
    """
    area = compute_auroc(positive, score)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    rarer = min(count_groups(codes[positive]), count_groups(codes[~positive]))
    if rarer < MIN_GROUPS:
        return None
    if area in (0.0, 1.0):
        least = (1 - level) ** (1 / rarer)
        return (least, 1.0) if area else (0.0, 1 - least)
    ratio = _variance_ratio(positive, score, codes, rarer)
    if len(codes) > codes.max() + 1:  # the variance of groups is an estimate of few
        ratio *= float(special.stdtrit(rarer - 1, (1 + level) / 2) / _z(level)) ** 2
    m, n = int(positive.sum()), int((~positive).sum())

    def distance(end: float) -> float:
        """Squared distance of an end from the area, less that of the interval."""
        variance = ratio * _newcombe_variance(end, m, n)
        return (end - area) ** 2 - _z(level) ** 2 * variance

    low = optimize.brentq(distance, 0.0, area)
    return float(low), float(optimize.brentq(distance, area, 1.0))


def _newcombe_variance(area: float, m: int, n: int) -> float:
    """Return Hanley and McNeil's variance of an area as Newcombe's method 5 has it."""
    size = (m + n) / 2 - 1
    spread = 1 + size * (1 - area) / (2 - area) + size * area / (1 + area)
    return area * (1 - area) * spread / (m * n)


def _variance_ratio(positive: Array, score: Array, codes: Array, rarer: int) -> float:
    """Return what Newcombe's variance is to be multiplied with.

    That of the placements is right however scores are distributed, if there are many
    groups. Of few, mistakes of rank may be missing by chance: until there are more than
    `SHRINKAGE`, it may rather raise the variance than lower it.
    """
    placements = placement_values(positive, score)
    m, n = int(positive.sum()), int((~positive).sum())
    alone = auroc_variance(positive, placements, np.arange(len(codes)))
    grouped = auroc_variance(positive, placements, codes)
    assert alone is not None
    assert grouped is not None
    # groups may make samples worth fewer, never more
    variance = max(alone, grouped)
    effect = variance / alone if alone > 0 else len(codes) / (codes.max() + 1)
    model = _newcombe_variance(compute_auroc(positive, score), m, n) * effect
    trust = rarer / (rarer + SHRINKAGE)
    ratio = variance / model
    return effect * (trust * ratio + (1 - trust) * max(ratio, 1.0))


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
    p = float(2 * special.ndtr(-abs(z)))
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
    half = float(special.stdtrit(freedom, 0.975)) * se
    p = float(2 * special.stdtr(freedom, -abs(t)))
    return DeLong(value, se, value - half, value + half, t, p)


def placement_values(positive: Array, score: Array) -> Array:
    """Return the share of the other class on whose right side each sample is, (n,).

    Centred: minus the area, which is the mean of the shares of either class.
    """
    overall, within = average_ranks(score), np.empty(len(score))
    within[positive] = average_ranks(score[positive])
    within[~positive] = average_ranks(score[~positive])
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
    with_pos = count_groups(group[positive])
    with_neg = count_groups(group[~positive])
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

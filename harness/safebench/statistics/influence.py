"""Intervals from influence: how much each sample moves a number.

The variance of a number that is smooth in the data is that of the sums of influences
over groups (the infinitesimal jackknife, Efron 1982). What remains to choose is the
shape of the interval, since numbers near an edge are skewed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from .interval import mid_p_interval

if TYPE_CHECKING:
    from safebench.typing import Array

MIN_FREEDOM = 2
SHRINKAGE = 20  # groups whose variance counts half against that of a model


class Variance(NamedTuple):
    """A variance of groups, that of the same samples alone, and how many there are."""

    grouped: float
    alone: float
    n_groups: int
    n: int

    @property
    def design_effect(self) -> float:
        """How many samples of groups are worth one alone; 1 at least."""
        if self.n_groups == self.n:
            return 1.0
        if self.alone <= 0:
            return self.n / self.n_groups
        return max(self.grouped / self.alone, 1.0)

    @property
    def known(self) -> float:
        """The larger of both: groups may make samples worth less, never more."""
        return max(self.grouped, self.alone)


def influence_variance(index: Array, influence: Array) -> Variance:
    """Return the variance of a number from the influence (n,) of each sample on it.

    `index` (n,) says of which group each is; influences sum to 0.
    """
    sums = np.bincount(index, influence)[np.bincount(index) > 0]
    return Variance(_scaled(sums), _scaled(influence), len(sums), len(index))


def _scaled(sums: Array) -> float:
    """Return the sum of squares with the small-sample factor of the jackknife."""
    size = len(sums)
    return size / (size - 1) * float((sums**2).sum()) if size > 1 else 0.0


def student_factor(n_groups: int, n: int, level: float) -> float:
    """Return the ratio of the quantiles of t and normal; 1 where samples are alone."""
    if n_groups == n or n_groups < 2:  # noqa: PLR2004 - t needs a degree of freedom
        return 1.0
    # The variance is estimated from groups, of which there may be few: the normal
    # quantile would be too small by just this factor.
    tail = (1 + level) / 2
    return float(stdtrit(n_groups - 1, tail) / ndtri(tail))


def effective_count(index: Array, amounts: Array) -> float:
    """Return how many groups a sum rests on: as many as if all gave the same.

    `amounts` (n,) are 0 or more and not all 0, `index` (n,) says of which group.
    """
    sums = np.bincount(index, amounts)
    return float(sums.sum() ** 2 / (sums**2).sum())


def student_quantile(count: float, level: float) -> float:
    """Return the two-sided quantile of Student's t, of 2 degrees of freedom at least.

    `count` groups or samples tell the variance, infinitely many for a normal one.
    """
    return float(stdtrit(max(count, MIN_FREEDOM), (1 + level) / 2))


def skewed_interval(
    mean: float, variance: float, count: float, level: float = 0.95
) -> tuple[float, float]:
    """Return the ends of a mean of losses, whose variance grows as it does.

    Few samples have most of the loss, so that where the mean is found too low its
    variance is, too. Each end is the mean from which the one found lies t standard
    errors away, as large as they would be there: (end - mean)^2 = t^2 variance end /
    mean, Wilson's shape near 0. t has as many degrees of freedom as groups `count`.
    """
    if mean <= 0:
        return 0.0, 0.0
    t = student_quantile(count, level)
    shift = t**2 * variance / (2 * mean)
    half = float(np.sqrt(shift * (shift + 2 * mean)))
    return mean + shift - half, mean + shift + half


def share_like_interval(
    value: float, variance: Variance, size: int, groups: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the ends of a number from 0 to 1 that is close to a share of `size`.

    It has the mid-P interval of as many samples as a share of the same variance would
    be of. Of few `groups` mistakes may be missing by chance, so that their variance
    may at first only raise that of a share of `size`. At 0 and 1 groups count as one.
    """
    if value <= 0 or value >= 1:
        return mid_p_interval(value * groups, groups, level)
    # Solved for the number of samples whose share would vary as much, so that an
    # interval of a share, which holds near 0 and 1, can be used for what is none.
    effect = variance.design_effect
    model = value * (1 - value) / size * effect
    ratio = variance.known / model
    # A variance that few groups give is itself uncertain: it counts in full only where
    # it is the larger one.
    trust = groups / (groups + SHRINKAGE)
    spread = model * (trust * ratio + (1 - trust) * max(ratio, 1.0))
    spread *= student_factor(groups, size, level) ** 2
    effective = value * (1 - value) / spread
    return mid_p_interval(value * effective, effective, level)

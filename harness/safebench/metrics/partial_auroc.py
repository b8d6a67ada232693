"""Partial AUROC: the area under the ROC curve at false positive rates up to 10 %.

It is a mean recall, of positives against the negatives that score highest. How many of
these there are, a tenth of all, says how well the area is known.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics.bootstrap import MIN_GROUPS
from safebench.statistics.influence import (
    influence_variance,
    share_like_interval,
    student_quantile,
)
from safebench.statistics.resampling_weights import count_groups

from .definition import IntervalMethod
from .ranking import AUROC, at_operating_point, independent_samples

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import MetricValue, Outcome

PARTIAL_FPR = 0.1
MIN_NEGATIVES = 10  # with fewer, one alone is more than 10 %


def partial_auroc_formula(sums: Array) -> Array:
    """Area under the ROC curve up to an FPR of 10 %, as McClish (1989) scales it.

    Points of the curve are joined by lines. The area a becomes
    (1 + (a - min) / (max - min)) / 2, where max is 0.1, and min that of chance.
    """
    known = (sums[:, -1] > 0).all(axis=0)
    tpr, fpr = (
        np.concatenate([np.zeros((1, sums.shape[2])), kind / np.maximum(kind[-1], 1)])
        for kind in sums
    )
    cut = np.minimum(fpr, PARTIAL_FPR)
    width, rise = np.diff(fpr, axis=0), np.diff(tpr, axis=0)
    slope = np.divide(rise, width, out=np.zeros_like(rise), where=width > 0)
    middle = tpr[:-1] + slope * ((cut[:-1] + cut[1:]) / 2 - fpr[:-1])
    area = (np.diff(cut, axis=0) * middle).sum(axis=0)
    return np.where(known, _mcclish(area), np.nan)


def _mcclish(area: Array | float) -> Array | float:
    chance = PARTIAL_FPR**2 / 2
    return (1 + (area - chance) / (PARTIAL_FPR - chance)) / 2


def _partial_auroc_ends(
    index: Array, _: int, level: float, y: Array, score: Array
) -> tuple[float, float] | str:
    """Return those of the mean recall over FPRs up to 10 %, in McClish's scale."""
    highest = highest_groups(index[~y], score[~y], PARTIAL_FPR)
    if highest < MIN_GROUPS:
        of = "" if count_groups(index) == len(index) else "groups of "
        return f"{highest} {of}negatives in the highest 10 %, it takes {MIN_GROUPS}"
    mean, influence = mean_recall(y, score, PARTIAL_FPR)
    variance = influence_variance(index, influence)
    # the curve is known from as many negatives as reach it, a tenth of them
    reaching = PARTIAL_FPR * independent_samples(index[~y], score[~y], level)
    widened = (student_quantile(reaching, level) / student_quantile(np.inf, level)) ** 2
    variance = variance._replace(
        grouped=widened * variance.grouped, alone=widened * variance.alone
    )
    groups = min(count_groups(index[kind]) for kind in (y, ~y))
    low, high = share_like_interval(mean, variance, int(y.sum()), groups, level)
    return (
        float(_mcclish(PARTIAL_FPR * low)),
        float(_mcclish(PARTIAL_FPR * high)),
    )


PARTIAL_AUROC = replace(
    AUROC,
    formula=partial_auroc_formula,
    interval=IntervalMethod("mid-p", _partial_auroc_ends),
    normal_test=None,
)


def partial_auroc(outcome: Outcome) -> MetricValue:
    """Area under the ROC curve up to an FPR of 10 %, scaled so that chance has 0.5.

    McClish's scale, as scikit-learn's `roc_auc_score` with `max_fpr`; 1 is perfect.
    """
    return at_operating_point(PARTIAL_AUROC, outcome, 1, MIN_NEGATIVES)


def mean_recall(y: Array, score: Array, limit: float) -> tuple[float, Array]:
    """Return the mean recall over FPRs from 0 to `limit`, and each sample's influence.

    It is P(a positive scores above a negative) for negatives of the highest `limit`,
    ties as half: the partial area divided by `limit`. One more negative moves the
    threshold, too, so that others leave that part (Wang and Chang 2011). `y` (n,) bool
    with both classes, `score` (n,); influences (n,) sum to 0 in each class.
    """
    levels, place = np.unique(-score, return_inverse=True)
    place, size = place.reshape(-1), len(levels)
    positives = np.bincount(place[y], minlength=size) / y.sum()
    negatives = np.bincount(place[~y], minlength=size) / (~y).sum()
    above = positives.cumsum() - positives / 2
    passed = negatives.cumsum() - negatives
    # how much of each level's negatives belong to the highest `limit`
    part = np.clip(limit - passed, 0, negatives)
    counted = np.divide(part, negatives, out=np.zeros(size), where=negatives > 0)
    # a level that is cut has the recall of its first negatives, as on a line
    above -= positives * (1 - counted) / 2 * (counted > 0)
    value = float((part * above).sum() / limit)
    last = int(np.flatnonzero(part > 0)[-1])
    at_limit = positives[:last].sum() + positives[last] * counted[last]
    beaten = part[::-1].cumsum()[::-1] - part + part * counted / 2
    of_positives = beaten / limit - value
    of_negatives = counted * (above - at_limit) / limit + at_limit - value
    influence = np.where(
        y, of_positives[place] / y.sum(), of_negatives[place] / (~y).sum()
    )
    for kind in (y, ~y):
        influence[kind] -= influence[kind].mean()
    return value, influence


def highest_groups(index: Array, score: Array, share: float) -> int:
    """Return how many groups have one of the highest `share` of the scores (n,)."""
    fewest = max(math.ceil(share * len(score)), 1)
    least = np.partition(score, -fewest)[-fewest]
    return count_groups(index[score >= least])

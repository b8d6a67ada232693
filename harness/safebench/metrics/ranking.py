"""Metrics of the order of scores, over the samples that have one.

Infinite scores are ranks like any other (a cost may be infinite).

Of a recall where a given share of the negatives is flagged, two things are not known:
how many of the positives are above the threshold, and where the threshold is at which
so many negatives are. Each has its interval, and the recall has both combined as errors
are (MOVER).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from safebench.statistics import auroc_interval, delong
from safebench.statistics.auroc_variance import average_ranks
from safebench.statistics.influence import (
    influence_variance,
    share_like_interval,
    student_factor,
)
from safebench.statistics.interval import Share, clustered_share
from safebench.statistics.power import ENOUGH_UNITS
from safebench.statistics.resampling_weights import count_groups
from safebench.statistics.sufficient_statistics import (
    cumulative_counts,
    safe_divide,
    sums_before,
)

from .bounds import auprc_bounds, bound_ends, optimistic_scores, pessimistic_scores
from .definition import (
    Columns,
    IntervalMethod,
    MetricDefinition,
    NormalTest,
    both_classes,
    score_columns,
    truth_and,
)
from .outcome import MetricValue

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import Outcome


ONE_CLASS = "one class only among the scored samples"
NONE_SCORED = "no sample has a score"
TWO_VALUED = "AUROC of a two-valued score is balanced accuracy"

MAX_FPR = 0.01
MIN_TPR = 0.95
MIN_NEGATIVES = 100  # with fewer, one false positive alone is more than 1 %
MIN_POSITIVES = 20  # with fewer, one miss alone is more than 5 %
ROUNDING = 1e-9  # a count may be on a limit that floating point cannot write


def auroc_formula(sums: Array) -> Array:
    """P(a positive scores above a negative), ties as half.

    `sums` of this and the next formulas: counts of both classes down to each level.
    """
    positives, negatives = sums
    above = positives + sums_before(positives)
    won = np.einsum("kd,kd->d", above, negatives - sums_before(negatives)) / 2
    return safe_divide(won, positives[-1] * negatives[-1])


def _delong_error(y: Array, a: Array, b: Array) -> float | None:
    """Return DeLong's standard error of b minus a, None without spread."""
    return delong(y, a, b).se or None


def _auroc_ends(
    index: Array, _: int, level: float, y: Array, score: Array
) -> tuple[float, float] | None:
    return auroc_interval(y, score, index, level)


AUROC = MetricDefinition(
    columns=score_columns,
    statistics=cumulative_counts,
    formula=auroc_formula,
    interval=IntervalMethod("newcombe", _auroc_ends),
    classes=both_classes,
    by_rank=True,
    normal_test=NormalTest("DeLong", _delong_error),
)


def auroc(outcome: Outcome) -> MetricValue:
    """P(score of a positive > that of a negative), ties counted as half."""
    kept, score, missing = _scored_or_missing(outcome)
    if missing:
        return missing
    y = outcome.y[kept]
    two_valued = np.unique(score).size == 2 < len(score)  # noqa: PLR2004 - as it says
    value, note = AUROC.value(y, score), TWO_VALUED if two_valued else ""
    if outcome.lower is None or outcome.upper is None:
        return MetricValue(value, note, n_scored=len(score))
    return MetricValue(
        value,
        note,
        n_scored=len(score),
        bound_low=AUROC.value(y, pessimistic_scores(outcome)[kept]),
        bound_high=AUROC.value(y, optimistic_scores(outcome)[kept]),
    )


def auprc_formula(sums: Array) -> Array:
    """Average precision: the sum of precision times the step in recall."""
    positives, negatives = sums
    # a level of weight 0 adds 0, whatever its precision
    precision = positives / np.maximum(positives + negatives, 1)
    steps = positives - sums_before(positives)
    return safe_divide(np.einsum("kd,kd->d", steps, precision), positives[-1])


def auprc_share(
    index: Array, n_groups: int, level: float, y: Array, score: Array
) -> Share:
    """Return average precision with its ends, and what each group adds to its error.

    It is close to a share of the positives: each has the precision at its rank.
    """
    place = np.unique(-score, return_inverse=True)[1].reshape(-1)
    levels = int(place.max()) + 1
    step = np.bincount(place[y], minlength=levels)
    positives = np.cumsum(step)
    flagged = np.cumsum(np.bincount(place, minlength=levels))
    precision, total = positives / flagged, positives[-1]
    value = float((step * precision).sum() / total)
    # one more sample changes the precision at its level and at all that are below
    gained = (step * (flagged - positives) / flagged**2)[::-1].cumsum()[::-1]
    lost = (step * positives / flagged**2)[::-1].cumsum()[::-1]
    of_levels = np.stack([-lost, precision + gained - value]) / total
    influence = of_levels[y.astype(int), place]
    variance = influence_variance(index, influence)
    groups = count_groups(index[y])
    low, high = share_like_interval(value, variance, int(total), groups, level)
    return Share(value, low, high, np.bincount(index, influence, n_groups))


def _auprc_ends(
    index: Array, n_groups: int, level: float, y: Array, score: Array
) -> tuple[float, float]:
    share = auprc_share(index, n_groups, level, y, score)
    return share.low, share.high


def _auprc_of_both_classes(sums: Array) -> Array:
    """Average precision; undefined without negatives, where any ranking has 1."""
    return np.where(sums[1][-1] > 0, auprc_formula(sums), np.nan)


AUPRC = MetricDefinition(
    columns=score_columns,
    statistics=cumulative_counts,
    formula=_auprc_of_both_classes,
    interval=IntervalMethod("mid-p", _auprc_ends),
    classes=both_classes,
    by_rank=True,
    # a large difference of few positives has a large error, too: of 25 in either class
    # 11 to 14 of 100 datasets showed what 45 to 53 should
    power_units=ENOUGH_UNITS,
)


def auprc(outcome: Outcome) -> MetricValue:
    """Average precision: the sum of precision times the step in recall."""
    kept, score, missing = _scored_or_missing(outcome)
    if missing:
        return missing
    y = outcome.y[kept]
    value = AUPRC.value(y, score)
    if outcome.lower is None or outcome.upper is None:
        return MetricValue(value, n_scored=len(score))
    lower, upper = (ends[kept] for ends in bound_ends(outcome))
    low, high = auprc_bounds(y, lower, upper)
    return MetricValue(value, n_scored=len(score), bound_low=low, bound_high=high)


def tpr_at_fpr_formula(sums: Array) -> Array:
    """Largest recall at a threshold that flags at most 1 % of the negatives."""
    positives, negatives = sums
    allowed = negatives <= MAX_FPR * negatives[-1] + ROUNDING
    most = np.where(allowed, positives, 0).max(axis=0)
    return np.where(negatives[-1] > 0, safe_divide(most, positives[-1]), np.nan)


def _tpr_ends(
    index: Array, n_groups: int, level: float, y: Array, score: Array
) -> tuple[float, float]:
    return operating_point_ends(index, n_groups, level, y, score, MAX_FPR)


# each resample picks its threshold again: no smooth function of the data, as BCa wants
TPR_AT_FPR = MetricDefinition(
    columns=score_columns,
    statistics=cumulative_counts,
    formula=tpr_at_fpr_formula,
    method="percentile",
    interval=IntervalMethod("mid-p", _tpr_ends),
    classes=both_classes,
    by_rank=True,
)


def tpr_at_fpr(outcome: Outcome) -> MetricValue:
    """Largest recall at a threshold that flags at most 1 % of the negatives.

    No interpolation: a threshold either keeps within the limit or it does not.
    """
    return at_operating_point(TPR_AT_FPR, outcome, 1, MIN_NEGATIVES)


def fpr_at_tpr_formula(sums: Array) -> Array:
    """Smallest share of negatives flagged where 95 % of the positives are."""
    positives, negatives = sums
    enough = positives >= MIN_TPR * positives[-1] - ROUNDING
    least = np.where(enough, negatives, np.inf).min(axis=0)
    return np.where(positives[-1] > 0, safe_divide(least, negatives[-1]), np.nan)


def _fpr_ends(
    index: Array, n_groups: int, level: float, y: Array, score: Array
) -> tuple[float, float]:
    """Return those of the negatives that pass where 5 % of the positives do."""
    low, high = operating_point_ends(index, n_groups, level, ~y, -score, 1 - MIN_TPR)
    return 1 - high, 1 - low


FPR_AT_TPR = replace(
    TPR_AT_FPR, formula=fpr_at_tpr_formula, interval=IntervalMethod("mid-p", _fpr_ends)
)


def fpr_at_tpr(outcome: Outcome) -> MetricValue:
    """Smallest share of negatives flagged where at least 95 % of the positives are."""
    return at_operating_point(FPR_AT_TPR, outcome, MIN_POSITIVES, 1)


def uncertainty_columns(outcome: Outcome) -> Columns | None:
    """Return which decisions are wrong, and the uncertainty of samples not failed."""
    if outcome.uncertainty is None or outcome.decision is None:
        return None
    uncertainty = np.where(outcome.failed, np.nan, outcome.uncertainty)
    return truth_and(outcome.decision.astype(bool) != outcome.y, uncertainty)


ERROR_AUROC = replace(
    AUROC,
    columns=uncertainty_columns,
    classes=lambda wrong, _: {"wrong decisions": wrong, "right decisions": ~wrong},
    few_groups=5,  # in simulations it holds with so few
    normal_test=None,  # each side has its own errors
)


def error_auroc(outcome: Outcome) -> MetricValue:
    """P(uncertainty of a wrong decision > that of a right one), ties as half.

    Over samples with a judgement: 0.5 says that the uncertainty tells nothing.
    """
    assert outcome.uncertainty is not None
    assert outcome.decision is not None
    kept = outcome.scored & ~np.isnan(outcome.uncertainty)
    wrong = (outcome.decision != outcome.y)[kept]
    count = int(kept.sum())
    if not wrong.any() or wrong.all():
        why = "no decision is wrong" if not wrong.any() else "every decision is wrong"
        return MetricValue(None, why if count else NONE_SCORED, n_scored=count)
    return MetricValue(
        ERROR_AUROC.value(wrong, outcome.uncertainty[kept]), n_scored=count
    )


def _scored_or_missing(outcome: Outcome) -> tuple[Array, Array, MetricValue | None]:
    """Return which samples have a score, these scores, or why there is no metric."""
    if outcome.score is None:
        raise ValueError("a score metric was asked of an outcome without scores")
    kept = outcome.scored & ~np.isnan(outcome.score)
    count = int(kept.sum())
    missing = None
    if not count:
        missing = MetricValue(None, NONE_SCORED, n_scored=0)
    elif np.unique(outcome.y[kept]).size == 1:
        missing = MetricValue(None, ONE_CLASS, n_scored=count)
    return kept, outcome.score[kept], missing


def at_operating_point(
    definition: MetricDefinition,
    outcome: Outcome,
    min_positives: int,
    min_negatives: int,
) -> MetricValue:
    """Return a metric of a point of the curve, or why there are too few samples."""
    if outcome.score is None:
        raise ValueError("a score metric was asked of an outcome without scores")
    kept = outcome.scored & ~np.isnan(outcome.score)
    y, count = outcome.y[kept], int(kept.sum())
    if not count:
        return MetricValue(None, NONE_SCORED, n_scored=count)
    for name, there, least in (
        ("negatives", int((~y).sum()), min_negatives),
        ("positives", int(y.sum()), min_positives),
    ):
        if there < least:
            note = f"{there} {name}, too few: it takes {least}"
            return MetricValue(None, note, n_scored=count)
    value = definition.value(y, outcome.score[kept])
    if outcome.lower is None or outcome.upper is None:
        return MetricValue(value, n_scored=count)
    corners = [
        definition.value(y, scores(outcome)[kept])
        for scores in (pessimistic_scores, optimistic_scores)
    ]
    low, high = sorted(corner for corner in corners if corner is not None)
    return MetricValue(value, n_scored=count, bound_low=low, bound_high=high)


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
        positives,
        negatives,
        independent_samples(index[~y], score[~y], level),
        limit,
        level,
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
    fewest = int(binomial_quantile(tail, int(size), limit) * scale)
    most = int(np.ceil(binomial_quantile(1 - tail, int(size), limit) * scale))
    highest = _share_above(positives, negatives[min(most, len(negatives) - 1)], "left")
    if fewest:
        return _share_above(positives, negatives[fewest - 1], "right"), highest
    at_top = _share_above(positives, negatives[0], "right")
    rate = 1 - tail ** (1 / size)
    if rate <= limit:
        return at_top, highest
    return float(ndtr(ndtri(at_top) - ndtri(rate) + ndtri(limit))), highest


def binomial_quantile(level: float, size: int, chance: float) -> int:
    """Return the fewest hits of `size` that are not exceeded with probability `level`.

    By halving: SciPy's distributions take a third of a command's start.
    """
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if bdtr(middle, size, chance) >= level * (1 - 1e-12):  # of rounding
            high = middle
        else:
            low = middle + 1
    return low


def _share_above(values: Array, threshold: float, side: str) -> float:
    """Return the share of sorted values at or above ("left"), or above a threshold."""
    below = np.searchsorted(
        values, threshold, side="left" if side == "left" else "right"
    )
    return float(1 - below / len(values))


def independent_samples(index: Array, score: Array, level: float) -> float:
    """Return how many independent samples order as well as these, by their ranks."""
    ranks = average_ranks(score)
    variance = influence_variance(index, (ranks - ranks.mean()) / len(ranks))
    student = student_factor(variance.n_groups, variance.n, level)
    return max(variance.n / variance.design_effect / student**2, 1.0)

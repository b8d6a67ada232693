"""Selective prediction: the error of the most confident decisions.

Confidence is minus the strategy's uncertainty, or, where it has none, how far its score
lies from the threshold. Equal confidence counts as every order of it alike.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.statistics.influence import (
    effective_count,
    influence_variance,
    share_like_interval,
    skewed_interval,
)
from safebench.statistics.interval import clustered_share
from safebench.statistics.resampling_weights import count_groups
from safebench.statistics.sufficient_statistics import (
    cumulative_counts,
    safe_divide,
    sums_before,
)

from .definition import Columns, IntervalMethod, MetricDefinition, truth_and
from .outcome import MetricValue
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import Outcome

BY_UNCERTAINTY = "confidence: minus the uncertainty"
BY_DISTANCE = "confidence: distance of the score from the threshold"
NO_CONFIDENCE = "the strategy gives neither an uncertainty nor a score with a threshold"
MIN_AROUND_CUT, SHARE_AROUND_CUT = 20, 0.1  # samples that say how errors are there
ROUNDING = 1e-9  # coverage times n may miss a whole number by this


def confidence(outcome: Outcome) -> tuple[Array | None, str]:
    """Return the confidence (n,), NaN where there is none, and what it is."""
    if outcome.uncertainty is not None:
        values, source = -outcome.uncertainty, BY_UNCERTAINTY
    elif outcome.score is not None and outcome.threshold is not None:
        values, source = np.abs(outcome.score - outcome.threshold), BY_DISTANCE
    else:
        return None, NO_CONFIDENCE
    return np.where(outcome.failed, np.nan, values), source


def is_wrong(outcome: Outcome) -> Array:
    """Return which decisions are wrong, (n,) bool."""
    if outcome.decision is None:
        raise ValueError("a decision metric was asked of an outcome without decisions")
    errors: Array = outcome.decision.astype(bool) != outcome.y
    return errors


def confidence_columns(outcome: Outcome) -> Columns | None:
    """Return which decisions are wrong, and how confident they are."""
    if outcome.decision is None:
        return None
    values, _ = confidence(outcome)
    return None if values is None else truth_and(is_wrong(outcome), values)


def aurc_formula(sums: Array) -> Array:
    """Mean over k of the error among the k most confident decisions.

    `sums`: wrong and right decisions down to each level of confidence. Equal confidence
    is taken in every order alike: the mean over orders, by harmonic numbers. Weights
    are whole numbers.
    """
    wrong, right = sums
    kept = wrong + right
    steps = _harmonic_numbers(int(kept[-1].max(initial=0)))[kept.astype(np.intp)]
    steps[1:] -= steps[:-1].copy()
    wrong_before, kept_before = sums_before(wrong), sums_before(kept)
    error = (wrong - wrong_before) / np.maximum(kept - kept_before, 1)
    # within a level errors grow by `error` a sample: their mean over k is a sum of 1/k
    areas = np.einsum("kd,kd->d", wrong_before - error * kept_before, steps)
    return safe_divide(areas + wrong[-1], kept[-1])


class _AurcError(NamedTuple):
    """An AURC, how much each sample moves it (n,), and its share of the errors (n,)."""

    value: float
    influence: Array
    amounts: Array


def _aurc_error(wrong: Array, sure: Array) -> _AurcError:
    place, counts = np.unique(-sure, return_inverse=True, return_counts=True)[1:]
    place = place.reshape(-1)
    kept = np.arange(1, len(wrong) + 1)
    errors = np.repeat(np.bincount(place, wrong) / counts, counts)
    risk = np.cumsum(errors) / kept
    # equal confidence is taken in every order alike: means over the places it takes
    later = (1 / kept)[::-1].cumsum()[::-1]
    later_risk = (risk / kept)[::-1].cumsum()[::-1]
    of_level = [
        np.add.reduceat(column, np.cumsum(counts) - counts) / counts
        for column in (risk - later_risk, later)
    ]
    value = float(risk.mean())
    amounts = wrong * of_level[1][place]
    influence = of_level[0][place] + amounts - value
    return _AurcError(value, influence / len(wrong), amounts)


def _aurc_ends(
    index: Array, n_groups: int, level: float, wrong: Array, sure: Array
) -> tuple[float, float]:
    """Return the ends of a mean; without errors, those of the error rate itself.

    A confidence that told nothing would have an AURC as large as the error rate.
    """
    if not wrong.any():
        share = clustered_share(index, wrong.astype(float), n_groups, level)
        return share.low, share.high
    aurc = _aurc_error(wrong, sure)
    variance = influence_variance(index, aurc.influence)
    count = effective_count(index, aurc.amounts)
    return skewed_interval(aurc.value, variance.known, count, level)


AURC = MetricDefinition(
    columns=confidence_columns,
    statistics=cumulative_counts,
    formula=aurc_formula,
    interval=IntervalMethod("score", _aurc_ends),
    by_rank=True,
)


def aurc(outcome: Outcome) -> MetricValue:
    """Mean error over all shares of samples kept, the most confident first."""
    return _selective_value(AURC, outcome)


def e_aurc_formula(sums: Array) -> Array:
    """AURC above that of a perfect order of the same decisions."""
    wrong, right = sums[:, -1]
    total = wrong + right
    harmonic = _harmonic_numbers(int(total.max(initial=0)))
    # wrong ones come last: errors at k > right are k - right
    steps = harmonic[total.astype(np.intp)] - harmonic[right.astype(np.intp)]
    return aurc_formula(sums) - safe_divide(wrong - right * steps, total)


def _e_aurc_ends(
    index: Array, n_groups: int, level: float, wrong: Array, sure: Array
) -> tuple[float, float] | str:
    """Return the ends of the AURC less that of the best order, r + (1 - r) log(1 - r).

    Here r is the error rate. Without errors, the upper end is that of a confidence that
    tells nothing of the largest error rate that there may be.
    """
    rate = float(wrong.mean())
    if not wrong.any():
        most = clustered_share(index, wrong.astype(float), n_groups, level).high
        return 0.0, -(1 - most) * math.log1p(-most)
    if wrong.all():
        return "every decision is wrong"
    value = E_AURC.value(wrong, sure)
    if value is None or value < ROUNDING:
        return "no error is more confident than a right decision"
    aurc = _aurc_error(wrong, sure)
    # the best AURC grows by -log(1 - r) as the error rate does
    influence = aurc.influence + math.log1p(-rate) * (wrong - rate) / len(wrong)
    variance = influence_variance(index, influence)
    count = effective_count(index, aurc.amounts)
    return skewed_interval(value, variance.known, count, level)


E_AURC = replace(
    AURC, formula=e_aurc_formula, interval=IntervalMethod("score", _e_aurc_ends)
)


def e_aurc(outcome: Outcome) -> MetricValue:
    """AURC above that of the best order of the same decisions."""
    return _selective_value(E_AURC, outcome)


def selective_accuracy_formula(coverage: float, sums: Array) -> Array:
    """Share of right decisions among the most confident `coverage` of the samples.

    ceil(coverage n) samples are kept; of a level that is cut, its mean share counts.
    """
    wrong, right = sums
    seen = wrong + right
    seen_before = sums_before(seen)
    kept = np.ceil(coverage * seen[-1] - ROUNDING)
    taken = np.clip(kept - seen_before, 0, seen - seen_before)
    share = (right - sums_before(right)) / np.maximum(seen - seen_before, 1)
    return safe_divide((taken * share).sum(axis=0), kept)


def _selective_accuracy_ends(
    coverage: float,
    index: Array,
    _: int,
    level: float,
    wrong: Array,
    sure: Array,
) -> tuple[float, float]:
    """Return the ends of a share of the samples kept, whose cut is uncertain as well.

    A sample that is kept moves the share towards itself, and moves out another one that
    stands at the cut: of these so many are right as of the samples around it.
    """
    n = len(wrong)
    order = np.argsort(-sure, kind="stable")
    kept = math.ceil(coverage * n - ROUNDING)
    around = max(MIN_AROUND_CUT, round(SHARE_AROUND_CUT * n)) // 2
    at_cut = float((~wrong[order[max(kept - around, 0) : kept + around]]).mean())
    # of a level that is cut, each sample is kept in part
    cut = sure[order[kept - 1]]
    above, level_size = int((sure > cut).sum()), int((sure == cut).sum())
    weight = np.where(sure > cut, 1.0, (sure == cut) * (kept - above) / level_size)
    value = float((weight * ~wrong).sum() / kept)
    influence = weight * (~wrong - at_cut) / kept - (value - at_cut) / n
    variance = influence_variance(index, influence)
    groups = count_groups(index[weight > 0])
    wrong_groups = count_groups(index[(weight > 0) & wrong])
    if groups < kept and wrong_groups:  # the variance is an estimate of these few
        groups = max(wrong_groups, 2)
    return share_like_interval(value, variance, kept, groups, level)


def selective_accuracy(coverage: float) -> MetricDefinition:
    """Return accuracy on the most confident `coverage` of the samples, 0 to 1."""
    # the cut moves from resample to resample: no smooth function of the data
    return replace(
        AURC,
        formula=partial(selective_accuracy_formula, coverage),
        method="percentile",
        interval=IntervalMethod("mid-p", partial(_selective_accuracy_ends, coverage)),
    )


SELECTIVE_ACCURACY_80 = selective_accuracy(0.8)
SELECTIVE_ACCURACY_90 = selective_accuracy(0.9)
SELECTIVE_ACCURACY_95 = selective_accuracy(0.95)


def selective_accuracy_80(outcome: Outcome) -> MetricValue:
    """Share of right decisions among the most confident 80 % of the samples."""
    return _selective_value(SELECTIVE_ACCURACY_80, outcome)


def selective_accuracy_90(outcome: Outcome) -> MetricValue:
    """Share of right decisions among the most confident 90 % of the samples."""
    return _selective_value(SELECTIVE_ACCURACY_90, outcome)


def selective_accuracy_95(outcome: Outcome) -> MetricValue:
    """Share of right decisions among the most confident 95 % of the samples."""
    return _selective_value(SELECTIVE_ACCURACY_95, outcome)


def _selective_value(definition: MetricDefinition, outcome: Outcome) -> MetricValue:
    values, source = confidence(outcome)
    if values is None:
        return MetricValue(None, source, n_scored=0)
    kept = ~np.isnan(values)
    if not kept.any():
        return MetricValue(None, NONE_SCORED, n_scored=0)
    value = definition.value(is_wrong(outcome)[kept], values[kept])
    return MetricValue(value, source, n_scored=int(kept.sum()))


def _harmonic_numbers(size: int) -> Array:
    """Return H(0)..H(size)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, size + 1))])

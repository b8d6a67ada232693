"""Metrics of scores that claim to be P(positive): losses, and gaps within 15 bins.

They are over the samples that have a score. A bounded probability has its best loss at
the end nearest to the truth, its worst at the farthest. A calibrated model has gaps,
too, by chance alone: notes say how large they would be.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtrit

from safebench.statistics.influence import (
    effective_count,
    influence_variance,
    skewed_interval,
)
from safebench.statistics.sufficient_statistics import (
    PROBABILITY_CLIP,
    equal_mass_bins,
    equal_mass_edges,
    equal_width_bins,
    equal_width_edges,
    log_losses,
    loss_sums,
    mean_of_first,
    mean_of_second,
    safe_divide,
    squared_errors,
)

from .bounds import optimistic_scores, pessimistic_scores
from .definition import (
    IntervalMethod,
    MetricDefinition,
    both_classes,
    probability_columns,
    without_interval,
)
from .outcome import MetricValue
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.statistics.influence import Variance
    from safebench.typing import Array

    from .outcome import Outcome

MAX_SIMULATIONS = 400  # sets of labels that tell the mean and 95th percentile
MIN_SIMULATIONS = 50  # where there are many samples, which vary less
MAX_SIMULATED_AT_ONCE = 2_000_000  # labels in memory


def _mean_loss_ends(
    losses: Callable[[Array, Array], Array],
) -> Callable[..., tuple[float, float]]:
    """Return the ends of a mean of losses (n,) of truth and probability.

    The variance is that of the losses found, or the one that they had if labels were
    drawn from the probabilities: large losses are rare, and may be missing by chance.
    """

    def ends(
        index: Array, _: int, level: float, y: Array, p: Array
    ) -> tuple[float, float]:
        loss = losses(y, p)
        mean = float(loss.mean())
        variance = influence_variance(index, (loss - mean) / len(loss))
        expected = _variance_if_calibrated(losses, p) * variance.design_effect
        return skewed_interval(
            mean,
            max(variance.known, expected),
            effective_count(index, loss) if mean > 0 else 0.0,
            level,
        )

    return ends


def _variance_if_calibrated(losses: Callable[[Array, Array], Array], p: Array) -> float:
    """Return the variance of a mean loss if each label was 1 with probability `p`."""
    p = np.clip(p, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    truths = np.ones(len(p), dtype=bool)
    of_positive, of_negative = losses(truths, p), losses(~truths, p)
    means = p * of_positive + (1 - p) * of_negative
    variances = p * (1 - p) * (of_positive - of_negative) ** 2
    return float((variances + (means - means.mean()) ** 2).sum() / len(p) ** 2)


BRIER = MetricDefinition(
    columns=probability_columns,
    statistics=loss_sums,
    formula=mean_of_first,
    interval=IntervalMethod("score", _mean_loss_ends(squared_errors)),
    classes=both_classes,
)


def brier(outcome: Outcome) -> MetricValue:
    """Mean of (P(positive) - truth) squared, 0 to 1."""
    return _mean_loss(outcome, BRIER, "")


NLL = replace(
    BRIER,
    formula=mean_of_second,
    interval=IntervalMethod("score", _mean_loss_ends(log_losses)),
)


def nll(outcome: Outcome) -> MetricValue:
    """Mean of -log P(truth) in nats, probabilities kept 1e-12 away from 0 and 1."""
    if outcome.score is None:
        raise ValueError("a probability metric was asked of an outcome without scores")
    low, high = PROBABILITY_CLIP, 1 - PROBABILITY_CLIP
    with np.errstate(invalid="ignore"):
        clipped = (outcome.score < low) | (outcome.score > high)
    count = int((clipped & outcome.scored).sum())
    return _mean_loss(outcome, NLL, f"{count} probabilities clipped" if count else "")


def ece_formula(sums: Array) -> Array:
    """Mean over samples of their bin's |share of positives - mean probability|."""
    count, p, y = sums
    return safe_divide(np.abs(y - p).sum(axis=0), count.sum(axis=0))


def _ece_ends(
    edges: Callable[[Array], Array],
) -> Callable[..., tuple[float, float]]:
    """Return the ends of a mean gap, below which lies what chance adds to it.

    Chance makes gaps larger, on average: the number itself is likelier above the truth
    than below. The upper end is the number and its error, the lower one the number less
    its error and less the mean of the gaps that chance alone would make.
    """

    def ends(
        index: Array, _: int, level: float, y: Array, p: Array
    ) -> tuple[float, float]:
        bins = _bin_noise(index, y, p, edges(p))
        value = float(np.abs(bins.gaps).sum() / len(y))
        # towards its own side, each sample moves the gap of its bin by this
        moves = np.sign(bins.gaps)[bins.place] * (y - np.clip(p, 0, 1)) - value
        variance = influence_variance(index, moves / len(y))
        error = _half_width(variance, level)
        chance = float(np.sqrt(2 / np.pi * bins.noise).sum() / len(y))
        return max(value - chance - error, 0.0), value + error

    return ends


def _above_chance(
    ends: Callable[..., tuple[float, float] | str | None],
) -> IntervalMethod:
    """Return a method whose lower end leaves out what chance adds.

    Chance adds to both sides of a comparison, so that the ends of both say too much of
    their difference.
    """
    return IntervalMethod("above chance", ends, of_differences=False)


ECE = MetricDefinition(
    columns=probability_columns,
    statistics=equal_width_bins,
    formula=ece_formula,
    method="basic",
    interval=_above_chance(_ece_ends(lambda _: equal_width_edges())),
)


def ece(outcome: Outcome) -> MetricValue:
    """Mean gap |share of positives - mean P| in bins of equal width."""
    return _calibration_error(ECE, outcome, lambda _: equal_width_edges())


ECE_MASS = replace(
    ECE,
    statistics=equal_mass_bins,
    interval=_above_chance(_ece_ends(equal_mass_edges)),
)


def ece_mass(outcome: Outcome) -> MetricValue:
    """Mean gap in bins of about equal numbers of samples; equal scores stay together.

    Quantiles of the scores are the edges (15 bins).
    """
    return _calibration_error(ECE_MASS, outcome, equal_mass_edges)


def mce_formula(sums: Array) -> Array:
    """Largest |share of positives - mean probability| of a bin."""
    count, p, y = sums
    largest: Array = np.fmax.reduce(safe_divide(np.abs(y - p), count), axis=0)
    return largest


MCE = replace(
    ECE,
    formula=mce_formula,
    method="none",
    interval=without_interval("the largest gap may be that of a bin of few samples"),
)


def mce(outcome: Outcome) -> MetricValue:
    """Largest gap of a bin of equal width, however few samples are in it."""
    return _calibration_error(MCE, outcome)


def rmsce_formula(sums: Array) -> Array:
    """Root of the mean over samples of their bin's squared gap."""
    count, p, y = sums
    gaps = np.nan_to_num(safe_divide(y - p, count))
    return np.sqrt(safe_divide((count * gaps**2).sum(axis=0), count.sum(axis=0)))


class _SquaredGap(NamedTuple):
    """Mean squared gap, what chance adds to it on average, and the error of both."""

    value: float
    chance: float
    error: float


def _squared_gap(index: Array, level: float, y: Array, p: Array) -> _SquaredGap:
    """Return the mean over samples of their bin's squared gap; see `_ece_ends`."""
    bins = _bin_noise(index, y, p, equal_width_edges())
    n = len(y)
    counts = np.maximum(bins.counts, 1)
    square = float((bins.gaps**2 / counts).sum() / n)
    gap = (bins.gaps / counts)[bins.place]
    moves = 2 * gap * (y - np.clip(p, 0, 1)) - gap**2 - square
    variance = influence_variance(index, moves / n)
    chance = bins.noise / counts / n
    # beside the first order: squares of noise, whose variance is twice its square
    error = float(
        np.hypot(_half_width(variance, level), 2 * np.sqrt(2 * (chance**2).sum()))
    )
    return _SquaredGap(square, float(chance.sum()), error)


def _rmsce_ends(
    index: Array, _: int, level: float, y: Array, p: Array
) -> tuple[float, float]:
    """Return the ends of a root mean squared gap, from those of its square.

    Chance adds to the square the mean of what it makes of each bin, which the lower end
    leaves out.
    """
    square = _squared_gap(index, level, y, p)
    low = square.value - square.chance - square.error
    return math.sqrt(max(low, 0.0)), math.sqrt(square.value + square.error)


RMSCE = replace(ECE, formula=rmsce_formula, interval=_above_chance(_rmsce_ends))


def rmsce(outcome: Outcome) -> MetricValue:
    """Root of the mean squared gap in bins of equal width."""
    return _calibration_error(RMSCE, outcome)


def rmsce_debiased_formula(sums: Array) -> Array:
    """As `rmsce`, less what chance adds to the squares of each bin; 0 at least.

    Kumar, Liang and Ma 2019: share (1 - share) / (count - 1) is taken off. A bin of
    one sample tells nothing and adds nothing.
    """
    count, p, y = sums
    share = np.nan_to_num(safe_divide(y, count))
    gaps = np.nan_to_num(safe_divide(y - p, count))
    chance = safe_divide(share * (1 - share), count - 1)
    squares = np.nan_to_num(count * (gaps**2 - chance)).sum(axis=0)
    return np.sqrt(safe_divide(np.maximum(squares, 0), count.sum(axis=0)))


def _rmsce_debiased_ends(
    index: Array, _: int, level: float, y: Array, p: Array
) -> tuple[float, float]:
    """Return those of `_rmsce_ends`, where the upper end leaves chance out as well.

    No resample could: copies of a sample in a bin look like agreement.
    """
    square = _squared_gap(index, level, y, p)
    middle = square.value - square.chance
    low, high = (math.sqrt(max(middle + sign * square.error, 0.0)) for sign in (-1, 1))
    # the number itself takes chance from shares, as its authors do, not from groups
    value = RMSCE_DEBIASED.value(y, p)
    assert value is not None
    return min(low, value), max(high, value)


RMSCE_DEBIASED = replace(
    ECE,
    formula=rmsce_debiased_formula,
    interval=_above_chance(_rmsce_debiased_ends),
)


def rmsce_debiased(outcome: Outcome) -> MetricValue:
    """As `rmsce`, less what chance adds to it; 0 if chance explains it all."""
    return _calibration_error(RMSCE_DEBIASED, outcome)


class _BinNoise(NamedTuple):
    """Of each bin: samples, sum of truth - P, and the variance of that sum (bins,).

    `place` (n,) is the bin of each sample.
    """

    place: Array
    counts: Array
    gaps: Array
    noise: Array


def _bin_noise(index: Array, y: Array, p: Array, edges: Array) -> _BinNoise:
    """Return the gaps of bins and what chance adds, groups drawn as a whole."""
    p = np.clip(p, 0, 1)
    place, size = np.searchsorted(edges[1:-1], p), len(edges) - 1
    counts = np.bincount(place, minlength=size)
    gaps = np.bincount(place, y - p, size)
    within = (y - p) - (gaps / np.maximum(counts, 1))[place]
    cell, code = np.unique(place + size * index.astype(np.int64), return_inverse=True)
    sums = np.bincount(code.reshape(-1), within)
    groups = np.bincount(cell % size, minlength=size)
    correction = groups / np.maximum(groups - 1, 1)
    observed = correction * np.bincount(cell % size, sums**2, size)
    # a bin of few samples may by chance show no spread at all
    expected = np.bincount(place, p * (1 - p), size)
    return _BinNoise(place, counts, gaps, np.maximum(observed, expected))


def _half_width(variance: Variance, level: float) -> float:
    t = float(stdtrit(variance.n_groups - 1, (1 + level) / 2))
    return t * math.sqrt(variance.known)


def ece_if_calibrated(y: Array, p: Array, edges: Array) -> tuple[float, float]:
    """Return mean and 95th percentile of the ECE if labels were drawn from `p` (n,).

    Labels are drawn one by one: groups that share a label would have larger errors.
    """
    p = np.clip(p, 0, 1)
    place = np.searchsorted(edges[1:-1], p)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    at_once = MAX_SIMULATED_AT_ONCE // len(y)
    sets = int(np.clip(at_once, MIN_SIMULATIONS, MAX_SIMULATIONS))
    rng, step = np.random.default_rng(0), max(1, at_once)
    errors = np.empty(sets)
    for first in range(0, sets, step):
        labels = rng.random((min(step, sets - first), len(p))) < p[order]
        gaps = np.add.reduceat(labels - p[order], starts, axis=1)
        errors[first : first + step] = np.abs(gaps).sum(axis=1) / len(p)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def _calibration_error(
    definition: MetricDefinition,
    outcome: Outcome,
    edges: Callable[[Array], Array] | None = None,
) -> MetricValue:
    """Return the metric; with `edges` of bins, and what chance alone would give."""
    y, p = _scored_samples(outcome)
    if not len(y):
        return MetricValue(None, NONE_SCORED, n_scored=0)
    note = ""
    if edges is not None:
        usual, high = ece_if_calibrated(y, p, edges(p))
        note = (
            f"a calibrated model would have {usual:.3f} by chance, "
            f"{high:.3f} in one case of 20"
        )
    return MetricValue(definition.value(y, p), note, n_scored=len(y))


def _mean_loss(
    outcome: Outcome, definition: MetricDefinition, note: str
) -> MetricValue:
    y, p = _scored_samples(outcome)
    if not len(y):
        return MetricValue(None, NONE_SCORED, n_scored=0)
    value = definition.value(y, p)
    if outcome.lower is None or outcome.upper is None:
        return MetricValue(value, note, n_scored=len(y))
    kept = _is_scored(outcome)
    return MetricValue(
        value,
        note,
        n_scored=len(y),
        bound_low=definition.value(y, optimistic_scores(outcome)[kept]),
        bound_high=definition.value(y, pessimistic_scores(outcome)[kept]),
    )


def _is_scored(outcome: Outcome) -> Array:
    if outcome.score is None:
        raise ValueError("a probability metric was asked of an outcome without scores")
    return outcome.scored & ~np.isnan(outcome.score)


def _scored_samples(outcome: Outcome) -> tuple[Array, Array]:
    """Return truth and probability of the samples that have one."""
    kept = _is_scored(outcome)
    assert outcome.score is not None
    return outcome.y[kept], outcome.score[kept]

"""Bounded scores: the two extreme readings, and how wide the bounds are.

A metric that can only gain when a positive scores higher or a negative lower takes its
extremes at two corners of the box of bounds, and nowhere else; taking all lower or all
upper bounds together gives no interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .outcome import MetricValue

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import Outcome

NO_BOUNDS = "no sample has bounds"


def pessimistic_scores(outcome: Outcome) -> Array:
    """Return scores (n,): positives at their lower, negatives at their upper bound."""
    lower, upper = bound_ends(outcome)
    return np.where(outcome.y, lower, upper)


def optimistic_scores(outcome: Outcome) -> Array:
    """Return scores (n,): positives at their upper, negatives at their lower bound."""
    lower, upper = bound_ends(outcome)
    return np.where(outcome.y, upper, lower)


def bound_ends(outcome: Outcome) -> tuple[Array, Array]:
    """Return lower and upper (n,), a sample without bounds standing at its score."""
    if outcome.lower is None or outcome.upper is None or outcome.score is None:
        raise ValueError("bounds were asked of an outcome without bounds")
    lower = np.where(np.isnan(outcome.lower), outcome.score, outcome.lower)
    upper = np.where(np.isnan(outcome.upper), outcome.score, outcome.upper)
    return lower, upper


def auprc_bounds(y: Array, lower: Array, upper: Array) -> tuple[float, float]:
    """Return what average precision is at least and at most within bounds (n,).

    It has no corners: positives that tie share the precision of the last of them, so
    that moving one of them up may lower the rest. Each positive is therefore taken at
    the worst and the best place between its own bounds, whatever the others do there.
    Both ends meet where there is nothing between the bounds.
    """
    levels = np.unique(np.concatenate([lower, upper]))
    sure, possible = (
        _counts_from(levels, ends, kind) for ends, kind in ((lower, y), (upper, y))
    )
    against, against_at_most = (
        _counts_from(levels, ends, kind) for ends, kind in ((lower, ~y), (upper, ~y))
    )
    first, last = np.searchsorted(levels, lower[y]), np.searchsorted(levels, upper[y])
    best = possible / np.maximum(possible + against, 1)
    # the positive itself is not among the sure ones above its lower end
    worst = (sure + 1) / (sure + 1 + against_at_most)
    at_lower = (sure / np.maximum(sure + against_at_most, 1))[first]
    least = np.where(
        last > first,
        np.minimum(at_lower, _reduce(np.minimum, worst, first + 1, last)),
        at_lower,
    )
    most = _reduce(np.maximum, best, first, last)
    return float(least.mean()), float(most.mean())


def _counts_from(levels: Array, ends: Array, kind: Array) -> Array:
    """Count the samples of a kind whose end is at a level or above it."""
    counts = np.bincount(np.searchsorted(levels, ends[kind]), minlength=len(levels))
    from_level: Array = counts[::-1].cumsum()[::-1]
    return from_level


def _reduce(function: np.ufunc, values: Array, first: Array, last: Array) -> Array:
    """Return the reduction of values[first..last], both ends included."""
    # `reduceat` takes no end beyond the array, which the last one plus 1 may be.
    padded = np.append(values, values[-1])
    first = np.minimum(first, len(values) - 1)
    pairs = np.stack([first, np.maximum(last, first) + 1], axis=1).reshape(-1)
    reduced: Array = function.reduceat(padded, pairs)[::2]
    return reduced


def gap_mean(outcome: Outcome) -> MetricValue:
    """Mean of upper - lower of the score, over the samples with bounds."""
    return _mean(_score_widths(outcome))


def gap_p95(outcome: Outcome) -> MetricValue:
    """95th percentile (linear between samples) of that width."""
    return _percentile(_score_widths(outcome))


def gap_mean_categories(outcome: Outcome) -> MetricValue:
    """Mean over samples of the width of their widest category bounds.

    The widest: most categories are near 0, and would hide the others.
    """
    return _mean(_category_widths(outcome))


def gap_p95_categories(outcome: Outcome) -> MetricValue:
    """95th percentile of that width."""
    return _percentile(_category_widths(outcome))


def gap_mean_uncertainty(outcome: Outcome) -> MetricValue:
    """Mean of upper - lower of the uncertainty, in its own units."""
    return _mean(_uncertainty_widths(outcome))


def gap_p95_uncertainty(outcome: Outcome) -> MetricValue:
    """95th percentile of that width."""
    return _percentile(_uncertainty_widths(outcome))


def _mean(widths: Array) -> MetricValue:
    if not widths.size:
        return MetricValue(None, NO_BOUNDS, n_scored=0)
    return MetricValue(float(widths.mean()), n_scored=widths.size)


def _percentile(widths: Array) -> MetricValue:
    if not widths.size:
        return MetricValue(None, NO_BOUNDS, n_scored=0)
    return MetricValue(float(np.percentile(widths, 95)), n_scored=widths.size)


def _score_widths(outcome: Outcome) -> Array:
    return _widths(outcome, outcome.lower, outcome.upper)


def _uncertainty_widths(outcome: Outcome) -> Array:
    return _widths(outcome, outcome.uncertainty_lower, outcome.uncertainty_upper)


def _category_widths(outcome: Outcome) -> Array:
    lower, upper = outcome.category_lower, outcome.category_upper
    if lower is None or upper is None:
        raise ValueError("a gap was asked of an outcome without category bounds")
    # of a sample without any bounds there is no widest one
    widest = np.fmax.reduce(upper - lower, axis=1, initial=-np.inf)
    return _widths(outcome, 0.0, np.where(np.isinf(widest), np.nan, widest))


def _widths(outcome: Outcome, lower: Any, upper: Any) -> Array:
    """Return upper - lower of the samples that are judged and have both."""
    if lower is None or upper is None:
        raise ValueError("a gap was asked of an outcome without bounds")
    widths: Array = (upper - lower)[outcome.scored]
    bounded: Array = widths[~np.isnan(widths)]
    return bounded

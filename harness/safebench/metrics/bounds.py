"""Bounded scores: the two extreme readings, and how wide the bounds are.

A metric that can only gain when a positive scores higher or a negative lower takes its
extremes at two corners of the box of bounds, and nowhere else; taking all lower or all
upper bounds together gives no interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .outcome import MetricValue

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import Outcome


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


def gap_mean(outcome: Outcome) -> MetricValue:
    """Mean of upper - lower over the samples with bounds."""
    widths = _bound_widths(outcome)
    if not widths.size:
        return MetricValue(None, "no sample has bounds", n_scored=0)
    return MetricValue(float(widths.mean()), n_scored=widths.size)


def gap_p95(outcome: Outcome) -> MetricValue:
    """95th percentile (linear between samples) of upper - lower."""
    widths = _bound_widths(outcome)
    if not widths.size:
        return MetricValue(None, "no sample has bounds", n_scored=0)
    return MetricValue(float(np.percentile(widths, 95)), n_scored=widths.size)


def _bound_widths(outcome: Outcome) -> Array:
    if outcome.lower is None or outcome.upper is None:
        raise ValueError("a gap was asked of an outcome without bounds")
    widths: Array = (outcome.upper - outcome.lower)[outcome.scored]
    bounded: Array = widths[~np.isnan(widths)]
    return bounded

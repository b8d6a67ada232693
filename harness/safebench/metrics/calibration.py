"""Metrics of scores that claim to be P(positive): losses, and gaps within 15 bins.

They are over the samples that have a score. A bounded probability has its best loss at
the end nearest to the truth, its worst at the farthest. A calibrated model has gaps,
too, by chance alone: notes say how large they would be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from safebench.statistics.sufficient_statistics import (
    PROBABILITY_CLIP,
    equal_mass_bins,
    equal_mass_edges,
    equal_width_bins,
    equal_width_edges,
    loss_sums,
    mean_of_first,
    mean_of_second,
    safe_divide,
)

from .bounds import optimistic_scores, pessimistic_scores
from .definition import MetricDefinition, probability_columns
from .outcome import MetricValue
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.typing import Array

    from .outcome import Outcome

MAX_SIMULATIONS = 400  # sets of labels that tell the mean and 95th percentile
MIN_SIMULATIONS = 50  # where there are many samples, which vary less
MAX_SIMULATED_AT_ONCE = 2_000_000  # labels in memory

BRIER = MetricDefinition(
    columns=probability_columns, statistics=loss_sums, formula=mean_of_first
)


def brier(outcome: Outcome) -> MetricValue:
    """Mean of (P(positive) - truth) squared, 0 to 1."""
    return _mean_loss(outcome, _brier, "")


NLL = replace(BRIER, formula=mean_of_second)


def nll(outcome: Outcome) -> MetricValue:
    """Mean of -log P(truth) in nats, probabilities kept 1e-12 away from 0 and 1."""
    if outcome.score is None:
        raise ValueError("a probability metric was asked of an outcome without scores")
    low, high = PROBABILITY_CLIP, 1 - PROBABILITY_CLIP
    with np.errstate(invalid="ignore"):
        clipped = (outcome.score < low) | (outcome.score > high)
    count = int((clipped & outcome.scored).sum())
    return _mean_loss(outcome, _nll, f"{count} probabilities clipped" if count else "")


def ece_formula(sums: Array) -> Array:
    """Mean over samples of their bin's |share of positives - mean probability|."""
    count, p, y = sums
    return safe_divide(np.abs(y - p).sum(axis=0), count.sum(axis=0))


# "basic": resamples add as much chance to the gaps again as the data have
ECE = MetricDefinition(
    columns=probability_columns,
    statistics=equal_width_bins,
    formula=ece_formula,
    method="basic",
)


def ece(outcome: Outcome) -> MetricValue:
    """Mean gap |share of positives - mean P| in bins of equal width."""
    return _calibration_error(ECE, outcome, lambda _: equal_width_edges())


ECE_MASS = replace(ECE, statistics=equal_mass_bins)


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


# a maximum over bins, of which some hold few samples: no method covers it
MCE = replace(ECE, formula=mce_formula, method="none", in_rows=False)


def mce(outcome: Outcome) -> MetricValue:
    """Largest gap of a bin of equal width, however few samples are in it."""
    return _calibration_error(MCE, outcome)


def rmsce_formula(sums: Array) -> Array:
    """Root of the mean over samples of their bin's squared gap."""
    count, p, y = sums
    gaps = np.nan_to_num(safe_divide(y - p, count))
    return np.sqrt(safe_divide((count * gaps**2).sum(axis=0), count.sum(axis=0)))


RMSCE = replace(ECE, formula=rmsce_formula)


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


# copies of a sample in a bin look like agreement, so that resamples take off too little
RMSCE_DEBIASED = replace(MCE, formula=rmsce_debiased_formula)


def rmsce_debiased(outcome: Outcome) -> MetricValue:
    """As `rmsce`, less what chance adds to it; 0 if chance explains it all."""
    return _calibration_error(RMSCE_DEBIASED, outcome)


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
    outcome: Outcome, loss: Callable[[Array, Array], float], note: str
) -> MetricValue:
    y, p = _scored_samples(outcome)
    if not len(y):
        return MetricValue(None, NONE_SCORED, n_scored=0)
    value = loss(y, p)
    if outcome.lower is None or outcome.upper is None:
        return MetricValue(value, note, n_scored=len(y))
    kept = _is_scored(outcome)
    return MetricValue(
        value,
        note,
        n_scored=len(y),
        bound_low=loss(y, optimistic_scores(outcome)[kept]),
        bound_high=loss(y, pessimistic_scores(outcome)[kept]),
    )


# scikit-learn adds in another order than `loss_sums`, and stored values have its bits


def _brier(y: Array, p: Array) -> float:
    return float(sk.brier_score_loss(y.astype(int), p.clip(0, 1), pos_label=1))


def _nll(y: Array, p: Array) -> float:
    clipped = p.clip(PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return float(sk.log_loss(y, clipped, labels=[False, True]))


def _is_scored(outcome: Outcome) -> Array:
    if outcome.score is None:
        raise ValueError("a probability metric was asked of an outcome without scores")
    return outcome.scored & ~np.isnan(outcome.score)


def _scored_samples(outcome: Outcome) -> tuple[Array, Array]:
    """Return truth and probability of the samples that have one."""
    kept = _is_scored(outcome)
    assert outcome.score is not None
    return outcome.y[kept], outcome.score[kept]

"""How far P(positive) is from how often it is right: gaps within 15 bins.

A calibrated model has gaps, too, by chance alone: notes say how large they would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics import metric_value, tables

from .outcome import Value
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from .outcome import Array, Outcome

SIMULATED = 400  # sets of labels, less where there are many samples
FEWEST = 50
ENTRIES = 2_000_000  # of sets times samples; at most so many are in memory at once


def ece(outcome: Outcome) -> Value:
    """Mean gap |share of positives - mean P| in bins of equal width."""
    return _value("ece", outcome, tables.equal_width())


def ece_mass(outcome: Outcome) -> Value:
    """Mean gap in bins of about equal numbers of samples; equal scores stay together.

    Quantiles of the scores are the edges (15 bins).
    """
    y, p = _scored(outcome)
    return _value("ece_mass", outcome, tables.equal_mass(p) if len(y) else None)


def mce(outcome: Outcome) -> Value:
    """Largest gap of a bin of equal width, however few samples are in it."""
    return _value("mce", outcome)


def rmsce(outcome: Outcome) -> Value:
    """Root of the mean squared gap in bins of equal width."""
    return _value("rmsce", outcome)


def rmsce_debiased(outcome: Outcome) -> Value:
    """As `rmsce`, less what chance adds to it; 0 if chance explains it all."""
    return _value("rmsce_debiased", outcome)


def chance(y: Array, p: Array, edges: Array) -> tuple[float, float]:
    """Return mean and 95th percentile of the ECE if labels were drawn from `p` (n,).

    Labels are drawn one by one: groups that share a label would have larger errors.
    """
    p = np.clip(p, 0, 1)
    place = np.searchsorted(edges[1:-1], p)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    sets = int(np.clip(ENTRIES // len(y), FEWEST, SIMULATED))
    rng, step = np.random.default_rng(0), max(1, ENTRIES // len(y))
    errors = np.empty(sets)
    for first in range(0, sets, step):
        drawn = rng.random((min(step, sets - first), len(p))) < p[order]
        gaps = np.add.reduceat(drawn - p[order], starts, axis=1)
        errors[first : first + step] = np.abs(gaps).sum(axis=1) / len(p)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def _value(name: str, outcome: Outcome, edges: Array | None = None) -> Value:
    y, p = _scored(outcome)
    if not len(y):
        return Value(None, NONE_SCORED, n_scored=0)
    note = ""
    if edges is not None:
        usual, high = chance(y, p, edges)
        note = (
            f"a calibrated model would have {usual:.3f} by chance, "
            f"{high:.3f} in one case of 20"
        )
    return Value(metric_value(name, y, p), note, n_scored=len(y))


def _scored(outcome: Outcome) -> tuple[Array, Array]:
    """Return truth and probability of the samples that have one."""
    if outcome.score is None:
        raise ValueError("a probability metric was asked of an outcome without scores")
    kept = outcome.scored & ~np.isnan(outcome.score)
    return outcome.y[kept], outcome.score[kept]

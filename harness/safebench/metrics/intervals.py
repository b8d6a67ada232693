"""Sampling intervals of an outcome's metrics, by groups, from draws that all share."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics import (
    affordable,
    cell_intervals,
    mean_of,
    metric_intervals,
    shared_draws,
)

from .pairs import ranked, signed
from .selective import confidence, wrong

if TYPE_CHECKING:
    from safebench.statistics import Draws, Interval

    from .outcome import Array, Outcome

SCORE = ("auroc", "auprc", "tpr_at_fpr_0.01", "fpr_at_tpr_0.95")
PROBABILITY = ("brier", "nll", "ece", "ece_mass", "rmsce")
DECISION = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "mcc",
    "fpr",
    "fnr",
)


def intervals(outcome: Outcome) -> dict[str, Interval]:
    """Return the interval of each metric that has one, by name.

    Strategies on the same samples are measured on the same draws.
    """
    if not outcome.n:
        return {}
    shared = _draws(tuple(outcome.groups), np.packbits(outcome.y).tobytes(), outcome.n)
    found: dict[str, Interval] = {}
    if outcome.score is not None:
        names = SCORE + (PROBABILITY if outcome.probability else ())
        score = np.where(outcome.failed, np.nan, outcome.score)
        found |= metric_intervals(names, outcome.y, score, None, shared)
    if outcome.decision is not None:
        found |= metric_intervals(DECISION, outcome.y, None, outcome.decision, shared)
        found |= _of_confidence(outcome, shared)
    return found | _of_categories(outcome, shared) | _of_pairs(outcome, shared)


def _of_confidence(outcome: Outcome, shared: Draws) -> dict[str, Interval]:
    errors, found = wrong(outcome), {}
    if outcome.uncertainty is not None:
        unsure = np.where(outcome.failed, np.nan, outcome.uncertainty)
        area = metric_intervals(["auroc"], errors, unsure, None, shared)
        found["error_auroc"] = area["auroc"]
    sure, _ = confidence(outcome)
    if sure is not None:
        found |= metric_intervals(["aurc"], errors, sure, None, shared)
    return found


def _of_categories(outcome: Outcome, shared: Draws) -> dict[str, Interval]:
    gold, mask, named = outcome.gold, outcome.mask, outcome.predicted
    if gold is None or mask is None or named is None:
        return {}
    columns = (gold.astype(bool), mask.astype(bool), named.astype(bool))
    known = columns[1].any(axis=1)
    right = ((columns[0] == columns[2]) | ~columns[1]).all(axis=1) & ~outcome.failed
    exact = np.where(known, right, np.nan)
    found = cell_intervals(*columns, shared)
    return found | {"subset_accuracy": mean_of(exact, shared)} if known.any() else found


def _of_pairs(outcome: Outcome, shared: Draws) -> dict[str, Interval]:
    """Give each pair's number to its less safe answer, whose group it is drawn with."""
    if outcome.pairs is None:
        return {}
    found = {}
    if outcome.score is not None:
        won, pairs = ranked(outcome)
        found["ranking_accuracy"] = _mean(won, pairs[:, 1], shared)
    if outcome.decision is not None:
        found["sign_accuracy"] = _mean(*signed(outcome), shared)
    return found


def _mean(numbers: Array, rows: Array, shared: Draws) -> Interval:
    column = np.full(len(shared.index), np.nan)
    column[rows] = numbers
    return mean_of(column, shared)


@lru_cache(maxsize=2)
def _draws(groups: tuple[str, ...], packed: bytes, size: int) -> Draws:
    """Return the draws of a dataset's test part, kept for the next strategy."""
    y = np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)
    return shared_draws(y, groups, draws=affordable(len(set(groups))))

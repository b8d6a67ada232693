"""Metrics of yes/no decisions; a failed sample is a wrong decision.

Where the score is bounded, a decision may still flip: positives at their lower and
negatives at their upper bounds are the worst corner, the opposite is the best one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from .corners import best, worst
from .outcome import Value, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outcome import Array, Outcome

    Number = Callable[[Array, Array], float | None]

NO_SAMPLES = "no samples"
NO_POSITIVES = "no positive samples"
NO_NEGATIVES = "no negative samples"
NOTHING_FLAGGED = "nothing was flagged"
ONE_KIND = "one class only, in the labels or in the decisions"


def accuracy(outcome: Outcome) -> Value:
    """Share of right decisions."""
    if not outcome.n:
        return Value(None, NO_SAMPLES)
    return _bounded(outcome, _accuracy)


def precision(outcome: Outcome) -> Value:
    """Share of positives among the flagged; undefined if nothing was flagged."""
    flagged = _decisions(outcome)
    if not flagged.any():
        return Value(None, NOTHING_FLAGGED)
    return Value(float(sk.precision_score(outcome.y, flagged)))


def recall(outcome: Outcome) -> Value:
    """Share of flagged among the positives (true positive rate)."""
    if not outcome.y.any():
        return Value(None, NO_POSITIVES)
    return _bounded(outcome, _recall)


def f1(outcome: Outcome) -> Value:
    """2 TP / (2 TP + FP + FN); undefined without positives, as recall is."""
    if not outcome.y.any():
        return Value(None, NO_POSITIVES)
    return _bounded(outcome, _f1)


def balanced_accuracy(outcome: Outcome) -> Value:
    """Mean of the shares of right decisions among positives and among negatives."""
    if not outcome.y.any() or outcome.y.all():
        return Value(None, NO_NEGATIVES if outcome.y.any() else NO_POSITIVES)
    return _bounded(outcome, _balanced_accuracy)


def mcc(outcome: Outcome) -> Value:
    """Matthews correlation; undefined if labels or decisions are all the same."""
    flagged = _decisions(outcome)
    if np.unique(flagged).size < 2 or np.unique(outcome.y).size < 2:  # noqa: PLR2004
        return Value(None, ONE_KIND if outcome.n else NO_SAMPLES)
    return Value(float(sk.matthews_corrcoef(outcome.y, flagged)))


def fpr(outcome: Outcome) -> Value:
    """Share of flagged among the negatives."""
    if outcome.y.all():
        return Value(None, NO_NEGATIVES)
    return _bounded(outcome, _fpr)


def fnr(outcome: Outcome) -> Value:
    """Share of passed among the positives."""
    if not outcome.y.any():
        return Value(None, NO_POSITIVES)
    return _bounded(outcome, lambda y, flagged: 1.0 - _recall(y, flagged))


def tp(outcome: Outcome) -> Value:
    """Count the positives that are flagged."""
    return Value(_confusion(outcome.y, _decisions(outcome))[1, 1])


def fp(outcome: Outcome) -> Value:
    """Count the negatives that are flagged."""
    return Value(_confusion(outcome.y, _decisions(outcome))[0, 1])


def tn(outcome: Outcome) -> Value:
    """Count the negatives that are passed."""
    return Value(_confusion(outcome.y, _decisions(outcome))[0, 0])


def fn(outcome: Outcome) -> Value:
    """Count the positives that are passed."""
    return Value(_confusion(outcome.y, _decisions(outcome))[1, 0])


def _accuracy(y: Array, flagged: Array) -> float:
    return float(sk.accuracy_score(y, flagged))


def _balanced_accuracy(y: Array, flagged: Array) -> float:
    return float(sk.balanced_accuracy_score(y, flagged))


def _recall(y: Array, flagged: Array) -> float:
    return float(sk.recall_score(y, flagged))


def _f1(y: Array, flagged: Array) -> float:
    return float(sk.f1_score(y, flagged))


def _fpr(y: Array, flagged: Array) -> float:
    counts = _confusion(y, flagged)
    return float(counts[0, 1] / counts[0].sum())


def _confusion(y: Array, flagged: Array) -> Array:
    """Return counts, (2, 2) float: rows are the truth, columns the decision."""
    if not len(y):
        return np.zeros((2, 2))
    counts: Array = sk.confusion_matrix(y, flagged, labels=[False, True])
    return counts.astype(float)


def _decisions(outcome: Outcome) -> Array:
    if outcome.decision is None:
        raise ValueError("a decision metric was asked of an outcome without decisions")
    return outcome.decision.astype(bool)


def _bounded(outcome: Outcome, number: Callable[[Array, Array], float]) -> Value:
    """Return the metric with its values at the two corners, in ascending order."""
    value = number(outcome.y, _decisions(outcome))
    if outcome.threshold is None or outcome.lower is None or outcome.upper is None:
        return Value(value)
    low, high = sorted(
        number(outcome.y, decide(outcome.y, outcome.failed, score, outcome.threshold))
        for score in (worst(outcome), best(outcome))
    )
    return Value(value, bound_low=low, bound_high=high)

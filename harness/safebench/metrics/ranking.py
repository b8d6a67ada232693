"""Metrics of the order of scores, over the samples that have one.

Infinite scores are ranks like any other (a cost may be infinite).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from .corners import best, worst
from .outcome import Value

if TYPE_CHECKING:
    from .outcome import Array, Outcome

ONE_CLASS = "one class only among the scored samples"
NONE_SCORED = "no sample has a score"
TWO_VALUED = "AUROC of a two-valued score is balanced accuracy"


def auroc(outcome: Outcome) -> Value:
    """P(score of a positive > that of a negative), ties counted as half."""
    kept, score, missing = _scored(outcome)
    if missing:
        return missing
    y = outcome.y[kept]
    note = TWO_VALUED if np.unique(score).size == 2 < len(score) else ""  # noqa: PLR2004
    value = _area(y, score)
    if outcome.lower is None or outcome.upper is None:
        return Value(value, note, n_scored=len(score))
    return Value(
        value,
        note,
        n_scored=len(score),
        bound_low=_area(y, worst(outcome)[kept]),
        bound_high=_area(y, best(outcome)[kept]),
    )


def auprc(outcome: Outcome) -> Value:
    """Average precision: the sum of precision times the step in recall."""
    kept, score, missing = _scored(outcome)
    if missing:
        return missing
    value = float(sk.average_precision_score(outcome.y[kept], _ranks(score)))
    return Value(value, n_scored=len(score))


def error_auroc(outcome: Outcome) -> Value:
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
        return Value(None, why if count else NONE_SCORED, n_scored=count)
    return Value(_area(wrong, outcome.uncertainty[kept]), n_scored=count)


def _scored(outcome: Outcome) -> tuple[Array, Array, Value | None]:
    """Return which samples have a score, these scores, or why there is no metric."""
    if outcome.score is None:
        raise ValueError("a score metric was asked of an outcome without scores")
    kept = outcome.scored & ~np.isnan(outcome.score)
    count = int(kept.sum())
    missing = None
    if not count:
        missing = Value(None, NONE_SCORED, n_scored=0)
    elif np.unique(outcome.y[kept]).size == 1:
        missing = Value(None, ONE_CLASS, n_scored=count)
    return kept, outcome.score[kept], missing


def _area(y: Array, score: Array) -> float:
    return float(sk.roc_auc_score(y, _ranks(score)))


def _ranks(score: Array) -> Array:
    """Return the dense ranks: same order and ties, and finite."""
    return np.unique(score, return_inverse=True)[1]

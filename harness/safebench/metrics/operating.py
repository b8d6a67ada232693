"""Recall and false alarms at the point of the ROC curve that a task allows.

No interpolation: a threshold either keeps within the limit or it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics import metric_value

from .corners import best, worst
from .outcome import Value
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from .outcome import Outcome

NEGATIVES = 100  # with fewer, one false alarm alone is more than 1 %
POSITIVES = 20  # with fewer, one miss alone is more than 5 %


def tpr_at_fpr(outcome: Outcome) -> Value:
    """Largest recall at a threshold that flags at most 1 % of the negatives."""
    return _value("tpr_at_fpr_0.01", outcome)


def fpr_at_tpr(outcome: Outcome) -> Value:
    """Smallest share of negatives flagged where at least 95 % of the positives are."""
    return _value("fpr_at_tpr_0.95", outcome)


def _value(name: str, outcome: Outcome) -> Value:
    if outcome.score is None:
        raise ValueError("a score metric was asked of an outcome without scores")
    kept = outcome.scored & ~np.isnan(outcome.score)
    y, count = outcome.y[kept], int(kept.sum())
    if why := _too_few(name, int(y.sum()), int((~y).sum())):
        return Value(None, why if count else NONE_SCORED, n_scored=count)
    value = metric_value(name, y, outcome.score[kept])
    if outcome.lower is None or outcome.upper is None:
        return Value(value, n_scored=count)
    ends = [metric_value(name, y, end(outcome)[kept]) for end in (worst, best)]
    low, high = sorted(end for end in ends if end is not None)
    return Value(value, n_scored=count, bound_low=low, bound_high=high)


def _too_few(name: str, positives: int, negatives: int) -> str:
    """Say which class the metric lacks, if it does."""
    wants = {"tpr_at_fpr_0.01": (1, NEGATIVES), "fpr_at_tpr_0.95": (POSITIVES, 1)}
    least_positives, least_negatives = wants[name]
    if negatives < least_negatives:
        return f"{negatives} negatives, too few: it takes {least_negatives}"
    if positives < least_positives:
        return f"{positives} positives, too few: it takes {least_positives}"
    return ""

"""What it is worth to leave the least sure decisions to somebody else.

Confidence is minus the strategy's uncertainty, or, where it has none, how far its score
lies from the threshold. Equal confidence counts as every order of it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics import metric_value

from .outcome import Value
from .ranking import NONE_SCORED

if TYPE_CHECKING:
    from .outcome import Array, Outcome

BY_UNCERTAINTY = "confidence: minus the uncertainty"
BY_DISTANCE = "confidence: distance of the score from the threshold"
NO_CONFIDENCE = "the strategy gives neither an uncertainty nor a score with a threshold"


def aurc(outcome: Outcome) -> Value:
    """Mean error over all shares of samples kept, the most confident first."""
    return _value("aurc", outcome)


def e_aurc(outcome: Outcome) -> Value:
    """AURC above that of the best order of the same decisions."""
    return _value("e_aurc", outcome)


def selective_accuracy_80(outcome: Outcome) -> Value:
    """Share of right decisions among the most confident 80 % of the samples."""
    return _value("selective_accuracy_80", outcome)


def selective_accuracy_90(outcome: Outcome) -> Value:
    """Share of right decisions among the most confident 90 % of the samples."""
    return _value("selective_accuracy_90", outcome)


def selective_accuracy_95(outcome: Outcome) -> Value:
    """Share of right decisions among the most confident 95 % of the samples."""
    return _value("selective_accuracy_95", outcome)


def confidence(outcome: Outcome) -> tuple[Array | None, str]:
    """Return the confidence (n,), NaN where there is none, and what it is."""
    if outcome.uncertainty is not None:
        found, what = -outcome.uncertainty, BY_UNCERTAINTY
    elif outcome.score is not None and outcome.threshold is not None:
        found, what = np.abs(outcome.score - outcome.threshold), BY_DISTANCE
    else:
        return None, NO_CONFIDENCE
    return np.where(outcome.failed, np.nan, found), what


def wrong(outcome: Outcome) -> Array:
    """Return which decisions are wrong, (n,) bool."""
    if outcome.decision is None:
        raise ValueError("a decision metric was asked of an outcome without decisions")
    errors: Array = outcome.decision.astype(bool) != outcome.y
    return errors


def _value(name: str, outcome: Outcome) -> Value:
    sure, what = confidence(outcome)
    if sure is None:
        return Value(None, what, n_scored=0)
    kept = ~np.isnan(sure)
    if not kept.any():
        return Value(None, NONE_SCORED, n_scored=0)
    value = metric_value(name, wrong(outcome)[kept], sure[kept])
    return Value(value, what, n_scored=int(kept.sum()))

"""Metrics of yes/no decisions; a failed sample is a wrong decision.

Where the score is bounded, a decision may still flip: positives at their lower and
negatives at their upper bounds are the worst corner, the opposite is the best one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics.interval import clustered_share, function_of_shares
from safebench.statistics.sufficient_statistics import confusion_counts, safe_divide

from .bounds import optimistic_scores, pessimistic_scores
from .definition import (
    IntervalMethod,
    MetricDefinition,
    both_classes,
    decision_columns,
)
from .outcome import MetricValue, apply_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.statistics.interval import Share
    from safebench.typing import Array

    from .outcome import Outcome

NO_SAMPLES = "no samples"
NO_POSITIVES = "no positive samples"
NO_NEGATIVES = "no negative samples"
NOTHING_FLAGGED = "nothing was flagged"
ONE_CLASS = "one class only, in the labels or in the decisions"

# kinds of sums, as `confusion_counts` orders them
TP, FP, TN, FN = range(4)


def _of_decisions(
    formula: Callable[[Array], Array],
    interval: Callable[..., tuple[float, float] | None],
    *,
    classes: Callable[..., dict[str, Array]] | None = None,
    denominator: tuple[int, ...] = (),
    gains: Callable[[Array, Array], Array] | None = None,
    among: Callable[[Array], Array] | None = None,
) -> MetricDefinition:
    return MetricDefinition(
        columns=decision_columns,
        statistics=confusion_counts,
        formula=formula,
        interval=IntervalMethod("mid-p", interval),
        classes=classes,
        denominator=denominator,
        gains=gains,
        among=among,
    )


def _share(
    index: Array, n_groups: int, level: float, hits: Array, among: Array
) -> Share | None:
    """Return the share of `hits` (n,) bool `among` some samples; None without any."""
    if not among.any():
        return None
    return clustered_share(index[among], hits[among].astype(float), n_groups, level)


def _ends_of_share(
    hits: Callable[[Array, Array], Array], among: Callable[[Array, Array], Array]
) -> Callable[..., tuple[float, float] | None]:
    """Return the ends of a share, from functions of truth and decision."""

    def ends(
        index: Array, n_groups: int, level: float, y: Array, x: Array
    ) -> tuple[float, float] | None:
        flagged = x.astype(bool)
        share = _share(index, n_groups, level, hits(y, flagged), among(y, flagged))
        return None if share is None else (share.low, share.high)

    return ends


def positives_alone(y: Array, *_: Array) -> dict[str, Array]:
    """Return the positives."""
    return {"positives": y}


def negatives_alone(y: Array, *_: Array) -> dict[str, Array]:
    """Return the negatives."""
    return {"negatives": ~y}


def accuracy_formula(sums: Array) -> Array:
    """(TP + TN) / n."""
    tp, fp, tn, fn = sums[:, 0]
    return safe_divide(tp + tn, tp + fp + tn + fn)


ACCURACY = _of_decisions(
    accuracy_formula,
    _ends_of_share(lambda y, x: y == x, lambda y, _: np.ones_like(y)),
    denominator=(TP, FP, TN, FN),
    gains=lambda y, x: y == x,
    among=np.ones_like,
)


def accuracy(outcome: Outcome) -> MetricValue:
    """Share of right decisions."""
    if not outcome.n:
        return MetricValue(None, NO_SAMPLES)
    return _with_bounds(outcome, ACCURACY.value)


def precision_formula(sums: Array) -> Array:
    """TP / (TP + FP)."""
    tp, fp, _, _ = sums[:, 0]
    return safe_divide(tp, tp + fp)


def _with_both_classes(formula: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a formula that is undefined where either class is absent.

    Of positives alone any guard has a precision of 1, and F1 is recall in other words.
    """

    def checked(sums: Array) -> Array:
        tp, fp, tn, fn = sums[:, 0]
        return np.where((tp + fn > 0) & (fp + tn > 0), formula(sums), np.nan)

    return checked


PRECISION = _of_decisions(
    _with_both_classes(precision_formula),
    _ends_of_share(lambda y, _: y, lambda _, x: x),
    classes=positives_alone,
    denominator=(TP, FP),
)


def precision(outcome: Outcome) -> MetricValue:
    """Share of positives among the flagged; undefined if nothing was flagged.

    Undefined, too, where the labels have one class.
    """
    if lacking := _absent_class(outcome):
        return MetricValue(None, lacking)
    flagged = _decisions(outcome)
    if not flagged.any():
        return MetricValue(None, NOTHING_FLAGGED)
    return MetricValue(PRECISION.value(outcome.y, flagged))


def recall_formula(sums: Array) -> Array:
    """TP / (TP + FN)."""
    tp, _, _, fn = sums[:, 0]
    return safe_divide(tp, tp + fn)


RECALL = _of_decisions(
    recall_formula,
    _ends_of_share(lambda _, x: x, lambda y, _: y),
    classes=positives_alone,
    denominator=(TP, FN),
    gains=lambda y, x: x & y,
    among=lambda y: y,
)


def recall(outcome: Outcome) -> MetricValue:
    """Share of flagged among the positives (true positive rate)."""
    if not outcome.y.any():
        return MetricValue(None, NO_POSITIVES)
    return _with_bounds(outcome, RECALL.value)


def f1_formula(sums: Array) -> Array:
    """2 TP / (2 TP + FP + FN); undefined without positives."""
    tp, fp, _, fn = sums[:, 0]
    return np.where(tp + fn > 0, safe_divide(2 * tp, 2 * tp + fp + fn), np.nan)


def f1_of_jaccard(jaccard: float) -> float:
    """Return F1 of the share of hits among all that are positive or flagged."""
    return 2 * jaccard / (1 + jaccard)


def f1_ends(
    index: Array, n_groups: int, level: float, y: Array, x: Array
) -> tuple[float, float] | None:
    """Return those of the Jaccard index, a share, of which F1 is a function."""
    flagged = x.astype(bool)
    share = _share(index, n_groups, level, y & flagged, y | flagged)
    if share is None:
        return None
    return f1_of_jaccard(share.low), f1_of_jaccard(share.high)


F1 = _of_decisions(
    _with_both_classes(f1_formula),
    f1_ends,
    classes=positives_alone,
    denominator=(TP, FP, FN),
)


def f1(outcome: Outcome) -> MetricValue:
    """2 TP / (2 TP + FP + FN); undefined where the labels have one class."""
    if lacking := _absent_class(outcome):
        return MetricValue(None, lacking)
    return _with_bounds(outcome, F1.value)


def fpr_formula(sums: Array) -> Array:
    """FP / (FP + TN)."""
    _, fp, tn, _ = sums[:, 0]
    return safe_divide(fp, fp + tn)


FPR = _of_decisions(
    fpr_formula,
    _ends_of_share(lambda _, x: x, lambda y, _: ~y),
    classes=negatives_alone,
    denominator=(FP, TN),
    gains=lambda y, x: x & ~y,
    among=lambda y: ~y,
)


def fpr(outcome: Outcome) -> MetricValue:
    """Share of flagged among the negatives."""
    if outcome.y.all():
        return MetricValue(None, NO_NEGATIVES)
    return _with_bounds(outcome, FPR.value)


def fnr_formula(sums: Array) -> Array:
    """FN / (TP + FN)."""
    return 1 - recall_formula(sums)


FNR = _of_decisions(
    fnr_formula,
    _ends_of_share(lambda _, x: ~x, lambda y, _: y),
    classes=positives_alone,
    denominator=(TP, FN),
    gains=lambda y, x: ~x & y,
    among=lambda y: y,
)


def fnr(outcome: Outcome) -> MetricValue:
    """Share of passed among the positives."""
    if not outcome.y.any():
        return MetricValue(None, NO_POSITIVES)
    return _with_bounds(outcome, FNR.value)


def balanced_accuracy_formula(sums: Array) -> Array:
    """Mean of the recalls of both classes."""
    return (recall_formula(sums) + 1 - fpr_formula(sums)) / 2


def _balanced_accuracy_ends(
    index: Array, n_groups: int, level: float, y: Array, x: Array
) -> tuple[float, float] | None:
    flagged = x.astype(bool)
    recalls = [
        _share(index, n_groups, level, flagged == truth, truth == y)
        for truth in (np.array(True), np.array(False))
    ]
    known = [share for share in recalls if share is not None]
    if len(known) < len(recalls):
        return None
    return function_of_shares(lambda shares: sum(shares) / 2, known)


BALANCED_ACCURACY = _of_decisions(
    balanced_accuracy_formula, _balanced_accuracy_ends, classes=both_classes
)


def balanced_accuracy(outcome: Outcome) -> MetricValue:
    """Mean of the shares of right decisions among positives and among negatives."""
    if lacking := _absent_class(outcome):
        return MetricValue(None, lacking)
    return _with_bounds(outcome, BALANCED_ACCURACY.value)


def _absent_class(outcome: Outcome) -> str:
    """Return which class the labels lack, "" if they have both."""
    if not outcome.y.any():
        return NO_POSITIVES
    return NO_NEGATIVES if outcome.y.all() else ""


def mcc_formula(sums: Array) -> Array:
    """Matthews correlation."""
    tp, fp, tn, fn = sums[:, 0]
    squared = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return safe_divide(tp * tn - fp * fn, np.sqrt(squared))


def _mcc_of_shares(shares: Sequence[float]) -> float:
    """Return MCC of recall, FPR and the share of positives; 0 where it is undefined."""
    recall, fpr, positive = shares
    flagged = positive * recall + (1 - positive) * fpr
    # The floor is for ends at which nothing or all is flagged: recall and FPR are equal
    # there, and the product is 0.
    spread = positive * (1 - positive) / max(flagged * (1 - flagged), 1e-300)
    return (recall - fpr) * math.sqrt(spread)


def _mcc_ends(
    index: Array, n_groups: int, level: float, y: Array, x: Array
) -> tuple[float, float] | None:
    flagged = x.astype(bool)
    everywhere = np.ones_like(y)
    shares = [
        _share(index, n_groups, level, hits, among)
        for hits, among in ((flagged, y), (flagged, ~y), (y, everywhere))
    ]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        return None
    low, high = function_of_shares(_mcc_of_shares, known)
    # Each share was moved to its end while the others stayed, which may lead beyond
    # what a correlation can be.
    return max(low, -1.0), min(high, 1.0)


MCC = _of_decisions(mcc_formula, _mcc_ends, classes=both_classes)


def mcc(outcome: Outcome) -> MetricValue:
    """Matthews correlation; undefined if labels or decisions are all the same."""
    flagged = _decisions(outcome)
    if np.unique(flagged).size < 2 or np.unique(outcome.y).size < 2:  # noqa: PLR2004 - both classes
        return MetricValue(None, ONE_CLASS if outcome.n else NO_SAMPLES)
    return MetricValue(MCC.value(outcome.y, flagged))


def tp(outcome: Outcome) -> MetricValue:
    """Count the positives that are flagged."""
    return _count(outcome, TP)


def fp(outcome: Outcome) -> MetricValue:
    """Count the negatives that are flagged."""
    return _count(outcome, FP)


def tn(outcome: Outcome) -> MetricValue:
    """Count the negatives that are passed."""
    return _count(outcome, TN)


def fn(outcome: Outcome) -> MetricValue:
    """Count the positives that are passed."""
    return _count(outcome, FN)


def _count(outcome: Outcome, kind: int) -> MetricValue:
    index = np.zeros(outcome.n, dtype=int)
    counts = confusion_counts(index, 1, outcome.y, _decisions(outcome))
    return MetricValue(float(counts.sums(np.ones((1, 1)))[kind, 0, 0]))


def _decisions(outcome: Outcome) -> Array:
    if outcome.decision is None:
        raise ValueError("a decision metric was asked of an outcome without decisions")
    return outcome.decision.astype(bool)


def _with_bounds(
    outcome: Outcome, number: Callable[[Array, Array], float | None]
) -> MetricValue:
    """Return the metric with its values at the two corners, in ascending order."""
    value = number(outcome.y, _decisions(outcome))
    if outcome.threshold is None or outcome.lower is None or outcome.upper is None:
        return MetricValue(value)
    corners = [
        number(
            outcome.y,
            apply_threshold(outcome.y, outcome.failed, scores, outcome.threshold),
        )
        for scores in (pessimistic_scores(outcome), optimistic_scores(outcome))
    ]
    # Sorted, since the optimistic corner is the lower one of FPR and FNR.
    low, high = sorted(corner for corner in corners if corner is not None)
    return MetricValue(value, bound_low=low, bound_high=high)

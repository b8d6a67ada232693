"""Multi-label metrics; a cell (sample, category) whose truth is unknown never counts.

Each known cell is a decision; all those of a failed sample are wrong, as its decision
is in the binary metrics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.statistics.interval import clustered_share, function_of_shares
from safebench.statistics.sufficient_statistics import (
    category_counts,
    mean_of_first,
    safe_divide,
    value_sums,
)

from .decision import (
    accuracy_formula,
    f1_ends,
    f1_formula,
    f1_of_jaccard,
)
from .definition import Columns, IntervalMethod, MetricDefinition, share_ends
from .outcome import MetricValue

if TYPE_CHECKING:
    from safebench.typing import Array

    from .outcome import Outcome

NOTHING_KNOWN = "no sample with a known category"
NO_POSITIVES = "no sample with a category"


def category_columns(outcome: Outcome) -> Columns | None:
    """Return gold, mask and predicted cells, of samples with a known one."""
    if outcome.gold is None or outcome.mask is None or outcome.predicted is None:
        return None
    gold, mask, predicted = _category_arrays(outcome)
    return Columns((gold, mask, predicted), np.asarray(mask.any(axis=1)))


def micro_f1_formula(sums: Array) -> Array:
    """F1 of the cells of all categories (levels) together."""
    return f1_formula(_all_cells(sums))


def _micro_f1_ends(
    index: Array, n_groups: int, level: float, gold: Array, mask: Array, named: Array
) -> tuple[float, float] | None:
    row, _ = np.nonzero(mask)
    return f1_ends(index[row], n_groups, level, gold[mask], named[mask])


def annotated_classes(gold: Array, mask: Array, _: Array) -> dict[str, Array]:
    """Return the samples with a category."""
    return {"samples with a category": np.asarray((gold & mask).any(axis=1))}


MICRO_F1 = MetricDefinition(
    columns=category_columns,
    statistics=category_counts,
    formula=micro_f1_formula,
    interval=IntervalMethod("mid-p", _micro_f1_ends),
    classes=annotated_classes,
)


def micro_f1(outcome: Outcome) -> MetricValue:
    """F1 over all known cells at once; undefined if none of them is positive."""
    gold, mask, predicted = _category_arrays(outcome)
    if not gold[mask].any():
        return MetricValue(None, NO_POSITIVES, n_scored=_count_annotated(mask))
    return MetricValue(
        MICRO_F1.value(gold, mask, predicted), n_scored=_count_annotated(mask)
    )


def macro_f1_formula(sums: Array) -> Array:
    """Mean F1 over the categories (levels) that have a positive."""
    tp, fp, _, fn = sums
    present = tp + fn > 0
    # 0 and not NaN: a category without a positive adds nothing, and is not counted.
    scores = np.where(present, safe_divide(2 * tp, 2 * tp + fp + fn), 0)
    return safe_divide(scores.sum(axis=0), present.sum(axis=0))


def _macro_f1_ends(
    index: Array, n_groups: int, level: float, gold: Array, mask: Array, named: Array
) -> tuple[float, float] | None:
    """Return those of a mean of functions of shares, of categories with a positive."""
    shares = []
    for category in np.flatnonzero((gold & mask).any(axis=0)):
        rows = np.flatnonzero(mask[:, category])
        # F1 is a function of the share of hits among cells that are positive or named:
        # a share has an interval.
        rows = rows[(gold | named)[rows, category]]
        hits = (gold & named)[rows, category].astype(float)
        shares.append(clustered_share(index[rows], hits, n_groups, level))
    if not shares:
        return None
    return function_of_shares(
        lambda jaccards: sum(map(f1_of_jaccard, jaccards)) / len(jaccards), shares
    )


MACRO_F1 = replace(
    MICRO_F1,
    formula=macro_f1_formula,
    interval=IntervalMethod("mid-p", _macro_f1_ends),
)


def macro_f1(outcome: Outcome) -> MetricValue:
    """Mean F1 over the categories that have a known positive."""
    gold, mask, predicted = _category_arrays(outcome)
    present = np.flatnonzero((gold & mask).any(axis=0))
    if not present.size:
        return MetricValue(None, NO_POSITIVES, n_scored=_count_annotated(mask))
    note = f"mean over {present.size} of {gold.shape[1]} categories"
    value = MACRO_F1.value(gold, mask, predicted)
    return MetricValue(value, note, n_scored=_count_annotated(mask))


def hamming_loss_formula(sums: Array) -> Array:
    """Share of known cells that are wrong."""
    return 1 - accuracy_formula(_all_cells(sums))


def _hamming_loss_ends(
    index: Array, n_groups: int, level: float, gold: Array, mask: Array, named: Array
) -> tuple[float, float]:
    row, _ = np.nonzero(mask)
    wrong = (gold != named)[mask].astype(float)
    share = clustered_share(index[row], wrong, n_groups, level)
    return share.low, share.high


HAMMING_LOSS = replace(
    MICRO_F1,
    formula=hamming_loss_formula,
    interval=IntervalMethod("mid-p", _hamming_loss_ends),
    classes=None,
)


def hamming_loss(outcome: Outcome) -> MetricValue:
    """Share of known cells that are wrong."""
    gold, mask, predicted = _category_arrays(outcome)
    if not mask.any():
        return MetricValue(None, NOTHING_KNOWN, n_scored=0)
    value = HAMMING_LOSS.value(gold, mask, predicted)
    return MetricValue(value, n_scored=_count_annotated(mask))


def subset_columns(outcome: Outcome) -> Columns | None:
    """Return whether all known cells of a sample are right."""
    columns = category_columns(outcome)
    if columns is None:
        return None
    gold, mask, predicted = columns.arrays
    right = ((gold == predicted) | ~mask).all(axis=1) & ~outcome.failed
    return Columns((right.astype(float),), columns.known)


SUBSET_ACCURACY = MetricDefinition(
    columns=subset_columns,
    statistics=value_sums,
    formula=mean_of_first,
    interval=IntervalMethod("mid-p", share_ends),
    denominator=(0,),  # the count of samples
)


def subset_accuracy(outcome: Outcome) -> MetricValue:
    """Share of samples whose known cells are all right, of those that have any."""
    _, mask, _ = _category_arrays(outcome)
    columns = subset_columns(outcome)
    if columns is None or not columns.known.any():
        return MetricValue(None, NOTHING_KNOWN, n_scored=0)
    (right,) = columns.arrays
    value = SUBSET_ACCURACY.value(right[columns.known])
    return MetricValue(value, n_scored=_count_annotated(mask))


def _all_cells(sums: Array) -> Array:
    cells: Array = sums.sum(axis=1, keepdims=True)
    return cells


def _category_arrays(outcome: Outcome) -> tuple[Array, Array, Array]:
    """Return gold, mask and predicted, (n, L) bool."""
    if outcome.gold is None or outcome.mask is None or outcome.predicted is None:
        raise ValueError("a category metric was asked of an outcome without categories")
    return (
        outcome.gold.astype(bool),
        outcome.mask.astype(bool),
        outcome.predicted.astype(bool),
    )


def _count_annotated(mask: Array) -> int:
    """Count the samples with a known cell."""
    return int(mask.any(axis=1).sum())

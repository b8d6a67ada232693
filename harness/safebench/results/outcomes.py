"""Stored predictions as metrics take them: one file, or two on the same samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import Outcome
from safebench.metrics.pairs import preference_pairs

from .packed_columns import matching_rows

if TYPE_CHECKING:
    from safebench.typing import Array

    from .predictions import StoredPredictions

OTHER_CATEGORIES = "a and b have other categories: compare guards of one policy"
OTHER_TRUTH = "a and b were judged by other maps of the categories"


def align(
    a: StoredPredictions, b: StoredPredictions
) -> tuple[StoredPredictions, StoredPredictions, int]:
    """Return both on the samples that both have, and how many only one has."""
    rows, others = matching_rows(a.ids, b.ids)
    left_out = a.n + b.n - 2 * len(rows)
    if not left_out and (rows == others).all():
        return a, b, 0
    return a.select(rows), b.select(others), left_out


def to_outcome(predictions: StoredPredictions) -> Outcome:
    """Return predictions as metrics take them; a failed sample is decided wrongly.

    A sample has failed with neither score nor decision.
    """
    y, score, decision = predictions.y, predictions.score, predictions.decision
    uncertainty, severity = predictions.uncertainty, predictions.severity
    known = ~np.isnan(decision)
    failed = ~known & np.isnan(score)
    pairs, pair_note = preference_pairs(predictions.pair, predictions.content)
    return Outcome(
        y=y,
        failed=failed,
        groups=predictions.groups,
        score=None if np.isnan(score).all() else score,
        probability=predictions.probability,
        decision=(
            np.where(known, np.nan_to_num(decision).astype(bool), ~y)
            if known.any()
            else None
        ),
        threshold=predictions.threshold,
        uncertainty=None if np.isnan(uncertainty).all() else uncertainty,
        pairs=pairs,
        pair_note=pair_note,
        severity=None if np.isnan(severity).all() else severity,
        **_category_columns(predictions, failed),
    )


def _category_columns(predictions: StoredPredictions, failed: Array) -> dict[str, Any]:
    """Return the columns of categories; of a failed sample every cell is wrong."""
    cells = predictions.cells
    if cells is None:
        return {}
    gold = np.nan_to_num(cells.truth).astype(bool)
    judged = ~np.isnan(cells.score) | failed[:, None]
    named = None
    if not np.isnan(cells.named).all():
        lost = np.isnan(cells.named) | failed[:, None]
        named = np.where(lost, ~gold, np.nan_to_num(cells.named).astype(bool))
    return {
        "labels": cells.labels,
        "gold": gold,
        "mask": ~np.isnan(cells.truth) & judged,
        "predicted": named,
        "category_score": None if np.isnan(cells.score).all() else cells.score,
    }


def paired_outcomes(
    a: StoredPredictions, b: StoredPredictions
) -> tuple[Outcome, Outcome]:
    """Return both, of which `align` made the samples the same, as they are compared.

    A cell (sample, category) that either has no judgement of is left out of both. Where
    both speak of other categories neither has any, and a note says so.
    """
    first, second = to_outcome(a), to_outcome(b)
    if first.mask is None or second.mask is None:
        return first, second
    assert first.gold is not None
    assert second.gold is not None
    if first.labels != second.labels:
        return _without_categories(first, second, OTHER_CATEGORIES)
    known = first.mask & second.mask
    if (first.gold != second.gold)[known].any():
        return _without_categories(first, second, OTHER_TRUTH)
    first, second = replace(first, mask=known), replace(second, mask=known)
    if first.category_score is None or second.category_score is None:
        return first, second
    unranked = np.isnan(first.category_score) | np.isnan(second.category_score)
    return (
        replace(first, category_score=np.where(unranked, np.nan, first.category_score)),
        replace(
            second, category_score=np.where(unranked, np.nan, second.category_score)
        ),
    )


def _without_categories(
    first: Outcome, second: Outcome, note: str
) -> tuple[Outcome, Outcome]:
    nothing: dict[str, Any] = dict.fromkeys(
        ("gold", "mask", "predicted", "category_score")
    )
    nothing |= {"labels": (), "category_note": note}
    return replace(first, **nothing), replace(second, **nothing)

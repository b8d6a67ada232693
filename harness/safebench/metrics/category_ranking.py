"""How well scores rank the cells (sample, category) of a multi-label truth.

Micro: all known cells in one ranking. Macro: the mean over the categories that have
known cells of both classes, each ranked by itself. A cell of unknown truth never
counts, nor does one without a score: that of a failed sample, or of a category that the
strategy says nothing of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from safebench.statistics import auroc_interval, compute_auroc
from safebench.statistics.auroc_variance import placement_values
from safebench.statistics.interval import Share, function_of_shares
from safebench.statistics.sufficient_statistics import (
    SufficientStatistics,
    cumulative_counts,
)

from .bounds import auprc_bounds
from .categories import NO_POSITIVES, NOTHING_KNOWN, annotated_classes
from .definition import Columns, IntervalMethod, MetricDefinition
from .outcome import MetricValue
from .ranking import AUPRC, auprc_formula, auprc_share, auroc_formula

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.typing import Array

    from .outcome import Outcome

    Corners = Callable[[Array, Array, Array], tuple[float, float]]

NO_NEGATIVES = "every known cell is positive"
ONE_CLASS = "no category has known cells of both classes"


def category_score_columns(outcome: Outcome) -> Columns | None:
    """Return gold, mask (n, L) bool and scores (n, L), of samples with a known cell."""
    if outcome.gold is None or outcome.mask is None or outcome.category_score is None:
        return None
    # A category that a guard cannot write has no score, and no place in a ranking.
    ranked = outcome.mask.astype(bool) & ~np.isnan(outcome.category_score)
    ranked &= outcome.scored[:, None]
    score = np.where(ranked, outcome.category_score, np.nan)
    arrays = (outcome.gold.astype(bool), ranked, score)
    return Columns(arrays, np.asarray(ranked.any(axis=1)))


@dataclass(frozen=True, slots=True, eq=False)
class CategoryCurves(SufficientStatistics):
    """Counts down to each level of the score, a table for each category.

    `sums` are the values of `formula` of each table, (L, 1, resamples): tables of many
    levels are never held at once.
    """

    tables: tuple[SufficientStatistics, ...] = ()
    formula: Callable[[Array], Array] = auroc_formula

    def sums(self, weights: Array) -> Array:
        """Return the value of each category for weights (G, resamples)."""
        return np.stack([self.formula(t.sums(weights)) for t in self.tables])[:, None]


def all_cells(
    index: Array, n_groups: int, gold: Array, mask: Array, score: Array
) -> SufficientStatistics:
    """Count positive and negative cells down to each level of the score."""
    row, _ = np.nonzero(mask)
    return cumulative_counts(index[row], n_groups, gold[mask], score[mask])


def cells_by_category(
    formula: Callable[[Array], Array],
    index: Array,
    n_groups: int,
    gold: Array,
    mask: Array,
    score: Array,
) -> SufficientStatistics:
    """Return the curves of the categories with cells of both classes."""
    tables = tuple(
        cumulative_counts(index[rows], n_groups, y, values)
        for rows, y, values in rankable(gold, mask, score)
    )
    size = len(tables)
    if not tables:
        return SufficientStatistics(sparse.csr_array((1, n_groups)), (1, 1))
    matrix = sparse.vstack([table.matrix for table in tables])
    return CategoryCurves(matrix, (size, 1), tables=tables, formula=formula)


def rankable(
    gold: Array, mask: Array, score: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield rows, truth and scores of the categories with cells of both classes."""
    for category in range(gold.shape[1]):
        rows = np.flatnonzero(mask[:, category])
        y = gold[rows, category]
        if y.any() and not y.all():
            yield rows, y, score[rows, category]


def mean_of_categories(values: Array) -> Array:
    """Mean over categories (L, 1, resamples), those that a resample lacks left out."""
    known = ~np.isnan(values[:, 0])
    total = np.where(known, values[:, 0], 0).sum(axis=0)
    # without any category the only "value" is 0 of an empty table
    mean: Array = total / np.maximum(known.sum(axis=0), 1)
    return np.where(known.any(axis=0), mean, np.nan)


def _micro_auroc_ends(
    index: Array, _: int, level: float, gold: Array, mask: Array, score: Array
) -> tuple[float, float] | None:
    row = np.nonzero(mask)[0]
    return auroc_interval(gold[mask], score[mask], index[row], level)


def _micro_auprc_ends(
    index: Array, n_groups: int, level: float, gold: Array, mask: Array, score: Array
) -> tuple[float, float]:
    row, _ = np.nonzero(mask)
    share = auprc_share(index[row], n_groups, level, gold[mask], score[mask])
    return share.low, share.high


def auroc_share(
    index: Array, n_groups: int, level: float, y: Array, score: Array
) -> Share:
    """Return an AUROC with its ends, and what each group adds to its error.

    Of a class with one group nothing says how far it may be off: 0 to 1.
    """
    low, high = auroc_interval(y, score, index, level) or (0.0, 1.0)
    influence = placement_values(y, score) / np.where(y, y.sum(), (~y).sum())
    residuals = np.bincount(index, influence, n_groups)
    return Share(compute_auroc(y, score), low, high, residuals)


def _macro_ends(
    share_of: Callable[[Array, int, float, Array, Array], Share],
) -> Callable[..., tuple[float, float] | None]:
    """Return the ends of a mean over categories, of which each has its own."""

    def ends(
        index: Array,
        n_groups: int,
        level: float,
        gold: Array,
        mask: Array,
        score: Array,
    ) -> tuple[float, float] | None:
        shares = [
            share_of(index[rows], n_groups, level, y, values)
            for rows, y, values in rankable(gold, mask, score)
        ]
        if not shares:
            return None
        low, high = function_of_shares(lambda x: sum(x) / len(x), shares)
        return max(low, 0.0), min(high, 1.0)

    return ends


def positives_of_rarest(gold: Array, mask: Array, _: Array) -> dict[str, Array]:
    """Return the samples with the rarest of the categories that have one."""
    positive = gold & mask
    counts = positive.sum(axis=0)
    if not counts.any():
        return annotated_classes(gold, mask, _)
    # Categories that nobody has cannot be ranked, and are not the rarest.
    rarest = np.where(counts > 0, counts, len(gold) + 1).argmin()
    return {"samples with the rarest category": positive[:, rarest]}


MICRO_AUROC = MetricDefinition(
    columns=category_score_columns,
    statistics=all_cells,
    formula=auroc_formula,
    interval=IntervalMethod("newcombe", _micro_auroc_ends),
    classes=annotated_classes,
    by_rank=True,
)
MICRO_AUPRC = replace(
    MICRO_AUROC,
    formula=auprc_formula,
    interval=IntervalMethod("mid-p", _micro_auprc_ends),
    power_units=AUPRC.power_units,
)
MACRO_AUROC = replace(
    MICRO_AUROC,
    statistics=partial(cells_by_category, auroc_formula),
    formula=mean_of_categories,
    interval=IntervalMethod("newcombe", _macro_ends(auroc_share)),
)
MACRO_AUPRC = replace(
    MACRO_AUROC,
    statistics=partial(cells_by_category, auprc_formula),
    interval=IntervalMethod("mid-p", _macro_ends(auprc_share)),
    # of few positives average precision is too large on average, in each category
    classes=positives_of_rarest,
    power_units=AUPRC.power_units,
)


def micro_auroc(outcome: Outcome) -> MetricValue:
    """P(a positive cell scores above a negative one), ties as half, all cells alike."""
    return _micro_value(MICRO_AUROC, outcome, _auroc_corners)


def micro_auprc(outcome: Outcome) -> MetricValue:
    """Average precision of one ranking of all known cells."""
    return _micro_value(MICRO_AUPRC, outcome, auprc_bounds)


def macro_auroc(outcome: Outcome) -> MetricValue:
    """Mean AUROC of the categories with known cells of both classes."""
    return _macro_value(MACRO_AUROC, outcome, _auroc_corners)


def macro_auprc(outcome: Outcome) -> MetricValue:
    """Mean average precision of the categories with known cells of both classes."""
    return _macro_value(MACRO_AUPRC, outcome, auprc_bounds)


def _auroc_corners(y: Array, lower: Array, upper: Array) -> tuple[float, float]:
    """Return the least and the largest AUROC within bounds (n,)."""
    return (
        compute_auroc(y, np.where(y, lower, upper)),
        compute_auroc(y, np.where(y, upper, lower)),
    )


def _micro_value(
    definition: MetricDefinition, outcome: Outcome, corners: Corners
) -> MetricValue:
    gold, mask, score = _ranked_cells(outcome)
    n_scored = int(mask.any(axis=1).sum())
    if not gold[mask].any() or gold[mask].all():
        note = NO_POSITIVES if not gold[mask].any() else NO_NEGATIVES
        note = note if n_scored else NOTHING_KNOWN
        return MetricValue(None, note, n_scored=n_scored)
    value = definition.value(gold, mask, score)
    bounds = _category_bounds(outcome)
    if bounds is None:
        return MetricValue(value, n_scored=n_scored)
    low, high = corners(gold[mask], bounds[0][mask], bounds[1][mask])
    return MetricValue(value, n_scored=n_scored, bound_low=low, bound_high=high)


def _macro_value(
    definition: MetricDefinition, outcome: Outcome, corners: Corners
) -> MetricValue:
    gold, mask, score = _ranked_cells(outcome)
    n_scored = int(mask.any(axis=1).sum())
    count = sum(1 for _ in rankable(gold, mask, score))
    if not count:
        note = ONE_CLASS if n_scored else NOTHING_KNOWN
        return MetricValue(None, note, n_scored=n_scored)
    value = definition.value(gold, mask, score)
    note = f"mean over {count} of {gold.shape[1]} categories"
    bounds = _category_bounds(outcome)
    if bounds is None:
        return MetricValue(value, note, n_scored=n_scored)
    lower, upper = (rankable(gold, mask, ends) for ends in bounds)
    ends = [
        corners(y, low, high)
        for (_, y, low), (_, _, high) in zip(lower, upper, strict=True)
    ]
    least, most = np.mean(ends, axis=0).tolist()
    return MetricValue(value, note, n_scored=n_scored, bound_low=least, bound_high=most)


def _ranked_cells(outcome: Outcome) -> tuple[Array, Array, Array]:
    columns = category_score_columns(outcome)
    if columns is None:
        raise ValueError("a category ranking was asked of an outcome without scores")
    gold, mask, score = columns.arrays
    return gold, mask, score


def _category_bounds(outcome: Outcome) -> tuple[Array, Array] | None:
    """Return lower and upper (n, L), a cell without bounds standing at its score."""
    lower, upper = outcome.category_lower, outcome.category_upper
    if lower is None or upper is None:
        return None
    score = outcome.category_score
    assert score is not None
    return (
        np.where(np.isnan(lower), score, lower),
        np.where(np.isnan(upper), score, upper),
    )

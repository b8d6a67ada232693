"""What metrics are made of, summed over resamples: counts, losses, bins, curves.

Statistics are a sparse matrix (rows, G): its product with the weights of groups gives,
for each resample, the sums from which a metric follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .resampling_weights import ResamplingWeights

N_BINS = 15
PROBABILITY_CLIP = 1e-12  # a certain and wrong answer costs 27.6 nats, not infinity


# what `resampled_values` holds at once, in table rows times resamples: about the cache
MAX_ENTRIES_AT_ONCE = 50_000
MIN_RESAMPLES_AT_ONCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class SufficientStatistics:
    """`matrix` (rows, G), read as `shape` (kinds, levels) in each resample.

    `cumulative` ones have at each level the sum of the levels up to it.
    """

    matrix: Any
    shape: tuple[int, int]
    cumulative: bool = False

    def sums(self, weights: Array) -> Array:
        """Return (kinds, levels, resamples) for weights (G, resamples)."""
        sums = np.asarray(self.matrix @ weights).reshape(*self.shape, -1)
        return np.add.accumulate(sums, axis=1, out=sums) if self.cumulative else sums


def resampled_values(
    statistics: SufficientStatistics,
    formulas: Sequence[Callable[[Array], Array]],
    weights: ResamplingWeights,
) -> Array:
    """Return each formula of the sums in each resample, (formulas, 1 + B + J)."""
    rows = statistics.shape[0] * statistics.shape[1]
    columns = weights.weights.shape[1]
    values = np.empty((len(formulas), columns))
    step = MAX_ENTRIES_AT_ONCE // max(rows, weights.n_groups, 1)
    step = int(np.clip(step, MIN_RESAMPLES_AT_ONCE, columns))
    for first in range(0, columns, step):
        part = weights.weights[:, first : first + step].astype(float)
        sums = statistics.sums(part)
        for row, formula in enumerate(formulas):
            values[row, first : first + step] = formula(sums)
    return values


def value_on_data(
    statistics: SufficientStatistics, formula: Callable[[Array], Array]
) -> float | None:
    """Return a formula of the sums over all groups once; None where undefined."""
    groups = statistics.matrix.shape[1]
    value = float(formula(statistics.sums(np.ones((groups, 1))))[0])
    return value if np.isfinite(value) else None


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """Divide; NaN where there is nothing to divide by."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def sums_before(sums: Array) -> Array:
    """Return the cumulative sums (levels, resamples) before each level, from 0."""
    before = np.zeros_like(sums)
    before[1:] = sums[:-1]
    return before


def mean_of_first(sums: Array) -> Array:
    """Mean of the first column of `value_sums` or `loss_sums`."""
    return safe_divide(sums[1, 0], sums[0, 0])


def mean_of_second(sums: Array) -> Array:
    """Mean of the second column of `value_sums` or `loss_sums`."""
    return safe_divide(sums[2, 0], sums[0, 0])


def confusion_counts(
    index: Array, n_groups: int, y: Array, decision: Array
) -> SufficientStatistics:
    """Count true and false positives, true and false negatives: kinds tp fp tn fn.

    Of this and the next functions: `index` (n,) is the group of each of the samples.
    """
    kind = _confusion_kind(y, decision)
    return _count(kind, np.zeros(len(y), int), (4, 1), index, n_groups)


def loss_sums(index: Array, n_groups: int, y: Array, p: Array) -> SufficientStatistics:
    """Sum 1, squared errors and log losses."""
    return value_sums(index, n_groups, squared_errors(y, p), log_losses(y, p))


def squared_errors(y: Array, p: Array) -> Array:
    """Return (p - y)^2, (n,)."""
    errors: Array = (np.clip(p, 0, 1) - y) ** 2
    return errors


def log_losses(y: Array, p: Array) -> Array:
    """Return -log P(y) in nats, p kept 1e-12 away from 0 and 1, (n,)."""
    kept = np.clip(p, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    losses: Array = -np.log(np.where(y, kept, 1 - kept))
    return losses


def value_sums(index: Array, n_groups: int, *columns: Array) -> SufficientStatistics:
    """Sum 1 and each of the columns (n,)."""
    kinds = (np.ones(len(index)), *columns)
    return _sum_columns(kinds, np.zeros(len(index), int), 1, index, n_groups)


def equal_width_bins(
    index: Array, n_groups: int, y: Array, p: Array
) -> SufficientStatistics:
    """Sum 1, p and y in 15 bins of equal width."""
    return _bin_sums(index, n_groups, y, p, equal_width_edges())


def equal_mass_bins(
    index: Array, n_groups: int, y: Array, p: Array
) -> SufficientStatistics:
    """Sum 1, p and y in 15 bins of about equal mass, whose edges no resample moves."""
    return _bin_sums(index, n_groups, y, p, equal_mass_edges(p))


def equal_width_edges() -> Array:
    """Return the edges of 15 bins of equal width."""
    return np.linspace(0, 1, N_BINS + 1)


def equal_mass_edges(p: Array) -> Array:
    """Return edges of 15 bins of about equal mass; equal values share a bin."""
    inner = np.quantile(np.clip(p, 0, 1), np.linspace(0, 1, N_BINS + 1)[1:-1])
    return np.concatenate([[0.0], inner, [1.0]])


def cumulative_counts(
    index: Array, n_groups: int, y: Array, score: Array
) -> SufficientStatistics:
    """Count positives and negatives down to each level of the score, highest first."""
    levels, place = np.unique(-score, return_inverse=True)
    kind = np.where(y, 0, 1)
    counts = _count(kind, place.reshape(-1), (2, len(levels)), index, n_groups)
    return replace(counts, cumulative=True)


def category_counts(
    index: Array, n_groups: int, gold: Array, mask: Array, predicted: Array
) -> SufficientStatistics:
    """Count tp fp tn fn for each category; `gold`, `mask`, `predicted` (n, L) bool.

    Only cells in `mask` count.
    """
    row, category = np.nonzero(mask)
    kind = _confusion_kind(gold[row, category], predicted[row, category])
    return _count(kind, category, (4, gold.shape[1]), index[row], n_groups)


def _confusion_kind(y: Array, decision: Array) -> Array:
    """Return 0 for a true positive, 1 false positive, 2 true negative, 3 false one."""
    return np.where(decision, np.where(y, 0, 1), np.where(y, 3, 2))


def _bin_sums(
    index: Array, n_groups: int, y: Array, p: Array, edges: Array
) -> SufficientStatistics:
    """Sum 1, p and y within bins: (edge, next edge], the first one closed."""
    p = np.clip(p, 0, 1)
    place = np.searchsorted(edges[1:-1], p)
    kinds = (np.ones(len(p)), p, y.astype(float))
    return _sum_columns(kinds, place, len(edges) - 1, index, n_groups)


def _count(
    kind: Array, level: Array, shape: tuple[int, int], index: Array, n_groups: int
) -> SufficientStatistics:
    """Count samples by kind and level."""
    row = kind * shape[1] + level
    ones = np.ones(len(row))
    size = (shape[0] * shape[1], n_groups)
    return SufficientStatistics(
        sparse.csr_array((ones, (row, index)), shape=size), shape
    )


def _sum_columns(
    kinds: tuple[Array, ...], level: Array, levels: int, index: Array, n_groups: int
) -> SufficientStatistics:
    """Sum the columns `kinds` (n,) by level."""
    row = np.concatenate([k * levels + level for k in range(len(kinds))])
    shape = (len(kinds), levels)
    entries = (np.concatenate(kinds), (row, np.tile(index, len(kinds))))
    size = (len(kinds) * levels, n_groups)
    return SufficientStatistics(sparse.csr_array(entries, shape=size), shape)

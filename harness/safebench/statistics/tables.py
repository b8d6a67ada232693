"""What metrics are made of, summed over any weights: counts, losses, bins, curves.

A table is a sparse matrix (rows, G): its product with the weights of groups gives, for
each draw, the sums from which a metric follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

BINS = 15
CLIP = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`matrix` (rows, G), read as `shape` (kinds, levels) in each draw.

    A `running` table has at each level the sum of the levels up to it.
    """

    matrix: Any
    shape: tuple[int, int]
    running: bool = False

    def sums(self, weights: Array) -> Array:
        """Return (kinds, levels, draws) for weights (G, draws)."""
        found = np.asarray(self.matrix @ weights).reshape(*self.shape, -1)
        return np.add.accumulate(found, axis=1, out=found) if self.running else found


def decisions(index: Array, groups: int, y: Array, decision: Array) -> Table:
    """Count true and false positives, true and false negatives: kinds tp fp tn fn."""
    kind = np.where(decision, np.where(y, 0, 1), np.where(y, 3, 2))
    return _table(kind, np.zeros(len(y), int), (4, 1), index, groups)


def losses(index: Array, groups: int, y: Array, p: Array) -> Table:
    """Sum 1, (p - y)^2 and -log P(y) in nats, p kept 1e-12 away from 0 and 1."""
    p = np.clip(p, 0, 1)
    kept = np.clip(p, CLIP, 1 - CLIP)
    return values(index, groups, (p - y) ** 2, -np.log(np.where(y, kept, 1 - kept)))


def values(index: Array, groups: int, *columns: Array) -> Table:
    """Sum 1 and each of the columns (n,)."""
    kinds = (np.ones(len(index)), *columns)
    return _summed(kinds, np.zeros(len(index), int), 1, index, groups)


def bins(index: Array, groups: int, y: Array, p: Array, edges: Array) -> Table:
    """Sum 1, p and y within bins: (edge, next edge], the first one closed."""
    p = np.clip(p, 0, 1)
    place = np.searchsorted(edges[1:-1], p)
    kinds = (np.ones(len(p)), p, y.astype(float))
    return _summed(kinds, place, len(edges) - 1, index, groups)


def equal_width() -> Array:
    """Return the edges of 15 bins of equal width."""
    return np.linspace(0, 1, BINS + 1)


def equal_mass(p: Array) -> Array:
    """Return edges of 15 bins of about equal mass; equal values share a bin."""
    inner = np.quantile(np.clip(p, 0, 1), np.linspace(0, 1, BINS + 1)[1:-1])
    return np.concatenate([[0.0], inner, [1.0]])


def curve(index: Array, groups: int, y: Array, score: Array) -> Table:
    """Count positives and negatives down to each level of the score, highest first."""
    levels, place = np.unique(-score, return_inverse=True)
    kind = np.where(y, 0, 1)
    found = _table(kind, place.reshape(-1), (2, len(levels)), index, groups)
    return replace(found, running=True)


def cells(index: Array, groups: int, gold: Array, mask: Array, named: Array) -> Table:
    """Count tp fp tn fn for each category; `gold`, `mask`, `named` are (n, L) bool.

    Only cells in `mask` count.
    """
    row, category = np.nonzero(mask)
    y, decision = gold[row, category], named[row, category]
    kind = np.where(decision, np.where(y, 0, 1), np.where(y, 3, 2))
    return _table(kind, category, (4, gold.shape[1]), index[row], groups)


def _table(
    kind: Array, level: Array, shape: tuple[int, int], index: Array, groups: int
) -> Table:
    """Count samples by kind and level."""
    row = kind * shape[1] + level
    ones = np.ones(len(row))
    size = (shape[0] * shape[1], groups)
    return Table(sparse.csr_array((ones, (row, index)), shape=size), shape)


def _summed(
    kinds: tuple[Array, ...], level: Array, levels: int, index: Array, groups: int
) -> Table:
    """Sum the columns `kinds` (n,) by level."""
    row = np.concatenate([k * levels + level for k in range(len(kinds))])
    shape = (len(kinds), levels)
    entries = (np.concatenate(kinds), (row, np.tile(index, len(kinds))))
    size = (len(kinds) * levels, groups)
    return Table(sparse.csr_array(entries, shape=size), shape)

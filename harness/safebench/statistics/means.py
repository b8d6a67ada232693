"""Intervals of means of numbers, one a sample, and of their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import formulas, tables
from .draws import draw
from .exact import clopper_pearson
from .measure import Measure, evaluate
from .spread import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .draws import Draws
    from .interval import Interval

    Array = np.ndarray[Any, np.dtype[Any]]
    Groups = Sequence[Any] | Array

_MEAN = Measure("loss", formulas.mean)


def mean_interval(
    values: Any,
    groups: Groups | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean of `values` (n,), NaN left out, with its BCa interval.

    For shares of right answers: 1, 0, and 0.5 for a tie. All 0 or all 1 has the exact
    interval over groups, since no draw would show a spread.
    """
    column = np.asarray(values, dtype=float)
    return mean_of(column, draw(groups, len(column), draws=draws, seed=seed), level)


def mean_of(column: Array, shared: Draws, level: float = 0.95) -> Interval:
    """Return what `mean_interval` does, with draws that others share."""
    found = _interval(column, shared, level)
    if found.method == "no spread" and found.value in (0.0, 1.0):
        right = int(found.value) * found.n_groups
        return clopper_pearson(right, found.n_groups, level)
    return found


def mean_difference(
    a: Any,
    b: Any,
    groups: Groups | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean of `b` - `a` over samples that have both, with p."""
    column = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    shared = draw(groups, len(column), draws=draws, seed=seed)
    return _interval(column, shared, level, difference=True)


def _interval(
    column: Array, shared: Draws, level: float, *, difference: bool = False
) -> Interval:
    kept = ~np.isnan(column)
    index = shared.index[kept]
    given = tables.values(index, shared.groups, column[kept])
    (values,) = evaluate(given, [_MEAN], shared)
    held = len(np.unique(index))
    return interval(values, shared.draws, held, level=level, difference=difference)

"""Intervals of metrics and of their differences, by a bootstrap of whole groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .draws import draw, scarce
from .exact import clopper_pearson
from .interval import Interval
from .measure import CELLS, evaluate, measure, table
from .spread import interval
from .tables import cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .draws import Draws
    from .measure import Measure
    from .tables import Table

    Array = np.ndarray[Any, np.dtype[Any]]
    Groups = Sequence[Any] | Array

# shares of samples that both sides have alike
LINEAR = frozenset({"accuracy", "recall", "fnr", "fpr"})
FLIPS = "no spread, exact sign flips"


def metric_value(name: str, y: Any, x: Any) -> float | None:
    """Return a metric of scores or decisions `x` (n,); None where it is undefined."""
    found, truth = measure(name), np.asarray(y).astype(bool)
    column, kept = _known(x)
    if not kept.any():
        return None
    index = np.zeros(int(kept.sum()), dtype=int)
    given = table(found.kind, index, 1, truth[kept], column[kept])
    value = float(found.formula(given.sums(np.ones((1, 1))))[0])
    return value if np.isfinite(value) else None


def metric_interval(
    name: str,
    y: Any,
    score: Any = None,
    decision: Any = None,
    groups: Groups | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a metric of n samples with its interval.

    `y` (n,) is the truth; metrics of decisions read `decision` (n,), others `score`
    (n,), a NaN being left out. For ``aurc`` and its kin `y` says which decisions are
    wrong and `score` is the confidence. `groups` (n,) are drawn whole.
    """
    truth = np.asarray(y).astype(bool)
    shared = shared_draws(truth, groups, draws=draws, seed=seed)
    found = metric_intervals([name], truth, score, decision, shared, level)
    return found[name]


def shared_draws(
    y: Any, groups: Groups | None = None, *, draws: int = 2000, seed: int = 0
) -> Draws:
    """Return draws that everything measured on the same samples can share.

    Drawn by class where one class has fewer than 20 groups.
    """
    truth = np.asarray(y).astype(bool)
    strata = scarce(truth, groups)
    return draw(groups, len(truth), strata=strata, draws=draws, seed=seed)


def metric_intervals(
    names: Iterable[str],
    y: Any,
    score: Any,
    decision: Any,
    shared: Draws,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return several metrics of the same samples; as `metric_interval` does for one."""
    truth = np.asarray(y).astype(bool)
    wanted: dict[str, dict[str, Measure]] = {}
    for name in names:
        wanted.setdefault(measure(name).kind, {})[name] = measure(name)
    found: dict[str, Interval] = {}
    for kind, measures in wanted.items():
        column = decision if kind == "decision" else score
        if column is None:
            raise ValueError(f"{', '.join(measures)}: no {kind} column was given")
        found |= _of_one_table(measures, truth, column, shared, level)
    return found


def cell_intervals(
    gold: Array, mask: Array, named: Array, shared: Draws, level: float = 0.95
) -> dict[str, Interval]:
    """Return the multi-label metrics of (n, L) bool columns; only `mask` counts."""
    given = cells(shared.index, shared.groups, gold, mask, named)
    held = _held(shared, mask.sum(axis=1) > 0)
    if not held:
        return {}
    values = evaluate(given, list(CELLS.values()), shared)
    return {
        name: interval(row, shared.draws, held, method=each.method, level=level)
        for (name, each), row in zip(CELLS.items(), values, strict=True)
    }


def paired_difference(
    name: str,
    y: Any,
    a: Any,
    b: Any,
    groups: Groups | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    *,
    strata: Any = None,
) -> Interval:
    """Return the metric of `b` minus that of `a` on the same samples, with p.

    `a` and `b` (n,) are scores, or decisions for metrics of decisions; a sample that
    either lacks (NaN) is left out. Each draw holds the same groups for both. `strata`
    (n,) are drawn apart; by default the classes, where one is scarce.
    """
    truth = np.asarray(y).astype(bool)
    if strata is None:
        shared = shared_draws(truth, groups, draws=draws, seed=seed)
    else:
        apart = np.asarray(strata)
        shared = draw(groups, len(truth), strata=apart, draws=draws, seed=seed)
    return metric_difference(name, truth, a, b, shared, level)


def metric_difference(
    name: str, y: Any, a: Any, b: Any, shared: Draws, level: float = 0.95
) -> Interval:
    """Return what `paired_difference` does, with draws that others share.

    Where no draw changes the difference of two rates, the p-value is that of flipping
    the signs of whole groups, and there is no interval.
    """
    truth, found = np.asarray(y).astype(bool), measure(name)
    (first, has_a), (second, has_b) = _known(a), _known(b)
    kept = has_a & has_b
    tables = [_table(found, truth, x, kept, shared) for x in (first, second)]
    of_a, of_b = (evaluate(each, [found], shared)[0] for each in tables)
    got = interval(
        of_b - of_a,
        shared.draws,
        _held(shared, kept),
        method=found.method,
        level=level,
        difference=True,
    )
    if got.method == "no spread" and name in LINEAR:
        return replace(got, method=FLIPS, p=_by_flips(_concerned(found, tables[0])))
    return got


def _of_one_table(
    measures: dict[str, Measure],
    truth: Array,
    x: Any,
    shared: Draws,
    level: float,
) -> dict[str, Interval]:
    column, kept = _known(x)
    count = _held(shared, kept)
    if not count:
        return {name: Interval(None, None, None, "undefined", 0) for name in measures}
    first = next(iter(measures.values()))
    given = _table(first, truth, column, kept, shared)
    values = evaluate(given, list(measures.values()), shared)
    found = {}
    for (name, each), row in zip(measures.items(), values, strict=True):
        got = interval(row, shared.draws, count, method=each.method, level=level)
        found[name] = _at_the_edge(name, each, given, got, level)
    return found


def _at_the_edge(
    name: str, found: Measure, given: Table, got: Interval, level: float
) -> Interval:
    """Give a share of 0 or 1, which no draw can move, its exact interval over groups.

    F1 = 2 J / (1 + J), where J, the Jaccard index, is such a share.
    """
    if got.method != "no spread" or not found.share or got.value not in (0.0, 1.0):
        return got
    held = _concerned(found, given)
    exact = clopper_pearson(int(got.value) * held, held, level)
    if name == "f1" and exact.low is not None and exact.high is not None:
        low, high = (2 * end / (1 + end) for end in (exact.low, exact.high))
        exact = replace(exact, low=low, high=high)
    return replace(exact, n_groups=got.n_groups)


def _concerned(found: Measure, given: Table) -> int:
    """Count the groups with a sample of the kinds that a share is of."""
    return int((given.matrix[list(found.share)].sum(axis=0) > 0).sum())


def _by_flips(groups: int) -> float:
    """Return the p-value if every group differs alike: all signs equal, by chance.

    Under the hypothesis a and b may change places in each group, and only if all or
    none do is the difference of two shares of the same samples as large.
    """
    return float(2.0 ** (1 - groups))


def _table(found: Measure, truth: Array, x: Array, kept: Array, shared: Draws) -> Table:
    index = shared.index[kept]
    return table(found.kind, index, shared.groups, truth[kept], x[kept])


def _known(x: Any) -> tuple[Array, Array]:
    """Return a column as float (n,), and where it is no NaN."""
    column = np.asarray(x, dtype=float)
    return column, ~np.isnan(column)


def _held(shared: Draws, kept: Array) -> int:
    """Count the groups with a sample that is kept."""
    return len(np.unique(shared.index[kept]))

"""Two rows of predictions, sample by sample: which is better, if that is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.statistics import (
    MEASURES,
    affordable,
    delong,
    holm,
    mcnemar,
    metric_difference,
    metric_intervals,
    shared_draws,
)
from safebench.statistics.metric import FLIPS

from .stored import read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.statistics import Draws, Interval, McNemar

    from .stored import Columns, Stored

    Array = np.ndarray[Any, np.dtype[Any]]

ALPHA = 0.05
DEFAULT = ("auroc", "auprc", "f1", "accuracy", "recall", "fpr")
NO_SCORES = "one of both has no score"
NO_DECISIONS = "one of both has no decision"
NO_PROBABILITIES = "scores are no probabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One metric of both on the same samples, and their difference, b minus a.

    `test` names the test that `p` comes from, `holm` is p adjusted for all lines of
    the comparison. `better` is ``a``, ``b``, or None where it is not shown; `note`
    says why there is no number.
    """

    metric: str
    a: Interval | None = None
    b: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    test: str = ""
    holm: float | None = None
    better: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two combinations on one dataset.

    `n` samples that both have, in `groups` groups; `left_out` samples only one has.
    `discordant` counts decisions that one of both gets right.
    """

    a: str
    b: str
    dataset: str
    task: str
    n: int
    groups: int
    left_out: int
    failed: tuple[int, int]
    discordant: McNemar | None
    lines: tuple[Line, ...]


def compare(
    pairs: Sequence[tuple[Stored, Stored]],
    metrics: Sequence[str],
    higher_is_better: Mapping[str, bool | None],
    *,
    draws: int | None = None,
    seed: int = 0,
) -> list[Comparison]:
    """Compare each pair; the p-values of all are adjusted together, by Holm.

    Raises DataError where two files contradict each other or share no sample.
    """
    read = lru_cache(maxsize=2)(read_columns)  # one side is often the same in all
    found = [
        _compared((a, read(a)), (b, read(b)), metrics, draws, seed) for a, b in pairs
    ]
    adjusted = iter(holm([line.p for each in found for line in each.lines]))
    return [
        replace(
            each,
            lines=tuple(
                _judged(line, next(adjusted), higher_is_better.get(line.metric))
                for line in each.lines
            ),
        )
        for each in found
    ]


def _judged(line: Line, adjusted: float | None, higher: bool | None) -> Line:
    """Name the better one where the adjusted p is below 5 %."""
    better = None
    if adjusted is not None and adjusted < ALPHA and line.difference is not None:
        value = line.difference.value
        if value and higher is not None:
            better = "b" if (value > 0) == higher else "a"
    return replace(line, holm=adjusted, better=better)


def _compared(
    left: tuple[Stored, Columns],
    right: tuple[Stored, Columns],
    metrics: Sequence[str],
    draws: int | None,
    seed: int,
) -> Comparison:
    (a, first), (b, second) = left, right
    one, other, left_out = _aligned(first, second)
    if not one.ids:
        raise DataError(f"{a.path} and {b.path} share no sample")
    if (one.y != other.y).any():
        row = int(np.flatnonzero(one.y != other.y)[0])
        raise DataError(
            f"{a.path} and {b.path} disagree on the label of {one.ids[row]}"
        )
    names = (a.label, b.label) if a.label != b.label else (a.full, b.full)
    return Comparison(
        a=names[0],
        b=names[1],
        dataset=first.dataset,
        task=first.task,
        n=len(one.ids),
        groups=len(set(one.groups)),
        left_out=left_out,
        failed=(_failed(one), _failed(other)),
        discordant=_discordant(one, other),
        lines=tuple(_lines(one, other, metrics, draws, seed)),
    )


def _discordant(a: Columns, b: Columns) -> McNemar | None:
    first, second = _decided(a), _decided(b)
    if first is None or second is None:
        return None
    return mcnemar(a.y, first, second)


def _aligned(a: Columns, b: Columns) -> tuple[Columns, Columns, int]:
    """Return both on the samples that both have, and how many only one has."""
    place = {id_: row for row, id_ in enumerate(b.ids)}
    rows = [row for row, id_ in enumerate(a.ids) if id_ in place]
    others = [place[a.ids[row]] for row in rows]
    left_out = len(a.ids) + len(b.ids) - 2 * len(rows)
    return _only(a, rows), _only(b, others), left_out


def _only(columns: Columns, rows: list[int]) -> Columns:
    return replace(
        columns,
        ids=[columns.ids[row] for row in rows],
        groups=[columns.groups[row] for row in rows],
        y=columns.y[rows],
        score=columns.score[rows],
        decision=columns.decision[rows],
    )


def _failed(columns: Columns) -> int:
    """Count the samples with neither score nor decision."""
    return int((np.isnan(columns.decision) & np.isnan(columns.score)).sum())


def _decided(columns: Columns) -> Array | None:
    """Return decisions (n,) float, each failed sample decided wrongly."""
    if np.isnan(columns.decision).all():
        return None
    lost = np.isnan(columns.decision)
    return np.where(lost, ~columns.y, columns.decision)


def _lines(
    a: Columns, b: Columns, metrics: Sequence[str], draws: int | None, seed: int
) -> list[Line]:
    groups = len(set(a.groups))
    shared = shared_draws(a.y, a.groups, draws=draws or affordable(groups), seed=seed)
    return [_line(name, a, b, shared) for name in metrics]


def _line(name: str, a: Columns, b: Columns, shared: Draws) -> Line:
    first, second, why = _inputs(name, a, b)
    if first is None or second is None:
        return Line(metric=name, note=why)
    sides = [
        metric_intervals([name], a.y, column, column, shared)[name]
        for column in (first, second)
    ]
    difference = metric_difference(name, a.y, first, second, shared)
    flipped = difference.method == FLIPS
    p, test = difference.p, "exact sign flips" if flipped else "paired bootstrap"
    if shared.groups == len(a.ids):  # independent samples
        p, test = _exact(name, a.y, first, second) or (p, test)
    return Line(
        metric=name,
        a=sides[0],
        b=sides[1],
        difference=difference,
        p=p,
        test=test if p is not None else "",
        note="" if difference.value is not None else "undefined",
    )


def _inputs(
    name: str, a: Columns, b: Columns
) -> tuple[Array | None, Array | None, str]:
    """Return what a metric reads of both, NaN where either has none, or why not."""
    kind = MEASURES[name].kind
    if kind == "decision":
        return _decided(a), _decided(b), NO_DECISIONS
    lost = np.isnan(a.score) | np.isnan(b.score)
    if lost.all():
        return None, None, NO_SCORES
    columns = [np.where(lost, np.nan, each.score) for each in (a, b)]
    if kind in ("loss", "width", "mass"):
        outside = [((each < 0) | (each > 1)).any() for each in columns]
        if any(outside):
            return None, None, NO_PROBABILITIES
    return columns[0], columns[1], ""


def _exact(name: str, y: Array, a: Array, b: Array) -> tuple[float | None, str] | None:
    """Return the p of a test for independent samples, where the metric has one."""
    if name == "accuracy":
        return mcnemar(y, a, b).p, "exact McNemar"
    kept = ~np.isnan(a)
    if name == "auroc" and 0 < y[kept].sum() < kept.sum():
        p = delong(y[kept], a[kept], b[kept]).p
        return None if p is None else (p, "DeLong")
    return None

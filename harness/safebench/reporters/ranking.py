"""Which numbers of a table are the best, and the rank of every line."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from safebench.console import DECIMALS
from safebench.number_format import round_as_shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .table import LeaderboardLine

_MIN_TO_COMPARE = 2  # one value is no best


def highlight_best(
    lines: Sequence[LeaderboardLine],
    higher_is_better: Sequence[bool | None],
    metrics: Sequence[str],
) -> Iterator[LeaderboardLine]:
    """Yield the lines with the best cells of each column marked, section by section.

    Numbers that read the same are all best: a reader could not see which one is.
    """
    for _, group in groupby(lines, key=lambda line: line.section):
        section = list(group)
        best_values = [
            _best_value(
                [_rounded_value(line, column, metrics[column]) for line in section],
                higher,
            )
            for column, higher in enumerate(higher_is_better)
        ]
        yield from (_highlighted(line, best_values, metrics) for line in section)


def with_ranks(
    lines: Sequence[LeaderboardLine], column: int | None, metrics: Sequence[str]
) -> Iterator[LeaderboardLine]:
    """Yield the lines, which are sorted, with their ranks in each section.

    Numbers that read the same share the smaller rank. A line without a number, one
    that saw the test labels and a published one have none; without a column no line.
    """
    for _, group in groupby(lines, key=lambda line: line.section):
        rank, last = 0, None
        ranked = 0
        for line in group:
            value = (
                None
                if column is None
                else _rounded_value(line, column, metrics[column])
            )
            if value is None or line.source:
                yield line
                continue
            ranked += 1
            if value != last:
                rank, last = ranked, value
            yield replace(line, rank=rank)


def _highlighted(
    line: LeaderboardLine,
    best_values: Sequence[float | None],
    metrics: Sequence[str],
) -> LeaderboardLine:
    shown = (
        _rounded_value(line, column, metric) for column, metric in enumerate(metrics)
    )
    cells = (
        replace(cell, best=best is not None and value == best)
        for cell, value, best in zip(line.cells, shown, best_values, strict=True)
    )
    return replace(line, cells=tuple(cells))


def _best_value(values: Sequence[float | None], higher: bool | None) -> float | None:
    """Return the best of values that differ; None where nothing is better."""
    distinct = {value for value in values if value is not None}
    # neither direction, or all equal: bold would claim a difference that is not there
    if higher is None or len(distinct) < _MIN_TO_COMPARE:
        return None
    return max(distinct) if higher else min(distinct)


def _rounded_value(line: LeaderboardLine, column: int, metric: str) -> float | None:
    value = line.cells[column].value
    if not line.ranked or value is None:
        return None
    return round_as_shown(value, metric, DECIMALS)

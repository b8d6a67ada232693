"""Which numbers of a table are the best, and the rank of every line."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from safebench.console import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .table import Cell, LeaderboardLine

_MIN_TO_COMPARE = 2  # one value is no best


def highlight_best(
    lines: Sequence[LeaderboardLine], higher_is_better: Sequence[bool | None]
) -> Iterator[LeaderboardLine]:
    """Yield the lines with the best cells of each column marked, section by section.

    Numbers that read the same are all best: a reader could not see which one is.
    """
    for _, group in groupby(lines, key=lambda line: line.section):
        section = list(group)
        best_values = [
            _best_value(
                [_rounded_value(line, line.cells[column]) for line in section], higher
            )
            for column, higher in enumerate(higher_is_better)
        ]
        yield from (_highlighted(line, best_values) for line in section)


def with_ranks(
    lines: Sequence[LeaderboardLine], column: int | None
) -> Iterator[LeaderboardLine]:
    """Yield the lines, which are sorted, with their ranks in each section.

    Numbers that read the same share the smaller rank. A line without a number, one
    that saw the test labels and a published one have none; without a column no line.
    """
    for _, group in groupby(lines, key=lambda line: line.section):
        rank, last = 0, None
        ranked = 0
        for line in group:
            cell = None if column is None else line.cells[column]
            value = cell and _rounded_value(line, cell)
            if value is None or line.source:
                yield line
                continue
            ranked += 1
            if value != last:
                rank, last = ranked, value
            yield replace(line, rank=rank)


def _highlighted(
    line: LeaderboardLine, best_values: Sequence[float | None]
) -> LeaderboardLine:
    cells = (
        replace(cell, best=best is not None and _rounded_value(line, cell) == best)
        for cell, best in zip(line.cells, best_values, strict=True)
    )
    return replace(line, cells=tuple(cells))


def _best_value(values: Sequence[float | None], higher: bool | None) -> float | None:
    """Return the best of values that differ; None where nothing is better."""
    distinct = {value for value in values if value is not None}
    # neither direction, or all equal: bold would claim a difference that is not there
    if higher is None or len(distinct) < _MIN_TO_COMPARE:
        return None
    return max(distinct) if higher else min(distinct)


def _rounded_value(line: LeaderboardLine, cell: Cell) -> float | None:
    if not line.ranked or cell.value is None:
        return None
    return round(cell.value, DECIMALS)

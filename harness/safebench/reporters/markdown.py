"""The leaderboard as a Markdown table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .layout import NEAR
from .text import interval, shown

if TYPE_CHECKING:
    from .table import Cell, Line, Table, View

_SPECIAL = re.compile(r"([\\|`*<\[\]]|(?<!\w)_|_(?!\w))")


def render(table: Table, view: View) -> str:
    """Return a table with one column for the dataset, then the footnotes."""
    names = ["dataset", "classifier", "model", "strategy"]
    numbers = [*table.metrics, "n", "failed"]
    lines = [
        _row([_escaped(name) for name in names + numbers]),
        _row([":--"] * len(names) + ["--:"] * len(numbers)),
        *(_row(_cells(line, table, view)) for line in table.lines),
    ]
    if table.title:
        lines = [f"**{_escaped(table.title)}**", "", *lines]
    if table.footnotes:
        lines += ["", *(f"- {_escaped(note)}" for note in table.footnotes)]
    return "\n".join(lines)


def _cells(line: Line, table: Table, view: View) -> list[str]:
    names = (line.section, line.classifier, line.model, line.method)
    values = [
        _number(cell, metric, view, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    return [*map(_escaped, names), *values, *line.counts]


def _number(cell: Cell, metric: str, view: View, *, ci: bool) -> str:
    text = shown(cell.value, metric, view.decimals)
    text = f"**{text}**" if cell.best else text
    if not ci:
        return text
    ends = interval(cell.ci_low, cell.ci_high, metric, view.decimals)
    return " ".join(filter(None, (NEAR * cell.near_best + text, _escaped(ends))))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""The leaderboard for a terminal: one rich table a dataset, fitted to the width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from safebench.console import render_rich

from .layout import BEST_MARK, fit_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from safebench.console import RenderOptions

    from .layout import Layout, LayoutColumn
    from .table import Leaderboard, LeaderboardLine

_NOTES_WIDTH = 80  # cells; longer lines of prose are hard to read on a wide screen


def render_terminal(table: Leaderboard, options: RenderOptions) -> str:
    """Return the text, with ANSI styles only as `options` allow them.

    Names are drawn as plain `Text`, so that no markup in them is obeyed.
    """
    layout = fit_layout(table, options)
    # never below the table's width, which rich would shrink by cutting numbers
    width = max(layout.width, min(options.width or _NOTES_WIDTH, _NOTES_WIDTH))

    return render_rich(_items(table, layout, options), options, width)


def _items(
    table: Leaderboard, layout: Layout, options: RenderOptions
) -> Iterator[RenderableType]:
    if table.title:
        yield Text(table.title, style="bold")
    first = 0
    for name, lines in table.sections:
        yield Rule(Text(_title(name, lines)), align="left", style="dim")
        yield _section_table(layout, lines, first)
        yield Text()
        first += len(lines)
    notes = [*layout.notes, *table.footnotes]
    has_best = any(cell.best for line in table.lines for cell in line.cells)
    if has_best and not options.styles:
        notes.insert(0, f"{BEST_MARK} best of its column on a dataset")
    yield _notes(notes)


def _notes(notes: Sequence[str]) -> RichTable:
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    for note in notes:
        grid.add_row("-", Text(note), style="dim")
    return grid


def _title(name: str, lines: Sequence[LeaderboardLine]) -> str:
    """Return the name, with the number of samples where all measured lines share it."""
    sizes = {(line.n, line.n_pos) for line in lines if not line.source}
    if len(sizes) > 1:
        return name
    ((n, n_pos),) = sizes
    noun = "sample" if n == 1 else "samples"
    positive = "" if n_pos is None else f", {n_pos} positive"
    return f"{name}: {n} {noun}{positive}"


def _section_table(
    layout: Layout, lines: Sequence[LeaderboardLine], first: int
) -> RichTable:
    """Draw the lines of one dataset; `first` is their position in the layout's texts.

    Columns are as wide in every section, so that datasets can be compared by eye.
    """
    table = RichTable(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, layout.gap - 1, 0, 0),  # the box itself takes one cell
        header_style="bold",
        border_style="dim",
    )
    for column in layout.columns:
        table.add_column(
            Text(column.header),
            width=column.width,
            justify="right" if column.right else "left",
        )
    for offset, line in enumerate(lines):
        cells = (_cell(column, line, first + offset) for column in layout.columns)
        table.add_row(*cells)
    return table


def _cell(column: LayoutColumn, line: LeaderboardLine, row: int) -> Text:
    text = Text(column.texts[row])
    if column.metric is not None:
        cell = line.cells[column.metric]
        text.style = "bold green" if cell.best else "dim" if cell.value is None else ""
    elif column.header == "failed" and line.n_failed:
        text.style = "yellow"
    if line.source:
        text.style = "dim"
    return text

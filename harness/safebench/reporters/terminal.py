"""The leaderboard for people: a rich table per dataset that fits the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from .layout import MARK, fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from .layout import Column, Layout
    from .table import Line, Table, View

_NOTES_WIDTH = 80  # footnotes stay readable on a wide screen, too


def render(table: Table, view: View) -> str:
    """Return the text, with ANSI styles only as `view` allows them.

    Names are drawn as plain `Text`, so that no markup in them is obeyed.
    """
    layout = fit(table, view)
    width = max(layout.width, min(view.width or _NOTES_WIDTH, _NOTES_WIDTH))
    memory = io.BytesIO()
    # the encoding tells rich whether it may draw lines
    with io.TextIOWrapper(memory, encoding=view.encoding, errors="replace") as file:
        console = _console(view, width, file)
        for item in _items(table, layout, view):
            console.print(item)
        file.flush()
        text = memory.getvalue().decode(view.encoding)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _console(view: View, width: int, file: TextIO) -> Console:
    """Return a console for `file`, whatever the terminal of this process is."""
    return Console(
        file=file,
        width=width,
        force_terminal=view.styles,
        color_system="standard" if view.styles else None,
        no_color=not view.colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _items(table: Table, layout: Layout, view: View) -> Iterator[RenderableType]:
    if table.title:
        yield Text(table.title, style="bold")
    done = 0
    for name, lines in table.sections:
        yield Rule(Text(_title(name, lines)), align="left", style="dim")
        yield _section(layout, lines, done)
        yield Text()
        done += len(lines)
    notes = [*layout.below, *table.footnotes]
    if not view.styles and any(cell.best for x in table.lines for cell in x.cells):
        notes.insert(0, f"{MARK} best of its column on a dataset")
    yield _notes(notes)


def _notes(notes: Sequence[str]) -> RichTable:
    drawn = RichTable.grid(padding=(0, 1, 0, 0))
    for note in notes:
        drawn.add_row("-", Text(note), style="dim")
    return drawn


def _title(name: str, lines: Sequence[Line]) -> str:
    sizes = {(line.n, line.n_pos) for line in lines if not line.source}
    if len(sizes) > 1:
        return name
    ((n, positive),) = sizes
    return f"{name}: {n} {'sample' if n == 1 else 'samples'}" + (
        "" if positive is None else f", {positive} positive"
    )


def _section(layout: Layout, lines: Sequence[Line], first: int) -> RichTable:
    """Draw the lines of one dataset; `first` is their place in the columns' texts."""
    drawn = RichTable(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, layout.gap - 1, 0, 0),  # the box itself takes one cell
        header_style="bold",
        border_style="dim",
    )
    for column in layout.columns:
        drawn.add_column(
            Text(column.header),
            width=column.width,
            justify="right" if column.right else "left",
        )
    for offset, line in enumerate(lines):
        cells = (_cell(column, line, first + offset) for column in layout.columns)
        drawn.add_row(*cells)
    return drawn


def _cell(column: Column, line: Line, row: int) -> Text:
    text = Text(column.texts[row])
    if column.metric is not None:
        cell = line.cells[column.metric]
        text.style = "bold green" if cell.best else "dim" if cell.value is None else ""
    elif column.header == "failed" and line.n_failed:
        text.style = "yellow"
    if line.source:
        text.style = "dim"
    return text

"""A titled table of text, and its drawing for a terminal and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.console import render_rich

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from safebench.console import RenderOptions

TEXT_LIMIT = 300  # characters of a prompt that a table shows
UNICODE_BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*#@"
_DEFAULT_WIDTH = 100  # cells, where no terminal sets them
_MIN_NAME_WIDTH = 20  # cells that a name keeps: most strategies fit
_FOLDED_NAME_WIDTH = 12  # and where columns that matter would leave
_GAP = 2
_MARKDOWN_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\|`*_<>[]#"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Headers and rows of text; the first `text_columns` are names, the rest numbers.

    `level` 1 opens a combination, 2 is a table of it. Where there is no room, columns
    that are `expendable` leave first, in that order.
    """

    title: str
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    text_columns: int = 1
    notes: tuple[str, ...] = ()
    level: int = 2
    expendable: tuple[str, ...] = ()
    name_width: int = _MIN_NAME_WIDTH


def sparkline(values: Sequence[float], *, unicode: bool = True) -> str:
    """Return one bar for each value, the largest full; none above 0 looks empty."""
    bars = UNICODE_BARS if unicode else ASCII_BARS
    top = max(values, default=0)
    if top <= 0:
        return bars[0] * len(values)
    steps = len(bars) - 1
    return "".join(
        bars[max(1, round(value / top * steps))] if value > 0 else bars[0]
        for value in values
    )


def to_terminal(tables: Iterable[TextTable], options: RenderOptions) -> str:
    """Return text with ANSI styles only as `options` allow them."""
    width = options.width or _DEFAULT_WIDTH
    items = (
        item for table in tables for item in _rich_items(_drop_columns(table, width))
    )
    return render_rich(items, options, width)


def _drop_columns(table: TextTable, width: int) -> TextTable:
    """Leave out columns until names keep a readable width: the expendable ones first.

    Then names are folded more, and at last columns leave from the right.
    """
    kept = list(range(len(table.headers)))
    least = table.name_width
    for name in table.expendable:
        if _min_width(table, kept, least) > width and name in table.headers:
            kept.remove(table.headers.index(name))
    if table.expendable and _min_width(table, kept, least) > width:
        least = _FOLDED_NAME_WIDTH
    # names and one number stay, however narrow: rich folds what is left
    while len(kept) > table.text_columns + 1 and _min_width(table, kept, least) > width:
        kept.pop()

    if len(kept) == len(table.headers):
        return table
    dropped = (name for i, name in enumerate(table.headers) if i not in kept)
    note = f"no room for {', '.join(dropped)}: see all with --format md"
    return replace(
        table,
        headers=tuple(table.headers[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        notes=(*table.notes, note),
    )


def _min_width(table: TextTable, columns: Sequence[int], least: int) -> int:
    """Return the cells that columns need, where names may fold to `least` cells."""
    from rich.cells import cell_len

    widths = [
        max(cell_len(row[position]) for row in (table.headers, *table.rows))
        for position in columns
    ]
    names = [min(width, least) for width in widths[: table.text_columns]]
    return sum(names) + sum(widths[table.text_columns :]) + _GAP * (len(columns) - 1)


def _rich_items(table: TextTable) -> Iterator[RenderableType]:
    """Yield title, table and notes, all as `Text`: no markup in a name is obeyed."""
    from rich.box import SIMPLE_HEAD
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    if table.level == 1:
        yield Rule(Text(table.title, style="bold"), align="left", style="dim")
    else:
        yield Text(table.title, style="bold")
    if table.rows:
        rich_table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        for position, header in enumerate(table.headers):
            is_name = position < table.text_columns
            rich_table.add_column(
                Text(header),
                justify="left" if is_name else "right",
                overflow="fold",
                no_wrap=not is_name,
            )
        for row in table.rows:
            rich_table.add_row(*map(Text, row))
        yield rich_table
    for note in table.notes:
        yield Text(note, style="dim")
    yield Text()


def to_markdown(tables: Iterable[TextTable]) -> str:
    """Return headings, tables and lists."""
    blocks = []
    for table in tables:
        blocks.append(f"{'#' * (table.level + 1)} {_escape_markdown(table.title)}")
        if table.rows:
            n_numbers = len(table.headers) - table.text_columns
            rules = [":--"] * table.text_columns + ["--:"] * n_numbers

            rows = [_markdown_row(map(_escape_markdown, row)) for row in table.rows]
            headers = _markdown_row(map(_escape_markdown, table.headers))
            blocks.append("\n".join([headers, _markdown_row(rules), *rows]))
        if table.notes:
            blocks.append(
                "\n".join(f"- {_escape_markdown(note)}" for note in table.notes)
            )
    return "\n\n".join(blocks)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    return text.translate(_MARKDOWN_SPECIAL)

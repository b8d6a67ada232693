"""Output formats of the leaderboard: terminal, Markdown, LaTeX, CSV and JSON.

Terminal, Markdown and LaTeX round and highlight for readers; CSV and JSON are
unrounded, for programs, and their field names stay.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from safebench.console import render_rich
from safebench.number_format import format_metric, format_metric_interval
from safebench.sanitize import json_text, printable

from .footnotes import named, notes_on_cells, short_notes_on_cells
from .layout import BEST_MARK, TIE_MARK, fit_layout
from .table import Explanation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from safebench.console import RenderOptions

    from .layout import Layout, LayoutColumn
    from .table import Cell, Leaderboard, LeaderboardLine


# underscores inside of a word are no emphasis, and read better unescaped
_MARKDOWN_SPECIAL = re.compile(r"([\\|`*<\[\]]|(?<!\w)_|_(?!\w))")
_LATEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
    }
)
# what makes a cell a formula (OWASP, CSV injection), full-width forms included
_FORMULA_STARTS = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NAME_HEADERS = ("classifier", "model", "strategy")
LINE_FIELDS = (
    "dataset",
    "task",
    "classifier",
    "model",
    "strategy",
    "calibrator",
    "run",
)
CELL_FIELDS = (
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "bound_low",
    "bound_high",
    "n_scored",
    "note",
)
_LINES_IN_VIEW = 8  # sections of more lines have the headers again
_MOST_EXPLANATIONS = 5  # footnotes that only explain; more of them are counted
_NOTES_WIDTH = 80  # cells; longer lines of prose are hard to read on a wide screen


def render_markdown(table: Leaderboard, options: RenderOptions) -> str:
    """Return a table with a column for the dataset, then the footnotes."""
    names = ["dataset", *_NAME_HEADERS]
    numbers = [*table.metrics, "n", "failed"]
    lines = [
        _markdown_row([escape_markdown(name) for name in names + numbers]),
        _markdown_row([":--"] * len(names) + ["--:"] * len(numbers)),
        *(_markdown_row(_markdown_cells(line, table, options)) for line in table.lines),
    ]
    if table.title:
        lines = [f"**{escape_markdown(table.title)}**", "", *lines]
    if table.footnotes:
        lines += ["", *(f"- {escape_markdown(note)}" for note in table.footnotes)]
    return "\n".join(lines)


def _markdown_cells(
    line: LeaderboardLine, table: Leaderboard, options: RenderOptions
) -> list[str]:
    names = (line.section, line.classifier, line.model, line.method)
    numbers = [
        _markdown_number(cell, metric, options, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    return [*map(escape_markdown, names), *numbers, *line.counts]


def _markdown_number(
    cell: Cell, metric: str, options: RenderOptions, *, ci: bool
) -> str:
    text = format_metric(cell.value, metric, options.decimals)
    text = f"**{text}**" if cell.best else text
    if not ci:
        return text
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    tie = TIE_MARK if cell.ties_with_best else ""
    return " ".join(filter(None, (tie + text, escape_markdown(interval))))


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def render_latex(table: Leaderboard, options: RenderOptions) -> str:
    """Return a tabular in the style of booktabs, one block a dataset.

    The footnotes are comments above it: a paper has its own way to set them.
    """
    headers = [*_NAME_HEADERS, *table.metrics, "n", "failed"]
    align = "l" * len(_NAME_HEADERS) + "r" * (len(headers) - len(_NAME_HEADERS))
    notes = filter(None, (table.title, *table.footnotes))
    lines = [
        *(f"% {printable(note)}" for note in notes),  # a second line would be code
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        _latex_row([escape_latex(header) for header in headers]),
    ]
    for name, section in table.sections:
        title = rf"\textit{{{escape_latex(name)}}}"
        lines += [
            r"\midrule",
            _latex_row([rf"\multicolumn{{{len(headers)}}}{{l}}{{{title}}}"]),
        ]
        lines += [_latex_row(_latex_cells(line, table, options)) for line in section]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_cells(
    line: LeaderboardLine, table: Leaderboard, options: RenderOptions
) -> list[str]:
    names = (line.classifier, line.model, line.method)
    numbers = [
        _latex_number(cell, metric, options, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    escaped = [escape_latex(name) for name in names]
    return [*escaped, *numbers, *line.counts]


def _latex_number(cell: Cell, metric: str, options: RenderOptions, *, ci: bool) -> str:
    text = format_metric(cell.value, metric, options.decimals, missing="--")
    text = rf"\textbf{{{text}}}" if cell.best else text
    if not ci:
        return text
    tie = r"$\sim$" if cell.ties_with_best else ""
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    return " ".join(filter(None, (tie + text, interval)))


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return text.translate(_LATEX_SPECIAL)


def _latex_row(cells: list[str]) -> str:
    text = " & ".join(cells)
    # LaTeX takes a bracket after the \\ of the row before as an option of that \\
    guard = "{}" if text.startswith("[") else ""
    return rf"{guard}{text} \\"


def render_csv(table: Leaderboard, options: RenderOptions) -> str:  # noqa: ARG001 - numbers stay unrounded
    """Return a header and one row a line; an undefined number is an empty field.

    With intervals, each metric is followed by its ends. A name that a spreadsheet
    would run as a formula gets an apostrophe before it.
    """
    ends = ("", "_low", "_high") if table.ci else ("",)
    headers = [_no_formula(metric + end) for metric in table.metrics for end in ends]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fields = list(LINE_FIELDS)
    if any(line.slice is not None for line in table.lines):
        fields.append("slice")
    review = review_fields(table.lines)
    writer.writerow([*fields, *review, *table.about, *headers, "n", "n_failed"])
    for line in table.lines:
        names = [_no_formula(getattr(line, name)) for name in fields]
        numbers: list[float | None] = []
        for cell in line.cells:
            interval = [cell.ci_low, cell.ci_high] if table.ci else []
            numbers += [cell.value, *interval]
        # a dash reads as text and would make the column one of strings
        counts = [count.replace("-", "") for count in line.counts]
        said = [(line.review or {}).get(name) for name in review]
        if review:  # the first of them says which labels the numbers are about
            said[0] = "stored" if line.review is None else "reviewed"
        writer.writerow([*names, *said, *table.about.values(), *numbers, *counts])
    return file.getvalue().rstrip("\n")


def review_fields(lines: Sequence[LeaderboardLine]) -> list[str]:
    """Return the columns that say how labels were reviewed, if any were."""
    names = dict.fromkeys(name for line in lines for name in line.review or ())
    return ["labels", *names] if names else []


def _no_formula(text: str | None) -> str | None:
    """Return the text of a cell so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA_STARTS) else text


def render_json(table: Leaderboard, options: RenderOptions) -> str:
    """Return a list of objects; `metrics` maps a name to its value and its n."""
    records = [table.about | _json_record(line, table.metrics) for line in table.lines]
    return json_text(records, options.encoding, indent=2)


def _json_record(line: LeaderboardLine, metrics: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{name: getattr(line, name) for name in LINE_FIELDS},
        **({} if line.slice is None else {"slice": line.slice}),
        **({} if line.review is None else {"labels": "reviewed", **line.review}),
        # 0 stands for a published dataset of unknown size
        "n": None if line.source and not line.n else line.n,
        "n_pos": line.n_pos,
        "n_failed": line.n_failed,
        **({"source": line.source} if line.source else {}),
        "metrics": {
            metric: {name: getattr(cell, name) for name in CELL_FIELDS}
            for metric, cell in zip(metrics, line.cells, strict=True)
        },
    }


def render_terminal(table: Leaderboard, options: RenderOptions) -> str:
    """Return the text, with ANSI styles only as `options` allow them.

    Names are drawn as plain `Text`, so that no markup in them is obeyed.
    """
    blocks = table.blocks or (table,)
    layouts = [fit_layout(block, options) for block in blocks]
    # never below a table's width, which rich would shrink by cutting numbers
    widest = max(layout.width for layout in layouts)
    width = max(widest, min(options.width or _NOTES_WIDTH, _NOTES_WIDTH))

    return render_rich(_items(table, blocks, layouts, options), options, width)


def _items(
    table: Leaderboard,
    blocks: Sequence[Leaderboard],
    layouts: Sequence[Layout],
    options: RenderOptions,
) -> Iterator[RenderableType]:
    if table.title:
        yield Text(table.title, style="bold")
    has_best = False
    notes: list[str] = []
    for block, layout in zip(blocks, layouts, strict=True):
        yield from _block_items(block, layout)
        has_best |= any(cell.best for line in block.lines for cell in line.cells)
        short = not options.every_note
        notes += [*layout.notes, *_block_notes(block, layout, short=short)]
    if has_best and not options.styles:
        notes.insert(0, f"{BEST_MARK} best of its column on a dataset")
    notes = [*dict.fromkeys(notes)]  # blocks of one guard share some
    yield _notes(notes if options.every_note else _without_explanations(notes))


def _without_explanations(notes: Sequence[str]) -> list[str]:
    """Return the notes, with a count in the place of many that only explain.

    What takes something from a number is never one of these.
    """
    explaining = [note for note in notes if isinstance(note, Explanation)]
    if len(explaining) <= _MOST_EXPLANATIONS:
        return list(notes)
    topics = named([*dict.fromkeys(note.topic for note in explaining)], most=2)
    return [
        *(note for note in notes if not isinstance(note, Explanation)),
        f"{len(explaining)} more notes with leaderboard --notes: {topics}",
    ]


def _block_items(block: Leaderboard, layout: Layout) -> Iterator[RenderableType]:
    """Yield the sections; the headers once where all are in one view."""
    sort = block.metrics.index(block.sort) if block.sort in block.metrics else None
    once = all(len(lines) <= _LINES_IN_VIEW for _, lines in block.sections)
    first = 0
    for name, lines in block.sections:
        yield Rule(Text(_title(name, lines)), align="left", style="dim")
        table = _section_table(
            layout, lines, first, header=not (once and first), sort=sort
        )
        yield table
        first += len(lines)
        if not once or first == len(block.lines):
            yield Text()


def _block_notes(block: Leaderboard, layout: Layout, *, short: bool) -> Iterator[str]:
    """Yield the footnotes, with those on numbers that are shown."""
    kept = [block.metrics[position] for position in layout.metrics]
    lines = [
        replace(line, cells=tuple(line.cells[i] for i in layout.metrics))
        for line in block.lines
    ]
    yield from block.footnotes
    if block.cell_notes:
        of_cells = short_notes_on_cells if short else notes_on_cells
        yield from of_cells(lines, kept, ci=block.ci)


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
    layout: Layout,
    lines: Sequence[LeaderboardLine],
    first: int,
    *,
    header: bool,
    sort: int | None,
) -> RichTable:
    """Draw the lines of one dataset; `first` is their position in the layout's texts.

    The best number is green in the metric that sorts (`sort` is its position) alone.

    Columns are as wide in every section, so that datasets can be compared by eye.
    """
    table = RichTable(
        box=SIMPLE_HEAD,
        show_edge=False,
        show_header=header,
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
        cells = (_cell(column, line, first + offset, sort) for column in layout.columns)
        table.add_row(*cells)
    return table


def _cell(
    column: LayoutColumn, line: LeaderboardLine, row: int, sort: int | None
) -> Text:
    text = Text(column.texts[row])
    if column.metric is not None:
        cell = line.cells[column.metric]
        best = "bold green" if column.metric == sort else "bold"
        text.style = best if cell.best else "dim" if cell.value is None else ""
    elif column.header == "failed" and line.n_failed:
        text.style = "yellow"
    if line.source:
        text.style = "dim"
    return text

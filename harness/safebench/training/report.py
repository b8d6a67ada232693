"""Show the measures of a training: a table on a terminal, one measure a line in a pipe.

The table has a row for each model and split and a column for each metric. Lines are
meant for `grep` and `awk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.console import render_rich, terminal_capabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from safebench.console import RenderOptions

    from .trainer import Measure

DEFAULT_WIDTH = 200


def format_measures(
    measures: Sequence[Measure], view: RenderOptions | None = None
) -> str:
    """Return measures as text for `view` (default: what standard output can show)."""
    view = view or terminal_capabilities()
    if not measures:
        return ""
    if not view.styles:
        return "\n".join(_plain_lines(measures))
    blocks: list[Table | Text] = [
        *_pivot_tables(measures, view.width or DEFAULT_WIDTH),
        *_footnotes(measures),
    ]
    return "\n".join(render_rich([block], view) for block in blocks)


def _plain_lines(measures: Sequence[Measure]) -> list[str]:
    rows = [("who", "part", "metric", "value", "95 % interval", "n", "method", "note")]
    for m in measures:
        n = "" if m.n is None else str(m.n)
        rows.append(
            (
                m.who,
                m.part,
                m.metric,
                format_value(m.value),
                _format_interval(m),
                n,
                m.method or "",
                m.note,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{text:<{width}}" for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def format_value(value: float | None) -> str:
    """Return a value with three digits after the point, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def _format_interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"[{format_value(measure.low)}, {format_value(measure.high)}]"


def _pivot_tables(measures: Sequence[Measure], width: int) -> list[Table]:
    """Return one table, or several with some metrics each if `width` is too small."""
    metrics = list(dict.fromkeys(m.metric for m in measures))
    row_header = 6 + max(len(m.who) for m in measures)
    row_header += max(len(m.part) for m in measures)
    column = 2 + max(*(len(name) for name in metrics), len("[0.000, 0.000]"))
    columns = max(1, (width - row_header) // column)
    return [
        _pivot_table(measures, metrics[i : i + columns])
        for i in range(0, len(metrics), columns)
    ]


def _pivot_table(measures: Sequence[Measure], metrics: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("part", no_wrap=True)
    for metric in metrics:
        table.add_column(Text(metric), justify="right", no_wrap=True)
    cells = {(m.part, m.who, m.metric): m for m in measures}
    for part, who in dict.fromkeys((m.part, m.who) for m in measures):
        row = [_cell(cells.get((part, who, metric))) for metric in metrics]
        if any(row):
            table.add_row(Text(who), Text(part), *row)
    return table


def _cell(measure: Measure | None) -> Text:
    from rich.text import Text

    if measure is None:
        return Text("")
    cell = Text(format_value(measure.value), style="bold")
    if interval := _format_interval(measure):
        cell.append(f"\n{interval}", style="not bold dim")
    return cell


def _footnotes(measures: Sequence[Measure]) -> list[Text]:
    """Return counts of rows, interval methods and notes, which cells have no room for.

    A split may have several counts: of rows and of pairs.
    """
    from rich.text import Text

    counts: dict[str, list[int]] = {}
    for m in measures:
        if m.n is not None and m.n not in counts.setdefault(m.part, []):
            counts[m.part].append(m.n)
    sizes = [f"{part} {' or '.join(map(str, ns))}" for part, ns in counts.items()]
    methods = dict.fromkeys(m.method for m in measures if m.method)
    lines = [f"n: {', '.join(sizes)}"] if sizes else []
    lines += [f"95 % intervals: {', '.join(methods)}"] if methods else []
    lines += dict.fromkeys(f"{m.metric}: {m.note}" for m in measures if m.note)
    return [Text(line, style="dim") for line in lines]

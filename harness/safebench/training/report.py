"""Measures as a table: a pivot on a terminal, one line a measure in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.reporters.screen import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from safebench.reporters.table import View

    from .job import Measure

WIDEST = 200


def measures_text(measures: Sequence[Measure], view: View | None = None) -> str:
    """Return the table for standard output as it is, or for another view."""
    view = view or screen()
    if not measures:
        return ""
    if view.styles:
        items: list[Table | Text] = [
            *_pivots(measures, view.width or WIDEST),
            *_footnotes(measures),
        ]
        return "\n".join(_drawn(item, view) for item in items)
    return "\n".join(_lines(measures))


def _lines(measures: Sequence[Measure]) -> list[str]:
    rows = [("who", "part", "metric", "value", "95 % interval", "n", "method", "note")]
    for m in measures:
        n = "" if m.n is None else str(m.n)
        rows.append(
            (
                m.who,
                m.part,
                m.metric,
                number(m.value),
                _interval(m),
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


def number(value: float | None) -> str:
    """Return a value with three digits after the point, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def _interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"[{number(measure.low)}, {number(measure.high)}]"


def _pivots(measures: Sequence[Measure], width: int) -> list[Table]:
    """Return tables with a column a metric, as many of them as the width asks for."""
    metrics = list(dict.fromkeys(m.metric for m in measures))
    fixed = 6 + max(len(m.who) for m in measures) + max(len(m.part) for m in measures)
    each = 2 + max(*(len(name) for name in metrics), len("[0.000, 0.000]"))
    many = max(1, (width - fixed) // each)
    return [
        _pivot(measures, metrics[i : i + many]) for i in range(0, len(metrics), many)
    ]


def _pivot(measures: Sequence[Measure], metrics: Sequence[str]) -> Table:
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
    cell = Text(number(measure.value), style="bold")
    if interval := _interval(measure):
        cell.append(f"\n{interval}", style="not bold dim")
    return cell


def _footnotes(measures: Sequence[Measure]) -> list[Text]:
    """Return what the cells have no room for: counts, methods, notes."""
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


def _drawn(item: Table | Text, view: View) -> str:
    import io

    from rich.console import Console

    memory = io.StringIO()
    console = Console(
        file=memory,
        width=view.width,
        force_terminal=view.styles,
        no_color=not view.colour,
        highlight=False,
        legacy_windows=False,
    )
    console.print(item)
    return memory.getvalue().rstrip("\n")

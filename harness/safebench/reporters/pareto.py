"""Output of `safebench pareto`: for a terminal, as Markdown and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from safebench.console import render_rich
from safebench.number_format import format_metric, format_metric_interval
from safebench.results.pareto import COSTS
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table as RichTable
    from rich.text import Text

    from safebench.console import RenderOptions
    from safebench.results.pareto import Pareto, ParetoCell, ParetoFront

ON_FRONT = "on the front"
_SMALLEST_P = 0.001


def render_pareto(result: Pareto, form: str, options: RenderOptions) -> str:
    """Return fronts as ``table``, ``md`` or ``json``."""
    if form == "json":
        record = asdict(result)
        names = ("cell", "dataset", "reason")
        record["left_out"] = [
            dict(zip(names, cell, strict=True)) for cell in result.left_out
        ]
        return json_text(record, options.encoding, indent=2)
    if form == "md":
        return _markdown(result, options)
    return render_rich(_rich_items(result, options), options)


def standing(cell: ParetoCell) -> str:
    """Say whether a cell is on the front, and if not how sure that is."""
    if cell.dominated_by is None:
        return ON_FRONT
    if cell.holm is None:
        sure = cell.note or "not tested"
    else:
        p = f"p <{_SMALLEST_P}" if cell.holm < _SMALLEST_P else f"p {cell.holm:.3f}"
        sure = p if cell.significant else f"n.s., {p}"
    return f"below {cell.dominated_by} ({sure})"


def remarks(result: Pareto) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    yield (
        f"below A: A costs no more and has no worse {result.metric}; p of a paired "
        "test of that difference, by Holm"
    )
    yield from result.notes
    by_reason: dict[str, list[str]] = {}
    for cell, dataset, reason in result.left_out:
        by_reason.setdefault(reason, []).append(f"{cell} on {dataset}")
    for reason, cells in by_reason.items():
        yield f"not placed: {', '.join(cells)}: {reason}"


def _headers(result: Pareto) -> tuple[str, ...]:
    return ("", result.metric, "95 %", COSTS[result.cost][0], "")


def _title(front: ParetoFront) -> str:
    positives = "" if front.n_pos is None else f", {front.n_pos} positive"
    device = f", {front.device}" if front.device else ""
    return printable(
        f"{front.dataset} ({front.task}): {front.n} samples{positives}{device}"
    )


def _cells(cell: ParetoCell, result: Pareto, options: RenderOptions) -> tuple[str, ...]:
    decimals = options.decimals
    return (
        printable(f"{cell.classifier}/{cell.method}"),
        format_metric(cell.value, result.metric, decimals),
        format_metric_interval(cell.ci_low, cell.ci_high, result.metric, decimals),
        _cost_text(cell),
        printable(standing(cell)),
    )


def _cost_text(cell: ParetoCell) -> str:
    if cell.cost_low is None or cell.cost_high is None:
        return f"{cell.cost:.3g}"
    return f"{cell.cost:.3g} [{cell.cost_low:.2g} {cell.cost_high:.2g}]"


def _rich_items(result: Pareto, options: RenderOptions) -> Iterator[RichTable | Text]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for front in result.fronts:
        yield Text(_title(front), style="bold")
        table = Table(
            box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim"
        )
        for position, header in enumerate(_headers(result)):
            numeric = position in (1, 2)
            table.add_column(
                header,
                justify="right" if position in (1, 2, 3) else "left",
                no_wrap=numeric,
                overflow="fold",
            )
        for cell in front.cells:
            style = "" if cell.dominated_by else "bold"
            texts = (Text(text) for text in _cells(cell, result, options))
            table.add_row(*texts, style=style)
        yield table
        yield Text()
    for remark in remarks(result):
        yield Text(f"- {printable(remark)}", style="dim")


def _markdown(result: Pareto, options: RenderOptions) -> str:
    lines: list[str] = []
    for front in result.fronts:
        lines += [f"**{_escape(_title(front))}**", ""]
        lines += [
            f"| {' | '.join(_headers(result))} |",
            "| :-- | --: | --: | --: | :-- |",
        ]
        for cell in front.cells:
            texts = (_escape(text) for text in _cells(cell, result, options))
            lines.append(f"| {' | '.join(texts)} |")
        lines.append("")
    lines += [f"- {_escape(printable(remark))}" for remark in remarks(result)]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)

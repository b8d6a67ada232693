"""Comparisons of two rows, for terminals, as Markdown and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from .text import printable, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table as RichTable

    from safebench.results.comparison import Comparison, Line
    from safebench.statistics import Interval

    from .table import View

FORMATS = ("table", "md", "json")
HEADERS = ("metric", "A", "B", "B - A", "p", "Holm", "")
_SMALLEST = 0.001


def render(comparisons: Sequence[Comparison], form: str, view: View) -> str:
    """Return comparisons in one of `FORMATS`."""
    if form == "json":
        records = [_record(each) for each in comparisons]
        return json.dumps(records, indent=2, ensure_ascii=not view.unicode)
    if form == "md":
        return "\n\n".join(_markdown(each, view) for each in comparisons)
    return _terminal(comparisons, view)


def verdict(line: Line) -> str:
    """Say which one is better, or that this is not shown."""
    if line.p is None:
        return line.note or "no test"
    return f"{line.better.upper()} is better" if line.better else "not shown"


def remarks(comparison: Comparison) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    if comparison.discordant is not None:
        only_b, only_a, p = comparison.discordant
        yield (
            f"right decisions: only A {only_a}, only B {only_b}; "
            f"exact McNemar: p {_p(p)}"
            + ("" if _independent(comparison) else ", as if samples were independent")
        )
    if not _independent(comparison):
        yield (
            f"{comparison.n} samples in {comparison.groups} groups: "
            "intervals and p draw whole groups"
        )
    if any(comparison.failed):
        a, b = comparison.failed
        yield (
            f"failed samples: A {a}, B {b}; they count as wrong decisions, and "
            "metrics of scores leave them out for both"
        )
    if comparison.left_out:
        yield f"{comparison.left_out} samples that only one of both has are left out"
    tests = {line.test: None for line in comparison.lines if line.test}
    yield (
        f"95 % intervals; p by {', '.join(tests) or 'no test'}; Holm: p adjusted for "
        "all lines, a difference is shown below 0.05"
    )


def _independent(comparison: Comparison) -> bool:
    return comparison.groups == comparison.n


def _terminal(comparisons: Sequence[Comparison], view: View) -> str:
    from rich.console import Console
    from rich.text import Text

    memory = io.BytesIO()
    with io.TextIOWrapper(memory, encoding=view.encoding, errors="replace") as file:
        console = Console(
            file=file,
            width=view.width,
            force_terminal=view.styles,
            color_system="standard" if view.styles else None,
            no_color=not view.colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        for each in comparisons:
            for line in _heading(each):
                console.print(Text(line, style="bold"))
            console.print(_table(each, view))
            for remark in remarks(each):
                console.print(Text(f"- {remark}", style="dim"))
            console.print()
        file.flush()
        text = memory.getvalue().decode(view.encoding)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _table(comparison: Comparison, view: View) -> RichTable:
    """Draw the lines; every interval stands below its value."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, border_style="dim"
    )
    for position, header in enumerate(HEADERS):
        number = 0 < position < len(HEADERS) - 1
        drawn.add_column(
            header, justify="right" if number else "left", no_wrap=bool(position)
        )
    for line in comparison.lines:
        cells = _cells(line, view, "\n")
        style = "bold" if line.better else ""
        drawn.add_row(*(Text(cell) for cell in cells), style=style)
    return drawn


def _markdown(comparison: Comparison, view: View) -> str:
    lines = [
        *(f"**{_escaped(line)}**  " for line in _heading(comparison)),
        "",
        f"| {' | '.join(HEADERS)} |",
        "| :-- | --: | --: | --: | --: | --: | :-- |",
    ]
    for line in comparison.lines:
        cells = (_escaped(cell) for cell in _cells(line, view, " "))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {_escaped(remark)}" for remark in remarks(comparison))]
    return "\n".join(lines)


def _heading(comparison: Comparison) -> Iterator[str]:
    where = f"{comparison.dataset} ({comparison.task})"
    yield printable(f"{where}: {comparison.n} samples that both have")
    yield printable(f"A: {comparison.a}")
    yield printable(f"B: {comparison.b}")


def _cells(line: Line, view: View, between: str) -> tuple[str, ...]:
    sides = [_interval(each, line.metric, view, between) for each in (line.a, line.b)]
    difference = _interval(line.difference, line.metric, view, between, sign="+")
    return (
        line.metric,
        *sides,
        difference,
        "-" if line.p is None else _p(line.p),
        "-" if line.holm is None else _p(line.holm),
        verdict(line),
    )


def _interval(
    found: Interval | None, metric: str, view: View, between: str, sign: str = ""
) -> str:
    """Return the value and, after `between`, the ends of its interval."""
    if found is None or found.value is None:
        return "-"
    value, low, high = (
        _signed(number, metric, view, sign)
        for number in (found.value, found.low, found.high)
    )
    return value if found.low is None else f"{value}{between}[{low} {high}]"


def _signed(number: float | None, metric: str, view: View, sign: str) -> str:
    text = shown(number, metric, view.decimals)
    positive = number is not None and not text.startswith("-") and text.strip("0.")
    return sign + text if positive else text


def _p(p: float) -> str:
    return f"<{_SMALLEST}" if p < _SMALLEST else f"{p:.3f}"


def _record(comparison: Comparison) -> dict[str, object]:
    record = asdict(comparison)
    discordant = comparison.discordant
    record["discordant"] = discordant and discordant._asdict()
    for line, found in zip(record["lines"], comparison.lines, strict=True):
        line["verdict"] = verdict(found)
    return record


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)

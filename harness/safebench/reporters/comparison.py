"""Output of `safebench compare`: for a terminal, as Markdown and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from safebench.console import render_rich
from safebench.number_format import format_metric
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table as RichTable
    from rich.text import Text

    from safebench.console import RenderOptions
    from safebench.results.comparison import Comparison, MetricComparison
    from safebench.statistics import Interval

FORMATS = ("table", "md", "json")
NO_DIFFERENCE = "no significant difference"
HEADERS = ("metric", "A", "B", "B - A", "p", "Holm", "")
_SMALLEST_P = 0.001


def render_comparisons(
    comparisons: Sequence[Comparison], form: str, options: RenderOptions
) -> str:
    """Return comparisons in one of `FORMATS`."""
    if form == "json":
        records = [_record(comparison) for comparison in comparisons]
        return json_text(records, options.encoding, indent=2)
    if form == "md":
        return "\n\n".join(_markdown(comparison, options) for comparison in comparisons)
    items = (item for each in comparisons for item in _rich_items(each, options))
    return render_rich(items, options)


def verdict(line: MetricComparison) -> str:
    """Return which one is better, or that no difference is significant."""
    if line.p is None:
        return line.note or "no test"
    return f"{line.better.upper()} is better" if line.better else NO_DIFFERENCE


def remarks(comparison: Comparison) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    if comparison.discordant is not None:
        only_b, only_a, p = comparison.discordant
        yield (
            f"right decisions: only A {only_a}, only B {only_b}; "
            f"exact McNemar: p {_format_p(p)}"
            + ("" if _independent(comparison) else ", as if samples were independent")
        )
    if not _independent(comparison):
        yield (
            f"{comparison.n} samples in {comparison.groups} groups: "
            "intervals and p are resampled by group"
        )
    if any(comparison.failed):
        a, b = comparison.failed
        yield (
            f"failed samples: A {a}, B {b}; they count as wrong decisions, and "
            "metrics of scores leave them out for both"
        )
    if comparison.left_out:
        yield f"{comparison.left_out} samples that only one of the two has are left out"
    tests = {line.test: None for line in comparison.lines if line.test}
    yield (
        f"95 % intervals; p by {', '.join(tests) or 'no test'}; Holm: p adjusted for "
        "all lines, significant below 0.05"
    )


def _independent(comparison: Comparison) -> bool:
    return comparison.groups == comparison.n


def _rich_items(
    comparison: Comparison, options: RenderOptions
) -> Iterator[RichTable | Text]:
    from rich.text import Text

    for line in _heading(comparison):
        yield Text(line, style="bold")
    yield _table(comparison, options)
    for remark in remarks(comparison):
        yield Text(f"- {remark}", style="dim")
    yield Text()


def _table(comparison: Comparison, options: RenderOptions) -> RichTable:
    """Draw the metrics; every interval stands below its value."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, border_style="dim"
    )
    for position, header in enumerate(HEADERS):
        is_number = 0 < position < len(HEADERS) - 1
        is_verdict = position == len(HEADERS) - 1
        # a verdict has two lines to wrap into, as every interval has its own
        table.add_column(
            header,
            justify="right" if is_number else "left",
            no_wrap=not is_verdict,
            min_width=len("significant") if is_verdict else None,
        )
    for line in comparison.lines:
        cells = _cells(line, options, "\n")
        style = "bold" if line.better else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _markdown(comparison: Comparison, options: RenderOptions) -> str:
    lines = [
        *(f"**{_escape_markdown(line)}**  " for line in _heading(comparison)),
        "",
        f"| {' | '.join(HEADERS)} |",
        "| :-- | --: | --: | --: | --: | --: | :-- |",
    ]
    for line in comparison.lines:
        cells = (_escape_markdown(cell) for cell in _cells(line, options, " "))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {_escape_markdown(remark)}" for remark in remarks(comparison))]
    return "\n".join(lines)


def _heading(comparison: Comparison) -> Iterator[str]:
    dataset = f"{comparison.dataset} ({comparison.task})"
    yield printable(f"{dataset}: {comparison.n} samples that both have")
    yield printable(f"A: {comparison.a}")
    yield printable(f"B: {comparison.b}")


def _cells(
    line: MetricComparison, options: RenderOptions, separator: str
) -> tuple[str, ...]:
    values = [
        _format_with_interval(value, line.metric, options, separator, sign=sign)
        for value, sign in ((line.a, ""), (line.b, ""), (line.difference, "+"))
    ]
    return (
        line.metric,
        *values,
        "-" if line.p is None else _format_p(line.p),
        "-" if line.holm is None else _format_p(line.holm),
        verdict(line),
    )


def _format_with_interval(
    interval: Interval | None,
    metric: str,
    options: RenderOptions,
    separator: str,
    *,
    sign: str,
) -> str:
    """Return the value and, after `separator`, the ends of its interval.

    `sign` is written before numbers above 0.
    """
    if interval is None or interval.value is None:
        return "-"
    value, low, high = (
        _format_signed(number, metric, options, sign)
        for number in (interval.value, interval.low, interval.high)
    )
    return value if interval.low is None else f"{value}{separator}[{low} {high}]"


def _format_signed(
    number: float | None, metric: str, options: RenderOptions, sign: str
) -> str:
    text = format_metric(number, metric, options.decimals)
    # as it reads, not as it is: a rounded 0.000 gets no sign
    positive = number is not None and not text.startswith("-") and text.strip("0.")
    return sign + text if positive else text


def _format_p(p: float) -> str:
    return f"<{_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.3f}"


def _record(comparison: Comparison) -> dict[str, object]:
    record = asdict(comparison)
    discordant = comparison.discordant
    record["discordant"] = discordant and discordant._asdict()
    for line, metric in zip(record["lines"], comparison.lines, strict=True):
        line["verdict"] = verdict(metric)
    return record


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)

"""Output of `safebench compare`: for a terminal, as Markdown and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from safebench.console import render_rich
from safebench.number_format import format_metric
from safebench.results.comparison import ALPHA, UNCERTAINTY_METRICS
from safebench.sanitize import json_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table as RichTable
    from rich.text import Text

    from safebench.console import RenderOptions
    from safebench.results.compared_labels import ComparedLabels
    from safebench.results.comparison import Comparison, MetricComparison
    from safebench.statistics import Interval

FORMATS = ("table", "md", "json")
NO_DIFFERENCE = "no significant difference"
PRACTICALLY_EQUAL = "practically equal"
EQUIVALENT = "equivalent"
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
    items = (item for pair in comparisons for item in _rich_items(pair, options))
    return render_rich(items, options)


def verdict(line: MetricComparison) -> str:
    """Return which one is better, that both are equal, or that neither is shown."""
    if line.p is None:
        return line.note or "no test"
    if line.better:
        return f"{line.better.upper()} is better"
    if line.equivalent:
        return EQUIVALENT
    return PRACTICALLY_EQUAL if line.practically_equal else NO_DIFFERENCE


def remarks(comparison: Comparison) -> Iterator[str]:
    """Yield what a reader must know beside the numbers."""
    yield from _remarks_on_labels(comparison.labels)
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
            "groups are swapped whole"
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
    notes: dict[str, list[str]] = {}
    for line in comparison.lines:
        for side in (line.a, line.b, line.difference):
            if side is not None and side.note:
                metrics = notes.setdefault(side.note, [])
                metrics += [line.metric] * (line.metric not in metrics)
    for note, metrics in notes.items():
        yield f"{', '.join(metrics)}: {note}"
    yield from _remarks_on_size(comparison)
    yield from _remarks_on_equality(comparison)
    if not comparison.same_decisions and any(
        line.metric in UNCERTAINTY_METRICS and line.p is not None
        for line in comparison.lines
    ):
        yield (
            "A and B decide differently: each uncertainty is judged by the errors of "
            "its own side"
        )


def _remarks_on_labels(labels: ComparedLabels | None) -> Iterator[str]:
    """Yield how many labels were reviewed, and whether that favours one side."""
    if labels is None:
        return
    text = (
        f"labels as reviewed: {labels.n_reviewed:,} of {labels.n:,} "
        f"({labels.n_right:,} right, {labels.n_wrong:,} wrong and turned round, "
        f"{labels.n_unclear:,} unclear and left out), all others count as right"
    )
    if labels.only_a_wrong is not None and labels.only_b_wrong is not None:
        (seen_a, all_a), (seen_b, all_b) = labels.only_a_wrong, labels.only_b_wrong
        text += (
            f"; reviewed were {seen_a:,} of {all_a:,} samples that A alone gets wrong, "
            f"{seen_b:,} of {all_b:,} that B alone does"
        )
    if labels.favoured:
        text += (
            f": that favours {labels.favoured.upper()}, so review a random part of "
            "all samples"
        )
    yield text


def _remarks_on_size(comparison: Comparison) -> Iterator[str]:
    """Say how large a difference had to be to be seen."""
    lines = [line for line in comparison.lines if line.p is not None]
    if not lines:
        return
    sizes = ", ".join(
        f"{line.metric} {_format_size(line.smallest_difference)}" for line in lines
    )
    yield (
        f"smallest difference that one test could have shown (80 % power, p < 0.05): "
        f"{sizes}; `safebench power` says what more data would show"
    )
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line.smallest_difference is None:
            reasons.setdefault(line.size_note, []).append(line.metric)
    for reason, metrics in reasons.items():
        yield f"smallest difference unknown of {', '.join(metrics)}: {reason}"
    # A p-value of so many draws cannot be smaller than theirs allow, and Holm
    # multiplies it by the number of lines.
    if len(lines) * comparison.smallest_p >= ALPHA and any(
        line.test.startswith("swapped") for line in lines
    ):
        yield "too few --draws for so many lines: with Holm no swap is significant"


def _remarks_on_equality(comparison: Comparison) -> Iterator[str]:
    """Say what the margin is, and what is not excluded where both look equal."""
    margin, source = comparison.margin
    limit = f"{margin:.2g}"
    equal = [line for line in comparison.lines if line.practically_equal]
    tested = [line for line in comparison.lines if line.equivalence_holm is not None]
    if equal or tested:
        yield f"margin {limit}, {source}: a smaller difference has no winner"
    if tested:
        ps = ", ".join(
            f"{line.metric} {_format_p(line.equivalence_holm)}"
            for line in tested
            if line.equivalence_holm is not None
        )
        yield f"equivalence within {limit}, two one-sided tests, p by Holm: {ps}"
        return
    wider = [line.metric for line in equal if _reaches_beyond(line, margin)]
    if wider:
        yield (
            f"practically equal on these samples; the interval reaches beyond {limit} "
            f"for {', '.join(wider)}: other samples may differ by more (--equivalence "
            "tests that)"
        )


def _reaches_beyond(line: MetricComparison, margin: float) -> bool:
    difference = line.difference
    if difference is None or difference.low is None or difference.high is None:
        return True
    return max(-difference.low, difference.high) > margin


def _format_size(size: float | None) -> str:
    """Return a difference with two digits; ``unknown`` has a reason of its own."""
    return "unknown" if size is None else f"{size:.2g}"


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
            # a long name wraps, too: else the verdict would be cut off
            no_wrap=is_number,
            overflow="fold",
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
        *(
            "-" if p is None else _format_p(p).replace("<0", "<")
            for p in (line.p, line.holm)
        ),
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
    record["margin"] = comparison.margin._asdict()
    if comparison.labels is None:
        del record["labels"]
    for line, metric in zip(record["lines"], comparison.lines, strict=True):
        line["verdict"] = verdict(metric)
        line["equivalent"] = metric.equivalent
    return record


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*<>[]" else char for char in text)

"""Layout of the leaderboard in the width of a terminal, folding before dropping.

Plans are tried from the widest to the narrowest: short headers; narrow gaps; the number
of samples moves into the section's title; failed samples, then models' names, move
below the table; long names wrap; metrics from the right leave and are named below,
never the one that sorts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len, split_text

from safebench.number_format import format_metric, format_metric_interval

from .table import Explanation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.console import RenderOptions

    from .table import Cell, Leaderboard, LeaderboardLine

_WORD = re.compile(r"[^\s_/+@.:-]*[\s_/+@.:-]?")  # a word with what ends it
_MIN_WRAP_WIDTH = 14  # cells; narrower names would be broken into syllables
SHORT_HEADERS = {
    "precision": "prec",
    "recall": "rec",
    "accuracy": "acc",
    "alerts_per_million": "alerts/M",
    "missed_per_million": "missed/M",
    "samples_per_second": "prompts/s",
    "latency_p50": "p50 s",
    "latency_p95": "p95 s",
    "forward_passes": "passes",
    "peak_memory_mib": "MiB",
}
BEST_MARK = "*"  # the best number, where there is no bold
TIE_MARK = "~"  # a number without a significant difference to the best


@dataclass(frozen=True, slots=True)
class LayoutColumn:
    """A column: its header and its texts, one a line of the table.

    `metric` is the position of the metric shown; None for other columns.
    """

    header: str
    texts: tuple[str, ...]
    metric: int | None = None
    right: bool = True

    @property
    def width(self) -> int:
        """Cells that the widest text or word of the header takes."""
        parts = [part for text in self.texts for part in text.split("\n")]
        return max(map(cell_len, [*parts, *self.header.split()]))


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns in order, cells between them, and notes for below the table.

    `metrics` are the positions of the metrics that had room.
    """

    columns: tuple[LayoutColumn, ...]
    gap: int
    notes: tuple[str, ...]
    metrics: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Cells from the first to the last column."""
        widths = [column.width for column in self.columns]
        return sum(widths) + self.gap * (len(widths) - 1)


@dataclass(frozen=True, slots=True)
class _LayoutPlan:
    """What is folded: defaults show everything, `metrics` are positions of columns."""

    metrics: tuple[int, ...]
    short: bool = False
    gap: int = 2
    samples: bool = True
    failed: bool = True
    models: bool = True
    wrap: bool = False
    ranks: bool = True


def fit_layout(table: Leaderboard, options: RenderOptions) -> Layout:
    """Return the first layout that fits; without a limit, the widest."""
    for plan in _plans(table):
        layout = _layout(table, options, plan)
        if options.width is None or layout.width <= options.width:
            break
    return layout


def has_equal_counts(table: Leaderboard) -> bool:
    """Tell whether all lines of each section have the same number of samples."""
    return all(
        len({line.n for line in lines if not line.source}) == 1
        for _, lines in table.sections
    )


def _plans(table: Leaderboard) -> Iterator[_LayoutPlan]:
    """Yield plans from the widest to the narrowest."""
    plan = _LayoutPlan(tuple(range(len(table.metrics))))
    yield plan
    yield (plan := replace(plan, short=True))
    yield (plan := replace(plan, gap=1))
    if has_equal_counts(table):
        yield (plan := replace(plan, samples=False))
    yield (plan := replace(plan, failed=False))
    yield (plan := replace(plan, models=False))
    yield (plan := replace(plan, wrap=True))
    yield (plan := replace(plan, ranks=False))
    for position in reversed(plan.metrics):
        if table.metrics[position] != table.sort and len(plan.metrics) > 1:
            kept = tuple(other for other in plan.metrics if other != position)
            yield (plan := replace(plan, metrics=kept))


def _layout(table: Leaderboard, options: RenderOptions, plan: _LayoutPlan) -> Layout:
    numbers = [
        _metric_column(table, options, position, plan) for position in plan.metrics
    ]
    if plan.samples:
        numbers.append(LayoutColumn("n", tuple(line.counts[0] for line in table.lines)))
    if plan.failed:
        failed = tuple(line.counts[1] for line in table.lines)
        numbers.append(LayoutColumn("failed", failed))
    names = _name_columns(table, plan)
    if plan.ranks and any(line.rank for line in table.lines):
        ranks = tuple(str(line.rank or "") for line in table.lines)
        names.insert(0, LayoutColumn("", ranks))
    if plan.wrap and options.width is not None:
        taken = sum(column.width + plan.gap for column in numbers) + plan.gap
        names = _wrap_names(names, options.width - taken)
    notes = tuple(_folded_notes(table, plan))
    return Layout((*names, *numbers), plan.gap, notes, plan.metrics)


def _name_columns(table: Leaderboard, plan: _LayoutPlan) -> list[LayoutColumn]:
    methods = tuple(line.method for line in table.lines)
    models = tuple(line.model for line in table.lines)
    classifiers = tuple(line.classifier for line in table.lines)
    columns = {"classifier": classifiers, "model": models, "strategy": methods}
    if not plan.models:
        columns = {"classifier": tuple(short_names(table.lines)), "strategy": methods}
    return [LayoutColumn(name, texts, right=False) for name, texts in columns.items()]


def _metric_column(
    table: Leaderboard, options: RenderOptions, position: int, plan: _LayoutPlan
) -> LayoutColumn:
    metric = table.metrics[position]
    header = table.headers[position] if table.headers else metric
    if plan.short:  # spaces, so that a header may wrap
        header = SHORT_HEADERS.get(header, header).replace("_", " ")
    cells = [line.cells[position] for line in table.lines]
    texts = tuple(_cell_text(cell, metric, options, ci=table.ci) for cell in cells)
    return LayoutColumn(header, texts, metric=position)


def _cell_text(cell: Cell, metric: str, options: RenderOptions, *, ci: bool) -> str:
    """Return the number, followed by its mark or by room for one.

    With `ci`, its interval stands below it.
    """
    text = format_metric(cell.value, metric, options.decimals)
    if ci:
        text = (TIE_MARK if cell.ties_with_best else "") + text
    if not options.styles:  # a place for the mark everywhere keeps decimals aligned
        text += BEST_MARK if cell.best else " "

    if not ci:
        return text
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    return f"{text}\n{interval}" if interval else text


def _wrap_names(names: Sequence[LayoutColumn], room: int) -> list[LayoutColumn]:
    """Return name columns that wrap to `room` cells in all, gaps not counted."""
    widths = shrink_widths([column.width for column in names], room)
    return [
        replace(column, texts=tuple(wrap_name(text, width) for text in column.texts))
        for column, width in zip(names, widths, strict=True)
    ]


def _folded_notes(table: Leaderboard, plan: _LayoutPlan) -> Iterator[str]:
    """Yield what the folded columns would have shown."""
    if not plan.models:
        model_of = {
            name: line.model
            for name, line in zip(short_names(table.lines), table.lines, strict=True)
            if name != line.model and not line.source
        }
        yield from (
            Explanation(f"{name}: model {model}", "models")
            for name, model in model_of.items()
        )
    if not plan.failed:
        for line in table.lines:
            if line.n_failed:
                name = f"{line.classifier}/{line.method} on {line.dataset}"
                yield f"{name}: {line.n_failed} of {line.n} samples failed"
    headers = table.headers or table.metrics
    dropped = [name for i, name in enumerate(headers) if i not in plan.metrics]
    if dropped:
        yield (
            f"no room for {', '.join(dropped)}: "
            "choose with --metrics, or see all with --format md"
        )


def short_names(lines: Sequence[LeaderboardLine]) -> list[str]:
    """Return one name for classifier and model: the shortest that is unambiguous."""
    naming: list[Callable[[LeaderboardLine], str]] = [
        lambda line: line.classifier,
        lambda line: line.model.rpartition("/")[2],
        lambda line: line.model,
    ]
    for name in naming:
        named = {(line.classifier, line.model): name(line) for line in lines}
        if len(set(named.values())) == len(named):
            return [name(line) for line in lines]
    return [f"{line.classifier} {line.model}" for line in lines]


def shrink_widths(widths: Sequence[int], room: int) -> list[int]:
    """Return widths that together take `room` if they can, the largest shrunk first."""
    shrunk = list(widths)
    while sum(shrunk) > room and max(shrunk) > _MIN_WRAP_WIDTH:
        shrunk[shrunk.index(max(shrunk))] -= 1
    return shrunk


def wrap_name(text: str, width: int) -> str:
    """Break a name into lines of at most `width` cells, after ``_ / + - .`` if able."""
    lines = [""]
    for word in _WORD.findall(text):
        rest = word
        if cell_len(lines[-1] + rest.rstrip()) > width and lines[-1]:
            lines.append("")
        while cell_len(rest.rstrip()) > width:
            head, rest = split_text(rest, width)
            lines[-1:] = [head, ""]
        lines[-1] += rest
    return "\n".join(line.rstrip() for line in lines if line.strip())

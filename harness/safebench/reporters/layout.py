"""Fit a table into the width of a terminal, folding before dropping.

In this order: short headers; narrow gaps; the number of samples moves into the
section's title; failed samples, then models' names, move below the table; long names
wrap; metrics from the right leave and are named below, never the one that sorts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len

from .folding import aliases, share, wrapped
from .text import interval, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .table import Cell, Table, View

SHORT = {"precision": "prec", "recall": "rec", "accuracy": "acc"}
MARK = "*"  # the best number, where there is no bold
NEAR = "~"  # a number that is not shown to differ from the best


@dataclass(frozen=True, slots=True)
class Column:
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
    """Columns in order, cells between them, and what is told below the table."""

    columns: tuple[Column, ...]
    gap: int
    below: tuple[str, ...]

    @property
    def width(self) -> int:
        """Cells from the first to the last column."""
        widths = [column.width for column in self.columns]
        return sum(widths) + self.gap * (len(widths) - 1)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has not been folded yet."""

    metrics: tuple[int, ...]
    short: bool = False
    gap: int = 2
    samples: bool = True
    failed: bool = True
    models: bool = True
    wrap: bool = False


def fit(table: Table, view: View) -> Layout:
    """Return the first layout that fits; without a limit, the widest."""
    for plan in _plans(table):
        layout = _layout(table, view, plan)
        if view.width is None or layout.width <= view.width:
            break
    return layout


def uniform(table: Table) -> bool:
    """Tell whether all lines of each section have the same number of samples."""
    return all(
        len({line.n for line in lines if not line.source}) == 1
        for _, lines in table.sections
    )


def _plans(table: Table) -> Iterator[_Plan]:
    """Yield plans from the widest to the narrowest."""
    plan = _Plan(tuple(range(len(table.metrics))))
    yield plan
    yield (plan := replace(plan, short=True))
    yield (plan := replace(plan, gap=1))
    if uniform(table):
        yield (plan := replace(plan, samples=False))
    yield (plan := replace(plan, failed=False))
    yield (plan := replace(plan, models=False))
    yield (plan := replace(plan, wrap=True))
    for position in reversed(plan.metrics):
        if table.metrics[position] != table.sort and len(plan.metrics) > 1:
            left = tuple(kept for kept in plan.metrics if kept != position)
            yield (plan := replace(plan, metrics=left))


def _layout(table: Table, view: View, plan: _Plan) -> Layout:
    numbers = [_metric(table, view, position, plan) for position in plan.metrics]
    if plan.samples:
        numbers.append(Column("n", tuple(line.counts[0] for line in table.lines)))
    if plan.failed:
        failed = tuple(line.counts[1] for line in table.lines)
        numbers.append(Column("failed", failed))
    names = _names(table, plan)
    if plan.wrap and view.width is not None:
        taken = sum(column.width + plan.gap for column in numbers) + plan.gap
        names = _wrapped(names, view.width - taken)
    return Layout((*names, *numbers), plan.gap, tuple(_below(table, plan)))


def _names(table: Table, plan: _Plan) -> list[Column]:
    methods = tuple(line.method for line in table.lines)
    models = tuple(line.model for line in table.lines)
    who = tuple(line.classifier for line in table.lines)
    if not plan.models:
        who = tuple(aliases(table.lines))
    columns = {"classifier": who, "model": models, "strategy": methods}
    if not plan.models:
        del columns["model"]
    return [Column(name, texts, right=False) for name, texts in columns.items()]


def _metric(table: Table, view: View, position: int, plan: _Plan) -> Column:
    metric = table.metrics[position]
    header = SHORT.get(metric, metric).replace("_", " ") if plan.short else metric
    cells = [line.cells[position] for line in table.lines]
    texts = tuple(_text(cell, metric, view, ci=table.ci) for cell in cells)
    return Column(header, texts, metric=position)


def _text(cell: Cell, metric: str, view: View, *, ci: bool) -> str:
    """Return the number, followed by its mark or by room for one.

    With intervals, its interval stands below it.
    """
    text = shown(cell.value, metric, view.decimals)
    if ci:
        text = (NEAR if cell.near_best else "") + text
    if not view.styles:
        text += MARK if cell.best else " "
    below = interval(cell.ci_low, cell.ci_high, metric, view.decimals) if ci else ""
    return text + (f"\n{below}" if below else "")


def _wrapped(names: Sequence[Column], room: int) -> list[Column]:
    """Return name columns that wrap to `room` cells in all, gaps not counted."""
    widths = share([column.width for column in names], room)
    return [
        replace(column, texts=tuple(wrapped(text, width) for text in column.texts))
        for column, width in zip(names, widths, strict=True)
    ]


def _below(table: Table, plan: _Plan) -> Iterator[str]:
    """Yield what the columns that were folded would have said."""
    if not plan.models:
        pairs = zip(aliases(table.lines), table.lines, strict=True)
        models = {
            alias: line.model
            for alias, line in pairs
            if alias != line.model and not line.source
        }
        yield from (f"{alias}: model {model}" for alias, model in models.items())
    if not plan.failed:
        for line in table.lines:
            if line.n_failed:
                who = f"{line.classifier}/{line.method} on {line.dataset}"
                yield f"{who}: {line.n_failed} of {line.n} samples failed"
    dropped = [name for i, name in enumerate(table.metrics) if i not in plan.metrics]
    if dropped:
        yield (
            f"no room for {', '.join(dropped)}: "
            "choose with --metrics, or see all with --format md"
        )

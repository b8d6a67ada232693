"""From result rows to the table that every format draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from safebench.errors import RunFolderError

from .best import mark_best
from .columns import COSTS, choose_columns
from .footnotes import footnotes
from .names import suffixes
from .table import Cell, Line, Table
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec

    from .columns import Columns

    Near = Callable[[Sequence[Row]], Sequence[bool]]

SEED = "test"  # `threshold_from` of a line that saw the test labels


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one combination in one run, by metric."""

    rows: dict[str, Row]

    @property
    def head(self) -> Row:
        """Any of the rows: for what they share."""
        return next(iter(self.rows.values()))

    def cell(self, name: str) -> Cell:
        """Return one metric's number, or a cost that the rows share."""
        row = self.rows.get(name)
        if row is not None:
            return _cell(row)
        if name in COSTS:
            return Cell(value=getattr(self.head, name))
        return Cell(value=None, note="not in these results")

    @property
    def section(self) -> tuple[Any, ...]:
        """Within this, numbers can be compared."""
        return (self.head.dataset, self.head.config, self.head.split, self.head.task)


def build(
    rows: Sequence[Row],
    *,
    specs: Sequence[MetricSpec] = (),
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    ci: bool = False,
    near: Near | None = None,
) -> Table:
    """Return one line per classifier, strategy and dataset, best first.

    `specs` are the metrics that may be asked for beside those in the rows. With `ci`
    the table shows intervals; `near` tells which of rows that are sorted, best first,
    are not shown to differ from the first in a metric. Raises UnknownNameError for
    another metric, RunFolderError without rows on a test part.
    """
    rows = [row for row in rows if _of_whole_test_part(row)]
    if not rows:
        raise RunFolderError("no results on a test part to show")
    columns = choose_columns(rows, specs, metrics, sort)
    groups = _sorted(_groups(rows), columns)
    higher = tuple(columns.higher[name] for name in columns.metrics)
    extra = suffixes([group.head for group in groups])
    drawn = [_line(*pair, columns) for pair in zip(groups, extra, strict=True)]
    lines = list(mark_best(drawn, higher))
    if near is not None:
        lines = _near_best(groups, lines, columns, near)
    return Table(
        metrics=columns.metrics,
        higher_is_better=higher,
        lines=tuple(lines),
        sort=columns.sort,
        footnotes=tuple(footnotes(groups, lines, columns, specs, ci=ci)),
        ci=ci,
    )


def _near_best(
    groups: Sequence[Group], lines: Sequence[Line], columns: Columns, near: Near
) -> list[Line]:
    """Mark the sort metric of lines below the best that may be as good as it."""
    if columns.sort not in columns.metrics:
        return list(lines)
    column = columns.metrics.index(columns.sort)
    found = list(lines)
    for _, members in groupby(range(len(groups)), key=lambda i: groups[i].section):
        places = [
            place
            for place in members
            if lines[place].ranked and lines[place].cells[column].value is not None
        ]
        rows = [groups[place].rows[columns.sort] for place in places]
        for place, tied in zip(places, near(rows), strict=True):
            cells = list(found[place].cells)
            near_best = tied and not cells[column].best
            cells[column] = replace(cells[column], near_best=near_best)
            found[place] = replace(found[place], cells=tuple(cells))
    return found


def _of_whole_test_part(row: Row) -> bool:
    narrowed = (row.slice, row.category, row.prevalence)
    return row.part == "test" and all(value is None for value in narrowed)


def _groups(rows: Sequence[Row]) -> list[Group]:
    """Return the rows by combination; a repeat with equal numbers is left out."""
    found: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        key = (row.run, row.combination)
        found.setdefault(key, Group({})).rows[row.metric] = row
    distinct: dict[tuple[Any, ...], Group] = {}
    for group in found.values():
        distinct.setdefault(_content(group), group)
    return list(distinct.values())


def _content(group: Group) -> tuple[Any, ...]:
    numbers = {name: (row.value, row.n) for name, row in group.rows.items()}
    return (group.head.combination, tuple(sorted(numbers.items())))


def _sorted(groups: list[Group], columns: Columns) -> list[Group]:
    """Return groups by section, in order of appearance, best first in each."""
    order = {s: i for i, s in enumerate(dict.fromkeys(g.section for g in groups))}
    sign = 1 if columns.higher[columns.sort] is False else -1

    def rank(group: Group) -> tuple[int, bool, bool, float]:
        value = group.cell(columns.sort).value
        last = value is None
        return (order[group.section], not ranked(group.head), last, sign * (value or 0))

    return sorted(groups, key=rank)


def ranked(row: Row) -> bool:
    """Tell whether a row's threshold was chosen without the test labels."""
    return not (row.threshold_from or "").startswith(SEED)


def _line(group: Group, suffix: str, columns: Columns) -> Line:
    head = group.head
    whole = max(group.rows.values(), key=lambda row: row.n)
    dataset = ":".join(filter(None, (head.dataset, head.config, head.split)))
    return Line(
        classifier=printable(head.classifier),
        model=printable(head.model),
        strategy=printable(head.strategy + suffix),
        calibrator=head.calibrator and printable(head.calibrator),
        dataset=printable(dataset),
        task=printable(head.task),
        cells=tuple(group.cell(name) for name in columns.metrics),
        n=whole.n,
        n_pos=whole.n_pos,
        n_failed=whole.n_failed,
        ranked=ranked(head),
        run=printable(head.run),
    )


def _cell(row: Row) -> Cell:
    return Cell(
        value=row.value,
        note=printable(row.note),
        n_scored=row.n_scored,
        bound_low=row.bound_low,
        bound_high=row.bound_high,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        ci_method=row.ci_method,
    )

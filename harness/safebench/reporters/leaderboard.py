"""The leaderboard: from result rows to the table that every format draws.

`build_leaderboard` groups rows by combination, sorts them within each dataset, gives
lines that would read the same different names, and highlights the best numbers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from safebench.errors import RunFolderError
from safebench.sanitize import printable

from .blocks import leaderboard_blocks
from .footnotes import footnotes
from .ordering import sort_groups
from .ranking import highlight_best
from .table import CombinationRows, Leaderboard, LeaderboardLine, choose_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec

    from .table import ColumnSelection

    TiesWithBest = Callable[[Sequence[Row]], Sequence[bool]]


def build_leaderboard(
    rows: Sequence[Row],
    *,
    specs: Sequence[MetricSpec] = (),
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    ci: bool = False,
    ties_with_best: TiesWithBest | None = None,
    prevalence: float | None = None,
    sliced: bool = False,
) -> Leaderboard:
    """Return one line per classifier, strategy and dataset, best first.

    `specs` are the metrics that may be asked for beside those in the rows. With `ci`
    the table shows intervals. `ties_with_best` takes the rows of one metric, best
    first, and tells which do not differ significantly from the first. With `prevalence`
    rows about it are shown, and of the others all: they must not depend on it. With
    `sliced`, rows of slices and gaps are shown, and no others. Raises
    UnknownNameError for another metric, RunFolderError without rows on a test part.
    """
    rows = [row for row in rows if _is_test_part(row, prevalence, sliced=sliced)]
    if not rows:
        raise RunFolderError("no results on a test part to show")
    columns = choose_columns(rows, specs, metrics, sort)
    groups = sort_groups(_by_combination(rows), columns)
    heads = [group.head for group in groups]
    higher_is_better = tuple(columns.higher_is_better[name] for name in columns.metrics)
    lines = [
        _line(group, suffix, columns)
        for group, suffix in zip(groups, disambiguate(heads), strict=True)
    ]
    lines = list(highlight_best(lines, higher_is_better, columns.metrics))
    if ties_with_best is not None:
        lines = _mark_ties(groups, lines, columns, ties_with_best)
    table = Leaderboard(
        metrics=columns.metrics,
        higher_is_better=higher_is_better,
        lines=tuple(lines),
        sort=columns.sort,
        footnotes=tuple(footnotes(heads, lines, columns, specs, ci=ci)),
        ci=ci,
        prevalence=prevalence,
        title="" if prevalence is None else f"at a prevalence of {prevalence:g}",
    )
    blocks = leaderboard_blocks(table, groups, columns, specs, chosen=bool(metrics))
    return replace(table, blocks=blocks)


def _is_test_part(row: Row, prevalence: float | None, *, sliced: bool) -> bool:
    if row.prevalence not in (None, prevalence) or (row.slice is not None) != sliced:
        return False
    return row.part == "test" and row.category is None


def _by_combination(rows: Sequence[Row]) -> list[CombinationRows]:
    """Return the rows by combination; a repeat with equal numbers is left out.

    Runs are often repeated or copied: the same numbers under two run names would be
    two lines that say the same.
    """
    groups: dict[tuple[Any, ...], CombinationRows] = {}
    for row in rows:
        key = (row.run, row.combination, row.slice, row.review is not None)
        groups.setdefault(key, CombinationRows({})).rows[row.metric] = row
    distinct: dict[tuple[Any, ...], CombinationRows] = {}
    for group in groups.values():
        distinct.setdefault(_numbers(group), group)
    return list(distinct.values())


def _numbers(group: CombinationRows) -> tuple[Any, ...]:
    # With n: the same value of other samples is another result.
    numbers = {name: (row.value, row.n) for name, row in group.rows.items()}
    head = group.head
    reviewed = head.review is not None
    return (head.combination, head.slice, reviewed, tuple(sorted(numbers.items())))


def _line(
    group: CombinationRows, suffix: str, columns: ColumnSelection
) -> LeaderboardLine:
    head = group.head
    # metrics of scores leave failed samples out, so the largest n is the dataset's
    whole = max(group.rows.values(), key=lambda row: row.n)
    dataset = ":".join(filter(None, (head.dataset, head.config, head.split)))
    return LeaderboardLine(
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
        ranked=not head.saw_test_labels,
        run=printable(head.run),
        slice=head.slice and printable(head.slice),
        review=head.review,
    )


def disambiguate(heads: Sequence[Row]) -> list[str]:
    """Return what to add to each strategy's name where lines would read the same.

    The first of options, number format and run that differs for all of them.
    """
    same_names: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for position, head in enumerate(heads):
        same_names[_displayed_names(head)].append(position)
    suffixes = [""] * len(heads)
    for positions in same_names.values():
        if len(positions) > 1:
            labels = _distinguishing_labels([heads[position] for position in positions])
            for position, label in zip(positions, labels, strict=True):
                suffixes[position] = f" [{label}]" if label else ""
    return suffixes


def _displayed_names(row: Row) -> tuple[Any, ...]:
    return (
        row.classifier,
        row.model,
        row.strategy,
        row.calibrator,
        row.dataset,
        row.config,
        row.split,
        row.task,
        row.slice,
        row.review is not None,
    )


def _distinguishing_labels(heads: Sequence[Row]) -> list[str]:
    """Return the first property that differs for all of them, else all properties."""
    properties: list[Callable[[Row], str]] = [
        lambda row: _differing_options(row, heads),
        lambda row: row.dtype or "",
        lambda row: row.run,
    ]
    for of in properties:
        labels = [of(head) for head in heads]
        if len(set(labels)) == len(labels):
            return labels
    return [" ".join(filter(None, (of(head) for of in properties))) for head in heads]


def _differing_options(row: Row, same_name: Sequence[Row]) -> str:
    """Return the options in which rows of the same name differ, as ``key=value``."""
    differing = [
        key
        for key, value in row.params.items()
        if any(other.params.get(key) != value for other in same_name)
    ]
    return ",".join(f"{key}={_option_text(row.params[key])}" for key in differing)


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _mark_ties(
    groups: Sequence[CombinationRows],
    lines: Sequence[LeaderboardLine],
    columns: ColumnSelection,
    ties_with_best: TiesWithBest,
) -> list[LeaderboardLine]:
    """Mark numbers of the sort metric that do not differ significantly from the best.

    Only that metric: lines are ordered by it, and each test more would need a larger
    difference to be significant.
    """
    marked = list(lines)
    if columns.sort not in columns.metrics:
        return marked
    column = columns.metrics.index(columns.sort)
    for _, members in groupby(range(len(groups)), key=lambda i: groups[i].section):
        positions = [
            position
            for position in members
            if lines[position].ranked
            and lines[position].cells[column].value is not None
        ]
        rows = [groups[position].rows[columns.sort] for position in positions]
        for position, tied in zip(positions, ties_with_best(rows), strict=True):
            cells = list(marked[position].cells)
            cell = cells[column]
            cells[column] = replace(cell, ties_with_best=tied and not cell.best)
            marked[position] = replace(marked[position], cells=tuple(cells))
    return marked

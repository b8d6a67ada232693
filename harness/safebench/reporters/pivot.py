"""One metric of a leaderboard with a column for every dataset, and the mean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .blocks import fold_equal, short_sets
from .footnotes import named
from .ranking import highlight_best, with_ranks
from .table import Cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .table import Leaderboard, LeaderboardLine

_NOT_MEASURED = "not in these results"


def pivot_datasets(table: Leaderboard) -> Leaderboard:
    """Return a table of one metric with its mean and a column for every dataset.

    A line is a classifier x strategy on the datasets of one task. Its mean counts
    every dataset alike, and is missing, with a note, where one of them is.
    """
    (metric,) = table.metrics
    lines_of: dict[tuple[Any, ...], dict[str, LeaderboardLine]] = defaultdict(dict)
    for line in table.lines:
        key: tuple[Any, ...] = (
            line.task,
            line.classifier,
            line.model,
            line.method,
            line.ranked,
        )
        while line.dataset in lines_of[key]:  # as of a copied run: none is lost
            key = (*key, line.run)
        lines_of[key][line.dataset] = line
    sets = list(dict.fromkeys(line.dataset for line in table.lines))
    tasks = dict.fromkeys(line.task for line in table.lines)
    direction = table.higher_is_better[0]
    directions = (direction,) * (1 + len(sets))
    lines: list[LeaderboardLine] = []
    notes: list[str] = []
    for task in tasks:
        of_task = [name for name in sets if (task, name) in _pairs(table)]
        own = [
            _line(metric, on, sets, of_task)
            for key, on in lines_of.items()
            if key[0] == task
        ]
        own.sort(key=lambda line: _order(line, higher=direction is not False))
        lines += own
    metrics = (metric,) * len(directions)
    marked = list(highlight_best(lines, directions, metrics))
    folded = list(with_ranks(fold_equal(marked, ci=table.ci), 0, metrics))
    for line in folded:
        if line.equal:
            notes.append(f"{line.classifier} {line.method} = {named(line.equal)}")
        if line.cells[0].value is None:
            notes.append(f"{line.classifier} {line.method}: {line.cells[0].note}")
    others = [note for note in table.footnotes if not note.endswith(_NOT_MEASURED)]
    pivoted = replace(
        table,
        metrics=(f"mean_{metric}", *(f"{metric}:{name}" for name in sets)),
        headers=("mean", *short_sets(sets)),
        higher_is_better=directions,
        lines=tuple(marked),
        sort=f"mean_{metric}",
        footnotes=tuple(others),
        blocks=(),
    )
    block = replace(pivoted, lines=tuple(folded), title="", footnotes=(*notes, *others))
    return replace(pivoted, blocks=(block,))


def _pairs(table: Leaderboard) -> set[tuple[str, str]]:
    return {(line.task, line.dataset) for line in table.lines}


def _line(
    metric: str,
    on: Mapping[str, LeaderboardLine],
    sets: Sequence[str],
    of_task: Sequence[str],
) -> LeaderboardLine:
    values = [on[name].cells[0].value if name in on else None for name in of_task]
    numbers = [value for value in values if value is not None]
    missing = [
        name for name, value in zip(of_task, values, strict=True) if value is None
    ]
    mean = (
        Cell(value=fmean(numbers))
        if not missing
        else Cell(value=None, note=f"no mean: without a number on {named(missing)}")
    )
    each = (
        replace(on[name].cells[0], best=False) if name in on else Cell(value=None)
        for name in sets
    )
    count = len(of_task)
    return replace(
        next(iter(on.values())),
        cells=(mean, *each),
        dataset=f"{metric} on {count} {'set' if count == 1 else 'sets'}",
        n=sum(line.n for line in on.values()),
        n_pos=None,
        n_failed=sum(line.n_failed for line in on.values()),
    )


def _order(line: LeaderboardLine, *, higher: bool) -> tuple[bool, bool, float]:
    value = line.cells[0].value
    return (not line.ranked, value is None, (value or 0.0) * (-1 if higher else 1))

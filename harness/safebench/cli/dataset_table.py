"""The table of `list datasets`: a line a set, by task, in 80 columns.

What does not fit is cut; `list datasets NAME` and `--json` have it whole.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from safebench.records import TASKS

from .matrix import has_any_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.specs import ClassifierSpec, DatasetSpec

WIDTH = 80
HINT = "safebench list datasets NAME shows all of one: its columns, sources, caveats"
ANY_TASK = "of any task, as its rows or task=TASK say"
_GAP = "  "
_HEADERS = ("rows", "licence", "")
_WIDEST_LICENCE = 20


def table_lines(
    datasets: Sequence[DatasetSpec],
    classifiers: Sequence[ClassifierSpec],
    width: int = WIDTH,
) -> Iterator[str]:
    """Yield the lines of a table: rows of the evaluation split, licence, access.

    Every task is followed by the classifiers that answer it, some by an option only.
    """
    rows = {spec.name: _cells(spec) for spec in datasets}
    cells = [*rows.values(), ("", *_HEADERS)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    sets_of: dict[str, list[DatasetSpec]] = {task: [] for task in (*TASKS, ANY_TASK)}
    for spec in sorted(datasets, key=lambda spec: spec.name):
        task = ANY_TASK if has_any_task(spec) else spec.task
        # a plugin may name a task of its own
        sets_of.setdefault(task, []).append(spec)
    for task, of_task in sets_of.items():
        if not of_task:
            continue
        judges = sorted(spec.name for spec in classifiers if task in spec.tasks)
        title = f"{task}, judged by {', '.join(judges) or 'no classifier here'}"
        if task == ANY_TASK:
            title = task
        yield from wrap(title, width, subsequent_indent="    ")
        for row in (("", *_HEADERS), *(rows[spec.name] for spec in of_task)):
            yield _line(row, widths, width)
        yield ""
    yield "rows: of the split that is judged, where known; some classifiers answer a"
    yield "task by an option: safebench matrix"
    yield HINT


def _cells(spec: DatasetSpec) -> tuple[str, str, str, str]:
    """Return name, rows, licence, and what else a reader must know to read it."""
    count = None
    if spec.card is not None and spec.splits:
        count = spec.card.rows.get(spec.splits[0])
    licence = spec.licence
    if len(licence) > _WIDEST_LICENCE:
        licence = licence[: _WIDEST_LICENCE - 3].rstrip() + "..."
    gated = "gated" if spec.card is not None and spec.card.gated else ""
    return spec.name, "-" if count is None else f"{count:,}", licence, gated


def _line(row: Sequence[str], widths: Sequence[int], width: int) -> str:
    name, rows, licence, gated = row
    numbers = f"{rows:>{widths[1]}}{_GAP}{licence:<{widths[2]}}{_GAP}{gated}".rstrip()
    room = width - 2 - len(_GAP) - widths[1] - widths[2] - len(_GAP) - len("gated")
    column = min(widths[0], room)
    if len(name) > column:  # a name is never cut: it is what a user types
        return f"  {name}\n{'':<{2 + column}}{_GAP}{numbers}"
    return f"  {name:<{column}}{_GAP}{numbers}"

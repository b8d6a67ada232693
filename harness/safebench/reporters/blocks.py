"""The leaderboard as a terminal shows it: scores, then uncertainties, nothing twice.

Many strategies read one score from the same evidence and differ in their uncertainty
alone. The first block has a line for every score whose numbers differ, the second one
for every uncertainty; what was folded into a line is named by it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .footnotes import footnotes, named
from .ranking import highlight_best, with_ranks
from .table import Cell, Explanation, Leaderboard, LeaderboardLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.results import Row
    from safebench.specs import MetricSpec

    from .table import ColumnSelection, CombinationRows

ERROR_METRICS = ("error_auroc", "aurc")
_ERROR_DIRECTIONS = (True, False)
# Lines of uncertainties a guard in a table that nobody asked for: the others are
# counted, with what shows them.
MAX_UNCERTAINTIES = 6


def leaderboard_blocks(
    table: Leaderboard,
    groups: Sequence[CombinationRows],
    columns: ColumnSelection,
    specs: Sequence[MetricSpec],
    *,
    chosen: bool,
) -> tuple[Leaderboard, ...]:
    """Return the scores, and the uncertainties if no columns were `chosen`.

    `groups` are the rows behind the lines of `table`, in their order.
    """
    uncertainties: list[Leaderboard] = []
    if not chosen and table.prevalence is None:
        uncertainties = list(_uncertainty_blocks(table, groups))
    # A line without a score may only leave the first block if it is in the second.
    shown_below = {
        place
        for place, group in enumerate(groups)
        if uncertainties and group.cell("error_auroc").value is not None
    }
    heads = [group.head for group in groups]
    left_out: list[str] = []
    if not chosen:
        table, left_out = _without_categories(table)
    kept = _fold(table, heads, shown_below)
    lines = [line for _, line in kept]
    sort = table.metrics.index(table.sort) if table.sort in table.metrics else None
    notes = footnotes(
        [head for head, _ in kept],
        lines,
        columns,
        specs,
        ci=table.ci,
        cell_notes=False,
    )
    scores = replace(
        table,
        lines=tuple(with_ranks(lines, sort, table.metrics)),
        title="",
        cell_notes=True,
        footnotes=(*_fold_notes(lines), *left_out, *notes),
    )
    return (scores, *uncertainties)


def _without_categories(table: Leaderboard) -> tuple[Leaderboard, list[str]]:
    """Return the table without a column that some sets have nothing in, and a note.

    Scores that are equal on a set without categories would not be folded on another.
    """
    name = "micro_f1"
    if name not in table.metrics:
        return table, []
    column = table.metrics.index(name)
    there = [
        lines[0].dataset
        for _, lines in table.sections
        if any(line.cells[column].value is not None for line in lines)
    ]
    if len(there) == len(table.sections):
        return table, []
    kept = [place for place in range(len(table.metrics)) if place != column]
    lines = (
        replace(line, cells=tuple(line.cells[place] for place in kept))
        for line in table.lines
    )
    narrower = replace(
        table,
        metrics=tuple(table.metrics[place] for place in kept),
        higher_is_better=tuple(table.higher_is_better[place] for place in kept),
        lines=tuple(lines),
    )
    note = f"categories are judged on {named(there)}: see --metrics {name}"
    return narrower, [Explanation(note, "categories")]


def _fold(
    table: Leaderboard, heads: Sequence[Row], shown_below: set[int]
) -> list[tuple[Row, LeaderboardLine]]:
    """Return one line, with its row, for lines that say the same of one guard.

    A line without a score that is `shown_below` joins one with the same decisions.
    Nothing else is left out, and the order stays.
    """
    first_of: dict[tuple[Any, ...], int] = {}
    equal: dict[int, list[str]] = {}
    unscored: list[int] = []
    for place, (head, line) in enumerate(zip(heads, table.lines, strict=True)):
        key = (*_identity(head, line), _cell_keys(line.cells, ci=table.ci))
        if place in shown_below and _without_score(table, line):
            unscored.append(place)
        elif key in first_of:
            equal[first_of[key]].append(line.method)
        else:
            first_of[key] = place
            equal[place] = []
    alike: dict[int, list[str]] = defaultdict(list)
    alone = set()
    for place in unscored:
        line = table.lines[place]
        same = [
            other
            for other in equal
            if _identity(heads[place], line)
            == _identity(heads[other], table.lines[other])
            and _agree(line, table.lines[other])
        ]
        if same:
            alike[same[0]].append(line.method)
        else:
            alone.add(place)
    return [
        (
            heads[place],
            replace(
                table.lines[place],
                equal=tuple(equal.get(place, ())),
                unscored=tuple(alike[place]),
            ),
        )
        for place in sorted({*equal, *alone})
    ]


def _without_score(table: Leaderboard, line: LeaderboardLine) -> bool:
    if table.sort not in table.metrics:
        return False
    return line.cells[table.metrics.index(table.sort)].value is None


def _identity(head: Row, line: LeaderboardLine) -> tuple[Any, ...]:
    """Return what lines must share so that one may stand for another."""
    return (
        line.classifier,
        line.model,
        line.section,
        line.n,
        line.n_pos,
        line.n_failed,
        head.threshold,
        head.threshold_from,
        head.n_truncated,
        head.cost_shared_with,
    )


def _cell_keys(cells: Iterable[Cell], *, ci: bool) -> tuple[Any, ...]:
    """Return what makes cells say the same: exactly equal values, and their notes."""
    return tuple(
        (c.value, c.note, *((c.ci_low, c.ci_high, c.ties_with_best) if ci else ()))
        for c in cells
    )


def _agree(line: LeaderboardLine, other: LeaderboardLine) -> bool:
    """Tell whether a line has no number that another one does not have, too."""
    return all(
        cell.value in (None, beside.value)
        for cell, beside in zip(line.cells, other.cells, strict=True)
    )


def _fold_notes(lines: Sequence[LeaderboardLine]) -> Iterator[Explanation]:
    """Yield what was folded, once where it is the same on every set of the guard."""
    sets_of: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    notes: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for line in lines:
        guard = (line.classifier, line.model)
        sets_of[guard][line.section] = None
        name = f"{line.classifier} {line.method}"
        if line.equal:
            notes[*guard, f"{name} = {named(line.equal)}"][line.section] = None
        if line.unscored:
            text = (
                f"{name}: the same decisions, without a score: {named(line.unscored)}"
            )
            notes[*guard, text][line.section] = None
    for (*names, text), where in notes.items():
        everywhere = where.keys() == sets_of[names[0], names[1]].keys()
        yield Explanation(
            text if everywhere else f"{text} (on {', '.join(where)})",
            "equal strategies",
        )


def _uncertainty_blocks(
    table: Leaderboard, groups: Sequence[CombinationRows]
) -> Iterator[Leaderboard]:
    """Yield a block a task: how well each uncertainty finds the errors of its guard."""
    # numbers of other labels are no part of a mean over sets
    by_task: dict[tuple[str, bool], list[tuple[CombinationRows, LeaderboardLine]]]
    by_task = defaultdict(list)
    for group, line in zip(groups, table.lines, strict=True):
        if group.cell("error_auroc").value is not None:
            by_task[line.task, line.review is not None].append((group, line))
    for pairs in by_task.values():
        yield _uncertainty_block(table, pairs)


def _uncertainty_block(
    table: Leaderboard, pairs: Sequence[tuple[CombinationRows, LeaderboardLine]]
) -> Leaderboard:
    sets = list(dict.fromkeys(line.dataset for _, line in pairs))
    on_set: dict[tuple[Any, ...], dict[str, tuple[CombinationRows, LeaderboardLine]]]
    on_set = defaultdict(dict)
    for group, line in pairs:
        name: tuple[Any, ...] = (
            line.classifier,
            line.model,
            line.method,
            line.ranked,
        )
        while line.dataset in on_set[name]:  # as a copy of a run may: none is lost
            name = (*name, line.run)
        on_set[name][line.dataset] = (group, line)
    lines = [_uncertainty_line(by_set, sets) for by_set in on_set.values()]
    by_guard: dict[tuple[str, str], list[LeaderboardLine]] = defaultdict(list)
    for line in lines:
        by_guard[line.classifier, line.model].append(line)
    several = len(sets) > 1
    directions = (*_ERROR_DIRECTIONS, *((True,) * len(sets) if several else (True,)))
    shown: list[LeaderboardLine] = []
    mean = "mean over the sets, then error AUROC on each; " if several else ""
    judged = "each is judged by the errors of its guard's own decisions (.5: chance)"
    notes: list[str] = [Explanation(f"uncertainties: {mean}{judged}", "uncertainties")]
    for guard in by_guard.values():
        some, note = _of_one_guard(guard, directions, ci=table.ci)
        shown += some
        notes += note
    headers = ("error_auroc", "aurc", *(short_sets(sets) if several else ("acc",)))
    metrics = tuple(f"error_auroc:{name}" for name in sets) if several else ()
    return Leaderboard(
        metrics=(*ERROR_METRICS, *(metrics or ("accuracy",))),
        headers=headers,
        higher_is_better=directions,
        lines=tuple(shown),
        sort="error_auroc",
        footnotes=tuple(notes),
        ci=table.ci,
    )


def _uncertainty_line(
    by_set: dict[str, tuple[CombinationRows, LeaderboardLine]], sets: Sequence[str]
) -> LeaderboardLine:
    """Return the line of one uncertainty: on its set, or the means and each set."""
    (group, line) = next(iter(by_set.values()))
    if len(sets) == 1:
        cells = tuple(group.cell(name) for name in (*ERROR_METRICS, "accuracy"))
        return replace(line, cells=cells, dataset=f"uncertainties on {line.dataset}")
    missing = [name for name in sets if name not in by_set]
    means = []
    for metric in ERROR_METRICS:
        values = [by_set[s][0].cell(metric).value for s in sets if s in by_set]
        numbers = [value for value in values if value is not None]
        whole = len(numbers) == len(sets)
        note = "" if whole else f"no mean: not on {named(missing or sets)}"
        means.append(Cell(value=fmean(numbers) if whole else None, note=note))
    each = (
        by_set[name][0].cell("error_auroc")
        if name in by_set
        else Cell(value=None, note="")
        for name in sets
    )
    return replace(
        line,
        cells=(*means, *each),
        dataset=f"uncertainties on {len(sets)} sets",
        n=sum(other.n for _, other in by_set.values()),
        n_pos=None,
        n_failed=sum(other.n_failed for _, other in by_set.values()),
    )


def _of_one_guard(
    lines: Sequence[LeaderboardLine], directions: Sequence[bool], *, ci: bool
) -> tuple[list[LeaderboardLine], list[str]]:
    """Return the best uncertainties of a guard, and notes on the others."""
    ordered = sorted(fold_equal(lines, ci=ci), key=_error_auroc_order)
    # sets have the numbers of one metric: all columns are rounded alike
    metrics = (ERROR_METRICS[0],) * len(directions)
    highlighted = list(highlight_best(ordered, directions, metrics))
    marked = list(with_ranks(highlighted, 0, metrics))
    shown = marked if len(marked) <= MAX_UNCERTAINTIES else marked[:-1]
    shown = shown[: MAX_UNCERTAINTIES - 1] if len(marked) > len(shown) else shown
    hidden = marked[len(shown) :]
    same = [f"{x.method} = {named(x.equal)}" for x in shown if x.equal]
    notes: list[str] = []
    if same:
        text = f"uncertainties of {lines[0].classifier}: {'; '.join(same)}"
        notes.append(Explanation(text, "equal strategies"))
    notes += dict.fromkeys(
        f"{line.classifier} {line.method}: {line.cells[0].note}"
        for line in shown
        if line.cells[0].value is None
    )
    if hidden:
        best = hidden[0].cells[0].value
        count = sum(1 + len(line.equal) for line in hidden)
        below = "" if best is None else f", up to {best:.3f}"
        notes.append(
            f"{count} more uncertainties of {hidden[0].classifier}{below}: "
            "--metrics error_auroc,aurc"
        )
    return shown, notes


def fold_equal(lines: Iterable[LeaderboardLine], *, ci: bool) -> list[LeaderboardLine]:
    """Return the lines with those of one guard that have equal numbers in one."""
    kept: dict[tuple[Any, ...], LeaderboardLine] = {}
    for line in lines:
        values = tuple(cell.value for cell in line.cells)
        ends = tuple((cell.ci_low, cell.ci_high) for cell in line.cells if ci)
        names = (line.classifier, line.model, line.section, line.ranked)
        key = (*names, line.n, line.n_failed, values, ends)
        first = kept.setdefault(key, line)
        if first is not line:
            kept[key] = replace(first, equal=(*first.equal, line.method))
    return list(kept.values())


def _error_auroc_order(line: LeaderboardLine) -> tuple[bool, bool, float]:
    value = line.cells[0].value
    return (not line.ranked, value is None, -(value or 0.0))


def short_sets(sets: Sequence[str]) -> list[str]:
    """Return the names of sets without their splits where that says which is meant."""
    short = [name.partition(":")[0] for name in sets]
    return short if len(set(short)) == len(sets) else list(sets)

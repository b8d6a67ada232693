"""Which rows are not shown to differ from the best, by their stored predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import SafebenchError

from .comparison import ALPHA, compare
from .runs import run_names
from .stored import FOLDER, Stored, stored_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .row import Row


def near_best(rows: Sequence[Row], folders: Sequence[Path]) -> list[bool]:
    """Tell of each row whether a paired test leaves it open if the first is better.

    `rows` are of one metric on one dataset, best first; p-values are adjusted for
    their number (Holm). Without stored predictions, or for a metric without a paired
    test, nothing is told: all False.
    """
    from safebench.statistics import MEASURES

    tied = [False] * len(rows)
    if not rows or rows[0].metric not in MEASURES:
        return tied
    there = _predictions(folders)
    found = [there.get((row.run, *_names(row))) for row in rows]
    metric, best = rows[0].metric, found[0]
    if best is None:
        return tied
    others = [
        (place, other)
        for place, other in enumerate(found)
        if other is not None and other.path != best.path
    ]
    if MEASURES[metric].kind == "risk" or not others:
        return tied
    pairs = [(best, other) for _, other in others]
    try:
        compared = compare(pairs, [metric], {metric: rows[0].higher_is_better})
    except SafebenchError:  # a folder that was changed by hand: no marks
        return tied
    for (place, _), each in zip(others, compared, strict=True):
        adjusted = each.lines[0].holm
        tied[place] = adjusted is not None and adjusted >= ALPHA
    return tied


def _predictions(folders: Sequence[Path]) -> dict[tuple[str, ...], Stored]:
    """Return the stored files of runs by run, classifier, dataset and strategy."""
    return {
        (run, each.classifier, each.dataset, each.strategy): each
        for run, folder in zip(run_names(folders), folders, strict=True)
        if any((folder / FOLDER).glob("*/*/*"))
        for each in stored_predictions(folder)
    }


def _names(row: Row) -> tuple[str, str, str]:
    """Return how the path of a row's predictions spells what it is about."""
    dataset = ".".join(filter(None, (row.dataset, row.config, row.split)))
    parts = (row.classifier, dataset, row.strategy)
    classifier, dataset, strategy = (part.replace("/", "_") for part in parts)
    return classifier, dataset, strategy

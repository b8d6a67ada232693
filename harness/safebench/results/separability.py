"""Which rows are not shown to differ from the best, by their stored predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import SafebenchError

from .comparison import ALPHA, compare
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

    found = [_stored(row, folders) for row in rows]
    tied = [False] * len(rows)
    if not rows or rows[0].metric not in MEASURES or found[0] is None:
        return tied
    metric, best = rows[0].metric, found[0]
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


def _stored(row: Row, folders: Sequence[Path]) -> Stored | None:
    """Return the predictions that a row rests on, if they are there."""
    parts = (row.classifier, _joined(row), row.strategy)
    classifier, dataset, strategy = (part.replace("/", "_") for part in parts)
    for folder in folders:
        if folder.name != row.run or not (folder / FOLDER).is_dir():
            continue
        for each in stored_predictions(folder):
            if (each.classifier, each.dataset, each.strategy) == (
                classifier,
                dataset,
                strategy,
            ):
                return each
    return None


def _joined(row: Row) -> str:
    return ".".join(filter(None, (row.dataset, row.config, row.split)))

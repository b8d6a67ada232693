"""Make one row of rows that read the same; majorities decide, ties are left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.records import Gold, Sample

    Row = tuple[Sample, Gold]


def up_to_target(sample: Sample) -> Sample:
    """Return the sample without the turns after the judged one.

    What follows cannot bear on the label, and prompts that were answered several times
    become equal.
    """
    position = sample.target % len(sample.turns)
    return replace(sample, turns=sample.turns[: position + 1], target=-1)


def merged(rows: Iterable[Row]) -> tuple[list[Row], Counter[str]]:
    """Return one row a content, and counts of what happened.

    The label of most rows (by weight) wins and the votes are kept; a tie leaves the
    content out. Rows must have a label. The first by id stands for the others.
    """
    same: dict[str, list[Row]] = {}
    for row in rows:
        same.setdefault(row[0].content, []).append(row)
    kept: list[Row] = []
    counts: Counter[str] = Counter()
    for alike in same.values():
        counts["duplicates merged"] += len(alike) - 1
        counts["with contradictory labels"] += (
            len({g.label.value for _, g in alike}) > 1
        )
        winner = _majority(alike)
        if winner is None:
            counts["ties left out"] += 1
        else:
            kept.append(winner)
    return kept, +counts


def _majority(alike: list[Row]) -> Row | None:
    if len(alike) == 1:
        return alike[0]
    weights: dict[bool | None, float] = {}
    for _, gold in alike:
        weights[gold.label.value] = weights.get(gold.label.value, 0) + gold.label.weight
    yes, no = weights.get(True, 0.0), weights.get(False, 0.0)
    if yes == no:
        return None
    agreeing = [row for row in alike if row[1].label.value is (yes > no)]
    sample, gold = min(agreeing, key=lambda row: row[0].id)
    votes = (sum(g.label.value is True for _, g in alike), len(alike))
    return sample, replace(gold, label=replace(gold.label, votes=votes))

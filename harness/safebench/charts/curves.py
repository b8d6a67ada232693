"""What is drawn of one set of samples: points of curves, and which curves are chosen.

Scores are compared by their order alone, so that costs of any size, and infinite ones,
make the same curves as their ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.results import Row
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

_VISIBLE = 0.012  # of a unit axis: about a line's width
_GRID = np.linspace(0, 1, 101)
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChartEntry:
    """Predictions that may be drawn: their `guard`, and their rows by metric.

    `guard` tells classifiers, and those of several runs, apart.
    """

    guard: str
    predictions: StoredPredictions
    rows: Mapping[str, Row] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Guard and strategy, for legends."""
        return f"{self.guard} {self.predictions.method}"

    @property
    def scored(self) -> Array:
        """Which samples have a score, (n,) bool."""
        scored: Array = ~np.isnan(self.predictions.score)
        return scored


class CandidateCurve(NamedTuple):
    """A curve that may be drawn: `values` on a grid, a smaller `order` is better."""

    entry: ChartEntry
    values: Array
    order: float


@dataclass(slots=True, eq=False)
class Curve:
    """A curve that is drawn for one entry, and for the others that look the same."""

    entry: ChartEntry
    values: Array
    order: float
    equal: list[ChartEntry]

    @property
    def name(self) -> str:
        """The entry's name, with the number of those that look the same."""
        n = len(self.equal)
        return f"{self.entry.name} (+{n})" if n else self.entry.name


class ChosenCurves(NamedTuple):
    """The curves that are drawn, best first, and how many there are in all."""

    curves: list[Curve]
    n_distinct: int


def roc_points(y: Array, score: Array) -> tuple[Array, Array]:
    """Return false and true positive rates (k,) of all thresholds, from (0, 0) on.

    `y` (n,) bool with both classes, `score` (n,) without NaN.
    """
    fp, tp = _cumulative(y, score)
    return np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1])


def pr_points(y: Array, score: Array) -> tuple[Array, Array]:
    """Return recall and precision (k,) of all thresholds, the highest first."""
    fp, tp = _cumulative(y, score)
    return tp / tp[-1], tp / (tp + fp)


def _cumulative(y: Array, score: Array) -> tuple[Array, Array]:
    """Return how many negatives and positives each distinct score or more has."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    tp = np.cumsum(y[order])[last].astype(float)
    return last + 1 - tp, tp


def recall_on_grid(entry: ChartEntry) -> Array:
    """Return the recall at 101 false positive rates, to compare curves by."""
    scored = entry.scored
    fpr, tpr = roc_points(entry.predictions.y[scored], entry.predictions.score[scored])
    recall: Array = np.interp(_GRID, fpr, tpr)
    return recall


def risk_on_grid(coverage: Array, risk: Array) -> Array:
    """Return the risk at 96 coverages from 5 % on, to compare curves by."""
    values: Array = np.interp(_GRID[5:], coverage, risk)
    return values


def choose_curves(candidates: Sequence[CandidateCurve], most: int) -> ChosenCurves:
    """Return at most so many curves, those that look the same once, best first.

    The best of every guard comes before the second best of any.
    """
    curves: list[Curve] = []
    for entry, values, order in sorted(candidates, key=lambda c: round(c.order, 6)):
        same = next((c for c in curves if _look_alike(c, entry, values)), None)
        if same is None:
            curves.append(Curve(entry, values, order, []))
        else:
            same.equal.append(entry)
    first = list({curve.entry.guard: curve for curve in reversed(curves)}.values())
    first.reverse()
    rest = [curve for curve in curves if all(curve is not other for other in first)]
    kept = [*first, *rest][:most]
    return ChosenCurves(sorted(kept, key=lambda curve: curve.order), len(curves))


def _look_alike(curve: Curve, entry: ChartEntry, values: Array) -> bool:
    if curve.entry.guard != entry.guard:  # two guards are never one line
        return False
    return bool(np.abs(curve.values - values).max() < _VISIBLE)


def choice_notes(choice: ChosenCurves) -> list[str]:
    """Return which curves stand for others, and how many are left out."""
    notes = [
        f"{curve.entry.name} looks like {_named(curve.equal)}"
        for curve in choice.curves
        if curve.equal
    ]
    left_out = choice.n_distinct - len(choice.curves)
    if left_out:
        notes.append(
            f"{left_out} more {'curve is' if left_out == 1 else 'curves are'} not "
            "drawn: the best of each guard, then the best of all are"
        )
    return notes


def _named(entries: Sequence[ChartEntry]) -> str:
    names = [entry.predictions.method for entry in entries[:_MAX_NAMED]]
    rest = len(entries) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")


def positions(names: Sequence[str], known: dict[str, int], most: int) -> list[int]:
    """Return a style for each name: the one it had before, where that is free.

    `known` is added to, so that all charts of a set draw a name alike.
    """
    taken: set[int] = set()
    result = []
    for name in names:
        wanted = known.get(name)
        if wanted is None or wanted in taken:
            kept = {known[n] for n in names if n in known}
            free = [p for p in range(most) if p not in taken]
            wanted = next((p for p in free if p not in kept), free[0])
        taken.add(wanted)
        known.setdefault(name, wanted)
        result.append(wanted)
    return result

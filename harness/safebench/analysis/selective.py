"""What is gained by keeping only the decisions that a guard is sure of.

Samples of equal uncertainty come in no order, so every number is its mean over all
orders of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from .intervals import wilson

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6)
RISKS = (0.01, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """The surest `kept` of n decisions: accuracy with Wilson's interval, and F1."""

    share: float
    kept: int
    accuracy: float
    low: float
    high: float
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selective:
    """Risk (share of wrong decisions) against coverage (share of decisions kept).

    `coverage`, `risk` (k,): the 1, 2, ... k surest. `aurc` is the mean risk, `optimal`
    that of an uncertainty that finds every error, `e_aurc` what lies between; `augrc`
    the mean of wrong decisions kept over all decisions (Traub 2024). `covers` maps a
    risk to the largest coverage that stays at or below it (0: none does).
    """

    coverage: Array
    risk: Array
    aurc: float
    optimal: float
    augrc: float
    levels: tuple[Retained, ...]
    covers: dict[float, float]

    @property
    def e_aurc(self) -> float:
        """AURC in excess of the best that any uncertainty could do."""
        return self.aurc - self.optimal


def selective(y: Array, flagged: Array, doubt: Array) -> Selective:
    """Return the risk-coverage curve of k decisions, all arrays (k,)."""
    wrong = y != flagged
    k = np.arange(1, len(y) + 1)
    errors = _running(doubt, wrong)
    risk = errors / k
    best = np.maximum(k - (len(y) - wrong.sum()), 0) / k
    within = {r: np.flatnonzero(risk <= r + 1e-12) for r in RISKS}
    return Selective(
        coverage=k / len(y),
        risk=risk,
        aurc=float(risk.mean()),
        optimal=float(best.mean()),
        augrc=float((errors / len(y)).mean()),
        levels=_levels(y, flagged, doubt, errors),
        covers={
            r: float((rows[-1] + 1) / len(y)) if rows.size else 0.0
            for r, rows in within.items()
        },
    )


def _running(doubt: Array, counted: Array) -> Array:
    """Return the expected number of `counted` among the 1, 2, ... surest, (k,)."""
    order = np.argsort(doubt, kind="stable")
    _, block, sizes = np.unique(doubt[order], return_inverse=True, return_counts=True)
    share = np.bincount(block, counted[order].astype(float)) / sizes
    return np.cumsum(share[block])


def _levels(
    y: Array, flagged: Array, doubt: Array, errors: Array
) -> tuple[Retained, ...]:
    hits, positives = _running(doubt, y & flagged), _running(doubt, y)
    found = []
    for share in LEVELS:
        kept = max(1, ceil(share * len(y) - 1e-9))
        right = kept - errors[kept - 1]
        low, high = wilson(np.array(right), np.array(kept))
        twice = 2 * hits[kept - 1]  # F1 = 2 TP / (2 TP + FP + FN)
        found.append(
            Retained(
                share=share,
                kept=kept,
                accuracy=float(right / kept),
                low=float(low),
                high=float(high),
                f1=(
                    float(twice / (twice + errors[kept - 1]))
                    if positives[kept - 1]
                    else None
                ),
            )
        )
    return tuple(found)

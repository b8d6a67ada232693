"""Pairs of guards that are equally good, or that differ by a known amount.

Both judge the same samples, and half of what their scores deviate by is the same. They
are alike in distribution (of ``unlike`` pairs one is surer than the other, with the
same AUROC), so that each metric of both is the same in the population.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

from safebench.metrics import Outcome

if TYPE_CHECKING:
    from safebench.typing import Array

# of unsafe prompts with a category; its cells are ranked by scores this far apart
CATEGORIES = (0.6, 0.4, 0.25)
CATEGORY_DISTANCE = 1.5
LARGEST_SEVERITY = 3
DISTANCE = 2.0  # between the means of both classes: an AUROC of 0.921
COMMON = 0.5  # of the variance of a guard's scores, by what both see alike
SHARED = 0.5  # of the variance within a class, by prompts of one group


@dataclass(frozen=True)
class PairCell:
    """One kind of data: samples, share of unsafe ones, size of the largest group."""

    n: int
    prevalence: float
    largest_group: int = 1

    @property
    def name(self) -> str:
        """What tables and files call it."""
        words = [f"n{self.n}", f"p{self.prevalence:g}"]
        words += [f"groups-to-{self.largest_group}"] * (self.largest_group > 1)
        return "-".join(words)


def draw_pair(
    rng: np.random.Generator, cell: PairCell, *, better: float = 0.0
) -> tuple[Outcome, Outcome]:
    """Draw what two guards say; the second is `better` in distance of the classes."""
    sizes = rng.integers(1, cell.largest_group + 1, size=cell.n)
    group = np.repeat(np.arange(cell.n), sizes)[: cell.n]
    y = (rng.random(cell.n) < cell.prevalence)[group]
    common = _deviations(rng, group)
    names = [str(code) for code in group]
    # drawn apart, so that what is drawn below stays as it was measured
    others = rng.spawn(1)[0]
    truth = _truth(others, y, group, clustered=cell.largest_group > 1)
    sides = []
    for extra in (0.0, better):
        own = _deviations(rng, group)
        z = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own
        side = _judge(rng, cell, y, names, z, DISTANCE + extra)
        columns: dict[str, Any] = _categories(others, truth["gold"])
        sides.append(replace(side, **truth, **columns))
    return sides[0], sides[1]


def _truth(
    rng: np.random.Generator, y: Array, group: Array, *, clustered: bool
) -> dict[str, Any]:
    """Return categories, severities and pairs, which both sides share."""
    share = np.array(CATEGORIES)
    gold = y[:, None] & (rng.random((len(y), len(share))) < share)[group]
    severity = np.clip(np.round(2.0 * y + rng.normal(size=len(y))), 0, LARGEST_SEVERITY)
    first = np.arange(0, len(y) - 1, 2)
    if clustered:
        first = first[group[first] == group[first + 1]]
    pairs = np.stack([first, first + 1], axis=1)
    order = np.argsort(severity[pairs], axis=1)
    return {
        "labels": [str(i) for i in range(len(share))],
        "gold": gold,
        "mask": np.ones_like(gold),
        "severity": severity,
        "pairs": np.take_along_axis(pairs, order, axis=1),
    }


def _categories(rng: np.random.Generator, gold: Array) -> dict[str, Array]:
    """Return the scores of one side's categories, and which it names."""
    z = CATEGORY_DISTANCE * (gold - 0.5) + rng.normal(size=gold.shape)
    return {"category_score": expit(z), "predicted": z > CATEGORY_DISTANCE / 2}


def _judge(
    rng: np.random.Generator,
    cell: PairCell,
    y: Array,
    groups: list[str],
    deviation: Array,
    distance: float,
) -> Outcome:
    z = distance * (y - 0.5) + deviation
    score = expit(distance * z + logit(cell.prevalence))
    return Outcome(
        y=y,
        failed=np.zeros(len(y), dtype=bool),
        groups=groups,
        score=score,
        probability=True,
        decision=z >= 0,
        uncertainty=-np.abs(z) + rng.normal(size=len(y)) / 2,
    )


def _deviations(rng: np.random.Generator, group: Array) -> Array:
    """Return standard normal numbers (n,) that prompts of one group share in part."""
    shared, own = rng.normal(size=len(group))[group], rng.normal(size=len(group))
    mixed: Array = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    return mixed

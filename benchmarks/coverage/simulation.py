"""Guards whose true metrics are known: samples, groups, scores, categories, pairs.

A prompt is unsafe with a given prevalence, and its score is P(unsafe) as Bayes' rule
has it for two normal distributions 3 standard deviations apart: an AUROC of 0.983 and
no error of calibration. In clustered data 1 to 9 prompts form a group; they share the
label, and half of what their scores deviate by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from safebench.metrics import Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute

if TYPE_CHECKING:
    from safebench.typing import Array

DISTANCE = 3.0  # between the means of both classes, in standard deviations
SHARED = 0.5  # of the variance within a class, by prompts of one group
LARGEST_GROUP = 9
# of unsafe prompts with a category, and how often a guard has it wrong in any prompt
CATEGORIES = (0.6, 0.4, 0.25)
MISSED, ADDED = 0.15, 0.02
LARGEST_SEVERITY = 3  # severities are whole numbers from 0
CATEGORY_DISTANCE = 1.5  # between cells of both classes, in standard deviations
POPULATION = 400_000  # samples that stand for all
POPULATIONS = 8


@dataclass(frozen=True)
class Cell:
    """One kind of data: how many samples, share of unsafe ones, grouped or not."""

    n: int
    prevalence: float
    clustered: bool
    overconfident: bool = False

    @property
    def name(self) -> str:
        """What tables and files call it."""
        words = [f"n{self.n}", f"p{self.prevalence:g}"]
        words += ["clustered"] * self.clustered
        words += ["overconfident"] * self.overconfident
        return "-".join(words)


def draw(rng: np.random.Generator, cell: Cell) -> Outcome:
    """Draw one dataset and what a guard says of it."""
    n = cell.n
    group = _groups(rng, n) if cell.clustered else np.arange(n)
    size = int(group.max()) + 1
    y = (rng.random(size) < cell.prevalence)[group]
    z = DISTANCE * (y - 0.5) + _deviations(rng, group, size)
    slope = 1.6 if cell.overconfident else 1.0
    score = expit(slope * (DISTANCE * z + logit(cell.prevalence)))
    decision = score >= expit(logit(cell.prevalence))  # as likely as before it was read
    gold, named = _categories(rng, y, decision, group, size)
    severity = 2.0 * y + _deviations(rng, group, size)
    # drawn apart, so that what is drawn above stays as it was measured
    category_score = _category_scores(rng.spawn(1)[0], gold)
    return Outcome(
        y=y,
        failed=np.zeros(n, dtype=bool),
        groups=[str(code) for code in group],
        score=score,
        probability=True,
        decision=decision,
        threshold=cell.prevalence,
        uncertainty=-np.abs(z) + rng.normal(size=n) / 2,
        labels=[str(i) for i in range(len(CATEGORIES))],
        gold=gold,
        mask=np.ones_like(gold),
        predicted=named,
        category_score=category_score,
        pairs=_pairs(group, severity, cell.clustered),
        severity=np.clip(np.round(severity), 0, LARGEST_SEVERITY),
    )


@cache
def truth(
    prevalence: float, *, clustered: bool, overconfident: bool
) -> dict[str, float]:
    """Return every metric of the population, as the mean over large samples."""
    rng = np.random.default_rng(0)
    cell = Cell(POPULATION, prevalence, clustered, overconfident)
    values = [
        {spec.name: value.value for spec, value in compute(draw(rng, cell), SPECS)}
        for _ in range(POPULATIONS)
    ]
    return {
        name: float(np.mean([each[name] for each in values]))
        for name in values[0]
        if values[0][name] is not None
    } | ({} if overconfident else CALIBRATED)


# of a calibrated guard; a sample of any size has more by chance
CALIBRATED = {"ece": 0.0, "ece_mass": 0.0, "rmsce": 0.0, "rmsce_debiased": 0.0}


def _groups(rng: np.random.Generator, n: int) -> Array:
    """Return the group of each sample: 1 to 9 of them in turn."""
    sizes = rng.integers(1, LARGEST_GROUP + 1, size=n)
    return np.repeat(np.arange(n), sizes)[:n]


def _deviations(rng: np.random.Generator, group: Array, size: int) -> Array:
    """Return standard normal numbers (n,) that prompts of one group share in part."""
    if size == len(group):
        return rng.normal(size=size)
    shared, own = rng.normal(size=size)[group], rng.normal(size=len(group))
    mixed: Array = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    return mixed


def _categories(
    rng: np.random.Generator, y: Array, flagged: Array, group: Array, size: int
) -> tuple[Array, Array]:
    """Return true and named categories, (n, L); groups share the true ones."""
    share = np.array(CATEGORIES)
    gold = y[:, None] & (rng.random((size, len(share))) < share)[group]
    draws = rng.random(gold.shape)
    named = np.where(gold, draws >= MISSED, draws < ADDED) & flagged[:, None]
    return gold, named


def _category_scores(rng: np.random.Generator, gold: Array) -> Array:
    """Return scores of the categories (n, L), of which each ranks its own cells."""
    noise = rng.normal(size=gold.shape)
    scores: Array = expit(CATEGORY_DISTANCE * (gold - 0.5) + noise - 2)
    return scores


def _pairs(group: Array, severity: Array, clustered: bool) -> Array:
    """Return rows of the safer and the less safe answer, neighbours in a group."""
    first = np.arange(0, len(group) - 1, 2)
    if clustered:
        first = first[group[first] == group[first + 1]]
    pairs = np.stack([first, first + 1], axis=1)
    order = np.argsort(severity[pairs], axis=1)
    return np.take_along_axis(pairs, order, axis=1)

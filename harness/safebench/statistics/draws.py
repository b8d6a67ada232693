"""Resampled data as weights: how often each group counts in each draw.

A resample of n samples is the same samples with integer weights, so one sparse product
serves many draws, and any number of metrics and scores can share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]

FEW = 20  # groups of a class below which it is drawn on its own
BLOCKS = 200  # more groups than this leave the jackknife in blocks
DRAWS = 2000
FEWEST = 500  # enough where there are many groups: the spread is nearly normal
ENTRIES = 4_000_000  # of draws times groups
AT_ONCE = 2**21  # entries that are drawn together: a few numbers of 8 bytes each


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Weights of groups, shared by everything that is measured on the same samples.

    `index` (n,) is the group of each sample. `weights` (G, 1 + D + J): the data as they
    are, D bootstrap draws of groups, J leave-out samples of the jackknife.
    """

    index: Array
    weights: Array
    draws: int

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.weights)


def draw(
    groups: Sequence[Any] | Array | None,
    size: int,
    *,
    strata: Array | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Draws:
    """Draw groups with replacement; without `groups` each of `size` samples is one.

    `strata` (n,): groups are drawn among those that hold the same values of it, so
    that each draw has about as many of each as the data. Equal arguments give equal
    draws.
    """
    index = np.arange(size) if groups is None else _coded(groups)
    if len(index) != size:
        raise ValueError(f"{len(index)} groups for {size} samples")
    count = int(index.max()) + 1 if size else 0
    rng = np.random.default_rng(seed)
    blocks = min(count, BLOCKS)
    weights = np.ones((count, 1 + draws + blocks), dtype=np.int16)
    for members in _strata(index, strata, count) if size else []:
        weights[members, 1 : 1 + draws] = _counts(len(members), draws, rng)
    order = rng.permutation(count)
    weights[order, 1 + draws + np.arange(count) % max(blocks, 1)] = 0
    return Draws(index, weights, draws)


def affordable(groups: int) -> int:
    """Return how many draws to take: 2,000, fewer from 2,000 groups, at least 500."""
    return int(np.clip(ENTRIES // max(groups, 1), FEWEST, DRAWS))


def scarce(y: Array, groups: Sequence[Any] | Array | None) -> Array | None:
    """Return `y` as strata if fewer than 20 groups hold one of its classes."""
    index = np.arange(len(y)) if groups is None else _coded(groups)
    held = [len(np.unique(index[y == value])) for value in (True, False)]
    return y if 0 < min(held) < FEW else None


def _coded(groups: Sequence[Any] | Array) -> Array:
    """Return 0..G-1 for each sample, in order of the groups' names."""
    named = groups if isinstance(groups, np.ndarray) else np.array(groups)
    return np.unique(named, return_inverse=True)[1].reshape(-1)


def _strata(index: Array, strata: Array | None, count: int) -> list[Array]:
    """Return the groups of each stratum: those that hold the same kinds of samples."""
    if strata is None:
        return [np.arange(count)]
    kinds, kind = np.unique(strata, return_inverse=True)
    holds = np.zeros((count, len(kinds)), dtype=bool)
    holds[index, kind] = True
    which = np.unique(holds, axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(which == each) for each in range(which.max() + 1)]


def _counts(size: int, draws: int, rng: np.random.Generator) -> Array:
    """Return how often each of `size` groups was drawn, (size, draws)."""
    counts = np.zeros((size, draws), dtype=np.int16)
    step = int(np.clip(AT_ONCE // size, 1, 256))  # 256: writes stay in the cache
    for first in range(0, draws, step):
        width = min(step, draws - first)
        drawn = rng.integers(size, size=(width, size))
        flat = (drawn * width + np.arange(width)[:, None]).reshape(-1)
        found = np.bincount(flat, minlength=size * width)
        counts[:, first : first + width] = found.reshape(size, width)
    return counts

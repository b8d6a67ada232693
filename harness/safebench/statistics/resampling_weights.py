"""Resampled data as weights: how often each group counts in each resample.

A resample of n samples is the same samples with integer weights, so one sparse product
serves many resamples, and any number of metrics and scores can share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

MAX_JACKKNIFE_BLOCKS = 200
MAX_RESAMPLES = 2000
MIN_RESAMPLES = 500  # enough where there are many groups: the spread is nearly normal
MAX_WEIGHTS = 4_000_000  # resamples times groups, so that memory stays bounded
MAX_DRAWN_AT_ONCE = 2**21  # a few numbers of 8 bytes are held for each
MAX_RESAMPLES_AT_ONCE = 256  # of counts that are written: they stay in the cache


@dataclass(frozen=True, eq=False)
class ResamplingWeights:
    """Weights of groups, shared by everything that is measured on the same samples.

    `group_index` (n,) is the group of each sample. `weights` (G, 1 + B + J): the data
    as they are, B bootstrap draws of groups, J leave-out samples of the jackknife.
    They are what `draw` gives, when first asked for: of a million groups they take more
    than a gigabyte, and most metrics have intervals without them.
    """

    group_index: Array
    n_groups: int
    n_resamples: int
    draw: Callable[[], Array]

    @cached_property
    def weights(self) -> Array:
        """The weights."""
        return self.draw()

    def sample_counts(self, resample: int) -> Array:
        """Return how often each sample is in a bootstrap draw, from 0, (n,) int."""
        counts: Array = self.weights[self.group_index, 1 + resample]
        return counts


def draw_weights(
    groups: Sequence[Any] | Array | None,
    size: int,
    *,
    strata: Array | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> ResamplingWeights:
    """Draw groups with replacement; without `groups` each of `size` samples is one.

    `strata` (n,): groups are drawn among those that hold the same values of it, so
    that each draw has about as many of each as the data. Equal arguments give equal
    draws.
    """
    index = np.arange(size) if groups is None else group_codes(groups)
    if len(index) != size:
        raise ValueError(f"{len(index)} groups for {size} samples")
    count = int(index.max()) + 1 if size else 0
    draw = partial(_draw, index, count, strata, n_resamples, seed)
    return ResamplingWeights(index, count, n_resamples, draw)


def _draw(
    index: Array, count: int, strata: Array | None, n_resamples: int, seed: int
) -> Array:
    rng = np.random.default_rng(seed)
    # The jackknife measures skewness alone, which blocks of groups tell as well as
    # single ones; one column for each of thousands of groups would outgrow the draws.
    blocks = min(count, MAX_JACKKNIFE_BLOCKS)
    weights = np.ones((count, 1 + n_resamples + blocks), dtype=np.int16)
    for members in _groups_by_stratum(index, strata, count) if count else []:
        drawn = _draw_counts(len(members), n_resamples, rng)
        weights[members, 1 : 1 + n_resamples] = drawn
    # in a random order, since neighbouring groups may be alike
    order = rng.permutation(count)
    weights[order, 1 + n_resamples + np.arange(count) % max(blocks, 1)] = 0
    return weights


def shared_weights(
    y: Any,
    groups: Sequence[Any] | Array | None = None,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> ResamplingWeights:
    """Return weights that everything measured on the same samples (n,) can share.

    However scarce a class is, its share differs from draw to draw, as it does between
    sets of prompts: draws that fixed it would make precision and F1 surer than they
    are. A draw that lacks the class has no value of a metric that needs it.
    """
    return draw_weights(groups, len(y), n_resamples=n_resamples, seed=seed)


def default_n_resamples(n_groups: int) -> int:
    """Return how many draws to take: 2,000, fewer from 2,000 groups, at least 500."""
    return int(np.clip(MAX_WEIGHTS // max(n_groups, 1), MIN_RESAMPLES, MAX_RESAMPLES))


def group_codes(groups: Sequence[Any] | Array) -> Array:
    """Return 0..G-1 for each sample, in order of the groups' names.

    Groups that have them already as `codes` need not be sorted as texts.
    """
    codes: Array | None = getattr(groups, "codes", None)
    if codes is not None:
        return codes
    names = groups if isinstance(groups, np.ndarray) else np.array(groups)
    return np.unique(names, return_inverse=True)[1].reshape(-1)


def count_groups(codes: Array) -> int:
    """Return how many different codes there are, numbers from 0 on.

    In linear time and without a hash table, which is slow for many different numbers.
    """
    return int(np.count_nonzero(np.bincount(codes)))


def _groups_by_stratum(index: Array, strata: Array | None, count: int) -> list[Array]:
    """Return the groups of each stratum: those that hold the same kinds of samples."""
    if strata is None:
        return [np.arange(count)]
    kinds, kind = np.unique(strata, return_inverse=True)
    holds = np.zeros((count, len(kinds)), dtype=bool)
    holds[index, kind] = True
    stratum = np.unique(holds, axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(stratum == code) for code in range(stratum.max() + 1)]


def _draw_counts(size: int, n_resamples: int, rng: np.random.Generator) -> Array:
    """Return how often each of `size` groups was drawn, (size, resamples)."""
    counts = np.zeros((size, n_resamples), dtype=np.int16)
    step = int(np.clip(MAX_DRAWN_AT_ONCE // size, 1, MAX_RESAMPLES_AT_ONCE))
    for first in range(0, n_resamples, step):
        width = min(step, n_resamples - first)
        drawn = rng.integers(size, size=(width, size))
        # one count of group times resample is faster than a count for each resample
        flat = (drawn * width + np.arange(width)[:, None]).reshape(-1)
        counted = np.bincount(flat, minlength=size * width)
        counts[:, first : first + width] = counted.reshape(size, width)
    return counts

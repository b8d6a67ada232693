"""Paired tests: how far apart two sides would be if they were alike.

If two guards are equally good, either might have given either answer: in each group the
answers of both may change places (Fisher 1935, Pitman 1937). What differences such
swaps give is the distribution that the observed difference is compared with. Groups are
swapped whole, so that samples of one group may depend on each other. Nothing is said
beyond the swaps that were made: the smallest p-value is 1 / (draws + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .sufficient_statistics import SufficientStatistics


MIN_GROUPS = 6  # 5 have 2^5 ways to swap: the smallest two-sided p is 0.0625
TOLERANCE = 1e-12  # equal differences may differ by rounding
MAX_ENTRIES_AT_ONCE = 50_000  # sums that are held together: about the cache
MIN_SWAPS_AT_ONCE = 8
GROUPS_AT_ONCE = 4096  # of 8: they are kept in bits
MAX_BLOCKS = 200  # left out by the jackknife


@dataclass(frozen=True, slots=True, eq=False)
class SwapDistribution:
    """Absolute differences (K,) of swaps, and the probability (K,) of each.

    `drawn` swaps at random, or 0 if these are all that there are. A swap without a
    value is infinite: it counts against every difference.
    """

    differences: Array
    probabilities: Array
    drawn: int = 0

    def p_value(self, difference: float) -> float:
        """Return how often a swap differs at least as much, either way."""
        least = abs(difference) - TOLERANCE * max(1.0, abs(difference))
        share = float(self.probabilities[self.differences >= least].sum())
        return min(float(self._as_p(share)), 1.0)

    def critical(self, alpha: float) -> float:
        """Return the largest difference of a swap whose p is above `alpha`."""
        order = np.argsort(-self.differences, kind="stable")
        falling = self.differences[order]
        shares = self.probabilities[order].cumsum()
        # of equal differences each has the p of the last of them
        last = np.searchsorted(-falling, -(falling - TOLERANCE), side="right") - 1
        accepted = np.asarray(self._as_p(shares[last])) > alpha
        return float(falling[np.argmax(accepted)]) if accepted.any() else 0.0

    @property
    def spread(self) -> float:
        """Standard deviation of the difference of two sides that are alike."""
        known = np.isfinite(self.differences)
        total = self.probabilities[known].sum()
        squares = self.differences[known] ** 2 @ self.probabilities[known]
        return float(np.sqrt(squares / total)) if total else float("nan")

    def _as_p(self, share: Array | float) -> Array | float:
        """Count the data themselves among the draws, as one that is as extreme."""
        if not self.drawn:
            return share
        return (1 + share * self.drawn) / (1 + self.drawn)


@dataclass(frozen=True, slots=True)
class StudentDistribution:
    """Differences around 0 by their standard error, known from so many groups.

    Student's t with `freedom` degrees, infinite for a normal distribution.
    """

    spread: float
    freedom: float = np.inf

    def p_value(self, difference: float) -> float:
        """Return how often a difference is at least as large, either way."""
        return float(2 * stdtr(self.freedom, -abs(difference) / self.spread))

    def critical(self, alpha: float) -> float:
        """Return the difference whose p is `alpha`."""
        return float(self.spread * stdtrit(self.freedom, 1 - alpha / 2))


@dataclass(frozen=True, slots=True, eq=False)
class StricterOf:
    """Two distributions of which the one that rejects less decides."""

    swaps: SwapDistribution
    student: StudentDistribution

    def p_value(self, difference: float) -> float:
        """Return the larger p-value."""
        return max(self.swaps.p_value(difference), self.student.p_value(difference))

    def critical(self, alpha: float) -> float:
        """Return the larger critical difference."""
        return max(self.swaps.critical(alpha), self.student.critical(alpha))

    @property
    def spread(self) -> float:
        """The larger standard deviation."""
        return max(self.swaps.spread, self.student.spread)


NullDistribution = SwapDistribution | StudentDistribution | StricterOf


def sign_flips(differences: Array) -> SwapDistribution:
    """Return the distribution of |sum of s_g d_g| over all signs s_g, exactly.

    `differences` (G,) are whole numbers: how many more samples of a group one side has
    right. Of groups of one sample this is McNemar's test, binomial with 1/2.
    """
    from scipy import stats  # half a second, and few ask for this

    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    total = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        if size:
            # `count` groups of this size: a binomial count, in steps of two sizes
            steps = np.zeros(2 * size * count + 1)
            steps[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
            total = np.convolve(total, steps)
    middle = len(total) // 2
    folded = total[middle:].copy()
    folded[1:] += total[:middle][::-1]
    possible = folded > 0
    return SwapDistribution(np.flatnonzero(possible).astype(float), folded[possible])


class PackedSwaps:
    """Which of G groups change places in each draw, (G, draws), in bits.

    A part of the draws is looked at by ``swaps[:, part]``, (G, part) bool.
    """

    def __init__(self, bits: Array, n_groups: int) -> None:
        self._bits = bits
        self.shape = (n_groups, bits.shape[1])

    def __getitem__(self, index: tuple[slice, slice]) -> Array:
        groups, part = index
        bits = np.unpackbits(self._bits[:, part], axis=0, count=self.shape[0])
        return bits[groups].view(bool)


def draw_swaps(
    n_groups: int, draws: int, seed: int = 0
) -> tuple[Array | PackedSwaps, int]:
    """Return which groups change places, (G, draws), and how many were drawn.

    Where there are no more ways than `draws`, these are all of them and 0: each once up
    to its mirror image, of which the difference is the same.
    """
    if n_groups - 1 <= np.log2(draws):  # 2^n itself has no end
        ways = np.arange(2 ** max(n_groups - 1, 0))
        return (ways[None, :] >> np.arange(n_groups)[:, None]) & 1 == 1, 0
    rng = np.random.default_rng(seed)
    bits = np.empty((-(-n_groups // 8), draws), dtype=np.uint8)
    for first in range(0, n_groups, GROUPS_AT_ONCE):
        size = (min(GROUPS_AT_ONCE, n_groups - first), draws)
        drawn = rng.integers(2, size=size, dtype=np.uint8)
        bits[first // 8 : (first + GROUPS_AT_ONCE) // 8] = np.packbits(drawn, axis=0)
    return PackedSwaps(bits, n_groups), draws


def swap_distribution(differences: Array, drawn: int) -> SwapDistribution:
    """Return the distribution of the differences (draws,) that swaps gave."""
    absolute = np.abs(np.where(np.isnan(differences), np.inf, differences))
    share = np.full(len(absolute), 1 / max(len(absolute), 1))
    return SwapDistribution(absolute, share, drawn)


def swapped_differences(
    statistics: SufficientStatistics,
    formula: Callable[[Array], Array],
    swaps: Array | PackedSwaps,
) -> Array:
    """Return a formula of b minus that of a after each swap, (draws,).

    `statistics` are of 2 G groups: those of a, then those of b. `swaps` (G, draws).
    """

    def weights(part: slice) -> tuple[Array, Array]:
        swapped = swaps[:, part].astype(float)
        kept = 1 - swapped
        return np.concatenate([kept, swapped]), np.concatenate([swapped, kept])

    of_a, of_b = _both_sides(statistics, formula, weights, swaps.shape[1])
    return of_b - of_a


def left_out_values(
    statistics: SufficientStatistics,
    formula: Callable[[Array], Array],
    n_groups: int,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return a formula of a and of b when each group in turn is left out, (blocks,).

    `statistics` are of 2 G groups: those of a, then those of b. Of many groups blocks
    are left out; values that are not finite are left out of both.
    """
    blocks = min(n_groups, MAX_BLOCKS)
    order = np.random.default_rng(seed).permutation(n_groups)
    block = np.empty(n_groups, dtype=int)
    block[order] = np.arange(n_groups) % blocks

    def weights(part: slice) -> tuple[Array, Array]:
        left_out = np.arange(blocks)[part]
        kept = (block[:, None] != left_out).astype(float)
        nothing = np.zeros_like(kept)
        return np.concatenate([kept, nothing]), np.concatenate([nothing, kept])

    of_a, of_b = _both_sides(statistics, formula, weights, blocks)
    finite = np.isfinite(of_a) & np.isfinite(of_b)
    return of_a[finite], of_b[finite]


def jackknife_error(of_a: Array, of_b: Array) -> float:
    """Return the standard error of b minus a from `left_out_values`; 0 of too few.

    Unlike that of swaps it does not ask that both sides are alike but for the labels
    that swaps exchange: two guards may be equally good and err in other ways (Janssen
    1997).
    """
    values = of_b - of_a
    if len(values) < MIN_GROUPS:
        return 0.0
    squares = float(((values - values.mean()) ** 2).sum())
    return float(np.sqrt((len(values) - 1) / len(values) * squares))


def correlation(of_a: Array, of_b: Array) -> float:
    """Return how both sides vary together, from `left_out_values`; 0 if unknown."""
    if len(of_a) < MIN_GROUPS:
        return 0.0
    a, b = of_a - of_a.mean(), of_b - of_b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def _both_sides(
    statistics: SufficientStatistics,
    formula: Callable[[Array], Array],
    weights: Callable[[slice], tuple[Array, Array]],
    size: int,
) -> tuple[Array, Array]:
    """Return a and b for weights (2 G, size) of both, a part of them at a time."""
    rows, groups = statistics.matrix.shape
    step = max(MAX_ENTRIES_AT_ONCE // max(rows, groups, 1), MIN_SWAPS_AT_ONCE)
    values = np.empty((2, size))
    for first in range(0, size, step):
        part = slice(first, min(first + step, size))
        for row, side in zip(values, weights(part), strict=True):
            row[part] = formula(statistics.sums(side))
    return values[0], values[1]


class McNemar(NamedTuple):
    """Rows where only b is right, where only a is right, and the exact p-value."""

    b01: int
    b10: int
    p: float


def mcnemar(y: Array, a: Array, b: Array) -> McNemar:
    """Test whether decisions a and b are right equally often on the same samples.

    Two-sided exact binomial test of the discordant rows; p is 1 without any. Samples
    must be independent.
    """
    from scipy import stats  # half a second, and few ask for this

    truth = np.asarray(y).astype(bool)
    right_a = np.asarray(a).astype(bool) == truth
    right_b = np.asarray(b).astype(bool) == truth
    b01, b10 = int((~right_a & right_b).sum()), int((right_a & ~right_b).sum())
    discordant = b01 + b10
    p = float(stats.binomtest(b01, discordant).pvalue) if discordant else 1.0
    return McNemar(b01, b10, p)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number (Holm 1979); None stays None.

    Of the adjusted values each below alpha may be called a finding: the chance of any
    false one is at most alpha, however the tests depend on each other.
    """
    known = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted

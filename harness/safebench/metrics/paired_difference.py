"""What a paired test says of a difference: its p-value, its interval, its power.

The interval ends where the test would no longer reject: it leaves out 0 exactly where p
is below 5 %. A test of no difference knows how much differences vary if there is none.
Where one side comes close to the end of its scale by chance, the difference and its
variance are both too small, and such an interval lies below the true difference too
often. It therefore reaches at least as far as the intervals of both sides say (MOVER,
Zou 2007), which know that end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.statistics.interval import difference_ends
from safebench.statistics.paired_tests import (
    TOLERANCE,
    StudentDistribution,
    correlation,
)

if TYPE_CHECKING:
    from safebench.statistics import Interval
    from safebench.statistics.paired_tests import NullDistribution
    from safebench.statistics.power import PairedSpread
    from safebench.typing import Array

NO_SIDES = (
    "the interval of the difference is that of the test alone, since one side has "
    "none: it may miss more often than it says"
)
CHANCE_ALONE = (
    "chance makes errors of calibration larger, and their differences smaller: the "
    "interval of the difference is about data sets of this size"
)


class SwapPlan(NamedTuple):
    """How many swaps to draw, from which seed, and the level of intervals.

    Without `sides` a and b have no interval of their own, which takes time.
    """

    draws: int
    seed: int = 0
    level: float = 0.95
    sides: bool = True

    @property
    def alpha(self) -> float:
        """What p is compared with."""
        return 1 - self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """A metric of a and of b on the same samples, and b minus a.

    `test` names the test that `difference.p` comes from, `null` is the distribution of
    differences if both sides were alike, `spread` what follows for other numbers of
    groups; None where there is no test, and `difference.method` says why.
    """

    a: Interval
    b: Interval
    difference: Interval
    test: str = ""
    null: NullDistribution | None = None
    spread: PairedSpread | None = None

    def equivalence_p(self, margin: float) -> float | None:
        """Return the p-value of a difference of at least `margin`, either way.

        The larger of two one-sided tests (Schuirmann 1987), by the distribution of
        swaps moved to the margin. Where both sides hardly ever differ that has no
        spread: p is at least the chance that so few of the independent units differ,
        if a margin's share of them do in truth.
        """
        from scipy.stats import binom  # half a second, and few ask for this

        value = self.difference.value
        if self.null is None or self.spread is None or value is None:
            return None
        distance = margin - abs(value)
        tail = self.null.p_value(distance) / 2
        if distance <= 0:
            return 1 - tail
        if margin >= 1:
            return tail
        units = int(self.spread.units)
        unseen = binom.cdf(np.ceil(abs(value) * units - 1e-9), units, margin)
        return float(max(tail, unseen))


def as_tested(
    pair: PairedTest,
    observed: float,
    null: NullDistribution,
    spread: PairedSpread,
    test: str,
    plan: SwapPlan,
) -> PairedTest:
    """Return the pair with its p-value and the interval that agrees with it."""
    value = pair.difference.value
    assert value is not None
    half, method = null.critical(plan.alpha), test
    if not null.spread and spread.is_share:
        # no sample tells both apart: those that do are fewer than this, at most
        half = 1 - plan.alpha ** (1 / spread.units)
    elif not null.spread:
        half, method = np.inf, "no swap changes anything"
    elif not np.isfinite(half):
        method = "undefined in many swaps"
    bounded = np.isfinite(half)
    # an end that is 0 but for rounding belongs to what is not rejected
    ends = value - half, value + half
    low, high = (0.0 if abs(end) < TOLERANCE else end for end in ends)
    p = null.p_value(observed)
    if spread.is_share:
        # few discordant samples may be too few by chance: count one more of each side
        # (Bonett and Price 2012), but on the side of 0 the test itself decides
        more = spread.variance * spread.units + 2
        wide = StudentDistribution(np.sqrt(more) / (spread.units + 2))
        widened = wide.critical(plan.alpha)
        shown = p <= plan.alpha
        low = low if shown and value > 0 else min(low, value - widened)
        high = high if shown and value < 0 else max(high, value + widened)
    interval = replace(
        pair.difference,
        low=low if bounded else None,
        high=high if bounded else None,
        method=method,
        p=p,
    )
    return replace(pair, difference=interval, test=test, null=null, spread=spread)


def as_wide_as_sides(
    pair: PairedTest, together: tuple[Array, Array], plan: SwapPlan
) -> PairedTest:
    """Return the pair with an interval no narrower than those of both sides allow.

    `together` are values of a and of b, (K,) each, when data change in the same way:
    they tell how both vary together. Where the test rejects, 0 stays outside.
    """
    difference = pair.difference
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None or difference.p is None:
        return pair
    ends = difference_ends(pair.a, pair.b, correlation(*together))
    if ends is None:
        return with_note(pair, NO_SIDES)
    shown = difference.p <= plan.alpha
    if not (shown and value > 0 and ends[0] <= 0):
        low = min(low, ends[0])
    if not (shown and value < 0 and ends[1] >= 0):
        high = max(high, ends[1])
    return replace(pair, difference=replace(difference, low=low, high=high))


def with_note(pair: PairedTest, note: str) -> PairedTest:
    """Return the pair with a note on the interval of its difference."""
    return replace(pair, difference=replace(pair.difference, note=note))

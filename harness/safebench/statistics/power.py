"""Power of paired tests: which difference so much data shows, how much data it takes.

Of shares, by the exact power of McNemar's test (Miettinen 1968). Of other metrics, by a
normal distribution whose variance is that of the swaps of the test: under a difference
d they vary by v + d^2, v being what is left of their variance without the difference.

The standard error of few units grows with the difference that they happen to show, so
that the real power is steeper than a normal one: in simulations
(``benchmarks/coverage/measure_differences.py``) a stated power of 0.6 or more was
reached with 40 units or more, and one of 0.5 was not, nor any with fewer units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable

POWER = 0.8
ALPHA = 0.05
MAX_UNITS = 1e12  # more than anyone has
MAX_COUNTS = 1000
ENOUGH_UNITS = 40  # from so many on the tests show what is stated
SURE_POWER = 0.6  # from which on a power is reached; smaller ones may not be
CERTAIN = 6.0  # standard deviations beyond which a binomial count is left out


@dataclass(frozen=True, slots=True)
class PairedSpread:
    """How much a paired difference varies, in independent units.

    `units` are groups, or as many independent samples as groups are worth; `variance`
    is the mean square of what one adds to the difference (of a share: how many of them
    one side alone has right). `difference` is what was observed. `unknown` says why
    nothing is known of the differences that so many units show.
    """

    units: float
    variance: float
    difference: float
    is_share: bool
    unknown: str = ""

    def power(self, difference: float, units: float, alpha: float = ALPHA) -> float:
        """Return the probability of p < `alpha` for a true difference and so many."""
        if self.is_share:
            # two sides that differ by d disagree on d of all at least
            return mcnemar_power(
                units, max(self.variance, difference), difference, alpha
            )
        left = self._variance_left
        error = np.sqrt((left + difference**2) / units)
        freedom = max(units - 1, 1)
        beyond = difference - stdtrit(freedom, 1 - alpha / 2) * error
        if not left:
            return float(beyond > 0)
        return float(ndtr(beyond / np.sqrt(left / units)))

    def smallest_difference(
        self, power: float = POWER, alpha: float = ALPHA, most: float = 1.0
    ) -> float | None:
        """Return the difference that the units would show, None if none up to `most`.

        None, too, where the data show no variance: how much others would vary is not
        known then.
        """
        if self.unknown or (not self.is_share and not self._variance_left):
            return None
        return _least(lambda d: self.power(d, self.units, alpha), power, 0.0, most)

    def why_no_size(self) -> str:
        """Return why there is no `smallest_difference`; only where there is none."""
        if self.unknown:
            return self.unknown
        if not self.is_share and not self._variance_left:
            return "no swap changes anything, so nothing tells how much others would"
        return f"none up to 1, with what {self.units:.0f} independent samples tell"

    def units_needed(
        self, difference: float, power: float = POWER, alpha: float = ALPHA
    ) -> float | None:
        """Return how many units show a difference, None where none do.

        They are `ENOUGH_UNITS` at least where the power is not exact.
        """
        if not self.is_share and not self._variance_left:
            return None
        high = 8.0
        least = 1.0 if self.is_share else ENOUGH_UNITS
        while self.power(difference, high, alpha) < power:
            high *= 2
            if high > MAX_UNITS:
                return None
        found = _least(lambda n: self.power(difference, n, alpha), power, 1.0, high)
        return None if found is None else max(found, least)

    @property
    def _variance_left(self) -> float:
        left = self.variance - self.difference**2
        return left if left > 1e-12 * self.variance else 0.0


def mcnemar_power(
    units: float, discordant: float, difference: float, alpha: float = ALPHA
) -> float:
    """Return the power of McNemar's exact test of so many pairs.

    `discordant` is the share of pairs that one side alone has right, `difference` that
    of b less that of a.
    """
    from scipy import stats  # half a second, and few ask for this

    discordant = min(discordant, 1.0)
    size = round(units)
    middle = size * discordant
    half = CERTAIN * np.sqrt(middle) + CERTAIN
    counts = np.arange(max(int(middle - half), 0), min(int(middle + half), size) + 1)
    # the power changes smoothly with the count: some of many will do
    counts = counts[:: max(len(counts) // MAX_COUNTS, 1)]
    weights = stats.binom.pmf(counts, size, discordant)
    # the fewest of either kind that are still rejected
    fewest = stats.binom.ppf(alpha / 2, counts, 0.5) - 1
    fewest += stats.binom.cdf(fewest + 1, counts, 0.5) <= alpha / 2
    share = (1 + difference / discordant) / 2 if discordant else 0.5
    rejected = stats.binom.cdf(fewest, counts, share)
    rejected += stats.binom.cdf(fewest, counts, 1 - share)
    return float(weights @ rejected / max(weights.sum(), 1e-300))


def _least(
    power_of: Callable[[float], float], power: float, low: float, high: float
) -> float | None:
    """Return where a rising power reaches its goal."""
    if power_of(high) < power:
        return None
    if power_of(low) >= power:
        return low
    return float(brentq(lambda x: power_of(x) - power, low, high, rtol=1e-4, xtol=1e-9))

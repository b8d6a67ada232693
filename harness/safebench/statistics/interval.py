"""A number with what sampling leaves open, and closed intervals of proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv, ndtri

if TYPE_CHECKING:
    from safebench.typing import Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval; None where nothing can be said.

    `method` names how it was made (``mid-p``, ``newcombe``, ``percentile``, or why
    there is none), `n_groups` how many independent groups it rests on, `note` what a
    reader must know. `p` is the two-sided p-value of the hypothesis that a difference
    is zero, by the same method (beyond the last resample by a t statistic); None for
    what is no difference.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n_groups: int
    p: float | None = None
    note: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the interval lies wholly on one side of zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a proportion, k of n; 0 to 1 without samples."""
    _check_counts(k, n)
    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Interval(k / n if n else None, low, high, "clopper-pearson", n)


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion, k of n; 0 to 1 without samples."""
    _check_counts(k, n)
    if not n:
        return Interval(None, 0.0, 1.0, "wilson", n)
    low, high = wilson_interval(np.array(k), np.array(n), level)
    return Interval(k / n, float(low), float(high), "wilson", n)


def wilson_interval(
    successes: Array, n: Array, level: float = 0.95
) -> tuple[Array, Array]:
    """Return the ends of Wilson's score interval (1927), NaN where n is 0.

    `successes` may be an expected count, hence no integer.
    """
    z = ndtri((1 + level) / 2)
    n = np.where(n > 0, n, np.nan)
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # rounding can push the ends of 0 of n and of n of n off 0 and 1
    low = np.where(successes <= 0, 0.0 * n, np.maximum(middle - half, 0.0))
    high = np.where(successes >= n, 1.0 + 0.0 * n, np.minimum(middle + half, 1.0))
    return low, high


def _check_counts(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")

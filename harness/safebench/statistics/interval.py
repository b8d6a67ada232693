"""A number with what sampling leaves open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval; None where nothing can be said.

    `method` names how it was made (``bca``, ``percentile``, ``clopper-pearson``,
    ``delong``, or why there is none), `n_groups` how many independent groups it rests
    on. `p` is the two-sided p-value of the hypothesis that a difference is zero, by
    the same method (beyond the last draw by a t statistic); None for what is no
    difference.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n_groups: int
    p: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Tell whether the interval lies wholly on one side of zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0

"""Tests of paired decisions, and p-values adjusted for their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


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

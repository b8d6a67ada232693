"""What a certificate can show: exact bounds, and the counts that pass by them.

A gate that rejects says little where it could have accepted hardly anything: with few
harmful prompts only a large gain in recall can be told from a loss. `GatePower` says
how large, so that a rejection is not read as "nothing was learnt".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array

LIKELY = 0.8  # the usual power of a study


def upper_bound(k: int, n: int, delta: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound of k of n, at 1 - delta."""
    # The two-sided interval at 1 - 2 delta leaves delta on either side.
    return clopper_pearson(k, n, level=1 - 2 * delta).high or 0.0


def lower_bound(k: int, n: int, delta: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of k of n, at 1 - delta."""
    return clopper_pearson(k, n, level=1 - 2 * delta).low or 0.0


def min_harmful_prompts(tolerance: float, delta: float = 0.05) -> float:
    """Return how many harmful prompts certify a guard that gains and loses none.

    The upper bound of 0 lost of n at delta / 2 is 1 - (delta / 2) ** (1 / n), which
    must not exceed the tolerance. Infinite for a tolerance of 0.
    """
    if tolerance in (0, 1):
        return inf if tolerance == 0 else 1
    return ceil(log(delta / 2) / log(1 - tolerance))


def max_false_positives(n_benign: int, cap: float, delta: float = 0.05) -> int | None:
    """Return how many false positives of `n_benign` still pass, None if not even 0."""
    if upper_bound(0, n_benign, delta) > cap:
        return None
    low, high = 0, n_benign + 1  # bisection: the bound grows with the count
    while high - low > 1:
        middle = (low + high) // 2
        if upper_bound(middle, n_benign, delta) <= cap:
            low = middle
        else:
            high = middle
    return low


def target_false_positive_rate(
    n_benign: int, cap: float, delta: float = 0.05, power: float = 0.9
) -> float:
    """Return the highest false-positive rate that is certified with chance `power`.

    A candidate with a rate at the cap itself hardly ever passes, since its upper bound
    lies above. Below the returned rate, `n_benign` prompts show at most the allowed
    number of false positives with that chance (binomial). 0 if nothing can pass.
    """
    allowed = max_false_positives(n_benign, cap, delta)
    if allowed is None or allowed >= n_benign:
        return 0.0 if allowed is None else 1.0
    return lower_bound(allowed + 1, n_benign, 1 - power)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePower:
    """The least that a gate can accept with the prompts that it has.

    A guard that loses no harmful prompt passes with `min_gained` of `n_harmful` gained,
    a gain in recall of `min_gain`; None where even all of them would not do. Only the
    `n_missed` that the base guard misses can be gained. One that
    gains the share `likely_gain` of all such prompts passes in 8 of 10 times. Of
    `n_benign` at most `max_false_positives` may be flagged, None: not even 0 do.
    """

    n_harmful: int
    n_missed: int
    min_gained: int | None
    min_gain: float | None
    likely_gain: float | None
    n_benign: int
    max_false_positives: int | None


def gate_power(
    base: Array, n_benign: int, *, cap: float, tolerance: float, delta: float
) -> GatePower:
    """Return what a certificate on these prompts, one a cluster, can accept.

    `base` (n,) bool are the base guard's decisions on the harmful ones.

    The bound of the change in recall is that of `certify`: of the share that is gained
    minus that of 0 lost, each at delta / 2.
    """
    n_harmful, least = len(base), None
    if n_harmful:
        lost = upper_bound(0, n_harmful, delta / 2)
        least = _first_that_passes(n_harmful, lost - tolerance, delta / 2)
    likely = None
    if least is not None:
        # P(X <= least - 1) = 1 - LIKELY at this share; 0 of n are gained by any guard.
        likely = upper_bound(least - 1, n_harmful, 1 - LIKELY) if least else 0.0
    return GatePower(
        n_harmful=n_harmful,
        n_missed=n_harmful - int(np.sum(base)),
        min_gained=least,
        min_gain=None if least is None else least / n_harmful,
        likely_gain=likely,
        n_benign=n_benign,
        max_false_positives=max_false_positives(n_benign, cap, delta),
    )


def _first_that_passes(n: int, least_bound: float, delta: float) -> int | None:
    """Return the smallest count of `n` with a lower bound of `least_bound`, or None."""
    if lower_bound(n, n, delta) < least_bound:
        return None
    below, passes = -1, n  # bisection: the bound grows with the count
    while passes - below > 1:
        middle = (below + passes) // 2
        if lower_bound(middle, n, delta) >= least_bound:
            passes = middle
        else:
            below = middle
    return passes


def power_lines(power: Mapping[str, Any]) -> list[str]:
    """Return what people read of a stored `GatePower`."""
    most, n_benign = power["max_false_positives"], power["n_benign"]
    flagged = (
        "cannot show a false-positive rate below the cap"
        if most is None
        else f"may have {most} false positives"
    )
    return [
        f"power: {_recall_text(power)}",
        f"power: {n_benign} benign prompts of calib {flagged}",
    ]


def _recall_text(power: Mapping[str, Any]) -> str:
    harmful = f"{power['n_harmful']} harmful prompts of calib"
    least = power["min_gained"]
    if least is None:
        return f"{harmful} cannot show any gain in recall"
    if least == 0:
        return f"with {harmful} the gate accepts a guard that gains and loses none"
    text = (
        f"with {harmful} the gate could not have accepted less than "
        f"{power['min_gain']:+.3f} in recall ({least} gained, none lost)"
    )
    if least > power["n_missed"]:
        missed = power["n_missed"]
        return f"{text}, and the base guard misses {missed}: no guard could have passed"
    likely = f"what truly gains {power['likely_gain']:+.3f} passes 8 of 10 times"
    return f"{text}; {likely}"

"""How many samples it takes until an end of an interval keeps a bound."""

from __future__ import annotations

import math

from safebench.statistics.interval import mid_p_interval

# Shares of one class, whose number is the one to raise.
SHARE_OF = {"recall": "positives", "fnr": "positives", "fpr": "negatives"}
_MAX_SAMPLES = 1e9  # more than that is no advice


def samples_needed(
    value: float, end: float, bound: float, n: int, *, share: bool
) -> int | None:
    """Return how many samples move an end of an interval to the bound.

    The value is taken to stay; `n` is how many there are, `end` the end on the side of
    the bound. Ends of a `share` move as those of a mid-P interval, with as many
    independent samples as explain `end`; others with one over the root of n. None
    where no number is enough.
    """
    if value == bound or not n:
        return None
    if share and 0 <= value <= 1:
        place = 0 if end <= value else 1
        has, needs = (_mid_p_size(value, goal, place) for goal in (end, bound))
        if has is not None and needs is not None:
            return max(math.ceil(n * needs / has), n + 1)
    return max(math.ceil(n * ((value - end) / (value - bound)) ** 2), n + 1)


def _mid_p_size(value: float, goal: float, place: int) -> float | None:
    """Return for how many samples an end of the mid-P interval is `goal`."""
    low, high = 1.0, 2.0

    def beyond(size: float) -> bool:
        end = mid_p_interval(value * size, size)[place]
        return end < goal if place == 0 else end > goal

    while beyond(high):
        low, high = high, 2 * high
        if high > _MAX_SAMPLES:
            return None
    for _ in range(60):  # bisection to all digits of a float
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return high

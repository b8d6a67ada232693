"""What a guard's rates mean where few prompts are unsafe: alerts, precision, misses.

A data set has many more unsafe prompts than traffic. Recall and FPR do not depend on
that; precision does, as do the counts in a million prompts, of which `prevalence` are
unsafe: alerts = pi recall + (1 - pi) fpr, precision = pi recall / alerts, missed =
pi (1 - recall). Their intervals combine those of both rates, which hold at 0 and at 1
and count groups (MOVER: Zou and Donner 2008; of the ratio recall / fpr, on which
precision depends: Donner and Zou 2012, with the correlation that groups give both).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics.column_intervals import checked
from safebench.metrics.definition import both_classes
from safebench.statistics.interval import (
    Interval,
    Share,
    clustered_share,
    function_of_shares,
)
from safebench.statistics.resampling_weights import group_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

MILLION = 1_000_000
ALERTS, PRECISION, MISSED = "alerts_per_million", "precision", "missed_per_million"
METHOD = "mover"
NOTHING_FLAGGED = "nothing was flagged"


def at_prevalence(
    y: Array,
    flagged: Array,
    groups: Sequence[str],
    prevalence: float,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return alerts per million, precision and missed per million, with intervals.

    `y` and `flagged` (n,) bool are truth and decision. Without positives or negatives
    nothing is known of any.
    """
    index = group_codes(groups)
    n_groups = len(np.unique(index))
    if y.all() or not y.any():
        one = "positives" if not y.any() else "negatives"
        unknown = Interval(None, None, None, f"no {one}", n_groups)
        return dict.fromkeys((ALERTS, PRECISION, MISSED), unknown)
    recall, fpr = (
        clustered_share(index[among], flagged[among].astype(float), n_groups, level)
        for among in (y, ~y)
    )
    intervals = rates_at_prevalence(recall, fpr, prevalence, n_groups)
    classes = both_classes(y)
    return {
        name: checked(interval, index, classes) for name, interval in intervals.items()
    }


def rates_at_prevalence(
    recall: Share, fpr: Share, prevalence: float, n_groups: int
) -> dict[str, Interval]:
    """Return the same from both rates with their ends."""
    rest = 1 - prevalence

    def alerts(rates: Sequence[float]) -> float:
        return MILLION * (prevalence * rates[0] + rest * rates[1])

    value = alerts((recall.value, fpr.value))
    low, high = function_of_shares(alerts, (recall, fpr))
    missed = [
        MILLION * prevalence * (1 - rate)
        for rate in (recall.value, recall.high, recall.low)
    ]
    return {
        ALERTS: Interval(value, max(low, 0.0), high, METHOD, n_groups),
        PRECISION: _precision(recall, fpr, prevalence, n_groups),
        MISSED: Interval(missed[0], missed[1], missed[2], "mid-p", n_groups),
    }


def _precision(recall: Share, fpr: Share, prevalence: float, n_groups: int) -> Interval:
    odds = prevalence / (1 - prevalence)

    def of_ratio(ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else odds * ratio / (1 + odds * ratio)

    if not recall.value and not fpr.value:
        return Interval(None, None, None, NOTHING_FLAGGED, n_groups)
    value = math.inf if not fpr.value else recall.value / fpr.value
    low, high = ratio_ends(recall, fpr)
    ends = of_ratio(low), of_ratio(high)
    return Interval(of_ratio(value), *ends, METHOD, n_groups)


def ratio_ends(above: Share, below: Share) -> tuple[float, float]:
    """Return the ends of ``above / below``; the upper one may be infinite.

    MOVER-R (Donner and Zou 2012): the ratios at which the interval of the difference
    ``above - ratio * below`` ends at 0.
    """
    product = float(above.residuals @ below.residuals)
    lengths = np.linalg.norm(above.residuals) * np.linalg.norm(below.residuals)
    correlation = product / float(lengths) if lengths > 0 else 0.0
    low = _ratio_end(above, below, correlation, upper=False)
    high = _ratio_end(above, below, correlation, upper=True)
    return low, high


def _ratio_end(above: Share, below: Share, correlation: float, *, upper: bool) -> float:
    """Return one root of the quadratic in the ratio.

    The ratio is smallest where the one above is low and the one below high.
    """
    d_above = above.high - above.value if upper else above.value - above.low
    d_below = below.value - below.low if upper else below.high - below.value
    a = below.value**2 - d_below**2
    b = above.value * below.value - correlation * d_above * d_below
    c = above.value**2 - d_above**2
    root = math.sqrt(max(b**2 - a * c, 0.0))
    if not upper:
        # By the sum, which does not cancel: c / (b + root) is (b - root) / a.
        return max(c, 0.0) / (b + root) if b + root > 0 else 0.0
    return (b + root) / a if a > 0 else math.inf


def without_correlation(value: float, low: float, high: float) -> Share:
    """Return a rate that is known by its interval alone, as of independent samples."""
    return Share(value, low, high, np.zeros(1))

"""What a metric's interval is made of: columns, sums, a formula, a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.statistics.interval import clustered_share
from safebench.statistics.sufficient_statistics import value_on_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.statistics.sufficient_statistics import SufficientStatistics
    from safebench.typing import Array

    from .outcome import Outcome


class Columns(NamedTuple):
    """What a metric reads of n samples: arrays (n, ...), and which samples count.

    Mostly the truth (n,) bool and a decision or a score (n,).
    """

    arrays: tuple[Array, ...]
    known: Array


class NormalTest(NamedTuple):
    """A test of two columns on the same independent samples, by a standard error.

    `standard_error` is that of the difference. It takes the truth and the columns of a
    and b, (n,) each, and returns None where it says nothing. It is used where each
    class has enough samples for a normal distribution; else sides are swapped.
    """

    name: str
    standard_error: Callable[[Array, Array, Array], float | None]


class IntervalMethod(NamedTuple):
    """How a metric's interval is made without resampling.

    `ends` takes the group of each sample (n,), the number of groups, the level and the
    arrays of `Columns`, and returns both ends, or the reason why there are none (None:
    "undefined"). `name` is what result rows call it. `of_differences` False: intervals
    of two sides say nothing of their difference.
    """

    name: str
    ends: Callable[..., tuple[float, float] | str | None]
    of_differences: bool = True


def without_interval(reason: str) -> IntervalMethod:
    """Return the method of a metric for which none is known to hold."""
    return IntervalMethod("none", lambda *_: reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """A metric that is computed for all resamples at once, from sums over groups.

    `columns` takes what the metric reads from an outcome (None: it has none of it),
    `statistics` sums that by group, `formula` turns the sums (kinds, levels, resamples)
    into values (resamples,), NaN where undefined. Its interval is that of `interval`,
    or else the one of `method`, of `bootstrap_interval`, as are those of differences.

    `classes` takes the arrays and names the classes of samples that the interval rests
    on, by which samples are of each, (n,) bool. With fewer than 5 groups of one there
    is no interval, with fewer than `few_groups` it carries a note.

    A share of samples names the kinds of sums that it is a share of in `denominator`.
    If those samples do not depend on what a guard says, `gains` takes truth and
    decision and returns what each sample adds to the numerator, (n,) of 0 and 1, and
    `among` which samples it is a share of, (n,) bool, from the truth: two guards are
    then tested exactly. Others are tested by swapping the arrays of groups; with
    `by_rank` their last one is ranked first, so that it matters neither how scores are
    scaled nor that two guards scale them alike. With fewer independent samples of a
    class than `power_units` nothing is said of the differences that they show.
    """

    columns: Callable[[Outcome], Columns | None]
    statistics: Callable[..., SufficientStatistics]
    formula: Callable[[Array], Array]
    method: str = "bca"
    interval: IntervalMethod | None = None
    classes: Callable[..., dict[str, Array]] | None = None
    few_groups: int = 20
    denominator: tuple[int, ...] = ()
    gains: Callable[[Array, Array], Array] | None = None
    among: Callable[[Array], Array] | None = None
    by_rank: bool = False
    normal_test: NormalTest | None = None
    power_units: int = 0

    def value(self, *arrays: Array) -> float | None:
        """Return the metric of arrays whose samples all count; None if undefined."""
        if not len(arrays[0]):
            return None
        # By the sums that resamples have, with all samples in one group: a value and
        # its interval cannot come from two formulas.
        index = np.zeros(len(arrays[0]), dtype=int)
        return value_on_data(self.statistics(index, 1, *arrays), self.formula)


def truth_and(y: Array, x: Array) -> Columns:
    """Return the truth and a column (n,), of which NaN does not count."""
    column = np.asarray(x, dtype=float)
    return Columns((np.asarray(y).astype(bool), column), ~np.isnan(column))


def decision_columns(outcome: Outcome) -> Columns | None:
    """Return truth and decisions, in which failed samples are wrong."""
    if outcome.decision is None:
        return None
    return truth_and(outcome.y, outcome.decision)


def score_columns(outcome: Outcome) -> Columns | None:
    """Return truth and scores, failed samples left out."""
    if outcome.score is None:
        return None
    return truth_and(outcome.y, np.where(outcome.failed, np.nan, outcome.score))


def probability_columns(outcome: Outcome) -> Columns | None:
    """Return truth and scores that claim to be P(positive)."""
    return score_columns(outcome) if outcome.probability else None


def both_classes(y: Array, *_: Array) -> dict[str, Array]:
    """Return positives and negatives."""
    return {"positives": y, "negatives": ~y}


def share_ends(
    index: Array, n_groups: int, level: float, hits: Array
) -> tuple[float, float]:
    """Return the ends of the mean of `hits` (n,), each from 0 to 1."""
    share = clustered_share(index, hits, n_groups, level)
    return share.low, share.high

"""What a metric's interval is made of: columns, sums, a formula, a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.statistics.proportion import clustered_share
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


class ExactTest(NamedTuple):
    """A test of two columns on the same independent samples.

    `p_value` takes the truth and the columns of a and b, (n,) each, NaN where there is
    none, and returns None where it says nothing.
    """

    name: str
    p_value: Callable[[Array, Array, Array], float | None]


class IntervalMethod(NamedTuple):
    """How a metric's interval is made without resampling.

    `ends` takes the group of each sample (n,), the number of groups, the level and the
    arrays of `Columns`, and returns both ends, or None where it says nothing. `name` is
    what result rows call it.
    """

    name: str
    ends: Callable[..., tuple[float, float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """A metric that is computed for all resamples at once, from sums over groups.

    `columns` takes what the metric reads from an outcome (None: it has none of it),
    `statistics` sums that by group, `formula` turns the sums (kinds, levels, resamples)
    into values (resamples,), NaN where undefined. A metric without an interval in
    result rows is not `in_rows`. Its interval is that of `interval`, or else the one of
    `method`, of `bootstrap_interval`, as are those of differences.

    `classes` takes the arrays and names the classes of samples that the interval rests
    on, by which samples are of each, (n,) bool. With fewer than 5 groups of one there
    is no interval, with fewer than `few_groups` it carries a note.

    A share of samples names the kinds of sums that it is a share of in `denominator`.
    Two guards have `equal_denominators` if those do not depend on what a guard says.
    """

    columns: Callable[[Outcome], Columns | None]
    statistics: Callable[..., SufficientStatistics]
    formula: Callable[[Array], Array]
    method: str = "bca"
    interval: IntervalMethod | None = None
    classes: Callable[..., dict[str, Array]] | None = None
    few_groups: int = 20
    in_rows: bool = True
    denominator: tuple[int, ...] = ()
    equal_denominators: bool = False
    exact_test: ExactTest | None = None

    def value(self, *arrays: Array) -> float | None:
        """Return the metric of arrays whose samples all count; None if undefined."""
        if not len(arrays[0]):
            return None
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


# of these both sides of a comparison have the same truth
SHARED_TRUTH = (decision_columns, score_columns, probability_columns)

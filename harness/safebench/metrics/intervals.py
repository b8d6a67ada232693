"""Intervals of metrics and of their differences, by a bootstrap of whole groups.

A metric with a `MetricDefinition` is computed for all resamples at once. Any other one,
a plugin's say, is called on each resample.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.lazy import import_object
from safebench.specs import NO_INTERVAL
from safebench.statistics import (
    Interval,
    bootstrap_interval,
    clopper_pearson,
    default_n_resamples,
    shared_weights,
)
from safebench.statistics.bootstrap import NO_SPREAD
from safebench.statistics.sufficient_statistics import resampled_values

from .compute import dataset_supports, missing_input
from .definition import (
    SHARED_TRUTH,
    Columns,
    MetricDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from safebench.specs import MetricSpec
    from safebench.statistics import ResamplingWeights
    from safebench.statistics.sufficient_statistics import SufficientStatistics
    from safebench.typing import Array

    from .outcome import Outcome

SIGN_FLIPS = "no spread, exact sign flips"
UNDEFINED = Interval(None, None, None, "undefined", 0)

# how often a metric without a definition is called: a plugin's may take its time
MAX_CALLS = 1000
MIN_CALLS = 200  # the 2.5th percentile is then the fifth of the draws
MAX_SAMPLES_IN_CALLS = 20_000_000
# what a metric may need to be compared: stored predictions have no more
COMPARED_NEEDS = frozenset({"score", "probability", "decision", "uncertainty"})


def definition_of(spec: MetricSpec) -> MetricDefinition | None:
    """Return how a metric is resampled; None where it is called, or not at all."""
    if spec.interval in ("", NO_INTERVAL):
        return None
    definition: MetricDefinition = import_object(spec.interval)
    return definition


def sampling_intervals(
    outcome: Outcome, specs: Iterable[MetricSpec]
) -> dict[str, Interval]:
    """Return the interval of each metric that has one in result rows, by name.

    Strategies on the same samples are measured on the same resamples.
    """
    if not outcome.n:
        return {}
    weights = _weights_of(
        tuple(outcome.groups), np.packbits(outcome.y).tobytes(), outcome.n
    )
    definitions, called = {}, []
    for spec in specs:
        definition = definition_of(spec)
        if definition is not None and definition.in_rows:
            definitions[spec.name] = definition
        elif not spec.interval:
            called.append(spec)
    intervals: dict[str, Interval] = {}
    for columns_of, named in by_columns(definitions).items():
        columns = columns_of(outcome)
        if columns is not None:
            intervals |= column_intervals(named, columns, weights)
    for spec in called:
        if dataset_supports(outcome, spec) and missing_input(outcome, spec) is None:
            values = _called_values(spec, outcome, weights)
            intervals[spec.name] = _called_interval(values, weights)
    return intervals


@lru_cache(maxsize=2)
def _weights_of(groups: tuple[str, ...], packed: bytes, size: int) -> ResamplingWeights:
    """Return the weights of a dataset's test part, kept for the next strategy."""
    y = np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)
    return shared_weights(y, groups, n_resamples=default_n_resamples(len(set(groups))))


def can_compare(spec: MetricSpec) -> bool:
    """Tell whether two sets of predictions can be compared by a metric.

    Not by one whose positives are each side's own errors: they are different samples.
    """
    if not spec.needs <= COMPARED_NEEDS or spec.interval == NO_INTERVAL:
        return False
    definition = definition_of(spec)
    return definition is None or definition.columns in SHARED_TRUTH


@dataclass(frozen=True, slots=True)
class PairedIntervals:
    """A metric of a and of b on the same samples, and b minus a with its p-value."""

    a: Interval
    b: Interval
    difference: Interval


def paired_intervals(
    spec: MetricSpec, a: Outcome, b: Outcome, weights: ResamplingWeights
) -> PairedIntervals | None:
    """Compare two outcomes of the same samples; None if one lacks what is read.

    Samples that either has no score for are left out of both.
    """
    definition = definition_of(spec)
    if definition is None:
        return _called_pair(spec, a, b, weights)
    first, second = definition.columns(a), definition.columns(b)
    if first is None or second is None:
        return None
    return paired_columns(definition, first, second, weights)


def by_columns(
    definitions: Mapping[str, MetricDefinition],
) -> dict[Callable[[Outcome], Columns | None], dict[str, MetricDefinition]]:
    """Return definitions by the columns that they read, in order."""
    grouped: dict[Any, dict[str, MetricDefinition]] = {}
    for name, definition in definitions.items():
        grouped.setdefault(definition.columns, {})[name] = definition
    return grouped


def column_intervals(
    definitions: Mapping[str, MetricDefinition],
    columns: Columns,
    weights: ResamplingWeights,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the intervals of metrics that read the same columns, by name.

    Those of the same sums share the product with the weights, which takes the time.
    """
    n_groups = _count_groups(weights, columns.known)
    if not n_groups:
        return dict.fromkeys(definitions, UNDEFINED)
    by_sums: dict[Any, dict[str, MetricDefinition]] = {}
    for name, definition in definitions.items():
        by_sums.setdefault(definition.statistics, {})[name] = definition
    intervals = {}
    for build, named in by_sums.items():
        sums = _summed(build, columns, weights)
        formulas = [definition.formula for definition in named.values()]
        values = resampled_values(sums, formulas, weights)
        for (name, definition), row in zip(named.items(), values, strict=True):
            intervals[name] = _interval(definition, sums, row, n_groups, weights, level)
    return intervals


def _interval(
    definition: MetricDefinition,
    sums: SufficientStatistics,
    values: Array,
    n_groups: int,
    weights: ResamplingWeights,
    level: float,
) -> Interval:
    """Return the interval of resampled values.

    A share of 0 or 1, which no draw can move, has its exact interval over groups.
    """
    interval = bootstrap_interval(
        values, weights.n_resamples, n_groups, method=definition.method, level=level
    )
    if (
        interval.method != NO_SPREAD
        or not definition.denominator
        or interval.value not in (0.0, 1.0)
    ):
        return interval
    groups = _groups_in_denominator(definition, sums)
    exact = clopper_pearson(int(interval.value) * groups, groups, level)
    assert exact.low is not None
    assert exact.high is not None
    return replace(
        exact,
        low=definition.from_share(exact.low),
        high=definition.from_share(exact.high),
        n_groups=n_groups,
    )


def paired_columns(
    definition: MetricDefinition,
    a: Columns,
    b: Columns,
    weights: ResamplingWeights,
    level: float = 0.95,
) -> PairedIntervals:
    """Return a metric of two columns of the same samples, and b minus a.

    Where no draw changes the difference of two rates, the p-value is that of flipping
    the signs of whole groups, and there is no interval.
    """
    known = a.known & b.known
    n_groups = _count_groups(weights, known)
    if not n_groups:
        return PairedIntervals(UNDEFINED, UNDEFINED, UNDEFINED)
    sums = [
        _summed(definition.statistics, columns._replace(known=known), weights)
        for columns in (a, b)
    ]
    of_a, of_b = (
        resampled_values(side, [definition.formula], weights)[0] for side in sums
    )
    difference = bootstrap_interval(
        of_b - of_a,
        weights.n_resamples,
        n_groups,
        method=definition.method,
        level=level,
        difference=True,
    )
    if difference.method == NO_SPREAD and definition.equal_denominators:
        p = _sign_flip_p(_groups_in_denominator(definition, sums[0]))
        difference = replace(difference, method=SIGN_FLIPS, p=p)
    return PairedIntervals(
        _interval(definition, sums[0], of_a, n_groups, weights, level),
        _interval(definition, sums[1], of_b, n_groups, weights, level),
        difference,
    )


def _summed(
    build: Callable[..., SufficientStatistics],
    columns: Columns,
    weights: ResamplingWeights,
) -> SufficientStatistics:
    index = weights.group_index[columns.known]
    arrays = (array[columns.known] for array in columns.arrays)
    return build(index, weights.n_groups, *arrays)


def _groups_in_denominator(
    definition: MetricDefinition, sums: SufficientStatistics
) -> int:
    """Count the groups with a sample of the kinds that a share is of."""
    kinds = sums.matrix[list(definition.denominator)]
    return int((kinds.sum(axis=0) > 0).sum())


def _sign_flip_p(n_groups: int) -> float:
    """Return the p-value if every group differs alike: all signs equal, by chance.

    Under the hypothesis a and b may change places in each group, and only if all or
    none do is the difference of two shares of the same samples as large.
    """
    return float(2.0 ** (1 - n_groups))


def _count_groups(weights: ResamplingWeights, known: Array) -> int:
    """Count the groups with a sample that counts."""
    return len(np.unique(weights.group_index[known]))


def _called_pair(
    spec: MetricSpec, a: Outcome, b: Outcome, weights: ResamplingWeights
) -> PairedIntervals | None:
    if missing_input(a, spec) is not None or missing_input(b, spec) is not None:
        return None
    of_a, of_b = (_called_values(spec, side, weights) for side in (a, b))
    return PairedIntervals(
        _called_interval(of_a, weights),
        _called_interval(of_b, weights),
        _called_interval(of_b - of_a, weights, difference=True),
    )


def _called_values(
    spec: MetricSpec, outcome: Outcome, weights: ResamplingWeights
) -> Array:
    """Return a metric of the data and of bootstrap draws, NaN where undefined."""
    metric = spec.code()
    calls = int(np.clip(MAX_SAMPLES_IN_CALLS // outcome.n, MIN_CALLS, MAX_CALLS))
    values = [_number(metric(outcome).value)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one warning a draw would bury the others
        for resample in range(min(calls, weights.n_resamples)):
            drawn = outcome.resample(weights.sample_counts(resample))
            try:
                values.append(_number(metric(drawn).value))
            except Exception:  # noqa: BLE001 - a plugin's may fail on one class alone
                values.append(np.nan)
    return np.array(values)


def _called_interval(
    values: Array, weights: ResamplingWeights, *, difference: bool = False
) -> Interval:
    """Return the percentile interval: nothing is known of the metric's smoothness."""
    return bootstrap_interval(
        values,
        len(values) - 1,
        weights.n_groups,
        method="percentile",
        difference=difference,
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)

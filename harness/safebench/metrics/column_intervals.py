"""Intervals of metrics that read columns, and on how few groups they may rest.

A definition's own method comes first; without one, resamples of whole groups are summed
and the definition's formula is applied to all of them at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.statistics import Interval, bootstrap_interval, clopper_pearson
from safebench.statistics.bootstrap import MIN_GROUPS, NO_SPREAD
from safebench.statistics.resampling_weights import count_groups
from safebench.statistics.sufficient_statistics import resampled_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safebench.statistics import ResamplingWeights
    from safebench.statistics.sufficient_statistics import SufficientStatistics
    from safebench.typing import Array

    from .definition import Columns, MetricDefinition
    from .outcome import Outcome

FEW_GROUPS = 20  # of a class; with fewer an interval carries a note
UNDEFINED = Interval(None, None, None, "undefined", 0)


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
    index: Array,
    draw: Callable[[], ResamplingWeights],
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the intervals of metrics that read the same columns, by name.

    `index` (n,) is the group of each sample; `draw` gives the weights of resamples to
    metrics without a method of their own. Those of the same sums share the product with
    the weights, which takes the time.
    """
    if not columns.known.any():
        return dict.fromkeys(definitions, UNDEFINED)
    intervals = {}
    by_sums: dict[Any, dict[str, MetricDefinition]] = {}
    for name, definition in definitions.items():
        if definition.interval is not None:
            intervals[name] = _own_interval(definition, columns, index, level)
        else:
            by_sums.setdefault(definition.statistics, {})[name] = definition
    for build, named in by_sums.items():
        weights = draw()
        sums = _summed(build, columns, weights)
        formulas = [definition.formula for definition in named.values()]
        values = resampled_values(sums, formulas, weights)
        for (name, definition), row in zip(named.items(), values, strict=True):
            interval = _resampled_interval(
                definition, columns, row, index, weights, level
            )
            intervals[name] = _exact_at_the_edge(definition, interval, sums, level)
    return intervals


def own_intervals(
    definitions: Mapping[str, MetricDefinition],
    columns: Columns,
    index: Array,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return the intervals of metrics that all have a method of their own, by name."""
    if not columns.known.any():
        return dict.fromkeys(definitions, UNDEFINED)
    return {
        name: _own_interval(definition, columns, index, level)
        for name, definition in definitions.items()
    }


def _exact_at_the_edge(
    definition: MetricDefinition,
    interval: Interval,
    sums: SufficientStatistics,
    level: float,
) -> Interval:
    """Return the exact interval of a share of 0 or 1, which no resample can move."""
    if interval.method != NO_SPREAD or not definition.denominator:
        return interval
    if interval.value not in (0.0, 1.0):
        return interval
    n_groups = _groups_in_denominator(definition, sums)
    exact = clopper_pearson(int(interval.value) * n_groups, n_groups, level)
    return replace(interval, low=exact.low, high=exact.high, method=exact.method)


def _own_interval(
    definition: MetricDefinition, columns: Columns, index: Array, level: float
) -> Interval:
    """Return the interval of a metric that has a method of its own."""
    assert definition.interval is not None
    known = columns.known
    arrays, codes = [array[known] for array in columns.arrays], index[known]
    n_groups = count_groups(codes)
    value = definition.value(*arrays)
    if value is None:
        return Interval(None, None, None, "undefined", n_groups)
    classes = {} if definition.classes is None else definition.classes(*arrays)
    interval = checked(
        Interval(value, None, None, definition.interval.name, n_groups),
        codes,
        classes,
        definition.few_groups,
    )
    if interval.method != definition.interval.name:
        return interval
    ends = definition.interval.ends(codes, int(index.max()) + 1, level, *arrays)
    if ends is None or isinstance(ends, str):
        return replace(interval, method=ends or "undefined", note="")
    return replace(interval, low=ends[0], high=ends[1])


def checked(
    interval: Interval,
    index: Array,
    classes: Mapping[str, Array],
    few_groups: int = FEW_GROUPS,
) -> Interval:
    """Return an interval with a note, or without ends, where groups are too few.

    `classes` are the samples (n,) bool of each class that it rests on, `index` (n,)
    their groups. In simulations most methods miss too often with fewer than 5 groups of
    a class, and may do so with fewer than 20.
    """
    if interval.value is None:
        return interval
    if interval.n_groups < MIN_GROUPS:
        return replace(
            interval, low=None, high=None, method=f"fewer than {MIN_GROUPS} groups"
        )
    alone = interval.n_groups == len(index)
    notes = []
    for name, members in classes.items():
        groups, of_groups = (
            count_groups(index[members]),
            "" if alone else "groups of ",
        )
        if groups < MIN_GROUPS:
            reason = f"{groups} {of_groups}{name}, it takes {MIN_GROUPS}"
            return replace(interval, low=None, high=None, method=reason)
        if groups < few_groups:
            notes.append(
                f"the interval rests on {groups} {of_groups}{name}: with fewer than "
                f"{few_groups} it may miss more often than it says"
            )
    return replace(interval, note="; ".join(notes))


def _resampled_interval(
    definition: MetricDefinition,
    columns: Columns,
    values: Array,
    index: Array,
    weights: ResamplingWeights,
    level: float,
) -> Interval:
    """Return the interval of resampled values."""
    arrays, codes = [a[columns.known] for a in columns.arrays], index[columns.known]
    interval = bootstrap_interval(
        values,
        weights.n_resamples,
        count_groups(codes),
        method=definition.method,
        level=level,
    )
    classes = {} if definition.classes is None else definition.classes(*arrays)
    return checked(interval, codes, classes, definition.few_groups)


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

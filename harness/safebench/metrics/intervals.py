"""Intervals of metrics, by the method of each, or else by a bootstrap.

A metric with a `MetricDefinition` has its own method, or is computed for all resamples
of whole groups at once. Any other one, a plugin's say, is called on each resample.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import PluginError, SafebenchError
from safebench.isolation import isolated
from safebench.specs import NO_INTERVAL
from safebench.statistics import (
    Interval,
    bootstrap_interval,
    clopper_pearson,
    default_n_resamples,
    shared_weights,
)
from safebench.statistics.bootstrap import MIN_GROUPS, NO_SPREAD
from safebench.statistics.resampling_weights import group_codes
from safebench.statistics.sufficient_statistics import resampled_values

from .compute import check_value, dataset_supports, missing_input
from .definition import (
    Columns,
    MetricDefinition,
    both_classes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.specs import MetricSpec
    from safebench.statistics import ResamplingWeights
    from safebench.statistics.sufficient_statistics import SufficientStatistics
    from safebench.typing import Array

    from .outcome import Outcome

FEW_GROUPS = 20  # of a class; with fewer an interval carries a note
UNDEFINED = Interval(None, None, None, "undefined", 0)

# how often a metric without a definition is called: a plugin's may take its time
MAX_CALLS = 1000
MIN_CALLS = 200  # the 2.5th percentile is then the fifth of the draws
MAX_SAMPLES_IN_CALLS = 20_000_000
# what a metric may need to be compared; bounds do not depend on chance
COMPARED_NEEDS = frozenset(
    {"score", "probability", "decision", "uncertainty", "categories"}
    | {"category_scores", "pairs", "severity"}
)


def definition_of(spec: MetricSpec) -> MetricDefinition | None:
    """Return how a metric is resampled; None where it is called, or not at all."""
    if spec.interval in ("", NO_INTERVAL):
        return None
    definition = spec.import_object(spec.interval)
    if not isinstance(definition, MetricDefinition):
        raise PluginError(
            f"{spec.described}: {spec.interval} is a {type(definition).__name__}, "
            "not a MetricDefinition"
        )
    return definition


def sampling_intervals(
    outcome: Outcome,
    specs: Iterable[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None = None,
) -> dict[str, Interval]:
    """Return the interval of each metric that has one in result rows, by name.

    Strategies on the same samples are measured on the same resamples. A metric whose
    interval fails has none, with the reason, and `on_error` is called with it.
    """
    if not outcome.n:
        return {}
    index = group_codes(outcome.groups)

    def draw() -> ResamplingWeights:
        """Draw groups, once for all strategies: what has its own method needs none."""
        packed = np.packbits(outcome.y).tobytes()
        return _weights_of(tuple(outcome.groups), packed, outcome.n)

    # metrics of one plugin share sums; those of another fail by themselves
    by_origin: dict[str, list[MetricSpec]] = {}
    for spec in specs:
        origin = spec.origin.described if spec.origin else ""
        by_origin.setdefault(origin, []).append(spec)
    intervals: dict[str, Interval] = {}
    for together in by_origin.values():
        try:
            intervals |= _isolated_intervals(outcome, together, index, draw)
            continue
        except SafebenchError:
            pass  # which one it was shows when they are alone
        for spec in together:
            try:
                intervals |= _isolated_intervals(outcome, [spec], index, draw)
            except SafebenchError as error:
                intervals[spec.name] = Interval(None, None, None, error.message, 0)
                if on_error is not None:
                    on_error(error)
    return intervals


def _isolated_intervals(
    outcome: Outcome,
    specs: Sequence[MetricSpec],
    index: Array,
    draw: Callable[[], ResamplingWeights],
) -> dict[str, Interval]:
    """Return the intervals of metrics of one plugin; raises `PluginError`."""
    definitions, called = {}, []
    for spec in specs:
        definition = definition_of(spec)
        if definition is not None:
            definitions[spec.name] = definition
        elif not spec.interval:
            called.append(spec)
    intervals: dict[str, Interval] = {}
    with isolated(specs[0]):
        for columns_of, named in by_columns(definitions).items():
            columns = columns_of(outcome)
            if columns is not None:
                intervals |= column_intervals(named, columns, index, draw)
    for spec in called:
        if dataset_supports(outcome, spec) and missing_input(outcome, spec) is None:
            values = called_values(spec, outcome, draw())
            interval = called_interval(values, draw())
            classes = both_classes(outcome.y) if "score" in spec.needs else {}
            intervals[spec.name] = checked(interval, index, classes)
    return intervals


@lru_cache(maxsize=2)
def _weights_of(groups: tuple[str, ...], packed: bytes, size: int) -> ResamplingWeights:
    """Return the weights of a dataset's test part, kept for the next strategy."""
    y = np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)
    return shared_weights(y, groups, n_resamples=default_n_resamples(len(set(groups))))


def can_compare(spec: MetricSpec) -> bool:
    """Tell whether two sets of predictions can be compared by a metric."""
    return spec.needs <= COMPARED_NEEDS and spec.interval != NO_INTERVAL


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
    n_groups = len(np.unique(codes))
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
            len(np.unique(index[members])),
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
        len(np.unique(codes)),
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


def called_values(
    spec: MetricSpec, outcome: Outcome, weights: ResamplingWeights
) -> Array:
    """Return a metric of the data and of bootstrap draws, NaN where undefined."""
    metric = spec.code()
    calls = int(np.clip(MAX_SAMPLES_IN_CALLS // outcome.n, MIN_CALLS, MAX_CALLS))
    with isolated(spec), warnings.catch_warnings():
        values = [_number(check_value(metric(outcome)).value)]
        warnings.simplefilter("ignore")  # one warning a draw would bury the others
        for resample in range(min(calls, weights.n_resamples)):
            drawn = outcome.resample(weights.sample_counts(resample))
            try:
                values.append(_number(check_value(metric(drawn)).value))
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - it may fail on one class alone
                values.append(np.nan)
    return np.array(values)


def called_interval(values: Array, weights: ResamplingWeights) -> Interval:
    """Return the percentile interval: nothing is known of the metric's smoothness."""
    return bootstrap_interval(
        values, len(values) - 1, weights.n_groups, method="percentile"
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)

"""Core metrics of plain arrays, by name: values, intervals, paired differences."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import unknown_name
from safebench.statistics import shared_weights
from safebench.statistics.resampling_weights import draw_weights, group_codes

from .catalog import SPECS
from .definition import decision_columns, truth_and
from .intervals import (
    COMPARED_NEEDS,
    by_columns,
    column_intervals,
    definition_of,
    paired_columns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.statistics import Interval, ResamplingWeights
    from safebench.typing import Array

    from .definition import MetricDefinition

    Groups = Sequence[Any] | Array


def metric_definition(name: str) -> MetricDefinition:
    """Return the core metric of that name; raises UnknownNameError with the nearest."""
    definitions = metric_definitions()
    if name not in definitions:
        raise unknown_name("metric", name, definitions)
    return definitions[name]


@cache
def metric_definitions() -> Mapping[str, MetricDefinition]:
    """Return the core metrics of a truth and a decision or score a sample, by name."""
    return {
        spec.name: definition
        for spec in SPECS
        if spec.needs <= COMPARED_NEEDS and (definition := definition_of(spec))
    }


def metric_value(name: str, y: Any, x: Any) -> float | None:
    """Return a metric of scores or decisions `x` (n,); None where it is undefined.

    NaN is left out.
    """
    (truth, column), known = truth_and(y, x)
    return metric_definition(name).value(truth[known], column[known])


def metric_interval(
    name: str,
    y: Any,
    score: Any = None,
    decision: Any = None,
    groups: Groups | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a metric of n samples with its interval.

    `y` (n,) is the truth; metrics of decisions read `decision` (n,), others `score`
    (n,), a NaN being left out. For ``aurc`` and its kin `y` says which decisions are
    wrong and `score` is the confidence. `groups` (n,) are drawn whole.
    """
    truth = np.asarray(y).astype(bool)
    index = np.arange(len(truth)) if groups is None else group_codes(groups)
    draw = partial(shared_weights, truth, groups, n_resamples=n_resamples, seed=seed)
    return _intervals([name], truth, score, decision, index, draw, level)[name]


def metric_intervals(
    names: Iterable[str],
    y: Any,
    score: Any,
    decision: Any,
    weights: ResamplingWeights,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Return several metrics of the same samples; as `metric_interval` does for one."""
    index = weights.group_index
    return _intervals(names, y, score, decision, index, lambda: weights, level)


def _intervals(
    names: Iterable[str],
    y: Any,
    score: Any,
    decision: Any,
    index: Array,
    draw: Callable[[], ResamplingWeights],
    level: float,
) -> dict[str, Interval]:
    definitions = {name: metric_definition(name) for name in names}
    intervals: dict[str, Interval] = {}
    for columns_of, named in by_columns(definitions).items():
        of_decisions = columns_of is decision_columns
        x = decision if of_decisions else score
        if x is None:
            kind = "decision" if of_decisions else "score"
            raise ValueError(f"{', '.join(named)}: no {kind} column was given")
        intervals |= column_intervals(named, truth_and(y, x), index, draw, level)
    return intervals


def paired_difference(
    name: str,
    y: Any,
    a: Any,
    b: Any,
    groups: Groups | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    *,
    strata: Any = None,
) -> Interval:
    """Return the metric of `b` minus that of `a` on the same samples, with p.

    `a` and `b` (n,) are scores, or decisions for metrics of decisions; a sample that
    either lacks (NaN) is left out. Each draw holds the same groups for both. `strata`
    (n,) are drawn apart; by default the classes, where one is scarce.
    """
    truth = np.asarray(y).astype(bool)
    if strata is None:
        weights = shared_weights(truth, groups, n_resamples=n_resamples, seed=seed)
    else:
        weights = draw_weights(
            groups,
            len(truth),
            strata=np.asarray(strata),
            n_resamples=n_resamples,
            seed=seed,
        )
    return metric_difference(name, truth, a, b, weights, level)


def metric_difference(
    name: str, y: Any, a: Any, b: Any, weights: ResamplingWeights, level: float = 0.95
) -> Interval:
    """Return what `paired_difference` does, with weights that others share.

    Where no draw changes the difference of two rates, the p-value is that of flipping
    the signs of whole groups, and there is no interval.
    """
    definition = metric_definition(name)
    first, second = truth_and(y, a), truth_and(y, b)
    return paired_columns(definition, first, second, weights, level).difference

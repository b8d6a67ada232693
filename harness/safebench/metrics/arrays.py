"""Core metrics of plain arrays, by name: values, intervals, paired differences."""

from __future__ import annotations

from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import unknown_name
from safebench.statistics import shared_weights
from safebench.statistics.resampling_weights import group_codes

from .catalog import SPECS
from .column_intervals import by_columns, column_intervals
from .definition import decision_columns, truth_and
from .intervals import definition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.statistics import Interval, ResamplingWeights
    from safebench.typing import Array

    from .definition import MetricDefinition

    Groups = Sequence[Any] | Array


# what one column of numbers is enough for
COLUMN_NEEDS = frozenset({"score", "probability", "decision", "uncertainty"})


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
        if spec.needs <= COLUMN_NEEDS and (definition := definition_of(spec))
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
    # All names first: a wrong one costs no resampling.
    definitions = {name: metric_definition(name) for name in names}
    intervals: dict[str, Interval] = {}
    # Metrics that read the same columns share their sums.
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
) -> Interval:
    """Return the metric of `b` minus that of `a` on the same samples, with p.

    `a` and `b` (n,) are scores, or decisions for metrics of decisions; a sample that
    either lacks (NaN) is left out. Groups change sides whole.
    """
    weights = shared_weights(y, groups, n_resamples=n_resamples, seed=seed)
    return metric_difference(name, y, a, b, weights, level, seed)


def metric_difference(
    name: str,
    y: Any,
    a: Any,
    b: Any,
    weights: ResamplingWeights,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return what `paired_difference` does, with weights that others share.

    `method` names the test that p comes from; the interval leaves out 0 exactly where
    it rejects.
    """
    # Here: whoever asks for a value alone needs none of the tests.
    from .paired import compare_columns
    from .paired_difference import SwapPlan

    first, second = truth_and(y, a), truth_and(y, b)
    plan = SwapPlan(weights.n_resamples, seed, level)
    definition = metric_definition(name)
    return compare_columns(definition, first, second, weights, plan).difference


class GroupedSamples:
    """n labelled samples, of which whole groups are drawn.

    `y` (n,) is the truth and `groups` (n,) name what belongs together (None: nothing
    does). Whatever is measured on the samples shares their resamples, so that intervals
    and differences of several guards may be compared.
    """

    def __init__(
        self,
        y: Any,
        groups: Groups | None = None,
        *,
        n_resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        self.y = np.asarray(y).astype(bool)
        self._groups = groups
        self._n_resamples, self._seed = n_resamples, seed

    @cached_property
    def weights(self) -> ResamplingWeights:
        """The resamples, drawn when the first interval needs them."""
        return shared_weights(
            self.y, self._groups, n_resamples=self._n_resamples, seed=self._seed
        )

    def intervals(
        self,
        *names: str,
        score: Any = None,
        decision: Any = None,
        level: float = 0.95,
    ) -> dict[str, Interval]:
        """Return metrics by name, each with its interval; as `metric_interval`."""
        index = (
            np.arange(len(self.y))
            if self._groups is None
            else group_codes(self._groups)
        )
        return _intervals(
            names, self.y, score, decision, index, lambda: self.weights, level
        )

    def difference(self, name: str, a: Any, b: Any, level: float = 0.95) -> Interval:
        """Return the metric of `b` (n,) minus that of `a`, with p."""
        return metric_difference(name, self.y, a, b, self.weights, level, self._seed)

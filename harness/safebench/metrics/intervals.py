"""Intervals of metrics, by the method of each, or else by a bootstrap.

A metric with a `MetricDefinition` has its own method, or is computed for all resamples
of whole groups at once. Any other one, a plugin's say, is called on each resample.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import PluginError, SafebenchError
from safebench.isolation import isolated
from safebench.specs import NO_INTERVAL
from safebench.statistics import Interval, default_n_resamples, shared_weights
from safebench.statistics.resampling_weights import count_groups, group_codes

from .called_metrics import called_interval, called_values
from .column_intervals import by_columns, checked, column_intervals
from .compute import dataset_supports, missing_input
from .definition import MetricDefinition, both_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from safebench.specs import MetricSpec
    from safebench.statistics import ResamplingWeights
    from safebench.typing import Array

    from .outcome import Outcome

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
        return _weights_of(index.tobytes(), packed, outcome.n)

    # metrics of one plugin share sums; those of another fail by themselves
    by_origin: dict[int, list[MetricSpec]] = {}
    for spec in specs:
        by_origin.setdefault(id(spec.origin), []).append(spec)
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
def _weights_of(codes: bytes, packed: bytes, size: int) -> ResamplingWeights:
    """Return the weights of a dataset's test part, kept for the next strategy."""
    y = np.unpackbits(np.frombuffer(packed, np.uint8), count=size).astype(bool)
    index = np.frombuffer(codes, np.int64)
    return shared_weights(
        y, index, n_resamples=default_n_resamples(count_groups(index))
    )


def can_compare(spec: MetricSpec) -> bool:
    """Tell whether two sets of predictions can be compared by a metric."""
    return spec.needs <= COMPARED_NEEDS and spec.interval != NO_INTERVAL

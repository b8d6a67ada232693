"""Numbers about judgements, each defined once: its value, resampled form, interval.

What needs numpy or SciPy is imported when it is first asked for: a plugin that declares
a metric imports this package when it is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safebench.lazy import lazy_exports

from .outcome import MetricValue, Outcome

if TYPE_CHECKING:
    from safebench.statistics import (
        Interval,
        bootstrap_interval,
        clopper_pearson,
        mcnemar,
        mean_interval,
    )
    from safebench.statistics.sufficient_statistics import confusion_counts

    from .arrays import GroupedSamples, metric_value
    from .definition import MetricDefinition, decision_columns

__all__ = [
    "GroupedSamples",
    "Interval",
    "MetricDefinition",
    "MetricValue",
    "Outcome",
    "bootstrap_interval",
    "clopper_pearson",
    "confusion_counts",
    "decision_columns",
    "mcnemar",
    "mean_interval",
    "metric_value",
]

_OF_STATISTICS = {
    "confusion_counts": "safebench.statistics.sufficient_statistics",
    **dict.fromkeys(
        (
            *("Interval", "ResamplingWeights", "bootstrap_interval"),
            *("clopper_pearson", "mcnemar", "mean_interval"),
        ),
        "safebench.statistics",
    ),
}
_own_name = lazy_exports(
    __name__,
    {
        "MetricDefinition": "definition",
        "decision_columns": "definition",
        "MetricValue": "outcome",  # also by its name of version 0.1
        **dict.fromkeys(
            ("GroupedSamples", "metric_value"),
            "arrays",
        ),
    },
)


def __getattr__(name: str) -> Any:
    if name in _OF_STATISTICS:
        return getattr(import_module(_OF_STATISTICS[name]), name)
    return _own_name(name)

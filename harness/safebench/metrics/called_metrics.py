"""Metrics without a definition, a plugin's say: they are called on each resample.

What one call costs is not known, so that there are fewer of them than of resamples that
are computed from sums.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from safebench.isolation import end_copies, isolated
from safebench.statistics import bootstrap_interval

from .compute import check_value

if TYPE_CHECKING:
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval, ResamplingWeights
    from safebench.typing import Array

    from .outcome import Outcome

# how often a metric without a definition is called: a plugin's may take its time
MAX_CALLS = 1000
MIN_CALLS = 200  # the 2.5th percentile is then the fifth of the draws
MAX_SAMPLES_IN_CALLS = 20_000_000


def called_values(
    spec: MetricSpec, outcome: Outcome, weights: ResamplingWeights
) -> Array:
    """Return a metric of the data and of bootstrap draws, NaN where undefined."""
    metric = spec.code()
    calls = int(np.clip(MAX_SAMPLES_IN_CALLS // outcome.n, MIN_CALLS, MAX_CALLS))
    process = os.getpid()
    with isolated(spec), warnings.catch_warnings():
        values = [_number(check_value(metric(outcome)).value)]
        end_copies(process)
        warnings.simplefilter("ignore")  # one warning a draw would bury the others
        for resample in range(min(calls, weights.n_resamples)):
            drawn = outcome.resample(weights.sample_counts(resample))
            try:
                values.append(_number(check_value(metric(drawn)).value))
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - it may fail on one class alone
                values.append(np.nan)
            end_copies(process)
    return np.array(values)


def called_interval(values: Array, weights: ResamplingWeights) -> Interval:
    """Return the percentile interval: nothing is known of the metric's smoothness."""
    return bootstrap_interval(
        values, len(values) - 1, weights.n_groups, method="percentile"
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)

"""Intervals and tests that respect groups; needs numpy and scipy, nothing else."""

from __future__ import annotations

from .delong import DeLong, delong, delong_unpaired
from .draws import Draws, affordable
from .exact import McNemar, clopper_pearson, holm, mcnemar, wilson
from .interval import Interval
from .means import mean_difference, mean_interval, mean_of
from .measure import MEASURES
from .metric import (
    cell_intervals,
    metric_difference,
    metric_interval,
    metric_intervals,
    metric_value,
    paired_difference,
    shared_draws,
)

__all__ = [
    "MEASURES",
    "DeLong",
    "Draws",
    "Interval",
    "McNemar",
    "affordable",
    "cell_intervals",
    "clopper_pearson",
    "delong",
    "delong_unpaired",
    "holm",
    "mcnemar",
    "mean_difference",
    "mean_interval",
    "mean_of",
    "metric_difference",
    "metric_interval",
    "metric_intervals",
    "metric_value",
    "paired_difference",
    "shared_draws",
    "wilson",
]

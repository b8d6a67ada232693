"""Intervals and tests that respect groups; knows counts and scores, but no metric."""

from __future__ import annotations

from .auroc_variance import (
    DeLong,
    auroc_difference,
    auroc_interval,
    compute_auroc,
    delong,
    delong_unpaired,
)
from .bootstrap import bootstrap_interval, mean_difference, mean_interval
from .interval import Interval, clopper_pearson, wilson, wilson_interval
from .paired_tests import McNemar, holm, mcnemar
from .resampling_weights import ResamplingWeights, default_n_resamples, shared_weights

__all__ = [
    "DeLong",
    "Interval",
    "McNemar",
    "ResamplingWeights",
    "auroc_difference",
    "auroc_interval",
    "bootstrap_interval",
    "clopper_pearson",
    "compute_auroc",
    "default_n_resamples",
    "delong",
    "delong_unpaired",
    "holm",
    "mcnemar",
    "mean_difference",
    "mean_interval",
    "shared_weights",
    "wilson",
    "wilson_interval",
]

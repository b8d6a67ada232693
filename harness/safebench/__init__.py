"""Benchmark any safety classifier x confidence strategy x dataset."""

from __future__ import annotations

from .hookspecs import hookimpl
from .specs import (
    ClassifierSpec,
    DatasetSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

__all__ = [
    "ClassifierSpec",
    "DatasetSpec",
    "MetricSpec",
    "ReporterSpec",
    "StrategySpec",
    "TrainerSpec",
    "hookimpl",
]
__version__ = "0.1.0"

"""The components that safebench itself ships, registered like anyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.datasets.catalog import SPECS as DATASETS
from safebench.metrics.catalog import SPECS as METRICS
from safebench.reporters.catalog import SPECS as REPORTERS

from .evidence import Scores
from .hookspecs import hookimpl
from .specs import ClassifierSpec, StrategySpec

if TYPE_CHECKING:
    from .specs import DatasetSpec, MetricSpec, ReporterSpec


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Return the keyword guard: the floor that every model must beat."""
    return [
        ClassifierSpec(
            name="keyword",
            summary="share of alarming words; the floor that every model must beat",
            load="safebench.classifiers.keyword:Keyword",
            options="safebench.classifiers.keyword:KeywordOptions",
            identity="safebench.classifiers.keyword:identity",
            provides=frozenset({Scores}),
            tasks=frozenset({"prompt_harm", "response_harm"}),
        )
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Return `score`: what a classifier says of itself."""
    return [
        StrategySpec(
            name="score",
            summary="the classifier's own score, as it is",
            load="safebench.strategies.score:judge",
            needs=frozenset({Scores}),
            emits=frozenset({"score", "probability", "categories"}),
        )
    ]


@hookimpl
def safebench_datasets() -> list[DatasetSpec]:
    """Return file readers, the starter set and the named public sets."""
    return DATASETS


@hookimpl
def safebench_metrics() -> list[MetricSpec]:
    """Return binary and multi-label metrics."""
    return METRICS


@hookimpl
def safebench_reporters() -> list[ReporterSpec]:
    """Return the leaderboard's output formats."""
    return REPORTERS

"""The components that safebench itself ships, registered like anyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.datasets.catalog import SPECS as DATASETS
from safebench.metrics.catalog import SPECS as METRICS

from .evidence import Scores
from .hookspecs import hookimpl
from .specs import ClassifierSpec, ReporterSpec, StrategySpec

if TYPE_CHECKING:
    from .specs import DatasetSpec, MetricSpec


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
    return [
        ReporterSpec(
            name="table",
            load="safebench.reporters.formats:render_terminal",
            summary="for terminals from 80 columns; best of each dataset in bold",
        ),
        ReporterSpec(
            name="md",
            load="safebench.reporters.formats:render_markdown",
            summary="a Markdown table with footnotes",
            aliases=("markdown",),
        ),
        ReporterSpec(
            name="csv",
            load="safebench.reporters.formats:render_csv",
            summary="comma-separated values, unrounded",
        ),
        ReporterSpec(
            name="latex",
            load="safebench.reporters.formats:render_latex",
            summary="a tabular that needs the package booktabs",
            aliases=("tex",),
        ),
        ReporterSpec(
            name="json",
            load="safebench.reporters.formats:render_json",
            summary="one object a line of the table, unrounded, with every n",
        ),
    ]

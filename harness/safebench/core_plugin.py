"""The components that safebench itself ships, registered like anyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.datasets.catalog import SPECS as DATASETS
from safebench.metrics.catalog import SPECS as METRICS

from .evidence import Scores
from .hookspecs import hookimpl
from .specs import (
    CalibratorSpec,
    ClassifierSpec,
    ExecutorSpec,
    ReporterSpec,
    StrategySpec,
)

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
            per_sample=True,
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
def safebench_calibrators() -> list[CalibratorSpec]:
    """Return the maps from scores to probabilities."""
    methods = "safebench.calibration.methods"
    priors = "safebench.calibration.priors"
    return [
        CalibratorSpec(
            name="temperature",
            summary="one constant that makes all probabilities more or less extreme",
            load=f"{methods}:Temperature",
            needs_probability=True,
        ),
        CalibratorSpec(
            name="platt",
            summary="a line of the log-odds, or of a score that is no probability",
            load=f"{methods}:Platt",
            options=f"{methods}:PlattOptions",
            aliases=("sigmoid",),
        ),
        CalibratorSpec(
            name="beta",
            summary="two slopes, one towards each end; for probabilities",
            load=f"{methods}:Beta",
            needs_probability=True,
        ),
        CalibratorSpec(
            name="isotonic",
            summary="the best map that never falls: steps, with ties within each",
            load=f"{methods}:Isotonic",
        ),
        CalibratorSpec(
            name="histogram",
            summary="the share of positives within bins of equally many samples",
            load=f"{methods}:Histogram",
            options=f"{methods}:HistogramOptions",
            monotone=False,
        ),
        CalibratorSpec(
            name="contextual",
            summary="divided by what the guard says of prompts without content",
            load=f"{priors}:Contextual",
            fitted_on="probe",
            needs_probability=True,
        ),
        CalibratorSpec(
            name="batch",
            summary="divided by the mean of all scores; transductive, without labels",
            load=f"{priors}:Batch",
            fitted_on="scores",
            needs_probability=True,
        ),
    ]


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
            name="html",
            load="safebench.reporters.html_page:render_html",
            summary="one page that needs no other file; every line, and the footnotes",
        ),
        ReporterSpec(
            name="json",
            load="safebench.reporters.formats:render_json",
            summary="one object a line of the table, unrounded, with every n",
        ),
        ReporterSpec(
            name="parquet",
            load="safebench.reporters.parquet:render_parquet",
            summary="typed columns for data frames, unrounded; needs --out FILE",
        ),
    ]


@hookimpl
def safebench_executors() -> list[ExecutorSpec]:
    """Return what records on this machine."""
    return [
        ExecutorSpec(
            name="local",
            summary="one model in the process of the run; the default",
            load="safebench.executors.local:LocalExecutor",
        ),
        ExecutorSpec(
            name="processes",
            summary="several processes on this machine, one model and GPU each",
            load="safebench.executors.processes:ProcessExecutor",
            options="safebench.executors.processes:ProcessOptions",
        ),
    ]

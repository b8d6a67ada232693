"""The places where a plugin can join in. Every hook runs once, before any model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from .specs import (
        ArtifactSpec,
        CalibratorSpec,
        ClassifierSpec,
        DatasetSpec,
        ExecutorSpec,
        MetricSpec,
        ReporterSpec,
        StrategySpec,
        TrainerSpec,
    )

hookspec = HookspecMarker("safebench")
hookimpl = HookimplMarker("safebench")


@hookspec
def safebench_classifiers() -> Iterable[ClassifierSpec]:  # type: ignore[empty-body]
    """Return the classifiers that this plugin offers."""


@hookspec
def safebench_strategies() -> Iterable[StrategySpec]:  # type: ignore[empty-body]
    """Return the confidence strategies that this plugin offers."""


@hookspec
def safebench_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Return the datasets that this plugin offers."""


@hookspec
def safebench_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Return the metrics that this plugin offers."""


@hookspec
def safebench_calibrators() -> Iterable[CalibratorSpec]:  # type: ignore[empty-body]
    """Return the calibrators of scores that this plugin offers."""


@hookspec
def safebench_reporters() -> Iterable[ReporterSpec]:  # type: ignore[empty-body]
    """Return the output formats of the leaderboard that this plugin offers."""


@hookspec
def safebench_trainers() -> Iterable[TrainerSpec]:  # type: ignore[empty-body]
    """Return what this plugin can train."""


@hookspec
def safebench_artifacts() -> Iterable[ArtifactSpec]:  # type: ignore[empty-body]
    """Return the kinds of artifacts that trainings of this plugin leave."""


@hookspec
def safebench_executors() -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]
    """Return the executors that this plugin offers: where evidence is recorded."""


@hookspec
def safebench_commands(cli: click.Group) -> None:
    """Add commands to the command line."""

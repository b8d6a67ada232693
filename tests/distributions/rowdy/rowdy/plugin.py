"""Declares one of each kind; ROWDY_IMPORT and ROWDY_HOOK spoil the declaring."""

import os

import click

from safebench import (
    ClassifierSpec,
    DatasetSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
    hookimpl,
)
from safebench.evidence import Scores

from .deeds import deed

deed("", "import")
NAMES = dict(
    part.split("=") for part in os.environ.get("ROWDY_NAMES", "").split(",") if part
)


def name(kind):
    """Return the component's name: its own, or one that another plugin has."""
    return NAMES.get(kind, f"rowdy_{kind}")


def aliases(kind):
    """Return the aliases that the environment asks for."""
    return tuple(filter(None, [NAMES.get(f"{kind}_alias")]))


@hookimpl
def safebench_classifiers():
    """Return a guard, as a generator."""
    deed("", "hook")
    yield ClassifierSpec(
        name=name("guard"),
        aliases=aliases("guard"),
        load="rowdy.parts:Guard",
        options="rowdy.options:GuardOptions",
        identity="rowdy.options:identity",
        provides=frozenset({Scores}),
    )


@hookimpl
def safebench_strategies():
    """Return a strategy that may claim probabilities, and one that never does."""
    return [
        StrategySpec(
            name=name("strategy"),
            aliases=aliases("strategy"),
            load="rowdy.parts:judge",
            options="rowdy.options:StrategyOptions",
            needs=frozenset({Scores}),
            emits=frozenset({"score", "probability", "uncertainty"}),
        )
    ]


@hookimpl
def safebench_datasets():
    """Return a dataset."""
    return [
        DatasetSpec(name=name("dataset"), load="rowdy.parts:read", splits=("test",))
    ]


@hookimpl
def safebench_metrics():
    """Return a metric that is called on resamples."""
    if os.environ.get("ROWDY_METRIC") or "metric" in str(NAMES):
        yield MetricSpec(
            name=name("metric"),
            aliases=aliases("metric"),
            load="rowdy.parts:metric",
            interval=os.environ.get("ROWDY_INTERVAL", ""),
            higher_is_better=True,
        )


@hookimpl
def safebench_reporters():
    """Return a format."""
    return [ReporterSpec(name=name("reporter"), load="rowdy.parts:render")]


@hookimpl
def safebench_trainers():
    """Return a trainer."""
    return [
        TrainerSpec(name=name("trainer"), load="rowdy.parts:fit", dataset="starter")
    ]


@hookimpl
def safebench_commands(cli):
    """Add a command, and a group with one."""
    cli.add_command(
        click.Command(name("command"), callback=lambda: deed("", "command"))
    )
    group = click.Group("rowdy_group")
    group.add_command(click.Command("below", callback=lambda: deed("", "command")))
    cli.add_command(group)

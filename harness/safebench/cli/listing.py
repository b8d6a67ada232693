"""`list-plugins`, `list` and `matrix`: what is installed.

Plain text that is never cut: scripts read it as much as people do.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo
from safebench.forwarding import former_field_name
from safebench.specs import (
    ClassifierSpec,
    Component,
    DatasetSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

from . import flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.plugins import Plugins

KINDS: dict[str, type[Component]] = {
    "classifiers": ClassifierSpec,
    "strategies": StrategySpec,
    "datasets": DatasetSpec,
    "metrics": MetricSpec,
    "reporters": ReporterSpec,
    "trainers": TrainerSpec,
}

# where code is found, which says nothing to a user
CODE_FIELDS = ("load", "options", "identity", "doctor", "interval", "origin")


@click.command("list-plugins", epilog="Example: safebench list-plugins --json")
@flags.JSON
@click.pass_obj
def list_plugins(plugins: Plugins, as_json: bool) -> None:
    """Show every plugin, where it came from and what it adds."""
    for plugin in plugins:
        if as_json:
            record = {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "components": plugin.contributions,
                "error": plugin.error,
            }
            echo(json.dumps(record))
            continue
        echo(f"{plugin.name}  ({plugin.distribution} {plugin.version})")
        if plugin.error:
            echo(f"  broken: {plugin.error}", fg="red")
        for kind, names in _group_by_kind(plugin.contributions):
            echo(f"  {kind}: {', '.join(names)}")


def _group_by_kind(contributions: Iterable[str]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for contribution in contributions:
        kind, _, name = contribution.partition(":")
        groups.setdefault(kind, []).append(name)
    return list(groups.items())


@click.command("list", epilog="Example: safebench list strategies")
@click.argument(
    "kind", required=False, metavar="[KIND]", type=flags.Choice(list(KINDS))
)
@flags.JSON
@click.pass_obj
def list_command(plugins: Plugins, kind: str | None, as_json: bool) -> None:
    """Show every component of one kind, with what it needs and takes.

    KIND is classifiers, strategies, datasets, metrics, reporters (the formats of a
    leaderboard) or trainers. Without one, the names of all kinds are shown.
    """
    if kind is None:
        _list_names(plugins, as_json)
        return
    for component in sorted(plugins.all(KINDS[kind]), key=lambda c: c.name):
        record = describe(component) | {"plugin": plugins.owner(component).name}
        if as_json:
            echo(json.dumps(record))
        else:
            _print_record(record)


def _print_record(record: dict[str, Any]) -> None:
    """Print what a component declares, without what it leaves empty."""
    echo(f"{record['name']}  ({record['plugin']})")
    if record["summary"]:
        echo(f"  {record['summary']}")
    for key, value in record.items():
        if key in ("name", "summary", "plugin") or value in (None, [], {}, ""):
            continue
        echo(f"  {key}: {_format_value(value)}")


def _list_names(plugins: Plugins, as_json: bool) -> None:
    for kind, type_ in KINDS.items():
        names = sorted(component.name for component in plugins.all(type_))
        if as_json:
            echo(json.dumps({"kind": kind, "names": names}))
        else:
            echo(f"{kind}: {', '.join(names) or 'none'}")


def describe(component: Component) -> dict[str, Any]:
    """Return what a component declares, as JSON values, with its options.

    Options that cannot be imported are left out, and `error` says why.
    """
    from safebench.errors import SafebenchError
    from safebench.options import OptionSchema

    record = {
        former_field_name(type(component), f.name): _as_json(getattr(component, f.name))
        for f in fields(component)
        if f.name not in CODE_FIELDS
    }
    try:
        return record | {"options": _as_json(OptionSchema.of(component).defaults)}
    except SafebenchError as error:
        return record | {"options": {}, "error": error.message}


def _as_json(value: Any) -> Any:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, dict):
        return {str(_as_json(k)): _as_json(v) for k, v in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(map(_as_json, value))
    if isinstance(value, (tuple, list)):
        return [_as_json(v) for v in value]
    return value


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" if v != "" else f"{k}=" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@click.command("matrix", epilog="Example: safebench matrix")
@flags.JSON
@click.pass_obj
def matrix(plugins: Plugins, as_json: bool) -> None:
    """Show which strategy can read which classifier, and why another cannot."""
    from safebench.compatibility import missing_requirements

    for classifier in plugins.all(ClassifierSpec):
        if not as_json:
            echo(f"{classifier.name}")
        for strategy in plugins.all(StrategySpec):
            missing = missing_requirements(classifier, strategy)
            if as_json:
                pair = {"classifier": classifier.name, "strategy": strategy.name}
                echo(json.dumps(pair | {"runs": not missing, "missing": missing}))
            else:
                reason = f"no: needs {', '.join(missing)}" if missing else "yes"
                echo(f"  {strategy.name:<28} {reason}")

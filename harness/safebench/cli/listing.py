"""`list-plugins` and `list`: what is installed.

Plain text that is never cut (but in the tables of guards and data sets): scripts read
it as much as people do.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo
from safebench.errors import PluginError, UnknownNameError, did_you_mean
from safebench.first_party import missing_packages
from safebench.forwarding import former_field_name
from safebench.sanitize import printable
from safebench.specs import (
    ArtifactSpec,
    CalibratorSpec,
    ClassifierSpec,
    Component,
    DatasetSpec,
    ExecutorSpec,
    GuardProfile,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

from . import dataset_table, flags
from .data_listing import DATA_KINDS
from .guard_table import table_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.plugins import Plugins

KINDS: dict[str, type[Component]] = {
    "classifiers": ClassifierSpec,
    "strategies": StrategySpec,
    "datasets": DatasetSpec,
    "metrics": MetricSpec,
    "calibrators": CalibratorSpec,
    "reporters": ReporterSpec,
    "trainers": TrainerSpec,
    "artifacts": ArtifactSpec,
    "executors": ExecutorSpec,
}

# where code is found, which says nothing to a user
CODE_FIELDS = (
    "load",
    "options",
    "identity",
    "doctor",
    "capabilities",
    "profiles",
    "profile_doctor",
    "interval",
    "origin",
    "recipe",
)
# what `list` shows beside the kinds of components
GUARDS = "guards"


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
    "kind",
    required=False,
    metavar="[KIND]",
    type=flags.Choice([*KINDS, GUARDS, *DATA_KINDS]),
)
@click.argument("name", required=False, metavar="[NAME]")
@flags.JSON
@click.pass_obj
def list_command(
    plugins: Plugins, kind: str | None, name: str | None, as_json: bool
) -> None:
    """Show every component of one kind, or one by NAME, with what it needs and takes.

    KIND is classifiers, strategies, datasets, metrics, calibrators, reporters (the
    formats of a leaderboard), trainers, executors (where evidence is recorded), guards
    (published models that a classifier knows by name), packs (datasets under one name),
    policies (taxonomies of harm) or maps between policies. Without one, the names of
    all kinds are shown.
    """
    if kind is None:
        _list_names(plugins, as_json)
        return
    if kind == GUARDS:
        _list_guards(plugins, name, as_json)
        return
    if kind in DATA_KINDS:
        DATA_KINDS[kind].show(name, as_json=as_json)
        return
    if kind == "datasets" and name is None and not as_json:
        for line in dataset_table.table_lines(
            plugins.all(DatasetSpec), plugins.all(ClassifierSpec)
        ):
            echo(line)
        return
    measured = _measured_records(name) if kind == "metrics" else []
    components = []
    if not (name and measured):
        type_ = KINDS[kind]
        components = [plugins.get(type_, name)] if name else plugins.all(type_)
    records = [
        describe(component) | {"plugin": plugins.owner(component).name}
        for component in components
    ]
    for record in sorted(records + measured, key=lambda r: r["name"]):
        if as_json:
            echo(json.dumps(record))
        else:
            _print_record(record)
    if not as_json:
        _print_hints(plugins, KINDS[kind], components, everything=name is None)


def _measured_records(name: str | None) -> list[dict[str, Any]]:
    """Return the metrics that a run measures, and nobody computes from predictions.

    Of `name` alone, if it is one; all without a name.
    """
    from safebench.results.rows import LATENCY_METRICS

    return [
        {
            "name": metric,
            "summary": f"seconds for one sample by itself, {share:.0%} quantile: "
            "`safebench run --latency N` measures it",
            "aliases": [],
            "higher_is_better": False,
            "needs": [],
            "options": {},
            "plugin": "core",
        }
        for metric, share in LATENCY_METRICS.items()
        if name is None or name.casefold() == metric
    ]


def _print_hints(
    plugins: Plugins,
    type_: type[Component],
    components: Iterable[Component],
    *,
    everything: bool,
) -> None:
    """Say what was trained here, and what could be installed.

    On standard error: scripts read the components.
    """
    from safebench.training.artifact import trained_models

    if type_ is ClassifierSpec:
        names = {component.name for component in components}
        for kind, folder in trained_models():
            if kind in names:
                words = shlex.join(["-c", kind, "--model", str(folder)])
                echo(printable(f"trained here: {words}"), err=True)
    if everything:
        for package in missing_packages(plugins.distributions, type_.kind):
            listed = ", ".join(package.names[type_.kind])
            echo(f"not installed: {listed}\n  {package.install}", err=True)


def _print_record(record: dict[str, Any]) -> None:
    """Print what a component declares, without what it leaves empty."""
    echo(f"{record['name']}  ({record['plugin']})")
    if record["summary"]:
        echo(f"  {record['summary']}")
    for key, value in record.items():
        if key in ("name", "summary", "plugin", "classifier") or value in (
            None,
            [],
            {},
            "",
        ):
            continue
        echo(f"  {key}: {_format_value(value)}")


def _list_guards(plugins: Plugins, name: str | None, as_json: bool) -> None:
    """Print the guards that classifiers know by name; exit with 1 if one fails."""
    failed = False
    guards: dict[str, list[GuardProfile]] = {}
    for classifier in sorted(plugins.all(ClassifierSpec), key=lambda c: c.name):
        try:
            profiles = guard_profiles(classifier)
        except PluginError as error:  # the other classifiers' are listed
            echo(f"error: {error.message}", err=True)
            failed = True
            continue
        guards[classifier.name] = sorted(profiles, key=lambda p: p.name)
    if name is not None:
        guards = _named(guards, name)
    if as_json or name is not None:
        for classifier_name, profiles in guards.items():
            for profile in profiles:
                record = _as_json(asdict(profile)) | {"classifier": classifier_name}
                if as_json:
                    echo(json.dumps(record))
                else:
                    _print_record(record | {"plugin": classifier_name})
    else:
        for line in table_lines(guards):
            echo(line)
    if failed:
        sys.exit(1)


def _named(
    guards: dict[str, list[GuardProfile]], name: str
) -> dict[str, list[GuardProfile]]:
    """Return the guards of a name, of any classifier; raises UnknownNameError."""
    chosen = {c: [p for p in ps if p.name == name] for c, ps in guards.items()}
    if not any(chosen.values()):
        known = sorted({p.name for ps in guards.values() for p in ps})
        raise UnknownNameError(f"no guard {name!r}{did_you_mean(name, known)}")
    return chosen


def guard_profiles(classifier: ClassifierSpec) -> list[GuardProfile]:
    """Return the guards that a classifier knows by name; none where it says none.

    Raises `PluginError` for code of the plugin that fails.
    """
    from safebench.isolation import isolated

    if not classifier.profiles:
        return []
    read = classifier.import_object(classifier.profiles)
    with isolated(classifier):
        profiles = list(read())
        for profile in profiles:
            if not isinstance(profile, GuardProfile):
                returned = type(profile).__name__
                raise TypeError(f"profiles holds a {returned}, not a GuardProfile")
    return profiles


def _list_names(plugins: Plugins, as_json: bool) -> None:
    for kind, type_ in KINDS.items():
        names = [component.name for component in plugins.all(type_)]
        if type_ is MetricSpec:
            names += [record["name"] for record in _measured_records(None)]
        names.sort()
        if as_json:
            echo(json.dumps({"kind": kind, "names": names}))
        else:
            echo(f"{kind}: {', '.join(names) or 'none'}")
    for kind, listing in DATA_KINDS.items():
        if kind == "maps":  # those of the policies above, two and two
            continue
        names = [record["name"] for record in listing.records()]
        if as_json:
            echo(json.dumps({"kind": kind, "names": names}))
        else:
            echo(f"{kind}: {', '.join(names)}")


def describe(component: Component) -> dict[str, Any]:
    """Return what a component declares, as JSON values, with its options.

    Options that cannot be imported are left out, and `error` says why.
    """
    from safebench.errors import SafebenchError
    from safebench.options import OptionSchema

    record = {
        # Under the keys of version 0.1, which programs read.
        former_field_name(type(component), f.name): _as_json(getattr(component, f.name))
        for f in fields(component)
        if f.name not in CODE_FIELDS
    }
    # what is known of a public set stands beside its name, and not in a box of its own
    record |= record.pop("card", None) or {}
    try:
        return record | {"options": _as_json(OptionSchema.of(component).defaults)}
    except SafebenchError as error:
        return record | {"options": {}, "error": error.message}


def _as_json(value: Any) -> Any:
    if isinstance(value, type):
        return value.__name__
    if is_dataclass(value):
        return _as_json(asdict(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return {str(_as_json(k)): _as_json(v) for k, v in value.items()}
    if isinstance(value, (frozenset, set)):
        # A set has another order in every process.
        return sorted(map(_as_json, value))
    if isinstance(value, (tuple, list)):
        return [_as_json(v) for v in value]
    return value


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" if v != "" else f"{k}=" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

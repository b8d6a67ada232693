"""Plugins: found by entry point, checked, and disabled one by one where broken.

An installed package that fails must not take the command line down with it, so every
step that runs code of a plugin catches whatever it raises, `sys.exit` included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from . import hookspecs
from .errors import AmbiguousComponentError, did_you_mean, unknown_name
from .records import TASKS
from .specs import (
    EMITS,
    NEEDS,
    ClassifierSpec,
    Component,
    DatasetSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

    import click

ENTRY_POINT_GROUP = "safebench"
SPEC_BY_HOOK: dict[str, type[Component]] = {
    "safebench_classifiers": ClassifierSpec,
    "safebench_strategies": StrategySpec,
    "safebench_datasets": DatasetSpec,
    "safebench_metrics": MetricSpec,
    "safebench_reporters": ReporterSpec,
    "safebench_trainers": TrainerSpec,
}
ALLOWED_VALUES: dict[type[Component], dict[str, tuple[str, ...]]] = {
    ClassifierSpec: {"tasks": TASKS},
    StrategySpec: {"emits": EMITS},
    DatasetSpec: {"task": TASKS},
    MetricSpec: {"needs": NEEDS},
    TrainerSpec: {"task": TASKS},
}
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
ComponentT = TypeVar("ComponentT", bound=Component)


@dataclass(slots=True)
class Plugin:
    """One entry point: where it came from, and what became of it."""

    name: str
    entry_point: EntryPoint
    components: list[Component] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def id(self) -> str:
        """Unique even if two distributions choose the same entry-point name."""
        return f"{self.name} = {self.entry_point.value}"

    @property
    def distribution(self) -> str:
        """The distribution's name. Parses its metadata: ask only when printing."""
        dist = self.entry_point.dist
        return dist.name if dist else "unknown"

    @property
    def version(self) -> str:
        """The distribution's version."""
        dist = self.entry_point.dist
        return dist.version if dist else "unknown"

    @property
    def contributions(self) -> list[str]:
        """Everything the plugin brings, as `kind:name`."""
        components = [f"{c.kind}:{c.name}" for c in self.components]
        return components + [f"command:{name}" for name in self.commands]


class Plugins:
    """Every installed plugin, and the components they declare.

    A plugin that fails to import, implements a hook wrongly or raises while declaring
    is kept in the list with its error; the others are unaffected.
    """

    def __init__(self, plugin_entry_points: Iterable[EntryPoint] | None = None) -> None:
        self.manager = pluggy.PluginManager("safebench")
        self.manager.add_hookspecs(hookspecs)
        if plugin_entry_points is None:
            plugin_entry_points = entry_points(group=ENTRY_POINT_GROUP)
        # Not pluggy's load_setuptools_entrypoints: there the first plugin that raises
        # ends the loading of all.
        self.plugins = [self._load(entry_point) for entry_point in plugin_entry_points]

    def __iter__(self) -> Iterator[Plugin]:
        # whatever order the file system has, the same lists in every environment
        return iter(sorted(self.plugins, key=lambda p: (p.name != "core", p.name)))

    @property
    def broken(self) -> list[Plugin]:
        """The plugins that are disabled, with their errors."""
        return [plugin for plugin in self if plugin.error]

    def all(self, type_: type[ComponentT]) -> list[ComponentT]:
        """Return every component of one type, in plugin order."""
        return [c for p in self for c in p.components if isinstance(c, type_)]

    def owner(self, component: Component) -> Plugin:
        """Return the plugin that declared a component."""
        return next(p for p in self for c in p.components if c is component)

    def get(self, type_: type[ComponentT], name: str) -> ComponentT:
        """Return the component called `name`, an alias of it, or ``distribution:name``.

        Raises `UnknownNameError` with the nearest name, and `AmbiguousComponentError`
        if two plugins have it: which one is meant must not depend on the order in
        which they were installed.
        """
        distribution, _, short_name = name.rpartition(":")
        matches = [
            (plugin, component)
            for plugin in self
            for component in plugin.components
            if isinstance(component, type_)
            and short_name.casefold() in _folded_names(component)
            and distribution.casefold() in ("", plugin.distribution.casefold())
        ]
        if len(matches) > 1:
            choices = " or ".join(f"{p.distribution}:{c.name}" for p, c in matches)
            raise AmbiguousComponentError(
                f"more than one plugin has the {type_.kind} {name!r}: say {choices}"
            )
        if not matches:
            raise unknown_name(type_.kind, name, {c.name for c in self.all(type_)})
        return matches[0][1]

    def add_commands(self, cli: click.Group) -> None:
        """Let each plugin add its commands; one that fails leaves none behind."""
        for impl in self.manager.hook.safebench_commands.get_hookimpls():
            plugin = next(p for p in self.plugins if p.id == impl.plugin_name)
            before = dict(cli.commands)
            try:
                impl.function(*([cli] if impl.argnames else []))
                _check_none_replaced(before, cli.commands)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
                cli.commands.clear()
                cli.commands.update(before)
                self._disable(plugin, error)
            else:
                plugin.commands = [k for k in cli.commands if k not in before]

    def _load(self, entry_point: EntryPoint) -> Plugin:
        plugin = Plugin(entry_point.name, entry_point)
        try:
            module = entry_point.load()
            self.manager.register(module, name=plugin.id)
            self.manager.check_pending()  # a misspelt hook is an error, not a no-op
            plugin.components = list(self._declared_by(plugin.id))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._disable(plugin, error)
        return plugin

    def _disable(self, plugin: Plugin, error: BaseException) -> None:
        plugin.error = _format_error(error)
        plugin.components = []
        if self.manager.has_plugin(plugin.id):
            self.manager.unregister(name=plugin.id)  # pluggy leaves it half registered

    def _declared_by(self, plugin_id: str) -> Iterator[Component]:
        for hook, type_ in SPEC_BY_HOOK.items():
            for impl in getattr(self.manager.hook, hook).get_hookimpls():
                if impl.plugin_name == plugin_id:
                    yield from _validated(hook, type_, impl.function())


def _check_none_replaced(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name, command in before.items():
        if after.get(name) is not command:
            raise ValueError(f"replaces the command {name!r}")


def _validated(hook: str, type_: type[Component], declared: Any) -> list[Component]:
    """Return what a hook declared, or raise TypeError or ValueError."""
    if not hasattr(declared, "__iter__") or isinstance(declared, (str, bytes, dict)):
        raise TypeError(f"{hook} returned {type(declared).__name__}, not a list")
    components = list(declared)
    for component in components:
        if not isinstance(component, type_):
            returned = type(component).__name__
            raise TypeError(f"{hook} returned a {returned}, not a {type_.__name__}")
        if not NAME_PATTERN.match(component.name):
            raise ValueError(f"{hook}: {component.name!r} is no name")
        if not component.load.partition(":")[2]:
            raise ValueError(f"{hook}: load={component.load!r} is not module:attribute")
        _check_allowed_values(component)
    return components


def _check_allowed_values(component: Component) -> None:
    """Raise ValueError for a value that nothing would ever match.

    A metric that needs "scores" instead of "score" would never be computed, and nobody
    would be told.
    """
    for field_name, allowed in ALLOWED_VALUES.get(type(component), {}).items():
        declared = getattr(component, field_name)
        values = {declared} if isinstance(declared, str) else declared
        for value in sorted(values):
            if value not in allowed:
                raise ValueError(
                    f"{component.kind} {component.name!r}: {field_name} cannot be "
                    f"{value!r}{did_you_mean(value, allowed)}"
                )


def _folded_names(component: Component) -> set[str]:
    return {name.casefold() for name in (component.name, *component.aliases)}


def _format_error(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"SystemExit: called sys.exit({error.code!r})"
    message = " ".join(str(error).split()) or "no message"  # one line, whatever it was
    return f"{type(error).__name__}: {message[:300]}"

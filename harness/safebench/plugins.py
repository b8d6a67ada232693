"""Find plugins, and keep going when one of them is broken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from . import hookspecs
from .errors import AmbiguousComponentError, nearest, unknown
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

GROUP = "safebench"
DECLARES: dict[str, type[Component]] = {
    "safebench_classifiers": ClassifierSpec,
    "safebench_strategies": StrategySpec,
    "safebench_datasets": DatasetSpec,
    "safebench_metrics": MetricSpec,
    "safebench_reporters": ReporterSpec,
    "safebench_trainers": TrainerSpec,
}
WORDS: dict[type[Component], dict[str, tuple[str, ...]]] = {
    ClassifierSpec: {"tasks": TASKS},
    StrategySpec: {"emits": EMITS},
    DatasetSpec: {"task": TASKS},
    MetricSpec: {"needs": NEEDS},
    TrainerSpec: {"task": TASKS},
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
C = TypeVar("C", bound=Component)


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
    def project(self) -> str:
        """The distribution's name. Parses its metadata: ask only when printing."""
        dist = self.entry_point.dist
        return dist.name if dist else "unknown"

    @property
    def version(self) -> str:
        """The distribution's version."""
        dist = self.entry_point.dist
        return dist.version if dist else "unknown"

    @property
    def adds(self) -> list[str]:
        """Everything the plugin brings, as `kind:name`."""
        found = [f"{c.kind}:{c.name}" for c in self.components]
        return found + [f"command:{name}" for name in self.commands]


class Plugins:
    """Every installed plugin, and the components they declare.

    A plugin that fails to import, implements a hook wrongly or raises while declaring
    is kept in the list with its error; the others are unaffected.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        self.manager = pluggy.PluginManager("safebench")
        self.manager.add_hookspecs(hookspecs)
        found = entry_points(group=GROUP) if found is None else found
        self.plugins = [self._load(entry_point) for entry_point in found]

    def __iter__(self) -> Iterator[Plugin]:
        return iter(sorted(self.plugins, key=lambda p: (p.name != "core", p.name)))

    @property
    def broken(self) -> list[Plugin]:
        """The plugins that are disabled, with their errors."""
        return [plugin for plugin in self if plugin.error]

    def all(self, type_: type[C]) -> list[C]:
        """Return every component of one type, in plugin order."""
        return [c for p in self for c in p.components if isinstance(c, type_)]

    def owner(self, component: Component) -> Plugin:
        """Return the plugin that declared a component."""
        return next(p for p in self for c in p.components if c is component)

    def get(self, type_: type[C], name: str) -> C:
        """Return the component called `name`, an alias of it, or `project:name`."""
        project, _, short = name.rpartition(":")
        found = [
            (plugin, component)
            for plugin in self
            for component in plugin.components
            if isinstance(component, type_)
            and short.casefold() in _names(component)
            and (not project or plugin.project.casefold() == project.casefold())
        ]
        if len(found) > 1:
            ways = " or ".join(f"{p.project}:{c.name}" for p, c in found)
            raise AmbiguousComponentError(
                f"more than one plugin has the {type_.kind} {name!r}: say {ways}"
            )
        if not found:
            raise unknown(type_.kind, name, {c.name for c in self.all(type_)})
        return found[0][1]

    def add_commands(self, cli: click.Group) -> None:
        """Let each plugin add its commands; one that fails leaves none behind."""
        for impl in self.manager.hook.safebench_commands.get_hookimpls():
            plugin = next(p for p in self.plugins if p.id == impl.plugin_name)
            before = dict(cli.commands)
            try:
                impl.function(*([cli] if impl.argnames else []))
                _refuse_replaced(before, cli.commands)
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
        plugin.error = _describe(error)
        plugin.components = []
        if self.manager.has_plugin(plugin.id):
            self.manager.unregister(name=plugin.id)  # pluggy leaves it half registered

    def _declared_by(self, plugin_id: str) -> Iterator[Component]:
        for hook, type_ in DECLARES.items():
            for impl in getattr(self.manager.hook, hook).get_hookimpls():
                if impl.plugin_name == plugin_id:
                    yield from _checked(hook, type_, impl.function())


def _refuse_replaced(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name, command in before.items():
        if after.get(name) is not command:
            raise ValueError(f"replaces the command {name!r}")


def _checked(hook: str, type_: type[Component], declared: Any) -> list[Component]:
    """Return what a hook declared, or raise TypeError or ValueError."""
    if not hasattr(declared, "__iter__") or isinstance(declared, (str, bytes, dict)):
        raise TypeError(f"{hook} returned {type(declared).__name__}, not a list")
    components = list(declared)
    for component in components:
        if not isinstance(component, type_):
            got = type(component).__name__
            raise TypeError(f"{hook} returned a {got}, not a {type_.__name__}")
        if not NAME.match(component.name):
            raise ValueError(f"{hook}: {component.name!r} is no name")
        if not component.load.partition(":")[2]:
            raise ValueError(f"{hook}: load={component.load!r} is not module:attribute")
        _refuse_strangers(component)
    return components


def _refuse_strangers(component: Component) -> None:
    """Raise ValueError for a word that the harness would pass over in silence."""
    for field_name, known in WORDS.get(type(component), {}).items():
        said = getattr(component, field_name)
        for word in sorted({said} if isinstance(said, str) else said):
            if word not in known:
                raise ValueError(
                    f"{component.kind} {component.name!r}: {field_name} cannot be "
                    f"{word!r}{nearest(word, known)}"
                )


def _names(component: Component) -> set[str]:
    return {name.casefold() for name in (component.name, *component.aliases)}


def _describe(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"SystemExit: called sys.exit({error.code!r})"
    message = " ".join(str(error).split()) or "no message"  # one line, whatever it was
    return f"{type(error).__name__}: {message[:300]}"

"""Plugins: found by entry point, checked, and disabled one by one where broken.

An installed package that fails must not take the command line down with it, so every
step that runs code of a plugin catches whatever it raises, `sys.exit` included.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from importlib.metadata import entry_points
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from . import hookspecs
from .errors import AmbiguousComponentError, did_you_mean
from .first_party import unknown_component
from .isolation import describe_error, isolated_loading
from .plugin_commands import ambiguous_command, check_command, isolate_command
from .records import TASKS
from .specs import (
    EMITS,
    FITTED_ON,
    NEEDS,
    ArtifactSpec,
    CalibratorSpec,
    ClassifierSpec,
    Component,
    DatasetSpec,
    ExecutorSpec,
    MetricSpec,
    ReporterSpec,
    StrategySpec,
    TrainerSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

    import click

ENTRY_POINT_GROUP = "safebench"
SPEC_BY_HOOK: dict[str, type[Component]] = {
    "safebench_classifiers": ClassifierSpec,
    "safebench_strategies": StrategySpec,
    "safebench_datasets": DatasetSpec,
    "safebench_metrics": MetricSpec,
    "safebench_calibrators": CalibratorSpec,
    "safebench_reporters": ReporterSpec,
    "safebench_trainers": TrainerSpec,
    "safebench_artifacts": ArtifactSpec,
    "safebench_executors": ExecutorSpec,
}
ALLOWED_VALUES: dict[type[Component], dict[str, tuple[str, ...]]] = {
    ClassifierSpec: {"tasks": TASKS},
    StrategySpec: {"emits": EMITS},
    DatasetSpec: {"task": TASKS},
    MetricSpec: {"needs": NEEDS},
    CalibratorSpec: {"fitted_on": FITTED_ON},
    TrainerSpec: {"task": TASKS},
}
SLOW_SECONDS = 1.0  # of an import that every command waits for
MAX_COMPONENTS = 10_000  # of one hook: a generator may never end
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
    def described(self) -> str:
        """Name, distribution and version, for messages."""
        return f"plugin {self.name} ({self.distribution} {self.version})"

    @property
    def contributions(self) -> list[str]:
        """Everything the plugin brings, as `kind:name`."""
        components = [f"{c.kind}:{c.name}" for c in self.components]
        return components + [f"command:{name}" for name in self.commands]


class Plugins:
    """Every installed plugin, and the components they declare.

    A plugin that fails to import, implements a hook wrongly or raises while declaring
    is kept in the list with its error; the others are unaffected. `on_slow` is called
    with one that takes over a second to load, while it loads.
    """

    def __init__(
        self,
        plugin_entry_points: Iterable[EntryPoint] | None = None,
        on_slow: Callable[[Plugin], None] | None = None,
    ) -> None:
        self._on_slow = on_slow
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

    @property
    def distributions(self) -> set[str]:
        """The distributions of all plugins, of the broken ones too."""
        return {plugin.distribution for plugin in self.plugins}

    def all(self, type_: type[ComponentT]) -> list[ComponentT]:
        """Return every component of one type, in plugin order."""
        return [c for p in self for c in p.components if isinstance(c, type_)]

    def unambiguous(self, type_: type[ComponentT]) -> list[ComponentT]:
        """Return every component of one type, where all are used at once, by name.

        Raises `AmbiguousComponentError` if two plugins have one of a name: whose number
        stands in a table must not depend on the order in which they were installed.
        """
        components = self.all(type_)
        by_name: dict[str, list[ComponentT]] = defaultdict(list)
        for component in components:
            for name in _folded_names(component):
                by_name[name].append(component)
        for name, same in by_name.items():
            if len(same) > 1:
                owners = " and ".join(self.owner(c).described for c in same)
                raise AmbiguousComponentError(
                    f"more than one plugin has the {type_.kind} {name!r}: {owners}\n"
                    "  uninstall one of them, or rename what it declares"
                )
        return components

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
            and (not distribution or _is_called(plugin, distribution))
        ]
        if len(matches) > 1:
            names = [f"{p.distribution}:{c.name}" for p, c in matches]
            # of one distribution: no name tells them
            if len({name.casefold() for name in names}) < len(names):
                owners = " and ".join(p.described for p, _ in matches)
                raise AmbiguousComponentError(
                    f"more than one plugin has the {type_.kind} {name!r}: {owners}"
                )
            raise AmbiguousComponentError(
                f"more than one plugin has the {type_.kind} {name!r}: "
                f"say {' or '.join(names)}"
            )
        if not matches:
            known = {c.name for c in self.all(type_)}
            raise unknown_component(type_.kind, name, known, self.distributions)
        return matches[0][1]

    def add_commands(self, cli: click.Group) -> None:
        """Let each plugin add its commands; one that fails leaves none behind.

        Two plugins with a command of one name keep it for neither: it says whose the
        two are, and each can be run as ``distribution:name``.
        """
        core = dict(cli.commands)
        added: dict[str, list[tuple[Plugin, click.Command]]] = defaultdict(list)
        for impl in self.manager.hook.safebench_commands.get_hookimpls():
            plugin = next(p for p in self.plugins if p.id == impl.plugin_name)
            try:
                with isolated_loading():
                    impl.function(*([cli] if impl.argnames else []))
                commands = _added_commands(core, cli.commands)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
                self._disable(plugin, error)
            else:
                plugin.commands = list(commands)
                for name, command in commands.items():
                    added[name].append((plugin, isolate_command(command, plugin)))
            finally:
                # each plugin sees the core's alone: what it may add must not depend
                # on who came before
                cli.commands.clear()
                cli.commands.update(core)
        for name, owners in added.items():
            if len(owners) == 1:
                cli.add_command(owners[0][1], name)
                continue
            owners.sort(key=lambda owner: owner[0].id)  # not by who came first
            choices = [f"{plugin.distribution}:{name}" for plugin, _ in owners]
            for choice, (_, command) in zip(choices, owners, strict=True):
                command.hidden = True
                cli.add_command(command, choice)
            cli.add_command(ambiguous_command(name, choices), name)

    def _load(self, entry_point: EntryPoint) -> Plugin:
        plugin = Plugin(entry_point.name, entry_point)
        try:
            with self._watched(plugin), isolated_loading():
                module = entry_point.load()
                self.manager.register(module, name=plugin.id)
                self.manager.check_pending()  # a misspelt hook is an error, not a no-op
                plugin.components = list(self._declared_by(plugin.id))
            _check_declared_once(plugin.components)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            self._disable(plugin, error)
        for component in plugin.components:
            if component.origin is None:  # a component of another one, shown again
                object.__setattr__(component, "origin", plugin)
        return plugin

    @contextmanager
    def _watched(self, plugin: Plugin) -> Iterator[None]:
        """Report a plugin that takes long while it does: it may never be done."""
        if self._on_slow is None:
            yield
            return
        timer = threading.Timer(SLOW_SECONDS, self._on_slow, [plugin])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _disable(self, plugin: Plugin, error: BaseException) -> None:
        plugin.error = describe_error(error)
        plugin.components = []
        if self.manager.has_plugin(plugin.id):
            self.manager.unregister(name=plugin.id)  # pluggy leaves it half registered

    def _declared_by(self, plugin_id: str) -> Iterator[Component]:
        for hook, type_ in SPEC_BY_HOOK.items():
            for impl in getattr(self.manager.hook, hook).get_hookimpls():
                if impl.plugin_name == plugin_id:
                    yield from _validated(hook, type_, impl.function())


def _added_commands(
    before: Mapping[str, click.Command], after: Mapping[str, Any]
) -> dict[str, click.Command]:
    """Return the commands that were added; raises ValueError if one was replaced."""
    for name, command in before.items():
        if after.get(name) is not command:
            raise ValueError(f"replaces the command {name!r}")
    added = {name: command for name, command in after.items() if name not in before}
    for name, command in added.items():
        check_command(name, command)
    return added


def _check_declared_once(components: Iterable[Component]) -> None:
    """Raise ValueError for two components of one kind that have one name."""
    seen: set[tuple[str, str]] = set()
    for component in components:
        for name in _folded_names(component):
            if (component.kind, name) in seen:
                raise ValueError(f"declares the {component.kind} {name!r} twice")
            seen.add((component.kind, name))


def _validated(hook: str, type_: type[Component], declared: Any) -> list[Component]:
    """Return what a hook declared, or raise TypeError or ValueError."""
    if not hasattr(declared, "__iter__") or isinstance(declared, (str, bytes, dict)):
        raise TypeError(f"{hook} returned {type(declared).__name__}, not a list")
    components = list(islice(declared, MAX_COMPONENTS + 1))
    if len(components) > MAX_COMPONENTS:
        raise ValueError(f"{hook} returned more than {MAX_COMPONENTS} components")
    for component in components:
        if not isinstance(component, type_):
            returned = type(component).__name__
            raise TypeError(f"{hook} returned a {returned}, not a {type_.__name__}")
        _check_field_types(component)
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


def _check_field_types(component: Component) -> None:
    """Raise TypeError for a field of another type than its default is of.

    A list where a text should be would end commands that only list what is there.
    """
    for spec_field in fields(component):
        value = getattr(component, spec_field.name)
        where = f"{component.kind} {component.name!r}: {spec_field.name}"
        if spec_field.type == "Kinds":  # as it is annotated
            _check_kinds(where, value)
        elif spec_field.default is MISSING and spec_field.name in ("name", "load"):
            _check_type(where, value, str)
        elif type(spec_field.default) in FIELD_TYPES:
            _check_type(where, value, FIELD_TYPES[type(spec_field.default)])


def _check_type(where: str, value: Any, expected: Any) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{where} cannot be a {type(value).__name__}")
    if isinstance(value, (tuple, frozenset)):
        for item in value:
            if not isinstance(item, str):
                raise TypeError(f"{where} cannot hold a {type(item).__name__}")


def _check_kinds(where: str, kinds: Any) -> None:
    """Raise TypeError unless `kinds` holds classes of evidence, as a set or mapping."""
    if not isinstance(kinds, (AbstractSet, Mapping)):
        raise TypeError(f"{where} cannot be a {type(kinds).__name__}")
    for kind in kinds:
        if not isinstance(kind, type) or not hasattr(kind, "derived_from"):
            raise TypeError(f"{where}: {kind!r} is no class of evidence")


# what a field may hold, by the type of its default
FIELD_TYPES: dict[type, Any] = {
    str: str,
    bool: bool,
    int: int,
    float: (int, float),
    tuple: tuple,
    frozenset: AbstractSet,
}


def _is_called(plugin: Plugin, distribution: str) -> bool:
    return plugin.distribution.casefold() == distribution.casefold()


def _folded_names(component: Component) -> set[str]:
    return {name.casefold() for name in (component.name, *component.aliases)}

"""Options of components: text or YAML values in, a checked dataclass out."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import OptionError, PluginError, did_you_mean
from .isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .specs import Component

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True)
class OptionSchema:
    """The options that a component takes: names, types and defaults.

    `options_class` is the dataclass that the component names, None where it has none.
    """

    component: Component
    options_class: type[Any] | None

    @classmethod
    def of(cls, component: Component) -> Self:
        """Import the options of a component.

        Raises `ComponentError` if that fails, and `PluginError` for what is no
        dataclass, or one whose annotations mean nothing.
        """
        if not component.options:
            return cls(component, None)
        options_class = component.import_object(component.options)
        if not isinstance(options_class, type) or not is_dataclass(options_class):
            raise PluginError(
                f"{component.described}: {component.options} is no dataclass"
            )
        schema = cls(component, options_class)
        with isolated(component):
            _ = schema.types, schema.defaults
        return schema

    @cached_property
    def names(self) -> list[str]:
        """The option keys, in the order of the dataclass.

        Fields that are marked as internal are no options.
        """
        own = fields(self.options_class) if self.options_class else ()
        return [
            f.name
            for f in own
            if not f.metadata.get("holds_given") and not f.metadata.get("internal")
        ]

    @cached_property
    def _given_field(self) -> str | None:
        """The field that is told which options the user set, where there is one.

        A value alone does not say: somebody may have set it to what is the default.
        """
        own = fields(self.options_class) if self.options_class else ()
        return next((f.name for f in own if f.metadata.get("holds_given")), None)

    @cached_property
    def types(self) -> dict[str, Any]:
        """The annotations by option key, evaluated."""
        hints = get_type_hints(self.options_class) if self.options_class else {}
        return {name: hints[name] for name in self.names}

    @property
    def defaults(self) -> dict[str, Any]:
        """Option keys with their defaults (a factory's product included)."""
        return {
            f.name: f.default if f.default_factory is MISSING else f.default_factory()
            for f in (fields(self.options_class) if self.options_class else ())
            if f.name in self.names
        }

    def check_names(
        self, given: Iterable[str], known: Iterable[str] | None = None
    ) -> None:
        """Raise `OptionError` for keys that are not `known`, suggesting the nearest.

        Without `known`, the component's own option keys are.
        """
        names = self.names if known is None else list(known)
        for key in given:
            if key not in names:
                listed = ", ".join(sorted(names)) or "none"
                raise OptionError(
                    f"{self.component.kind} {self.component.name!r} has no option "
                    f"{key!r}{did_you_mean(key, names)}\n  options: {listed}"
                )

    def build(self, given: Mapping[str, Any]) -> Any:
        """Return the options with `given` values, converted and checked.

        None for a component that takes no options. Raises `OptionError` for an unknown
        key, for a value of another type, and for one that the dataclass refuses.
        """
        self.check_names(given)
        if self.options_class is None:
            return None
        where = f"{self.component.kind} {self.component.name!r}"
        values = {
            key: convert(value, self.types[key], f"{where}, {key}")
            for key, value in given.items()
        }
        if self._given_field:
            values[self._given_field] = tuple(sorted(given))
        with isolated(self.component):
            try:
                return self.options_class(**values)
            except ValueError as error:  # how a dataclass says what values it allows
                raise OptionError(f"{where}: {error}") from error


def build_options(component: Component, given: Mapping[str, Any]) -> Any:
    """Return a component's options with `given` values, converted and checked."""
    return OptionSchema.of(component).build(given)


def convert(value: Any, hint: Any, where: str) -> Any:
    """Turn text or a YAML value into the annotated type.

    Raises `OptionError`, whose message starts with `where`.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _convert_union(value, args, where)
    if origin is Literal:
        return _convert_literal(value, args, where)
    if origin in (tuple, frozenset, list):
        return origin(_convert_items(value, args[0] if args else str, where))
    if hint is bool:
        return _convert_bool(value, where)
    if hint in (int, float):
        return _convert_number(value, hint, where)
    if hint is str and value is not None and not isinstance(value, (dict, list)):
        return str(value)
    if isinstance(hint, type) and isinstance(value, origin or hint):
        return value
    raise OptionError(f"{where}: cannot use {value!r}")


def _convert_items(value: Any, hint: Any, where: str) -> list[Any]:
    """Turn ``a+b``, a list or a single value into items; empty text is none.

    A plus, since a comma ends an option in ``NAME,key=value,key=value``.
    """
    if isinstance(value, str):
        items: list[Any] = value.split("+")
    elif isinstance(value, (list, tuple, frozenset)):
        items = list(value)
    else:
        items = [value]
    return [convert(item, hint, where) for item in items if item != ""]


def _convert_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if NoneType in args and (value is None or value in ("", "none", "null")):
        return None
    members = [arg for arg in args if arg is not NoneType]
    for member in members[:-1]:
        try:
            return convert(value, member, where)
        except OptionError:
            continue
    # the last one is tried outside, so that its message reaches the user
    return convert(value, members[-1], where)


def _convert_literal(value: Any, allowed: tuple[Any, ...], where: str) -> Any:
    by_text = {str(choice): choice for choice in allowed}
    if str(value) in by_text:
        return by_text[str(value)]
    listed = ", ".join(by_text)
    hint = did_you_mean(str(value), by_text)
    raise OptionError(f"{where}: {value!r} is not one of {listed}{hint}")


def _convert_bool(value: Any, where: str) -> bool:
    word = str(value).casefold()
    if word in TRUE_WORDS | FALSE_WORDS:
        return word in TRUE_WORDS
    raise OptionError(f"{where}: {value!r} is neither true nor false")


def _convert_number(value: Any, hint: type[int | float], where: str) -> int | float:
    expected = "a whole number" if hint is int else "a number"
    fractional = hint is int and isinstance(value, float) and not value.is_integer()
    # bool is an int to Python: `limit: yes` in a file would be 1
    if isinstance(value, bool) or fractional:
        raise OptionError(f"{where}: {value!r} is not {expected}")
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{where}: {value!r} is not {expected}") from None
    if number != number:  # noqa: PLR0124 - NaN is the one value unlike itself
        raise OptionError(f"{where}: not a number")
    return number

"""Options of components: text or YAML values in, a checked dataclass out."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from .errors import OptionError, nearest
from .specs import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .specs import Component

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})


def option_type(component: Component) -> type[Any] | None:
    """Return the options dataclass of a component, or None if it takes no options."""
    if not component.options:
        return None
    found = resolve(component.options)
    assert is_dataclass(found), f"{component.options} is no dataclass"
    return found if isinstance(found, type) else None


def option_names(component: Component) -> list[str]:
    """Return the option keys that a component takes."""
    found = option_type(component)
    return [f.name for f in fields(found)] if found else []


def option_defaults(component: Component) -> dict[str, Any]:
    """Return option keys with their defaults (a factory's product included)."""
    found = option_type(component)
    return {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in (fields(found) if found else ())
    }


def refuse_unknown(
    component: Component, given: Iterable[str], known: Iterable[str]
) -> None:
    """Raise `OptionError` for keys outside `known`, suggesting the nearest."""
    names = list(known)
    for key in given:
        if key not in names:
            listed = ", ".join(sorted(names)) or "none"
            raise OptionError(
                f"{component.kind} {component.name!r} has no option {key!r}"
                f"{nearest(key, names)}\n  options: {listed}"
            )


def build_options(component: Component, given: Mapping[str, Any]) -> Any:
    """Return the component's options with `given` values, converted and checked."""
    found = option_type(component)
    refuse_unknown(component, given, option_names(component))
    if found is None:
        return None
    from typing import get_type_hints

    hints = get_type_hints(found)
    where = f"{component.kind} {component.name!r}"
    values = {k: convert(v, hints[k], f"{where}, {k}") for k, v in given.items()}
    try:
        return found(**values)
    except ValueError as error:
        raise OptionError(f"{where}: {error}") from error


def convert(value: Any, want: Any, where: str) -> Any:
    """Turn text or a YAML value into the annotated type, or raise `OptionError`."""
    origin, args = get_origin(want), get_args(want)
    if want is Any:
        return value
    if origin in (Union, UnionType):
        return _convert_union(value, args, where)
    if origin is Literal:
        return _choose(value, args, where)
    if origin in (tuple, frozenset, list):
        return origin(_convert_items(value, args[0] if args else str, where))
    if want is bool:
        return _convert_bool(value, where)
    if want in (int, float):
        return _convert_number(value, want, where)
    if want is str and value is not None and not isinstance(value, (dict, list)):
        return str(value)
    if isinstance(want, type) and isinstance(value, origin or want):
        return value
    raise OptionError(f"{where}: cannot use {value!r}")


def _convert_items(value: Any, want: Any, where: str) -> list[Any]:
    """Turn ``a+b``, a list or a single value into items; empty text is none."""
    if isinstance(value, str):
        items: list[Any] = value.split("+")
    else:
        several = isinstance(value, (list, tuple, frozenset))
        items = list(value) if several else [value]
    return [convert(item, want, where) for item in items if item != ""]


def _convert_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if NoneType in args and (value is None or value in ("", "none", "null")):
        return None
    kinds = [arg for arg in args if arg is not NoneType]
    for kind in kinds[:-1]:
        try:
            return convert(value, kind, where)
        except OptionError:
            continue
    return convert(value, kinds[-1], where)


def _choose(value: Any, allowed: tuple[Any, ...], where: str) -> Any:
    by_text = {str(choice): choice for choice in allowed}
    if str(value) in by_text:
        return by_text[str(value)]
    listed = ", ".join(by_text)
    hint = nearest(str(value), by_text)
    raise OptionError(f"{where}: {value!r} is not one of {listed}{hint}")


def _convert_bool(value: Any, where: str) -> bool:
    word = str(value).casefold()
    if word in TRUE | FALSE:
        return word in TRUE
    raise OptionError(f"{where}: {value!r} is neither true nor false")


def _convert_number(value: Any, want: type[int | float], where: str) -> int | float:
    kind = "a whole number" if want is int else "a number"
    cut = want is int and isinstance(value, float) and not value.is_integer()
    if isinstance(value, bool) or cut:
        raise OptionError(f"{where}: {value!r} is not {kind}")
    try:
        number = want(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{where}: {value!r} is not {kind}") from None
    if number != number:  # noqa: PLR0124 - NaN is the one value unlike itself
        raise OptionError(f"{where}: not a number")
    return number

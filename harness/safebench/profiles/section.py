"""Nested mappings of a data file as frozen dataclasses, and their JSON Schema.

Stricter than options of a command line, which are text: a file has types, and a value
of another one (``no`` is false to YAML) is a mistake that would change what is read.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as type_hints

from safebench.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

RecordT = TypeVar("RecordT")
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_SCHEMA_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def parse_section(record: type[RecordT], content: Any, where: str) -> RecordT:
    """Return a dataclass from the mapping of a file.

    Fields may be str, int, float, bool, `Literal`, another dataclass, ``X | None``,
    ``tuple[X, ...]`` (a list, or one item alone), ``dict[str, X]`` or ``dict[int, X]``.
    Raises `OptionError`, which starts with `where` and names the key: unknown (with the
    nearest), missing, of another type, or refused by the dataclass with a ValueError.
    """
    if not isinstance(content, dict):
        raise OptionError(f"{where}: expected keys and values, got {_shown(content)}")
    known = {field.name: field for field in fields(record)}  # type: ignore[arg-type]
    hints = type_hints(record)
    # Before what is missing: a misspelt key is both, and its nearest name is what
    # helps.
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise OptionError(
                f"{where}: unknown key {key!r}{hint}\n  keys: {', '.join(known)}"
            )
    for name, field in known.items():
        if name not in content and _is_required(field):
            raise OptionError(f"{where}: {name} is missing")
    values = {
        key: _value(value, hints[key], f"{where}: {key}")
        for key, value in content.items()
    }
    try:
        return record(**values)
    except ValueError as error:  # how a dataclass says what values it allows
        raise OptionError(f"{where}: {error}") from None


def json_schema(record: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass; ``metadata["help"]`` of a field explains.

    It describes what `parse_section` takes, but for what the dataclass checks itself.
    """
    hints = type_hints(record)
    properties = {}
    for field in fields(record):
        properties[field.name] = _schema(hints[field.name])
        if "help" in field.metadata:
            properties[field.name]["description"] = field.metadata["help"]
    return {
        "type": "object",
        "properties": properties,
        "required": [f.name for f in fields(record) if _is_required(f)],
        "additionalProperties": False,
    }


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(value: Any, hint: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _one_of(value, args, where)
    if origin is Literal:
        # To Python true equals 1, which is another choice.
        if value not in args or isinstance(value, bool) != isinstance(args[0], bool):
            listed = ", ".join(map(str, args))
            near = did_you_mean(str(value), map(str, args))
            raise OptionError(f"{where}: {value!r} is not one of {listed}{near}")
        return value
    if origin is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_value(item, args[0], where) for item in items)
    if origin is dict:
        return _mapping(value, args, where)
    if is_dataclass(hint):
        return parse_section(hint, value, where)  # type: ignore[arg-type]
    return _plain(value, hint, where)


def _one_of(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    if value is None and NoneType in hints:
        return None
    kinds = [hint for hint in hints if hint is not NoneType]
    if isinstance(value, dict):  # so that the message is about its keys
        kinds = [hint for hint in kinds if _takes_mapping(hint)] or kinds
    for hint in kinds[:-1]:
        try:
            return _value(value, hint, where)
        except OptionError:
            continue
    # The last one outside of the loop, so that its message reaches the user.
    return _value(value, kinds[-1], where)


def _takes_mapping(hint: Any) -> bool:
    return is_dataclass(hint) or get_origin(hint) is dict


def _mapping(value: Any, hints: tuple[Any, ...], where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{where}: expected keys and values, got {_shown(value)}")
    key_hint, value_hint = hints
    return {
        _value(key, key_hint, f"{where}, key {key!r}"): _value(
            item, value_hint, f"{where}, {key}"
        )
        for key, item in value.items()
    }


def _plain(value: Any, hint: Any, where: str) -> Any:
    # A whole number is a number, too; true is one to Python, and to nobody else.
    fits = isinstance(value, hint) or (hint is float and isinstance(value, int))
    if fits and (hint is bool or not isinstance(value, bool)):
        return float(value) if hint is float else value
    # words and numbers that YAML takes for something else than the text they are
    quote = hint is str and isinstance(value, (bool, int, float))
    raise OptionError(
        f"{where}: expected {_NAMES.get(hint, hint)}, got {_shown(value)}"
        + ("; put it in quotes if it is text" if quote else "")
    )


def _shown(value: Any) -> str:
    kinds: Mapping[type, str] = {dict: "keys and values", list: "a list"}
    return kinds.get(type(value)) or ("nothing" if value is None else repr(value))


def _schema(hint: Any) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(arg) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        item = _schema(args[0])
        return {"anyOf": [{"type": "array", "items": item}, item]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if is_dataclass(hint):
        return json_schema(hint)  # type: ignore[arg-type]
    if hint is NoneType:
        return {"type": "null"}
    return {"type": _SCHEMA_TYPES[hint]} if hint in _SCHEMA_TYPES else {}

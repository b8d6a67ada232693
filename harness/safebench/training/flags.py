"""Flags of the command line from the fields of a trainer's options dataclass."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

from safebench.errors import OptionError
from safebench.options import convert, option_type

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field

    from safebench.specs import TrainerSpec

NAMES = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "true|false"}


def option_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return a flag for each field of the options; imports their module, no more."""
    found = option_type(spec)
    if found is None:
        return []
    from typing import get_type_hints

    hints = get_type_hints(found)
    return [_flag(field, hints[field.name]) for field in fields(found)]


def _flag(field: Field[Any], hint: Any) -> click.Option:
    name = field.name.replace("_", "-")
    help_ = str(field.metadata.get("help", ""))
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    if hint is bool:
        shown = name if default else f"no-{name}"
        declared = [f"--{name}/--no-{name}", field.name]
        return click.Option(declared, default=None, help=with_default(help_, shown))
    several = _is_several(hint)
    inner = (get_args(hint) or (str,))[0] if several else hint
    shown = _metavar(inner) + (",..." if several else "")
    return click.Option(
        [f"--{name}", field.name],
        type=_Checked(inner, several=several),
        metavar=str(field.metadata.get("metavar", shown)),
        multiple=several,
        help=with_default(help_, default),
    )


def with_default(help_: str, default: Any) -> str:
    """Return a flag's help with its default; none is said for nothing at all."""
    if isinstance(default, (tuple, list, frozenset)):
        default = ",".join(map(str, default))
    help_ = help_.removesuffix(".")
    if default not in (None, "", MISSING):
        help_ = f"{help_} [default: {default}]".lstrip()
    return f"{help_}." if help_ else ""


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        kinds = [arg for arg in get_args(hint) if arg is not NoneType]
        return "|".join(map(_metavar, kinds))
    return NAMES.get(hint, "TEXT")


if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:  # not generic before click 8.5
    _Type = click.ParamType


class _Checked(_Type):
    """Text that converts to the annotated type; it stays text until all is known."""

    name = "text"

    def __init__(self, hint: Any, *, several: bool) -> None:
        self.hint, self.several = hint, several

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        pieces = str(value).split(",") if self.several else [value]
        try:
            for piece in pieces:
                convert(piece, self.hint, "")
        except OptionError as error:
            self.fail(error.message.removeprefix(": "), param, ctx)
        return value


def listed(spec: TrainerSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return option values with the items of comma lists apart."""
    found = option_type(spec)
    if found is None:
        return dict(given)
    from typing import get_type_hints

    several = {k for k, hint in get_type_hints(found).items() if _is_several(hint)}
    return {k: _items(v) if k in several else v for k, v in given.items()}


def _is_several(hint: Any) -> bool:
    return get_origin(hint) in (tuple, list, frozenset)


def _items(value: Any) -> list[Any]:
    """Split ``a,b`` at the commas, alone or as an item; others stay as they are."""
    items = value if isinstance(value, (list, tuple)) else [value]
    pieces = [item.split(",") if isinstance(item, str) else [item] for item in items]
    return [p.strip() if isinstance(p, str) else p for ps in pieces for p in ps]

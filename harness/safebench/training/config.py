"""The configuration of a training: defaults, then a YAML file, then flags.

The options dataclass of a trainer is the only declaration of its options: name, type,
default and help (``field(metadata={"help": ...})``) make a flag.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import click

from safebench.config_file import OptionFile, merge_flags
from safebench.errors import OptionError
from safebench.options import OptionSchema, convert

from .splits import parse_shares

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field
    from pathlib import Path

    from safebench.specs import TrainerSpec


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training can be told; fields are keys of the YAML file and flags.

    `sample` is a count or "all"; None means the trainer's default. `set` goes to
    `transformers.TrainingArguments`. `options` are the trainer's own, not yet checked.
    Raises `OptionError` for a sample or split that makes no sense.
    """

    dataset: tuple[str, ...] = ()
    val_dataset: tuple[str, ...] = ()
    test_dataset: tuple[str, ...] = ()
    singles: tuple[str, ...] = ()
    sample: int | str | None = None
    split: str = "70/15/15"
    seed: int = 0
    out: str | None = None
    resume: bool = False
    data_root: str | None = None
    label_map: dict[str, str] = field(default_factory=dict)
    on_bad_row: Literal["fail", "skip"] = "fail"
    set: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_count = isinstance(self.sample, int) and self.sample > 0
        if not is_count and self.sample not in (None, "all"):
            raise OptionError(f"sample: a number from 1, or all, got {self.sample!r}")
        parse_shares(self.split)


COMMON_KEYS = tuple(f.name for f in fields(TrainConfig) if f.name != "options")
LIST_KEYS = ("dataset", "val_dataset", "test_dataset", "singles")
MAPPING_KEYS = ("set", "label_map")


def load_config(
    spec: TrainerSpec, path: Path | None, flags: Mapping[str, Any]
) -> TrainConfig:
    """Return the configuration of a training from a YAML file and flags over it.

    `flags` has the common keys and the trainer's own options in one mapping; a value
    that is None or empty was not given.
    """
    option_names = OptionSchema.of(spec).names
    file_values = _from_yaml(spec, path, option_names) if path else {}
    merged = merge_flags(file_values, flags, MAPPING_KEYS)
    options = {name: merged.pop(name) for name in option_names if name in merged}
    hints = get_type_hints(TrainConfig)
    common = {
        key: value if key in MAPPING_KEYS else convert(value, hints[key], key)
        for key, value in merged.items()
    }
    return TrainConfig(**common, options=split_lists(spec, options))


def _from_yaml(
    spec: TrainerSpec, path: Path, option_names: list[str]
) -> dict[str, Any]:
    file = OptionFile.read(path)
    # Checked before the keys: those of another trainer are all unknown to this one.
    trainer = file.content.get("trainer", spec.name)
    if trainer != spec.name:
        raise OptionError(f"{path} is for the trainer {trainer!r}, not {spec.name!r}")
    values = file.options([*COMMON_KEYS, *option_names], ["trainer"])
    values.pop("trainer", None)
    for key, value in values.items():
        if key in LIST_KEYS and isinstance(value, str):
            values[key] = (value,)
        if key in MAPPING_KEYS and not isinstance(value, dict):
            raise OptionError(f"{path}: {key}: expected keys and values")
    return values


TYPE_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "true|false"}


def option_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return a flag for each option of a trainer.

    Imports the module of the options and no other: ``--help`` must stay fast.
    """
    schema = OptionSchema.of(spec)
    if schema.options_class is None:
        return []
    return [
        _flag(field, schema.types[field.name]) for field in fields(schema.options_class)
    ]


def _flag(field: Field[Any], hint: Any) -> click.Option:
    name = field.name.replace("_", "-")
    help_text = str(field.metadata.get("help", ""))
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    if hint is bool:
        shown_default = name if default else f"no-{name}"
        return click.Option(
            [f"--{name}/--no-{name}", field.name],
            default=None,  # not given: the YAML file may say it
            help=help_with_default(help_text, shown_default),
        )
    is_list = _is_list(hint)
    item_hint = (get_args(hint) or (str,))[0] if is_list else hint
    metavar = _metavar(item_hint) + (",..." if is_list else "")
    return click.Option(
        [f"--{name}", field.name],
        type=_CheckedText(item_hint, is_list=is_list),
        metavar=str(field.metadata.get("metavar", metavar)),
        multiple=is_list,
        help=help_with_default(help_text, default),
    )


def help_with_default(help_text: str, default: Any) -> str:
    """Return the help of a flag with its default, unless that is empty."""
    if isinstance(default, (tuple, list, frozenset)):
        default = ",".join(map(str, default))
    help_text = help_text.removesuffix(".")
    if default not in (None, "", MISSING):
        help_text = f"{help_text} [default: {default}]".lstrip()
    return f"{help_text}." if help_text else ""


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        kinds = [arg for arg in get_args(hint) if arg is not NoneType]
        return "|".join(map(_metavar, kinds))
    return TYPE_METAVARS.get(hint, "TEXT")


if TYPE_CHECKING:
    _ClickType = click.ParamType[Any]
else:  # ParamType is generic from click 8.5 on
    _ClickType = click.ParamType


class _CheckedText(_ClickType):
    """Text that converts to the annotated type, passed on as text.

    The configuration converts values of flags and of the YAML file alike; checking here
    lets click name the flag in its message.
    """

    name = "text"

    def __init__(self, hint: Any, *, is_list: bool) -> None:
        self.hint, self.is_list = hint, is_list

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        items = str(value).split(",") if self.is_list else [value]
        try:
            for item in items:
                convert(item, self.hint, "")
        except OptionError as error:
            self.fail(error.message.removeprefix(": "), param, ctx)
        return value


def split_lists(spec: TrainerSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return option values with comma lists split, for the options that take lists."""
    types = OptionSchema.of(spec).types
    lists = {name for name, hint in types.items() if _is_list(hint)}
    return {k: _split_items(v) if k in lists else v for k, v in given.items()}


def _is_list(hint: Any) -> bool:
    return get_origin(hint) in (tuple, list, frozenset)


def _split_items(value: Any) -> list[Any]:
    """Split texts at commas, whether the flag was repeated or not."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    items: list[Any] = []
    for text in texts:
        if isinstance(text, str):
            items += [item.strip() for item in text.split(",")]
        else:  # a number in a YAML list
            items.append(text)
    return items

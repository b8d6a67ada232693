"""What calls take: the options of ``safebench run`` as Python values, checked.

Every field of `RunConfig` is a keyword, under its name and with its type. A value is
never cut to fit: ``limit=2.5`` is refused, and not 2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, get_origin, get_type_hints

from safebench.config_file import is_given
from safebench.errors import OptionError, did_you_mean
from safebench.options import convert
from safebench.pipeline.config import (
    ComponentRef,
    RunConfig,
    load_run_config,
    parse_component_ref,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from safebench.errors import SafebenchError

    Component = str | ComponentRef | Mapping[str, Any]
    Components = Component | Sequence[Component]
    FilePath = str | os.PathLike[str]


class RunOptions(TypedDict, total=False):
    """The keywords of `safebench.run` beyond classifiers, strategies and datasets.

    They are the flags of ``safebench run`` (docs/cli.md), ``--set NAME=VALUE`` as
    ``set={"NAME": VALUE}``. `config` is a run file, over which keywords go.
    """

    calibrate: Components
    model: str | None
    models: Mapping[str, Mapping[str, Any]]
    set: Mapping[str, Any]
    device: str | None
    dtype: str | None
    adapter: FilePath | None
    limit: int | None
    seed: int
    calibration_fraction: float
    max_failures: int | str
    on_bad_row: str
    label_map: Mapping[str, str]
    data_root: FilePath | None
    skip_missing: bool | None
    revisions: str | Mapping[str, str]
    strict_data: bool
    out: FilePath | None
    predictions: str
    shard_size: int | None
    keep_text: bool | None
    executor: str | None
    workers: int | None
    address: str | None
    gpus_per_worker: float | None
    latency: int | None
    refresh: bool
    retry_failed: bool
    config: FilePath | None


def make_config(given: Mapping[str, Any], config: FilePath | None = None) -> RunConfig:
    """Return the run that keywords ask for, over a run file.

    None is what was not given. Raises `OptionError` for an unknown keyword, naming the
    nearest, and for a value that its option cannot be.
    """
    config_path = None
    if config is not None:
        config_path = Path(text_option("config", config)).expanduser()
    hints = get_type_hints(RunConfig)
    check_keywords(given, hints)
    values = {
        name: _field_value(name, value, hints[name])
        for name, value in given.items()
        if value is not None
    }
    return load_run_config(config_path, values)


def check_keywords(given: Collection[str], known: Collection[str]) -> None:
    """Raise `OptionError` for a keyword that is not known, with the nearest."""
    for name in given:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise OptionError(
                f"no keyword {name!r}{did_you_mean(name, known)}\n  there is: {listed}"
            )


def flag(name: str, value: Any) -> bool:
    """Return a switch, which must be True or False."""
    switch: bool = convert(value, bool, name)
    return switch


def component_refs(name: str, value: Any) -> tuple[ComponentRef, ...]:
    """Return components: one, or several in a sequence.

    A component is text as on the command line (``[LABEL=]NAME[,key=value...]``), a
    mapping with `name`, and perhaps `label` and `options`, or a `ComponentRef`.
    """
    several = not isinstance(value, str | Mapping | ComponentRef)
    try:
        items = list(value) if several else [value]
    except TypeError:
        raise _no_component(name, value) from None
    return tuple(_component_ref(name, item) for item in items)


def _component_ref(name: str, item: Any) -> ComponentRef:
    if isinstance(item, ComponentRef):
        return item
    if isinstance(item, str):
        return parse_component_ref(item)
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise _no_component(name, item)
    check_keywords(item, ("name", "label", "options"))
    options = item.get("options") or {}
    if not isinstance(options, Mapping):
        raise OptionError(f"{name}: options: expected a mapping, got {options!r:.60}")
    return ComponentRef(
        item["name"],
        str(item.get("label") or item["name"]),
        {str(key): _option_text(f"{name}, {key}", v) for key, v in options.items()},
    )


def _no_component(name: str, item: Any) -> SafebenchError:
    return OptionError(
        f'{name}: expected "NAME,key=value" or {{"name": ..., "options": {{...}}}}, '
        f"got {item!r:.60}"
    )


def _field_value(name: str, value: Any, hint: Any) -> Any:
    """Return a keyword's value as the field of `RunConfig` has it."""
    if hint == tuple[ComponentRef, ...]:
        return component_refs(name, value)
    if hint == tuple[str, ...]:
        items = [value] if isinstance(value, str | os.PathLike) else list(value)
        return tuple(text_option(name, item) for item in items)
    if get_origin(hint) is dict:
        if name == "revisions" and isinstance(value, str):
            value = {"": value}  # of any set, as --revision COMMIT says
        if not isinstance(value, Mapping):
            raise OptionError(f"{name}: expected a mapping, got {value!r:.60}")
        if name == "set":
            return {str(k): _option_text(f"set.{k}", v) for k, v in value.items()}
        return _plain(name, value)
    if name == "max_failures" and isinstance(value, float) and not value.is_integer():
        raise OptionError(
            f"max_failures: a count or a share such as '5%', got {value!r}"
        )
    if hint in (str, str | None):
        return text_option(name, value)
    return convert(_plain(name, value), hint, name)


def text_option(name: str, value: Any) -> str:
    """Return a name, or a path as text; a number is the text of a count."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    # no words: True would become the name "True", and () is none
    if isinstance(value, bool | Mapping | list | tuple) or not is_given(value):
        raise OptionError(f"{name}: cannot use {value!r}")
    text: str = convert(_plain(name, value), str, name)
    return text


def _option_text(name: str, value: Any) -> Any:
    """Return an option's value as it would be typed, if it can be.

    So that a row has the same parameters, and the next one takes its place, whoever
    asked for it.
    """
    value = _plain(name, value)
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        texts = [_option_text(name, item) for item in value]
        if all(isinstance(text, str) and text and "+" not in text for text in texts):
            return "+".join(texts)
    return value


def _plain(name: str, value: Any) -> Any:
    """Return a value as YAML and JSON can hold it: it is stored with the run."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(name, item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    # such as a torch.device: its text is what a flag would say
    own_names = {name for base in type(value).__mro__[:-1] for name in vars(base)}
    if not callable(value) and {"__str__", "__repr__"} & own_names:
        return str(value)
    raise OptionError(f"{name}: cannot use {value!r:.60}")

"""What a run is asked to do: the command line over a YAML file over defaults."""

from __future__ import annotations

import csv
import math
import unicodedata
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    get_args,
    get_origin,
    get_type_hints,
)

from safebench.config_file import (
    OptionFile,
    is_given,
    merge_flags,
    parse_key_values,
)
from safebench.errors import OptionError
from safebench.options import convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ALL_STRATEGIES = "all"
DEFAULT_DATASET = "starter"
SHORTCUT_OPTIONS = ("device", "dtype", "adapter")  # flags short for --set NAME=...
COMPONENT_KEYS = ("classifiers", "strategies", "calibrate")
MAPPING_KEYS = ("set", "label_map", "revisions")
# a file that names one classifier reads better without the plural
PLURALS = {
    "classifier": "classifiers",
    "strategy": "strategies",
    "dataset": "datasets",
}


@dataclass(frozen=True, slots=True)
class ComponentRef:
    """A component by name, the label that stands for it, and its options.

    As text ``[LABEL=]NAME[,key=value...]``; without a label the name is the label.
    Raises `OptionError` for a label that could not stand in tables and messages.
    """

    name: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.label, self.name):
            check_text_name(name)
        # with a letter or digit: ".." and "/" are places, not names
        if not any(map(str.isalnum, self.label)):
            raise OptionError(f"label {self.label!r}: it has no letter and no digit")

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the reference with `options` over its own."""
        return type(self)(self.name, self.label, {**self.options, **options})

    def with_defaults(self, options: Mapping[str, Any]) -> Self:
        """Return the reference with `options` beneath its own."""
        return type(self)(self.name, self.label, {**options, **self.options})


def check_text_name(name: str) -> None:
    """Raise `OptionError` for a name that no file and no table can hold."""
    for char in name:
        if unicodedata.category(char) in ("Cc", "Cs"):
            raise OptionError(
                f"{name!a} holds U+{ord(char):04X}, a control character or half of "
                "one: choose another name"
            )


def parse_component_ref(text: str) -> ComponentRef:
    """Read a reference; quote an option that holds a comma: ``name,"key=a,b"``."""
    head, *pairs = next(csv.reader([text], skipinitialspace=True), [""]) or [""]
    label, equals, name = head.partition("=")
    if not equals:
        name = label
    if not name.strip() or not label.strip():
        raise OptionError(f"{text!r}: expected [LABEL=]NAME[,key=value...]")
    return ComponentRef(name.strip(), label.strip(), parse_key_values(pairs, text))


def component_ref_from_yaml(where: str, item: Any) -> ComponentRef:
    """Read a list item: a reference as text, or a mapping with `name` and options."""
    if isinstance(item, str):
        return parse_component_ref(item)
    if not isinstance(item, dict) or "name" not in item:
        raise OptionError(
            f"{where}: expected a name or a mapping with `name`: {item!r}"
        )
    name = str(item["name"])
    options = {str(k): v for k, v in item.items() if k not in ("name", "label")}
    return ComponentRef(name, str(item.get("label", name)), options)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run, as asked for. `models` overrides strategy options for one model each.

    `calibrate` names calibrators of the scores.

    `set` holds ``[LABEL.]key`` -> value. `revisions` are commits by the name of a set,
    "" for any. `max_failures` is a count or a share ("5%"). `executor` is a reference
    as text; `workers`, `address` and `gpus_per_worker` are options of it. `latency` is
    how many samples of each set are also recorded one at a time.
    Raises `OptionError` for a value out of range.
    """

    classifiers: tuple[ComponentRef, ...] = ()
    strategies: tuple[ComponentRef, ...] = ()
    calibrate: tuple[ComponentRef, ...] = ()
    datasets: tuple[str, ...] = ()
    model: str | None = None
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    adapter: str | None = None
    limit: int | None = None
    seed: int = 0
    calibration_fraction: float = 1 / 3
    max_failures: str = "5%"
    on_bad_row: Literal["fail", "skip"] = "fail"
    label_map: dict[str, str] = field(default_factory=dict)
    data_root: str | None = None
    skip_missing: bool | None = None
    revisions: dict[str, str] = field(default_factory=dict)
    strict_data: bool = False
    out: str | None = None
    predictions: Literal["jsonl", "parquet", "none"] = "jsonl"
    shard_size: int | None = None
    keep_text: bool | None = None
    executor: str | None = None
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None
    latency: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.calibration_fraction < 1:
            raise OptionError(
                "calibration_fraction: a share from 0 to below 1, "
                f"got {self.calibration_fraction}"
            )
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit: at least 1, got {self.limit}")
        if self.shard_size is not None and self.shard_size < 1:
            raise OptionError(f"shard_size: at least 1, got {self.shard_size}")
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"workers: at least 1, got {self.workers}")
        if self.latency is not None and self.latency < 1:
            raise OptionError(f"latency: at least 1 sample, got {self.latency}")
        # click checks the words of flags, nobody those of a file
        for name, hint in _field_types().items():
            if get_origin(hint) is Literal:
                convert(getattr(self, name), hint, name)
        self.allowed_failures(1)  # refuse a text that is neither count nor share now

    def allowed_failures(self, n_samples: int) -> float:
        """Return how many of `n_samples` may fail before the exit code says so."""
        text = str(self.max_failures).strip()
        is_share = text.endswith("%")
        try:
            number = float(text.rstrip("%"))
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise OptionError(
                f"max_failures: a count or a share such as 5%, got {text!r}"
            )
        return number / 100 * n_samples if is_share else number

    def to_yaml(self) -> dict[str, Any]:
        """Return the configuration in the form that ``--config`` reads back."""
        values = {k: v for k, v in asdict(self).items() if is_given(v)}
        for name in COMPONENT_KEYS:
            if name == "calibrate" and not self.calibrate:
                continue  # as in versions that had none
            values[name] = [
                {"name": ref["name"], "label": ref["label"], **ref["options"]}
                for ref in values.get(name, ())
            ]
        # the default by its name: another version may have another one
        values["datasets"] = list(values.get("datasets", (DEFAULT_DATASET,)))
        return values


def load_run_config(path: Path | None, flags: Mapping[str, Any]) -> RunConfig:
    """Return the run that `flags` (None or empty: not given) ask for, over a file."""
    file_values = _read_config_file(path) if path else {}
    values = merge_flags(file_values, flags, MAPPING_KEYS)
    if is_given(flags.get("strategies")):
        values["strategies"] = _with_file_options(
            flags["strategies"], file_values.get("strategies", ())
        )
    return RunConfig(**values)


def _with_file_options(
    chosen: Sequence[ComponentRef], in_file: Sequence[ComponentRef]
) -> tuple[ComponentRef, ...]:
    """Keep what a file says about a strategy that a flag chose by name."""
    by_name = {ref.name.casefold(): ref.options for ref in in_file}
    return tuple(
        ref.with_defaults(by_name.get(ref.name.casefold(), {})) for ref in chosen
    )


def _read_config_file(path: Path) -> dict[str, Any]:
    names = [f.name for f in fields(RunConfig)]
    content = OptionFile.read(path).options(names, PLURALS)
    plural = {PLURALS.get(key, key): value for key, value in content.items()}
    for singular, name in PLURALS.items():
        if {singular, name} <= content.keys():
            raise OptionError(f"{path}: {singular!r} and {name!r} are one key")
    return {name: _parse_value(path, name, value) for name, value in plural.items()}


@cache
def _field_types() -> dict[str, Any]:
    return get_type_hints(RunConfig)


def _parse_value(path: Path, name: str, value: Any) -> Any:
    if name in COMPONENT_KEYS:
        return _parse_component_refs(path, name, value)
    if name == "datasets":
        return tuple(str(v) for v in (value if isinstance(value, list) else [value]))
    if name in ("models", *MAPPING_KEYS):
        return _checked_mapping(path, name, value)
    # The field says what a value is: a new option needs no table here.
    hint = _field_types()[name]
    types = {hint, *get_args(hint)}
    if bool in types:
        return convert(value, hint, f"{path}: {name}")
    if name == "executor":
        return _parse_executor(path, value)
    number_type = next((kind for kind in (int, float) if kind in types), None)
    if number_type is None:
        return str(value)
    try:
        # as text, since `limit: yes` is no 1
        number = number_type(str(value) if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{path}: {name}: {value!r} is not a number") from None
    if isinstance(value, float) and number != value:  # nan, and 2.7 of a whole number
        what = "number" if math.isnan(value) else "whole number"
        raise OptionError(f"{path}: {name}: {value!r} is not a {what}")
    return number


def _parse_executor(path: Path, value: Any) -> str:
    """Read ``NAME,key=value`` or a mapping with `name`, as the text of the flag."""
    ref = component_ref_from_yaml(f"{path}: executor", value)
    return ",".join([ref.name, *(f"{k}={v}" for k, v in ref.options.items())])


def _parse_component_refs(
    path: Path, name: str, value: Any
) -> tuple[ComponentRef, ...]:
    """Read ``name``, a list of names or of mappings, or name -> options."""
    if isinstance(value, str):
        return (parse_component_ref(value),)
    if isinstance(value, dict):
        return tuple(
            ComponentRef(str(k), str(k), _checked_mapping(path, f"{name}.{k}", v or {}))
            for k, v in value.items()
        )
    if isinstance(value, list):
        return tuple(component_ref_from_yaml(f"{path}: {name}", item) for item in value)
    raise OptionError(f"{path}: {name}: expected a name, a list or a mapping")


def _checked_mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{path}: {name}: expected keys and values, got {value!r}")
    return {str(k): v for k, v in value.items()}

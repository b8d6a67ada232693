"""The configuration of a training: defaults, then a YAML file, then flags."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from safebench.config_file import (
    merge_flags,
    option_keys,
    parse_key_values,
    read_yaml_mapping,
)
from safebench.errors import OptionError
from safebench.options import OptionSchema, convert

from .flags import split_lists
from .split import parse_shares

if TYPE_CHECKING:
    from collections.abc import Mapping
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
LIST_KEYS = ("dataset", "val_dataset", "test_dataset")
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
    content = read_yaml_mapping(path)
    # Checked before the keys: those of another trainer are all unknown to this one.
    trainer = content.pop("trainer", spec.name)
    if trainer != spec.name:
        raise OptionError(f"{path} is for the trainer {trainer!r}, not {spec.name!r}")
    values = option_keys(path, content, [*COMMON_KEYS, *option_names])
    for key, value in values.items():
        if key in LIST_KEYS and isinstance(value, str):
            values[key] = (value,)
        if key in MAPPING_KEYS and not isinstance(value, dict):
            raise OptionError(f"{path}: {key}: expected keys and values")
    return values


def parse_training_arguments(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the ``key=value`` texts of ``--set``, each value read as YAML."""
    import yaml

    values = parse_key_values(list(texts), "--set")
    try:
        return {k: _parse_number(yaml.safe_load(text)) for k, text in values.items()}
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"--set: {problem}") from None


def _parse_number(value: Any) -> Any:
    # To YAML 1.1, ``1e-5`` is text: it wants a point, as in 1.0e-5.
    if isinstance(value, str) and any(map(str.isdigit, value)):
        try:
            return float(value)
        except ValueError:
            return value
    return value

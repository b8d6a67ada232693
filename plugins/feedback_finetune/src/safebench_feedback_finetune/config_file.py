"""Read the file of ``--config``: options by name, or an older research_config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_origin

from safebench import OptionFile
from safebench.errors import OptionError, did_you_mean
from safebench.options import OptionSchema, convert

from .legacy_config import OPTION_BY_KEY, is_legacy_config, translate_legacy_config

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from safebench import TrainerSpec


@dataclass(slots=True)
class ConfigFileOptions:
    """The options of one command that a file sets; `notes` on its other keys."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_config_file(
    path: Path, stage: TrainerSpec, stages: Iterable[TrainerSpec]
) -> ConfigFileOptions:
    """Return the options of `stage` in a file, which may set those of other `stages`.

    A key whose value is null counts as absent. Raises OptionError for a file that
    cannot be read, for unknown keys, and for values of the wrong type.
    """
    file = OptionFile.read(path)
    hints = OptionSchema.of(stage).types
    known = {name for other in stages for name in OptionSchema.of(other).names}
    if is_legacy_config(file.content):
        return _read_legacy_config(path, file.content, hints, known)
    return ConfigFileOptions(_check_types(path, file.options(known), hints))


def _read_legacy_config(
    path: Path,
    content: Mapping[str, Any],
    hints: dict[str, Any],
    known: Collection[str],
) -> ConfigFileOptions:
    """Return the options of a research_config.json, with a note on each other key."""
    legacy = translate_legacy_config(content)
    for key in legacy.unknown_keys:
        raise OptionError(
            f"{path}: unknown key {key!r}{did_you_mean(key, legacy.known_keys)}"
        )
    for problem in legacy.errors:
        raise OptionError(f"{path}: {problem}")
    notes = list(legacy.notes)
    if others := sorted(k for k in legacy.values if k in known and k not in hints):
        notes.append(f"for other commands: {', '.join(others)}")
    if unused := sorted(k for k in legacy.values if k not in known):
        notes.append(f"ignored, no command has it: {', '.join(unused)}")
    # Errors name the key that stands in the file, not the option it became.
    file_keys = {option: key for key, option in OPTION_BY_KEY.items()}
    values = _check_types(path, legacy.values, hints, file_keys)
    return ConfigFileOptions(values, [f"{path.name}: {note}" for note in notes])


def _check_types(
    path: Path,
    values: Mapping[str, Any],
    hints: Mapping[str, Any],
    file_keys: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the values of the options in `hints`; raises OptionError for a bad one.

    `file_keys` maps an option to its key in the file, where the two differ.
    """
    checked = {}
    for key, value in values.items():
        if key not in hints or value is None:
            continue
        checked[key] = _as_flag_value(key, value, hints[key])
        convert(checked[key], hints[key], f"{path}: {file_keys.get(key, key)}")
    return checked


def _as_flag_value(key: str, value: Any, hint: Any) -> Any:
    """Return a value as flags give it: text, or a tuple of texts.

    Flags and files then take one way through `build_options`, with the same messages.
    """
    if get_origin(hint) is not tuple:
        return _as_text(value)
    if key in ("label_map", "set") and isinstance(value, dict):
        return tuple(f"{name}={_as_yaml(x)}" for name, x in value.items())
    return tuple(map(_as_text, value if isinstance(value, list | tuple) else [value]))


def _as_yaml(value: Any) -> str:
    """Return a value as text that YAML reads back: words of files stay as they are."""
    return value if isinstance(value, str) else json.dumps(value)


def _as_text(value: Any) -> Any:
    """Return a number or bool as text; 1e3 is "1000", which an integer option takes."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, bool | int | float) else value

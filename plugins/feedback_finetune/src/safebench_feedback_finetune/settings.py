"""A file of options: keys and values of our own, or the research_config.json of old."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from safebench.errors import OptionError, nearest
from safebench.options import convert, option_names, option_type
from safebench.yaml_file import read_mapping

from .seed_config import TAKEN, is_seed_config, translated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from .commands import Stage


@dataclass(slots=True)
class Settings:
    """The options of one command that a file sets, and what to say about the rest."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_settings(path: Path, stage: Stage, stages: Iterable[Stage]) -> Settings:
    """Return the options of `stage` in a file; those of other `stages` may be there.

    Null stands for a key that is not given. Raises OptionError for a file that cannot
    be read, for keys that nobody knows, and for values of another type.
    """
    content = read_mapping(path)
    own = _hints(stage)
    known = {name for one in stages for name in option_names(one)}
    if is_seed_config(content):
        return _translated(path, content, own, known)
    values = {str(k).replace("-", "_"): v for k, v in content.items()}
    for key in values:
        if key not in known:
            listed = ", ".join(sorted(known))
            raise OptionError(
                f"{path}: unknown key {key!r}{nearest(key, known)}\n  keys: {listed}"
            )
    return Settings(_checked(path, values, own))


def _hints(stage: Stage) -> dict[str, Any]:
    """Return the types of a command's options."""
    found = option_type(stage)
    return get_type_hints(found) if found else {}


def _translated(
    path: Path, content: dict[str, Any], own: dict[str, Any], known: Collection[str]
) -> Settings:
    """Read a research_config.json, and say what becomes of what is not `own`."""
    found = translated(content)
    for key in found.unknown:
        raise OptionError(f"{path}: unknown key {key!r}{nearest(key, found.known)}")
    for problem in found.wrong:
        raise OptionError(f"{path}: {problem}")
    notes = list(found.notes)
    if others := sorted(k for k in found.values if k in known and k not in own):
        notes.append(f"for other commands: {', '.join(others)}")
    if strange := sorted(k for k in found.values if k not in known):
        notes.append(f"ignored, no command has it: {', '.join(strange)}")
    names = {option: key for key, option in TAKEN.items()}
    values = _checked(path, found.values, own, names)
    return Settings(values, [f"{path.name}: {note}" for note in notes])


def _checked(
    path: Path,
    values: Mapping[str, Any],
    own: Mapping[str, Any],
    names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the values of a command's `own` options; `names` are those in the file."""
    found = {}
    for key, value in values.items():
        if key not in own or value is None:
            continue
        found[key] = _value(key, value, own[key])
        convert(found[key], own[key], f"{path}: {names.get(key, key)}")
    return found


def _value(key: str, value: Any, hint: Any) -> Any:
    """Return a value as flags give it: text, and a tuple of it for what repeats."""
    if get_origin(hint) is not tuple:
        return _text(value)
    if key == "label_map" and isinstance(value, dict):
        return tuple(f"{word}={meaning}" for word, meaning in value.items())
    return tuple(map(_text, value if isinstance(value, list | tuple) else [value]))


def _text(value: Any) -> Any:
    """Return a number or truth value as text; a whole number has no point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, bool | int | float) else value

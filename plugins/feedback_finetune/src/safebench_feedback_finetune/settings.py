"""A file of options: keys and values of our own, or the research_config.json of old."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError, nearest
from safebench.options import option_names

from .seed_config import is_seed_config, translated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from .commands import Stage

LISTS = ("dataset", "benign", "ood", "label_map")


@dataclass(slots=True)
class Settings:
    """The options of one command that a file sets, and what to say about the rest."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read_settings(path: Path, stage: Stage, stages: Iterable[Stage]) -> Settings:
    """Return the options of `stage` in a file; those of other `stages` may be there.

    Raises OptionError for a file that cannot be read and for keys that nobody knows.
    """
    content = _content(path)
    own = option_names(stage)
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
    return Settings({k: _value(k, v) for k, v in values.items() if k in own})


def _translated(
    path: Path, content: dict[str, Any], own: Collection[str], known: Collection[str]
) -> Settings:
    """Read a research_config.json, and say what becomes of what is not `own`."""
    found = translated(content)
    for key in found.unknown:
        raise OptionError(f"{path}: unknown key {key!r}{nearest(key, found.known)}")
    notes = list(found.notes)
    if others := sorted(k for k in found.values if k in known and k not in own):
        notes.append(f"for other commands: {', '.join(others)}")
    if strange := sorted(k for k in found.values if k not in known):
        notes.append(f"ignored, no command has it: {', '.join(strange)}")
    values = {k: v for k, v in found.values.items() if k in own}
    return Settings(values, [f"{path.name}: {note}" for note in notes])


def _value(key: str, value: Any) -> Any:
    if key == "label_map" and isinstance(value, dict):
        return tuple(f"{word}={meaning}" for word, meaning in value.items())
    return (value,) if key in LISTS and isinstance(value, str) else value


def _content(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML or JSON file (JSON is YAML)."""
    import yaml

    if not path.is_file():
        folder = path.parent
        there = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise OptionError(f"no configuration file {path}{nearest(path.name, there)}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"{path} is no YAML: {problem}") from None
    if not isinstance(content, dict):
        raise OptionError(f"{path}: expected keys and values")
    return content

"""Options in a YAML or JSON file that the user wrote (JSON is YAML)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import OptionError, nearest

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file; an empty one has none.

    Raises OptionError if it is not there (naming the nearest), no YAML or no mapping.
    """
    import yaml

    if not path.is_file():
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = nearest(path.name, (p.name for p in there if p.suffix in SUFFIXES))
        raise OptionError(f"no configuration file {path}{hint}")
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"{path} is no YAML: {problem}") from None
    if not isinstance(stored, (dict, type(None))):
        kind = type(stored).__name__
        raise OptionError(f"{path}: expected keys and values, got {kind}")
    return {str(key): value for key, value in (stored or {}).items()}

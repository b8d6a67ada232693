"""Where prompt texts come from: the profile itself, a file, or any-guardrail.

Published prompts that stand on a model's card alone are not part of this project. The
registry of any-guardrail holds many, with versions and sources; others are a file of
the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from safebench.errors import OptionError, did_you_mean

FILE, REGISTRY = "file:", "any-guardrail:"
EXTRA = "safebench-llamaguard-marginal[prompts]"
# The names that the registry gives the parts of a prompt, by what they are to us.
_SEGMENTS = {"text": ("user", "prompt", "system"), "system": ("system",)}


@dataclass(frozen=True, slots=True)
class TextPlaces:
    """Where a profile's texts are looked for, and what a message about them says.

    `folder` is that of the profile's own file (None: the working directory), `source`
    the page on which the text is published.
    """

    where: str
    folder: Path | None = None
    source: str = ""


def resolve_texts(prompt: Mapping[str, Any], places: TextPlaces) -> dict[str, Any]:
    """Return a profile's prompt with its texts in place of where they are found.

    A text is one part or a list of parts that are joined. ``any-guardrail:`` as `text`
    brings the system message along, where there is one. Raises OptionError for a file
    or an entry that is not there.
    """
    resolved = dict(prompt)
    for key in ("text", "system"):
        value = resolved.get(key)
        if isinstance(value, str) and value.startswith(REGISTRY) and "#" not in value:
            name = value.removeprefix(REGISTRY)
            segments = _from_registry(name, f"{places.where}: {key}")
            known = [part for part in _SEGMENTS[key] if part in segments]
            if not known:
                raise OptionError(
                    f"{places.where}: {key}: any-guardrail's {name} is made of "
                    f"{', '.join(segments)}, none of which is a {key}; name one "
                    f"({REGISTRY}{name}#{next(iter(segments))}) in a list of parts"
                )
            resolved[key] = segments[known[0]]
            if key == "text" and known[0] == "user" and "system" in segments:
                resolved.setdefault("system", segments["system"])
        elif value is not None:
            resolved[key] = _joined(value, key, places)
    turns = resolved.get("turns")
    append = turns.get("append") if isinstance(turns, Mapping) else None
    if isinstance(turns, Mapping) and isinstance(append, Mapping) and "text" in append:
        text = _joined(append["text"], "turns: append: text", places)
        resolved["turns"] = {**turns, "append": {**append, "text": text}}
    return resolved


def unresolved_texts(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile's prompt whose texts are only named: nothing is looked up."""
    named = dict(prompt)
    for key in ("text", "system"):
        if isinstance(named.get(key), list):
            named[key] = "".join(map(str, named[key]))
    turns = named.get("turns")
    append = turns.get("append") if isinstance(turns, Mapping) else None
    if isinstance(turns, Mapping) and isinstance(append, Mapping):
        parts = append.get("text")
        if isinstance(parts, list):
            text = "".join(map(str, parts))
            named["turns"] = {**turns, "append": {**append, "text": text}}
    return named


def _joined(value: Any, key: str, places: TextPlaces) -> Any:
    """Return a text of one or several parts; what is none is left to the schema."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        return value
    return "".join(_part(part, key, places) for part in parts)


def _part(part: str, key: str, places: TextPlaces) -> str:
    where = f"{places.where}: {key}"
    if part.startswith(FILE):
        return _from_file(part.removeprefix(FILE), where, places)
    if not part.startswith(REGISTRY):
        return part
    name, _, segment = part.removeprefix(REGISTRY).partition("#")
    segments = _from_registry(name, where)
    if segment in segments:
        return segments[segment]
    hint = did_you_mean(segment, segments)
    raise OptionError(
        f"{where}: any-guardrail's {name} has no segment {segment!r}{hint}\n"
        f"  there is: {', '.join(segments)}, named as {REGISTRY}{name}#SEGMENT"
    )


def _from_file(name: str, where: str, places: TextPlaces) -> str:
    path = Path(name).expanduser()
    path = (places.folder or Path()) / path
    published = f"\n  its text is published at {places.source}" if places.source else ""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = did_you_mean(path.name, (p.name for p in beside))
        raise OptionError(f"{where}: no file {path}{hint}{published}") from None
    except (OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{where}: cannot read {path}: {reason}") from None


def _from_registry(reference: str, where: str) -> dict[str, str]:
    """Return the named texts of a prompt; ``GUARD`` or ``GUARD/VERSION``."""
    try:
        # its prompts alone: neither torch nor transformers is imported
        prompt_registry = import_module("any_guardrail.prompt_registry")
    except ImportError:
        raise OptionError(
            f"{where}: the text of {reference} comes from any-guardrail, which is not "
            f"installed\n  pip install '{EXTRA}', or put the text into a file and name "
            "it (file:PATH)"
        ) from None
    name, _, version = reference.partition("/")
    registry: Mapping[Any, Any] = prompt_registry.PROMPT_REGISTRY
    guards = {str(guard.name).lower(): guard for guard in registry}
    guard = guards.get(name.lower())
    if guard is None:
        hint = did_you_mean(name.lower(), guards)
        raise OptionError(
            f"{where}: any-guardrail has no prompt of {name!r}{hint}\n"
            f"  there is: {', '.join(sorted(guards))}"
        )
    versions = prompt_registry.list_prompt_versions(guard)
    if version and version not in versions:
        raise OptionError(
            f"{where}: any-guardrail has no version {version!r} of {name}"
            f"{did_you_mean(version, versions)}\n  there is: {', '.join(versions)}"
        )
    template = prompt_registry.get_prompt(guard, version or None)
    return {str(key): str(text) for key, text in template.segments.items()}

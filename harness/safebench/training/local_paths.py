"""Paths of this machine in what is to be given away: found, and shortened to a name."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

# A folder at the root or below the home, and at least one name below it; or one of a
# drive. Not within a word, an address or a fraction: and/or, https://a/b, 70/15/15.
_NAME = r"[^\s,;'\"=\\/<>|()]"
_PATH = re.compile(
    rf"(?<![\w.:/~\\-])(?:file://)?"
    rf"(?:~?/(?:{_NAME}+/+)+|[A-Za-z]:[\\/]+(?:{_NAME}+[\\/]+)*)({_NAME}*)"
)
# Of tokens that services give out; other secrets are known by the names before them.
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[po]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})"
)


def without_paths(value: Any) -> Any:
    """Return JSON content whose absolute paths are their last names."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    return _shortened(value) if isinstance(value, str) else value


def _shortened(text: str) -> str:
    if "\n" not in text:
        for path in (PurePosixPath(text), PureWindowsPath(text)):
            if path.is_absolute() and len(path.parts) > 1:
                return path.name
    return _PATH.sub(lambda match: match[1] or "...", text)


def local_path_in(text: str, folder: Path, *, known_only: bool = False) -> str:
    """Return a path of this machine that a text names, "" if there is none.

    Any absolute path; with `known_only` the folder of the user, the current one, and
    that of an artifact, since vocabularies and templates may hold what looks like one.
    """
    for own in (Path.home(), Path.cwd(), folder.resolve().parent):
        # Of a folder right below the root ("/work") words may well speak.
        if len(own.parts) > 2 and str(own) in text:  # noqa: PLR2004
            return str(own)
    found = None if known_only else _PATH.search(text)
    return found[0] if found else ""


def token_in(text: str) -> bool:
    """Tell whether a text holds what looks like a service's token."""
    return bool(_TOKEN.search(text))

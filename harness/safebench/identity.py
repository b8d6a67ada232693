"""What identifies a model: JSON values that are the same in every process."""

from __future__ import annotations

import json
from typing import Any

NOTED_FILES = "noted_files"  # of an identity: stored beside evidence, not in its key


def json_mapping(value: Any, name: str) -> dict[str, Any]:
    """Return a mapping that identifies something, and can be stored as JSON.

    Raises TypeError for what is no mapping of texts, and for a value that is another
    one in every process: the default text of an object holds its address.
    """
    if not isinstance(value, dict):
        try:
            value = dict(value)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: a {type(value).__name__}, not a dict") from None
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name}: the key {key!r} is no text")
    json.dumps(value, default=_stable_text)
    return dict(value)


def _stable_text(value: Any) -> str:
    text = str(value)
    if " at 0x" in text:
        raise TypeError(
            f"a {type(value).__name__} cannot be stored: return JSON values"
        )
    return text

"""Checksums of stored JSON and of files: what is read back is what was written.

Not against an attacker, who can write a new one, but against a disk, a copy that was
cut off, and an editor: damage that still parses would be a number like any other.
Versions without checksums wrote the same files; those are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHECKSUM = "checksum"
_DIGITS = 16  # hex: one in 10^19 damages is overlooked


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content, JSON values by name, with a checksum of all the others."""
    kept = {key: value for key, value in content.items() if key != CHECKSUM}
    return {**kept, CHECKSUM: _digest(kept)}


def unsealed(content: Any) -> dict[str, Any]:
    """Return sealed content without its checksum; without one, as it is.

    Raises TypeError if it is no object, and ValueError if it was changed.
    """
    if not isinstance(content, dict):
        raise TypeError("not a JSON object")
    kept = dict(content)
    checksum = kept.pop(CHECKSUM, None)
    if checksum is not None and checksum != _digest(kept):
        raise ValueError("its checksum is another one: it was changed")
    return kept


def _digest(content: Mapping[str, Any]) -> str:
    # As it reads back: tuples are lists there, keys are text, and so is what JSON
    # cannot hold.
    read_back = json.loads(json.dumps(content, default=str))
    text = json.dumps(read_back, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def bytes_checksum(content: bytes) -> str:
    """Return the checksum that a file of these bytes has: SHA-256, 16 hex digits."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def file_checksum(path: Path) -> str:
    """Return a file's checksum, read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]

"""Where two JSON values differ, for messages that refuse one beside the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def differences(stored: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """Yield ``key.key: X there, Y asked for`` for each leaf that differs."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            inner = f"{where}.{key}" if where else key
            yield from differences(stored.get(key), wanted.get(key), inner)
    elif stored != wanted:
        yield f"{where}: {stored!r} there, {wanted!r} asked for"

"""Text from datasets, made safe to look at."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, limit: int | None = None) -> str:
    r"""Return text on one line, every character that hides or steers spelt out.

    Controls, zero-width, direction and unassigned characters become ``<U+202E>``, line
    ends ``\n``. `limit` cuts after so many characters of the original and says so.
    """
    head = text if limit is None else text[:limit]
    shown = "".join(map(_shown, head))
    cut = len(text) - len(head)
    return f"{shown} ... (+{cut:,} characters)" if cut else shown


def _shown(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if unicodedata.category(char) in _HIDDEN:
        return f"<U+{ord(char):04X}>"
    return char

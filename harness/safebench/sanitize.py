"""Text of others made safe to show: on terminals, in tables, on pages.

A prompt may hold escape sequences, or direction marks that swap what one reads. Where
the text itself matters, `sanitize` spells them out; in names, `printable` drops them.
"""

from __future__ import annotations

import unicodedata

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# unassigned and private characters may be drawn: an emoji newer than our tables
_DROPPED_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def sanitize(text: str, max_characters: int | None = None) -> str:
    r"""Return text on one line, every character that hides or steers spelt out.

    Controls, zero-width, direction and unassigned characters become ``<U+202E>``, line
    ends ``\n``. After `max_characters` of the original the text is cut, and says so.
    """
    head = text if max_characters is None else text[:max_characters]
    shown = "".join(map(_escape, head))
    cut = len(text) - len(head)
    return f"{shown} ... (+{cut:,} characters)" if cut else shown


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) in _HIDDEN_CATEGORIES:
        return f"<U+{ord(char):04X}>"
    return char


def printable(text: str) -> str:
    """Return text on one line, without control, format or surrogate characters."""
    characters = (
        " " if unicodedata.category(char) in _DROPPED_CATEGORIES else char
        for char in text
    )
    return " ".join("".join(characters).split())

"""Text for pages, with characters that hide or reorder text shown by their names.

Prompts are written by strangers. A page must show what was judged, down to a zero-width
space, and must not obey a character that turns the text around.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import groupby

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_ALLOWED_CONTROLS = frozenset("\n\t")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # drawn as nothing
_WHITESPACE_SIGNS = str.maketrans({"\n": "↵", "\t": "⇥", " ": "␣"})
_CONTROL_NAMES = {"\x00": "NUL", "\r": "CR", "\x1b": "ESC", "\x7f": "DEL"}


@dataclass(frozen=True, slots=True)
class TextSegment:
    """Text to show as it is, or a character's code in its place, with its `name`."""

    text: str
    name: str = ""


def text_segments(text: str, show_whitespace: bool = False) -> list[TextSegment]:
    """Split text into what can be shown and what would hide, reorder or do nothing.

    Controls, formats (bidirectional overrides, zero-width characters, tags), lone
    surrogates, private and unassigned characters are given as ``U+202E``.
    `show_whitespace` writes spaces, tabs and line ends as signs, too.
    """
    if show_whitespace:
        text = text.translate(_WHITESPACE_SIGNS)
    segments: list[TextSegment] = []
    for hidden, group in groupby(text, key=is_hidden):
        if hidden:
            segments += [
                TextSegment(character_code(char), character_name(char))
                for char in group
            ]
        else:
            segments.append(TextSegment("".join(group)))
    return segments


def has_hidden(text: str) -> bool:
    """Tell whether a text has a character that must be shown by its code."""
    return any(map(is_hidden, text))


def is_hidden(char: str) -> bool:
    """Tell whether a character must be shown by its code."""
    if char in _ALLOWED_CONTROLS or " " <= char <= "~":
        return False
    space = unicodedata.category(char) == "Zs" and char != "\u3000"
    return unicodedata.category(char) in _HIDDEN_CATEGORIES or char in _BLANK or space


def character_code(char: str) -> str:
    """Return ``U+XXXX``, or the usual short name of a control."""
    return _CONTROL_NAMES.get(char, f"U+{ord(char):04X}")


def character_name(char: str) -> str:
    """Return the character's name in Unicode."""
    fallback = "control character" if ord(char) < 0xA0 else "character without a name"  # noqa: PLR2004 - the end of C1
    return unicodedata.name(char, fallback).lower()

"""Characters that hide or reorder text, shown by their names."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import groupby

_HIDING = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_PLAIN = frozenset("\n\t")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # drawn as nothing
_SIGNS = str.maketrans({"\n": "↵", "\t": "⇥", " ": "␣"})
_SHORT = {"\x00": "NUL", "\r": "CR", "\x1b": "ESC", "\x7f": "DEL"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text to show as it is, or the `name` of a character that is shown by its code."""

    text: str
    name: str = ""


def visible(text: str, spelled: bool = False) -> list[Stretch]:
    """Split text into what can be shown and what would hide, reorder or do nothing.

    Controls, formats (bidirectional overrides, zero-width characters, tags), lone
    surrogates, private and unassigned characters are given as ``U+202E``. `spelled`
    also shows spaces, tabs and line ends, by signs.
    """
    if spelled:
        text = text.translate(_SIGNS)
    out: list[Stretch] = []
    for unseen, run in groupby(text, key=hidden):
        if unseen:
            out += [Stretch(code(char), name(char)) for char in run]
        else:
            out.append(Stretch("".join(run)))
    return out


def hides(text: str) -> bool:
    """Tell whether a text has a character that must be shown by its code."""
    return any(map(hidden, text))


def hidden(char: str) -> bool:
    """Tell whether a character must be shown by its code."""
    if char in _PLAIN or " " <= char <= "~":
        return False
    space = unicodedata.category(char) == "Zs" and char != "\u3000"
    return unicodedata.category(char) in _HIDING or char in _BLANK or space


def code(char: str) -> str:
    """Return ``U+XXXX``, or the usual short name of a control."""
    return _SHORT.get(char, f"U+{ord(char):04X}")


def name(char: str) -> str:
    """Return the character's name in Unicode."""
    fallback = "control character" if ord(char) < 0xA0 else "character without a name"  # noqa: PLR2004 - the end of C1
    return unicodedata.name(char, fallback).lower()

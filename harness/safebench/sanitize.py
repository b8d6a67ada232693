"""Text of others made safe to show: on terminals, in tables, on pages.

A prompt may hold escape sequences, or direction marks that swap what one reads. Where
the text itself matters, `sanitize` spells them out; in names, `printable` drops them;
`escape_controls` is for what has lines of its own, and `json_text` for JSON.

A page must show what was judged, down to a zero-width space, and must not obey a
character that turns the text around: `text_segments` names each of them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import Any

# unassigned and private characters may be drawn: an emoji newer than our tables
_DROPPED_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_NO_PLAIN_ASCII = re.compile(r"[^ -~\n]")
# what click and rich write for colours and weights; no other sequence is theirs
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
# what bars of progress (tqdm, click) write besides text
_PLAIN_PRINT = re.compile(r"[ -~\n\r]*")
_LINE_START = re.compile(r"(\r)")
_BAR = re.compile(r"(\r|\x1b\[[0-9;]{0,20}m|\x1b\[[0-2]?K)")
_LINE_UP = re.compile(r"\x1b\[1?A")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_ALLOWED_CONTROLS = frozenset("\n\t")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # drawn as nothing
_WHITESPACE_SIGNS = str.maketrans({"\n": "↵", "\t": "⇥", " ": "␣"})
_CONTROL_NAMES = {"\x00": "NUL", "\r": "CR", "\x1b": "ESC", "\x7f": "DEL"}


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
    return _spelt_out(char, _HIDDEN_CATEGORIES)


def _spelt_out(char: str, categories: set[str] | frozenset[str]) -> str:
    return f"<U+{ord(char):04X}>" if unicodedata.category(char) in categories else char


def printable(text: str) -> str:
    """Return text on one line, without control, format or surrogate characters."""
    characters = (
        " " if unicodedata.category(char) in _DROPPED_CATEGORIES else char
        for char in text
    )
    return " ".join("".join(characters).split())


def escape_controls(text: str, *, keep_styles: bool = False) -> str:
    """Return text with its lines and tabs, other characters that steer spelt out.

    For messages: they have lines of their own, and may quote anything. With
    `keep_styles`, colours and weights of a terminal are left as they are.
    """
    if keep_styles:
        pieces = _STYLE.split(text)
        pieces[::2] = map(escape_controls, pieces[::2])
        return "".join(pieces)
    return _NO_PLAIN_ASCII.sub(_escape_control, text)


def escape_prints(text: str, *, terminal: bool = False) -> str:
    """Return what a plugin prints as `escape_controls` does, bars of progress left.

    They go back to the start of a line; on a terminal they also erase and colour it.
    Going up a line is left out: what stands there may be a warning.
    """
    if _PLAIN_PRINT.fullmatch(text):  # nearly all, and bars are drawn often
        return text
    pieces = (_BAR if terminal else _LINE_START).split(_LINE_UP.sub("", text))
    pieces[::2] = map(escape_controls, pieces[::2])
    return "".join(pieces)


def _escape_control(match: re.Match[str]) -> str:
    char = match[0]
    return char if char == "\t" else _spelt_out(char, _DROPPED_CATEGORIES)


def json_text(value: Any, encoding: str = "utf-8", indent: int | None = None) -> str:
    """Return JSON to print, with escapes for what does not print.

    Any text in it may hold characters that steer a terminal or reorder what one reads,
    and lone surrogates. Escaped, they are shown as what they are, and every JSON
    parser reads them back. Encodings that are not Unicode get ASCII.
    """
    # ensure_ascii escapes all letters, too: right for ASCII, unreadable elsewhere
    if not encoding.casefold().startswith("utf"):
        return json.dumps(value, indent=indent)
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _NO_PLAIN_ASCII.sub(_escape_in_json, text)


def _escape_in_json(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]


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

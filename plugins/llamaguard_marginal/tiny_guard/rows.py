"""The training row and the text key by which duplicates and test prompts are found."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One conversation with its verdict; `unsafe` None means text without a label.

    `categories` None means unknown; `complete` False means that more may apply.
    """

    source: str
    prompt: str
    response: str | None
    unsafe: bool | None
    categories: tuple[str, ...] | None = None
    complete: bool = True
    origin: str = ""
    licence: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation whose last turn is judged."""
        turns = [{"role": "user", "content": self.prompt}]
        if self.response is not None:
            turns.append({"role": "assistant", "content": self.response})
        return turns

    @property
    def text(self) -> str:
        """All turns as one text, for bag-of-words and encoder models."""
        return self.prompt if self.response is None else _joined(self)

    @property
    def key(self) -> str:
        """Normalised text of the whole conversation."""
        return normalise(self.prompt + "\n" + (self.response or ""))


def _joined(row: TrainingRow) -> str:
    return f"{row.prompt}\nAgent: {row.response}"


def normalise(text: str) -> str:
    """Lower-case letters and digits of `text`, one space between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub(" ", folded).strip()


def fraction(text: str, salt: str) -> float:
    """Map to a number in [0, 1) fixed by the text: the same split on every machine."""
    digest = hashlib.sha256(f"{salt}\0{normalise(text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def code_order(code: str) -> int:
    """Sort key of `S1` to `S14` by number."""
    return int(code[1:])


def in_code_order(codes: set[str]) -> tuple[str, ...]:
    """Codes in the order in which the guard lists them."""
    return tuple(sorted(codes, key=code_order))


def as_text(record: Mapping[str, Any], field: str) -> str:
    """Read the field as text; an absent or null field is empty."""
    value = record.get(field)
    return "" if value is None else str(value)

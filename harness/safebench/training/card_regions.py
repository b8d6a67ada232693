"""The places of a model card that belong to its user, and survive that it is made anew.

What stands between a pair of marks is the user's. A digest of all the rest tells a card
that was edited elsewhere, which is not overwritten.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REGIONS = ("introduction", "notes")
KEYS = "keys"  # of the front matter, where a mark is a comment of YAML
_IN_TEXT = re.compile(
    r"(<!-- yours: begin (\w+) -->\n)(.*?)(<!-- yours: end \2 -->)", re.DOTALL
)
_IN_KEYS = re.compile(r"(# yours: begin (\w+)\n)(.*?)(# yours: end \2)", re.DOTALL)
_DIGEST = re.compile(r"<!-- safebench card ([0-9a-f]{16}) -->")
_MAX_BYTES = 1 << 20


def region(name: str, content: str = "") -> str:
    """Return a place for the user's text."""
    if name == KEYS:
        return f"# yours: begin {name}\n{content}# yours: end {name}"
    return f"<!-- yours: begin {name} -->\n{content}<!-- yours: end {name} -->"


def sign(card: str) -> str:
    """Return a card with the digest of what is not the user's, where it says DIGEST."""
    return card.replace("DIGEST", _digest(card), 1)


def own_text(path: Path) -> dict[str, str]:
    """Return what stands between the marks of a card, by the names of the places.

    Empty without a file. Raises `DataError` for a card that is not from safebench, or
    that was edited outside of the marks: to make it anew would lose that.
    """
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} is larger than any model card")
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8") from None
    digest = _DIGEST.search(text)
    if digest is None:
        raise DataError(
            f"{path} is not from safebench card: move it, or --overwrite replaces it"
        )
    if digest[1] != _digest(text.replace(digest[1], "DIGEST", 1)):
        raise DataError(
            f"{path} was edited outside of the places between 'yours: begin' and "
            "'yours: end': move that there, or --overwrite replaces it"
        )
    return {
        found[2]: found[3]
        for pattern in (_IN_TEXT, _IN_KEYS)
        for found in pattern.finditer(text)
        if found[3].strip()
    }


def own_keys(own: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's keys of the front matter; `DataError` if they are no YAML."""
    import yaml  # slower to import than most commands take

    try:
        keys = yaml.safe_load(own.get(KEYS, "")) or {}
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())[:120]
        raise DataError(
            f"the keys between the marks of the model card are no YAML: {problem}"
        ) from None
    if not isinstance(keys, dict):
        raise DataError("between the marks of the model card's keys: no key: value")
    return keys


def _digest(card: str) -> str:
    """Return the digest of a card without what is between its marks."""
    for pattern in (_IN_TEXT, _IN_KEYS):
        card = pattern.sub(r"\1\4", card)
    return hashlib.sha256(card.encode()).hexdigest()[:16]

"""An answer as one line of JSON that shows in a terminal as what it is."""

from __future__ import annotations

import json
import re
from typing import Any

_OTHER = re.compile(r"[^ -~]")


def json_line(record: dict[str, Any], encoding: str = "utf-8") -> str:
    """Return a record as JSON; what does not print is written by its code.

    What a model wrote may hold characters that steer a terminal, that reorder text, or
    that are no characters at all. An encoding that is not Unicode gets ASCII alone.
    """
    if not encoding.casefold().startswith("utf"):
        return json.dumps(record)
    return _OTHER.sub(_escaped, json.dumps(record, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]

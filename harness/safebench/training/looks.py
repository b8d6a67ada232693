"""Looks at a test part: which evaluations of the same rows are known here.

Whoever measures on a test part, changes something and measures again has chosen on the
test part, even if the last time is registered. Each evaluation leaves a mark before it
reads the test part: in the folder that it evaluates, and in the user's cache under the
hash of the test part, since another training may have been measured on the same rows. A
mark that was deleted, or that lies on another machine, cannot be missed: none found is
no proof that there was none.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LOOKS_FILE = "looks.jsonl"
_CACHE_FOLDER = "looks"
_UNREADABLE = "cannot be read"


def record_look(folder: Path, test: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Leave a mark of this look, and return what a result says of the earlier ones.

    `test` identifies the rows of the test part, `facts` (JSON values) say what looks.
    The mark is on the disk when this returns. Raises OSError where the folder cannot
    be written to; a cache that cannot be written is no error.
    """
    own, cached = folder / LOOKS_FILE, _cache_file(test)
    earlier = _joined([*_read(own), *_read(cached)], test)
    look = {
        "id": uuid.uuid4().hex,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "test": test,
        **facts,
    }
    _append(own, look)
    with suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        _append(cached, look)
    shown = [{k: v for k, v in x.items() if k not in ("id", "test")} for x in earlier]
    return {
        "test": test,
        "number": len(shown),
        "earlier": shown,
        "summary": _summary(shown),
    }


def _summary(earlier: Sequence[Mapping[str, Any]]) -> str:
    """Return a line on the earlier looks, for people."""
    if not earlier:
        return "no earlier look at this test part is known here"
    unregistered = sum(not look.get("registration") for look in earlier)
    by = f", {unregistered} without a registration" if unregistered else ""
    last = earlier[-1].get("time") or "at an unknown time"
    return (
        f"{len(earlier)} earlier look{'s' * (len(earlier) > 1)} at this test part{by}, "
        f"the last {last}: what was chosen since may have been chosen by it"
    )


def _joined(looks: Iterable[dict[str, Any]], test: str) -> list[dict[str, Any]]:
    """Return the looks at one test part, each once, in the order of their times."""
    # A damaged one has no hash of its test part.
    here = [look for look in looks if look.get("test") in (test, None)]
    by_id = {str(look.get("id")): look for look in here}
    return sorted(by_id.values(), key=lambda look: str(look.get("time")))


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the marks in a file, those that are damaged among them.

    Nothing says which rows a damaged one looked at: it counts for all.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    marks = []
    for line in filter(bytes.strip, lines):
        try:
            mark = json.loads(line)
        except (ValueError, RecursionError):
            mark = None
        if isinstance(mark, dict):
            marks.append(mark)
        else:
            digest = hashlib.sha256(line).hexdigest()
            marks.append({"id": digest, "time": None, "note": _UNREADABLE})
    return marks


def _append(path: Path, look: Mapping[str, Any]) -> None:
    with path.open("ab") as file:
        # What an interruption left of a line must not join this one.
        file.write(
            b"\n" * _ends_within_a_line(path) + json.dumps(look).encode() + b"\n"
        )
        file.flush()
        os.fsync(file.fileno())


def _ends_within_a_line(path: Path) -> bool:
    data = path.read_bytes()
    return bool(data) and not data.endswith(b"\n")


def _cache_file(test: str) -> Path:
    named = os.environ.get("SAFEBENCH_CACHE")
    base = Path(named or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    root = base if named else base / "safebench"
    name = hashlib.sha256(test.encode()).hexdigest()[:32]
    return root / _CACHE_FOLDER / f"{name}.jsonl"

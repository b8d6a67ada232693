"""What collecting leaves behind: one line for each prompt and response.

A line has no order of its own and needs no other line: a file may be cut after any of
them, and go on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError
from safebench.records import Turn, content_hash, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLLECTED = "collected.jsonl"
BLOCKED = "blocked_inputs.jsonl"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A prompt, the response to it, and what the guard made of both.

    `p_in` is the guard's p(unsafe) of the prompt alone, `p_out` that of the response
    in the light of the prompt; None where nothing was judged: the prompt was stopped,
    or its response is empty. `passed` means p_in < threshold, `blocked` means
    p_out >= threshold. `categories` are the codes of the verdict that stopped prompt
    or response. `label` is what people say of the prompt, `response_label` what they
    say of the response (True: harmful, None: nobody said). `response_id` tells the
    responses to one prompt apart: the hash of one that a dataset carries, the number of
    one that a language model gave. `guard` and `generator` name models and revisions.
    """

    prompt_id: str
    response_id: str
    prompt: str
    response: str | None
    p_in: float
    p_out: float | None
    categories: tuple[str, ...]
    passed: bool
    blocked: bool | None
    label: bool | None
    response_label: bool | None
    group: str
    dataset: str
    revision: str
    guard: str
    generator: str

    @property
    def key(self) -> tuple[str, str]:
        """What is judged once: a prompt with one of its responses."""
        return self.prompt_id, self.response_id

    @property
    def slipped(self) -> bool:
        """Whether the prompt passed and its response was blocked."""
        return self.passed and bool(self.blocked)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a line."""
        return asdict(self) | {"categories": list(self.categories)}


def prompt_id(prompt: str) -> str:
    """Return the SHA-256 (hex) of a prompt as a single user turn, normalised."""
    return content_hash((Turn("user", prompt),))


def response_id(response: str) -> str:
    """Return the SHA-256 (hex) of a normalised response."""
    return hashlib.sha256(normalise(response).encode()).hexdigest()


def read_collected(path: Path) -> list[Collected]:
    """Return the records of a file or folder; raises DataError naming the bad line."""
    path = path / COLLECTED if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no {path}: make it with safebench feedback collect --out DIR")
    data = path.read_bytes()
    return [
        _record(line, f"{path}:{number}")
        for number, line in enumerate(data.split(b"\n"), 1)
        if line
    ]


def _record(line: bytes, where: str) -> Collected:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error})") from None
    names = {field.name for field in fields(Collected)}
    if not isinstance(row, dict) or (missing := sorted(names - row.keys())):
        lacking = f"lacks {missing[0]}" if isinstance(row, dict) else "no JSON object"
        raise DataError(f"{where}: {lacking}; collect again into a new folder")
    known = {name: row[name] for name in names}
    return Collected(**known | {"categories": tuple(row["categories"])})


def append_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows in one write, and wait until they are on the disk."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    if not lines:
        return
    data = "".join(line + "\n" for line in lines).encode()
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)

"""The folder of a collection: what it was asked with, and what is there already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safebench.differences import differences
from safebench.errors import RunFolderError
from safebench.files import write_json, write_records

from .records import (
    BLOCKED,
    COLLECTED,
    MANIFEST,
    append_lines,
    drop_torn_line,
    read_collected,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .records import Collected

LEFT_OUT = "left_out.jsonl"
KIND = "feedback collection"
SCHEMA_VERSION = 1


class Folder:
    """Records of one guard, threshold and generator; they can be added to.

    `collected` are the records there, `left_out` the keys of what could not be asked.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Open a folder to go on; raises RunFolderError if it holds something else."""
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.manifest: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "identity": self.identity,
        }
        self.manifest |= stored_manifest(path, self.identity)
        path.mkdir(parents=True, exist_ok=True)
        self.say("collecting")  # first of all: a folder without it is no collection
        for name in (COLLECTED, LEFT_OUT):
            drop_torn_line(path / name)
        there = path / COLLECTED
        self.collected = read_collected(there) if there.is_file() else []
        self.left_out = {
            (row["prompt_id"], row["response_id"]) for row in self._lines(LEFT_OUT)
        }
        # It says nothing that the records do not: after a crash it is made again.
        slipped = (record.to_json() for record in self.collected if record.slipped)
        write_records(path / BLOCKED, slipped)

    @property
    def done(self) -> set[tuple[str, str]]:
        """The keys of all that was asked, or could not be."""
        return {record.key for record in self.collected} | self.left_out

    def add(
        self, records: Sequence[Collected], left_out: Sequence[dict[str, str]]
    ) -> None:
        """Append what is finished; it is on the disk when this returns."""
        append_lines(self.path / COLLECTED, (r.to_json() for r in records))
        slipped = (record.to_json() for record in records if record.slipped)
        append_lines(self.path / BLOCKED, slipped)
        append_lines(self.path / LEFT_OUT, left_out)
        self.collected += records
        self.left_out |= {(r["prompt_id"], r["response_id"]) for r in left_out}

    def say(self, status: str, **facts: Any) -> None:
        """Write the manifest, with what is known by now."""
        self.manifest |= {"status": status, **facts}
        write_json(self.path / MANIFEST, self.manifest)

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.path / name
        if path.is_file():
            yield from map(
                json.loads, path.read_text(encoding="utf-8").split("\n")[:-1]
            )


def stored_manifest(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a collection to go on with, {} if nothing is there yet.

    Raises RunFolderError if the folder holds something else.
    """
    if not path.exists():
        return {}
    if not path.is_dir():
        raise RunFolderError(f"{path} is a file; name a folder with --out")
    there = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if not there:
        return {}
    stored = _read(path / MANIFEST)
    if stored.get("kind") != KIND:
        listed = ", ".join(there[:3])
        raise RunFolderError(
            f"{path} holds {listed} and is no collection; name another folder "
            "with --out"
        )
    if not any(_holds(path / name) for name in (COLLECTED, LEFT_OUT)):
        return {}  # it ended before it asked anything
    wanted = json.loads(json.dumps(identity))
    differing = list(differences(stored.get("identity"), wanted))
    if differing:
        lines = "\n  ".join(differing[:8])
        raise RunFolderError(
            f"{path} holds a collection by other means; name another folder "
            f"with --out\n  {lines}"
        )
    return stored


def _holds(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} for a file that holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

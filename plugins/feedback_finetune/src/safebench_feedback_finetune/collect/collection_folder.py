"""The folder of a collection: records in JSON Lines, and a manifest.

A record needs no other record, so a file that ends after any line is valid and can be
continued. The manifest identifies guard, threshold and language model: a collection is
continued only with the same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from safebench import differences, write_json, write_jsonl
from safebench.errors import DataError, RunFolderError
from safebench.records import Turn, content_hash, normalise
from safebench_feedback_finetune.stored_files import (
    changed_file,
    checked,
    checked_probability,
    damage_named,
    file_checksums,
    parse_sealed,
    sealed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

COLLECTED_FILE = "collected.jsonl"
BLOCKED_FILE = "blocked_inputs.jsonl"
LEFT_OUT_FILE = "left_out.jsonl"
MANIFEST_FILE = "manifest.json"
COLLECTION_KIND = "feedback collection"
SCHEMA_VERSION = 1
_COLLECT_AGAIN = "collect again into a new folder"
_TEXTS = (
    *("prompt_id", "response_id", "prompt", "group", "dataset", "revision"),
    *("guard", "generator"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """A prompt, a response to it, and the guard's verdicts on both.

    `p_in` is the guard's p(unsafe) of the prompt alone, `p_out` that of the response
    in the light of the prompt. `p_out` is None if no response was judged: the prompt
    was blocked, or the response is empty. `passed` means p_in < threshold, `blocked`
    means p_out >= threshold. `categories` are the codes of the verdict that blocked
    prompt or response. `label` is the annotators' label of the prompt,
    `response_label` that of the response (True: harmful, None: no label).
    `response_id` distinguishes the responses to one prompt: the hash of a response
    from a dataset, the number of one from a language model. `guard` and `generator`
    name models with their revisions, and so does `judge` where another classifier than
    the guard judged the response; it judges responses to blocked prompts as well.
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
    judge: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Prompt and response; a collection has one record for each pair."""
        return self.prompt_id, self.response_id

    @property
    def passed_then_blocked(self) -> bool:
        """Whether the prompt passed and its response was blocked."""
        return self.passed and bool(self.blocked)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; without a judge as before there was one."""
        row = asdict(self) | {"categories": list(self.categories)}
        if self.judge is None:
            del row["judge"]
        return row


def prompt_id(prompt: str) -> str:
    """Return the SHA-256 (hex) of a prompt as a single user turn, normalised."""
    return content_hash((Turn("user", prompt),))


def response_id(response: str) -> str:
    """Return the SHA-256 (hex) of a normalised response."""
    return hashlib.sha256(normalise(response).encode()).hexdigest()


def read_collection(path: Path) -> list[CollectionRecord]:
    """Return the records of a file or folder; raises DataError naming the bad line."""
    path = path / COLLECTED_FILE if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no {path}: make it with safebench feedback collect --out DIR")
    # Split at line feeds alone: str.splitlines would also split at U+2028 and others,
    # which JSON allows unescaped inside a text.
    lines = path.read_bytes().split(b"\n")
    records: dict[tuple[str, str], CollectionRecord] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        with damage_named(f"{path}:{number}", DataError, _COLLECT_AGAIN):
            record = _parse_record(line)
            if record.key in records:
                raise ValueError("a second record of one prompt and response")
            records[record.key] = record
    return list(records.values())


def _parse_record(line: bytes) -> CollectionRecord:
    """Return the record in a line; raises what `damage_named` knows."""
    row = parse_sealed(line)
    row.setdefault("judge", None)
    values = {field.name: row[field.name] for field in fields(CollectionRecord)}
    for name in _TEXTS:
        checked(values[name], str)
    for name in ("label", "response_label", "blocked"):
        checked(values[name], bool, type(None))
    checked(values["passed"], bool)
    for name in ("response", "judge"):
        checked(values[name], str, type(None))
    checked_probability(values["p_in"])
    if values["p_out"] is not None:
        checked_probability(values["p_out"])
    if (values["p_out"] is None) != (values["blocked"] is None):
        raise ValueError("p_out without blocked, or blocked without p_out")
    codes = tuple(checked(c, str) for c in checked(values["categories"], list))
    return CollectionRecord(**values | {"categories": codes})


def append_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows in one write, and return when they are on the disk."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    if not lines:
        return
    data = "".join(line + "\n" for line in lines).encode()
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def truncate_partial_line(path: Path) -> None:
    """Remove a last line that lacks its line feed: a crash cut its write short."""
    if not path.is_file():
        return
    data = path.read_bytes()
    complete = data.rfind(b"\n") + 1
    if complete < len(data):
        with path.open("r+b") as file:
            file.truncate(complete)


class CollectionFolder:
    """A collection that is written to: records of one guard, threshold and generator.

    `records` are those in the folder, `left_out` the keys of pairs that the guard could
    not read.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Create or continue a folder; raises RunFolderError for a foreign one."""
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.manifest: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "kind": COLLECTION_KIND,
            "identity": self.identity,
        }
        self.manifest |= stored_manifest(path, self.identity)
        path.mkdir(parents=True, exist_ok=True)
        # Before any record: records without a manifest would be refused as foreign.
        self.write_manifest("collecting")
        for name in (COLLECTED_FILE, LEFT_OUT_FILE):
            truncate_partial_line(path / name)
        collected = path / COLLECTED_FILE
        self.records = read_collection(collected) if collected.is_file() else []
        self.left_out = self._read_left_out()
        # A crash may have come between the two files; this one repeats records only, so
        # it is written anew.
        write_jsonl(path / BLOCKED_FILE, _passed_then_blocked(self.records))

    @property
    def processed_keys(self) -> set[tuple[str, str]]:
        """The keys of all pairs that need no more work."""
        return {record.key for record in self.records} | self.left_out

    def append(
        self, records: Sequence[CollectionRecord], left_out: Sequence[dict[str, str]]
    ) -> None:
        """Append finished records; they are on the disk when this returns."""
        lines = (sealed(record.to_json()) for record in records)
        append_lines(self.path / COLLECTED_FILE, lines)
        # Read by people alone; the others are read back.
        append_lines(self.path / BLOCKED_FILE, _passed_then_blocked(records))
        append_lines(self.path / LEFT_OUT_FILE, map(sealed, left_out))
        self.records += records
        self.left_out |= {(r["prompt_id"], r["response_id"]) for r in left_out}

    def write_manifest(self, status: str, **facts: Any) -> None:
        """Write the manifest with a new status and further entries.

        That of a finished collection lists the checksums of its files.
        """
        self.manifest |= {"status": status, **facts}
        self.manifest.pop("files", None)
        if status == "done":
            names = (COLLECTED_FILE, LEFT_OUT_FILE)
            self.manifest["files"] = file_checksums(self.path, names)
        write_json(self.path / MANIFEST_FILE, sealed(self.manifest))

    def _read_left_out(self) -> set[tuple[str, str]]:
        """Return the keys of the pairs that the guard could not read."""
        path, keys = self.path / LEFT_OUT_FILE, set()
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if line:
                with damage_named(f"{path}:{number}", DataError, _COLLECT_AGAIN):
                    row = parse_sealed(line)
                    key = (row["prompt_id"], row["response_id"])
                    keys.add((checked(key[0], str), checked(key[1], str)))
        return keys


def _passed_then_blocked(
    records: Iterable[CollectionRecord],
) -> Iterator[dict[str, Any]]:
    return (record.to_json() for record in records if record.passed_then_blocked)


def stored_manifest(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a collection to continue, {} if none has begun.

    Raises RunFolderError if the folder holds something else, or a collection with
    another `identity`.
    """
    if not path.exists():
        return {}
    if not path.is_dir():
        raise RunFolderError(f"{path} is a file; name a folder with --out")
    names = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if not names:
        return {}
    stored = _read_manifest(path)
    if stored.get("kind") != COLLECTION_KIND:
        listed = ", ".join(names[:3])
        raise RunFolderError(
            f"{path} holds {listed} and is no collection; name another folder "
            "with --out"
        )
    if not any(
        _is_nonempty_file(path / name) for name in (COLLECTED_FILE, LEFT_OUT_FILE)
    ):
        return {}  # stopped before its first record: nothing that could differ
    # Through JSON, so that tuples compare equal to the lists that were stored.
    requested = json.loads(json.dumps(identity))
    differing = list(differences(stored.get("identity"), requested))
    if differing:
        lines = "\n  ".join(differing[:8])
        raise RunFolderError(
            f"{path} holds a collection by other means; name another folder "
            f"with --out\n  {lines}"
        )
    return stored


def read_collection_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished collection; raises DataError."""
    manifest = _read_manifest(folder)
    if manifest.get("kind") != COLLECTION_KIND:
        raise DataError(
            f"{folder} is no collection: make one with safebench feedback collect "
            f"--out {folder}"
        )
    if manifest.get("status") != "done":
        raise DataError(f"{folder} is unfinished: repeat its feedback collect first")
    _check_files(folder, manifest)
    with damage_named(folder / MANIFEST_FILE, DataError, _COLLECT_AGAIN):
        identity = manifest["identity"]
        checked_probability(identity["threshold"])
        checked(identity["guard"], dict)
        for source in checked(manifest.get("sources") or [], list):
            checked(source["name"], str)
    return manifest


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise DataError if a file is not what the finished collection left."""
    if name := changed_file(folder, manifest.get("files")):
        raise DataError(
            f"{folder / name} is not what was collected (lines were changed, lost or "
            f"added): {_COLLECT_AGAIN}"
        )


def _is_nonempty_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest, {} without one; raises DataError for a damaged one.

    A file that is no JSON at all may be anybody's, as in a folder that is none of ours.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return {}
    with damage_named(path, DataError, _COLLECT_AGAIN):
        return parse_sealed(path.read_bytes())

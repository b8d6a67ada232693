"""The folder of a training: its files, and how they are read again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safebench.differences import differences
from safebench.errors import DataError, ModelError, RunFolderError
from safebench.files import write_records
from safebench.training.artifact import ARTIFACT, load_manifest

from .clusters import folded
from .folder import KIND
from .gate import Candidate, Terms
from .gating import Promise
from .parts import PARTS
from .prompts import Prompt
from .records import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from .parts import Parts

TRAINER = "feedback_finetune"
TRAINED = "trained"
PROMISE = "promise.json"
PARTS_FILE = "parts.jsonl"
TEST_FILE = "test.jsonl"


def collection_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished collection; raises DataError."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DataError(
            f"{folder} is no collection: make one with safebench feedback collect "
            f"--out {folder}"
        )
    if found.get("status") != "done":
        raise DataError(f"{folder} is unfinished: repeat its feedback collect first")
    return found


def refuse_other_guard(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise ModelError unless this is the guard that collected.

    A guard cannot learn from what another one let through. Names may differ.
    """
    if stored.get("adapter"):
        raise ModelError(
            "the guard that collected had an adapter, and a LoRA is learnt on a bare "
            "guard: merge it into the guard first, or collect without --adapter"
        )
    before, now = dict(stored), json.loads(json.dumps(asked))
    for names in (before, now):
        names.pop("model", None)
        names.pop("revision", None)
    differing = list(differences(before, now))
    if differing:
        lines = "\n  ".join(differing)
        raise ModelError(
            f"another guard than {stored.get('model')!r}, which collected; name that "
            f"one with --guard, --policy, --format and --dtype\n  {lines}"
        )


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a training, None for a new or empty folder.

    Raises RunFolderError for a folder that holds something else.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; name a folder with --out")
    if (out / ARTIFACT).is_file():
        found = load_manifest(out)
        if found.get("trainer") == TRAINER:
            return found
    elif all(path.name.startswith(".") for path in out.iterdir()):
        return None
    raise RunFolderError(
        f"{out} is no folder of feedback train; name another one with --out"
    )


def begun(out: Path) -> bool:
    """Tell whether a training left more in its folder than that it started."""
    there = (path.name for path in out.iterdir() if not path.name.startswith("."))
    return any(name != ARTIFACT for name in there)


def finished(out: Path) -> dict[str, Any]:
    """Return the manifest of a finished training; raises ModelError otherwise."""
    found = read_manifest(out)
    if found is None or found.get("status") != "done":
        raise ModelError(
            f"{out} holds no finished training: safebench feedback train --out {out}"
        )
    return found


def write_parts(out: Path, parts: Parts) -> None:
    """Write who is in which part, and the test part as it will be measured."""
    write_records(out / PARTS_FILE, _members(parts))
    write_records(
        out / TEST_FILE,
        (asdict(p) | {"cluster": parts.cluster[p.id]} for p in parts.collected["test"]),
    )


def _members(parts: Parts) -> Iterator[dict[str, Any]]:
    for role, found in (("collected", parts.collected), ("benign", parts.benign)):
        for part in PARTS:
            for prompt in found.get(part, ()):
                yield {
                    "prompt_id": prompt.id,
                    "part": part,
                    "role": role,
                    "cluster": parts.cluster[prompt.id],
                    "text_hash": text_hash(prompt.text),
                }


def text_hash(text: str) -> str:
    """Return a hash that texts share which differ in case and punctuation alone."""
    return hashlib.sha256(folded(text).encode()).hexdigest()[:16]


def read_test(out: Path) -> tuple[list[Prompt], dict[str, str]]:
    """Return the test prompts of a training, and their clusters by id."""
    prompts, cluster = [], {}
    for row in _records(out / TEST_FILE):
        cluster[row["id"]] = row.pop("cluster")
        lists = {name: tuple(row[name]) for name in ("p_out", "responses")}
        prompts.append(Prompt(**row | lists))
    return prompts, cluster


def read_seen(out: Path) -> set[str]:
    """Return the hashes of all texts that a training saw, its test part apart."""
    rows = _records(out / PARTS_FILE)
    return {row["text_hash"] for row in rows if row["part"] != "test"}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError:
        raise ModelError(f"{path} is missing: train into a new folder") from None
    return (json.loads(line) for line in lines if line)


def read_promise(path: Path) -> Promise:
    """Return what was promised before calib was opened."""
    found = json.loads(path.read_text(encoding="utf-8"))
    chosen = found["candidate"] and Candidate(**found["candidate"])
    records = {
        "terms": Terms(**found["terms"]),
        "candidate": chosen,
        "control": Candidate(**found["control"]),
    }
    return Promise(**found | records)


def hash_of(lines: Iterable[str]) -> str:
    """Return a hash of lines in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

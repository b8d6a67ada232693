"""One shard on disk: evidence of up to 1,024 questions in a single .npz, no pickle."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers.base import Recording, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .base import Evidence

HEAD = "head"


def write_shard(path: Path, questions: Sequence[str], recording: Recording) -> None:
    """Write a shard under a temporary name, flush it to disk, then rename it."""
    head = {
        "questions": list(questions),
        "traces": _columns(recording.traces),
        "peak_memory_mib": recording.peak_memory_mib,
        "kinds": {k.kind_id: batch.meta for k, batch in recording.evidence.items()},
    }
    arrays = {HEAD: np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)}
    for kind, batch in recording.evidence.items():
        name = kind.kind_id
        arrays |= {f"{name}/{field}": array for field, array in batch.arrays.items()}
        arrays |= {f"{name}/@{dim}": rows for dim, rows in batch.offsets.items()}
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_head(path: Path) -> dict[str, Any] | None:
    """Return the questions and meta of a shard, or None if it cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            head: dict[str, Any] = json.loads(stored[HEAD].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    return head


def read_shard(path: Path, kinds: Iterable[type[Evidence]]) -> Recording:
    """Return the evidence of `kinds` and the traces of one shard."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        head = json.loads(stored[HEAD].tobytes())
        evidence = {
            kind: _read_kind(kind, stored, head["kinds"][kind.kind_id])
            for kind in kinds
        }
    size = len(head["questions"])
    for kind, batch in evidence.items():
        assert len(batch) == size, f"{kind.__name__}: {len(batch)} of {size} in {path}"
    return Recording(
        evidence=evidence,
        traces=_rows(head["traces"], size),
        peak_memory_mib=head["peak_memory_mib"],
    )


def _read_kind(kind: type[Evidence], stored: Any, meta: dict[str, Any]) -> Evidence:
    prefix = f"{kind.kind_id}/"
    own = {n.removeprefix(prefix): n for n in stored.files if n.startswith(prefix)}
    return kind(
        {field: stored[name] for field, name in own.items() if field[0] != "@"},
        offsets={f[1:]: stored[name] for f, name in own.items() if f[0] == "@"},
        meta=meta,
    )


def _columns(traces: Sequence[Trace]) -> dict[str, list[Any]]:
    names = [f.name for f in fields(Trace)]
    return {name: [getattr(trace, name) for trace in traces] for name in names}


def _rows(columns: dict[str, list[Any]], size: int) -> list[Trace]:
    known = {f.name for f in fields(Trace)} & set(columns)
    return [Trace(**{name: columns[name][i] for name in known}) for i in range(size)]

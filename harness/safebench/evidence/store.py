"""Evidence on disk, found by sample, whatever dataset the sample came from.

``evidence/<key>/evidence.json`` says which model recorded it, and how.
``evidence/<key>/<probe>/00000.npz`` and so on are the shards: evidence of up to 1,024
samples each, as arrays (never pickle, which runs code when it is read).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from safebench.files import atomic_path, write_json

from .recording import Recording, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.records import Sample

    from .base import Evidence


HEADER = "head"  # the array of a shard that holds its JSON header, as bytes
MANIFEST_FILE = "evidence.json"


def sample_key(sample: Sample, scope: Literal["target", "conversation"]) -> str:
    """Return the key under which evidence about a sample is stored.

    `scope` is the classifier's `evidence_scope`: evidence about the whole conversation
    answers every task, so that the key names neither task nor turn.
    """
    if scope == "conversation":
        return sample.content
    turn = sample.target % len(sample.turns)
    return f"{sample.content}:{turn}:{sample.task}"


def evidence_key(request: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (16 hex digits) of everything that changes evidence."""
    # Sorted keys: the order in which options were given changes nothing.
    text = json.dumps([request, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _ShardRow:
    shard: Path
    row: int


class EvidenceStore:
    """The evidence of one model in one folder, appended shard by shard.

    Shards that cannot be read, or that lack a kind, count as not recorded: a run that
    was interrupted records them again.
    """

    def __init__(self, folder: Path, kinds: Iterable[type[Evidence]]) -> None:
        self.folder = folder
        self.kinds = frozenset(kinds)
        self.locations: dict[str, _ShardRow] = {}
        kind_ids = {kind.kind_id for kind in self.kinds}
        # In order: a sample that was recorded again is read from the later shard.
        for shard in sorted(folder.glob("[0-9]*.npz")):
            header = read_header(shard)
            if header is not None and kind_ids <= set(header["kinds"]):
                locations = (
                    (key, _ShardRow(shard, i))
                    for i, key in enumerate(header["questions"])
                )
                self.locations.update(locations)

    def __contains__(self, key: str) -> bool:
        return key in self.locations

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the samples without stored evidence: in order, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.locations]

    def add(self, keys: Sequence[str], recording: Recording) -> None:
        """Append a shard; it is complete on disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # After the largest number and not in a gap: order says which shard is later.
        numbers = [int(p.stem) for p in self.folder.glob("[0-9]*.npz")]
        shard = self.folder / f"{max(numbers, default=-1) + 1:05d}.npz"
        write_shard(shard, keys, recording)
        self.locations.update((key, _ShardRow(shard, i)) for i, key in enumerate(keys))

    def load(self, keys: Sequence[str], kinds: Iterable[type[Evidence]]) -> Recording:
        """Return evidence and traces of samples in that order; repeats are fine."""
        shards = sorted({self.locations[key].shard for key in keys})
        parts = [read_shard(shard, kinds) for shard in shards]
        starts: dict[Path, int] = {}
        total = 0
        for shard, part in zip(shards, parts, strict=True):
            starts[shard] = total
            total += len(part.traces)
        rows = [
            starts[location.shard] + location.row
            for location in map(self.locations.__getitem__, keys)
        ]
        traces = [trace for part in parts for trace in part.traces]
        return Recording(
            evidence={
                kind: kind.concat([part.evidence[kind] for part in parts]).select(rows)
                for kind in kinds
            },
            traces=[traces[row] for row in rows],
            peak_memory_mib=max(
                (part.peak_memory_mib or 0.0 for part in parts), default=0.0
            ),
        )


@dataclass(frozen=True, slots=True)
class EvidenceManifest:
    """What recorded the evidence under a key.

    `request` is known before the model is loaded, `facts` (device, number format)
    only after.
    """

    key: str
    request: dict[str, Any]
    facts: dict[str, Any]

    def write(self, root: Path) -> None:
        """Write the manifest beside the evidence, once."""
        path = root / self.key / MANIFEST_FILE
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"request": self.request, "facts": self.facts})

    @classmethod
    def read_all(cls, root: Path) -> Iterator[Self]:
        """Yield every manifest in a run's evidence folder."""
        for path in sorted(root.glob(f"*/{MANIFEST_FILE}")):
            stored = json.loads(path.read_text(encoding="utf-8"))
            yield cls(path.parent.name, stored["request"], stored["facts"])


def write_shard(path: Path, keys: Sequence[str], recording: Recording) -> None:
    """Write a shard in one step: a reader finds all of it or nothing."""
    header = {
        "questions": list(keys),
        "traces": _trace_columns(recording.traces),
        "peak_memory_mib": recording.peak_memory_mib,
        "kinds": {k.kind_id: batch.meta for k, batch in recording.evidence.items()},
    }
    arrays = {HEADER: np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    for kind, batch in recording.evidence.items():
        name = kind.kind_id
        arrays |= {f"{name}/{field}": array for field, array in batch.arrays.items()}
        arrays |= {f"{name}/@{dim}": rows for dim, rows in batch.offsets.items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_header(path: Path) -> dict[str, Any] | None:
    """Return the sample keys and meta of a shard, or None if it cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header: dict[str, Any] = json.loads(stored[HEADER].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    return header


def read_shard(path: Path, kinds: Iterable[type[Evidence]]) -> Recording:
    """Return the evidence of `kinds` and the traces of one shard."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        header = json.loads(stored[HEADER].tobytes())
        evidence = {
            kind: _read_kind(kind, stored, header["kinds"][kind.kind_id])
            for kind in kinds
        }
    size = len(header["questions"])
    for kind, batch in evidence.items():
        assert len(batch) == size, f"{kind.__name__}: {len(batch)} of {size} in {path}"
    return Recording(
        evidence=evidence,
        traces=_trace_rows(header["traces"], size),
        peak_memory_mib=header["peak_memory_mib"],
    )


def _read_kind(kind: type[Evidence], stored: Any, meta: dict[str, Any]) -> Evidence:
    prefix = f"{kind.kind_id}/"
    names = {n.removeprefix(prefix): n for n in stored.files if n.startswith(prefix)}
    return kind(
        {field: stored[name] for field, name in names.items() if field[0] != "@"},
        offsets={f[1:]: stored[name] for f, name in names.items() if f[0] == "@"},
        meta=meta,
    )


def _trace_columns(traces: Sequence[Trace]) -> dict[str, list[Any]]:
    # By column, like the arrays: a shard of a thousand traces stays small and readable.
    names = [f.name for f in fields(Trace)]
    return {name: [getattr(trace, name) for trace in traces] for name in names}


def _trace_rows(columns: dict[str, list[Any]], size: int) -> list[Trace]:
    # Shards of another version may lack a field, or have one that is gone.
    known = {f.name for f in fields(Trace)} & set(columns)
    return [Trace(**{name: columns[name][i] for name in known}) for i in range(size)]

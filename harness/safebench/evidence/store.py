"""Evidence on disk, found by sample, whatever dataset the sample came from.

``evidence/<key>/evidence.json`` says which model recorded it, and how.
``evidence/<key>/<probe>/00000.npz`` and so on are the shards: evidence of up to 1,024
samples each, as arrays (never pickle, which runs code when it is read).

Nothing is believed for the place where it lies: a shard knows the key that it was
recorded for and the code that recorded it, and ends with a checksum of all its bytes
(as the comment of its archive). Shards of early versions have none of these; they are
read whole before they are used.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self, get_type_hints

import numpy as np

from safebench.files import atomic_path, make_folder, set_aside, write_json

from .recording import Recording, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from .base import Evidence


HEADER = "head"  # the array of a shard that holds its JSON header, as bytes
MANIFEST_FILE = "evidence.json"
# In the comment of the archive, which readers of arrays pass over: a sealed shard is
# still a plain .npz.
_SEAL = b"safebench shard, sha256 of all before: "
_DIGEST_SIZE = 64  # hex digits
_TRACE_TYPES = {
    name: hint | int if isinstance(0.0, hint) else hint
    for name, hint in get_type_hints(Trace).items()
}


def evidence_key(request: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (16 hex digits) of everything that changes evidence."""
    # Sorted keys: the order in which options were given changes nothing.
    text = json.dumps([request, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _ShardRow:
    shard: Path
    row: int


class DamagedError(ValueError):
    """A stored file is not what it was when it was written; the text says why."""


class EvidenceStore:
    """The evidence of one model in one folder, appended shard by shard.

    Shards that lack a kind count as not recorded. So do those in `damaged` (path ->
    why): what cannot be read, or was recorded for another `key` (None: any will do).
    `recorder` describes the code that records now, as JSON, and is stored with it.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Iterable[type[Evidence]],
        key: str | None = None,
        recorder: Any = None,
    ) -> None:
        self.folder = folder
        self.kinds = frozenset(kinds)
        self.key = key
        self.recorder = recorder
        self.locations: dict[str, _ShardRow] = {}
        self.damaged: dict[Path, str] = {}
        self._recorders: dict[Path, Any] = {}
        self._datasets: dict[Path, str | None] = {}
        self._failed: set[str] = set()
        kind_ids = {kind.kind_id for kind in self.kinds}
        # In order: a sample that was recorded again is read from the later shard.
        for _, shard in self._numbered():
            try:
                header = check_shard(shard, self.kinds, key)
            except DamagedError as error:
                self.damaged[shard] = str(error)
                continue
            if kind_ids <= set(header["kinds"]):
                self._datasets[shard] = header.get("dataset")
                keys = header["questions"]
                errors = header["traces"].get("error", [None] * len(keys))
                self._locate(shard, keys, header.get("recorder"), errors)

    def __contains__(self, key: str) -> bool:
        return key in self.locations

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the samples without stored evidence: in order, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.locations]

    def stored_under(self, keys: Sequence[str]) -> str:
        """Return which of a sample's keys its evidence has, else the first.

        The last one comes first that is stored: what earlier versions recorded about
        just this sample stays its evidence, and judging it again changes no byte.
        """
        return next((key for key in reversed(keys) if key in self.locations), keys[0])

    def dataset_of(self, key: str) -> str | None:
        """Return the dataset that a sample was recorded for, None where unknown."""
        return self._datasets[self.locations[key].shard]

    def add(
        self, keys: Sequence[str], recording: Recording, dataset: str | None = None
    ) -> None:
        """Append a shard; it is complete on disk when this returns.

        `dataset` is the label of the one that the samples were recorded for.
        """
        make_folder(self.folder)
        # After the largest number and not in a gap: order says which shard is later.
        number = max((number for number, _ in self._numbered()), default=-1) + 1
        shard = self.folder / f"{number:05d}.npz"
        write_shard(shard, keys, recording, self.key, self.recorder, dataset)
        self._datasets[shard] = dataset
        errors = [trace.error for trace in recording.traces]
        self._locate(shard, keys, self.recorder, errors)

    def recorders(self, keys: Iterable[str]) -> list[tuple[Any, int]]:
        """Return which code recorded samples, and how many of them: None is unknown."""
        shards = Counter(self.locations[key].shard for key in keys)
        counts: list[tuple[Any, int]] = []
        for shard, n in shards.items():
            recorder = self._recorders[shard]
            before = sum(count for other, count in counts if other == recorder)
            counts = [item for item in counts if item[0] != recorder]
            counts.append((recorder, before + n))
        return counts

    def forget(self, keys: Iterable[str]) -> None:
        """Take samples for not recorded: they will be recorded again.

        Those that other code than today's recorded, or else all of them: so a repeated
        command goes on where an interrupted one was.
        """
        known = [key for key in dict.fromkeys(keys) if key in self.locations]
        others = [
            key
            for key in known
            if self._recorders[self.locations[key].shard] != self.recorder
        ]
        for key in others or known:
            del self.locations[key]

    def forget_failed(self, keys: Iterable[str]) -> int:
        """Take samples whose recording failed for not recorded; return how many."""
        failed = {key for key in keys if key in self.locations} & self._failed
        for key in failed:
            del self.locations[key]
        return len(failed)

    def set_aside_damaged(self) -> list[str]:
        """Rename the damaged shards; return a line for the user about each.

        Only for the one writer of the folder.
        """
        lines = [
            f"{shard} {reason}: set aside as {set_aside(shard).name}"
            for shard, reason in self.damaged.items()
        ]
        self.damaged.clear()
        return lines

    def _numbered(self) -> list[tuple[int, Path]]:
        """Return the shards with their numbers, in order, and nothing else."""
        paths = self.folder.glob("*.npz")
        # isascii: a superscript two is a digit to Python, and no number
        numbers = [p for p in paths if p.stem.isascii() and p.stem.isdecimal()]
        return sorted((int(path.stem), path) for path in numbers)

    def _locate(
        self,
        shard: Path,
        keys: Sequence[str],
        recorder: Any,
        errors: Sequence[str | None],
    ) -> None:
        self._recorders[shard] = recorder
        self._failed.difference_update(keys)  # those of an earlier shard
        self._failed.update(
            key for key, error in zip(keys, errors, strict=True) if error is not None
        )
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
            make_folder(path.parent)
            write_json(path, {"request": self.request, "facts": self.facts})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest; raises `DamagedError` unless it is that of its folder."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            request, facts = stored["request"], stored["facts"]
        except (
            FileNotFoundError,  # a link to nothing
            IsADirectoryError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ):
            raise DamagedError("cannot be read") from None
        if not isinstance(request, dict) or not isinstance(facts, dict):
            raise DamagedError("cannot be read")
        key = path.parent.name
        if evidence_key(request, facts) != key:
            raise DamagedError("describes evidence of another key")
        return cls(key, request, facts)


def manifest_paths(root: Path) -> list[Path]:
    """Return the manifests in a run's evidence folder, by key."""
    return sorted(root.glob(f"*/{MANIFEST_FILE}"))


def write_shard(
    path: Path,
    keys: Sequence[str],
    recording: Recording,
    key: str | None = None,
    recorder: Any = None,
    dataset: str | None = None,
) -> None:
    """Write a shard in one step: a reader finds all of it or nothing."""
    header = {
        "key": key,
        "recorder": recorder,
        "dataset": dataset,
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
    with atomic_path(path) as partial:
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        _seal(partial)


def _seal(path: Path) -> None:
    """End an archive with the checksum of all bytes before it.

    In the archive's comment, which readers of archives pass over.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = _SEAL + b"0" * _DIGEST_SIZE
    with path.open("r+b") as file:
        sealed = file.read()[:-_DIGEST_SIZE]
        file.seek(len(sealed))
        file.write(hashlib.sha256(sealed).hexdigest().encode())


def check_shard(
    path: Path, kinds: Iterable[type[Evidence]], key: str | None = None
) -> dict[str, Any]:
    """Return the header of a shard that is as it was written, or raise `DamagedError`.

    `key` is the one that it must have been recorded for, None if any will do. Of a
    shard without a checksum the evidence of `kinds` is read, if it has all of them.
    """
    content = _read_bytes(path)
    sealed, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    has_seal = sealed.endswith(_SEAL)
    if has_seal and hashlib.sha256(sealed).hexdigest().encode() != digest:
        raise DamagedError("is damaged (its checksum differs)")
    header = read_header(path)
    if header is None:
        raise DamagedError("is damaged (it cannot be read)")
    if "key" in header and not has_seal:
        raise DamagedError("is damaged (its checksum is missing)")
    if key is not None and header.get("key") not in (None, key):
        raise DamagedError(f"belongs to another key ({header['key']})")
    if not has_seal and {kind.kind_id for kind in kinds} <= set(header["kinds"]):
        try:
            read_shard(path, kinds)
        except Exception as error:  # noqa: BLE001 - a damaged archive raises anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DamagedError(f"is damaged ({reason:.200})") from None
    return header


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise DamagedError("is a folder") from None
    except FileNotFoundError:
        raise DamagedError("is a link to nothing") from None


def read_header(path: Path) -> dict[str, Any] | None:
    """Return the sample keys and meta of a shard, or None if it cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(stored[HEADER].tobytes())
    except Exception:  # noqa: BLE001 - a damaged archive raises whatever it likes
        return None
    return header if _is_header(header) else None


def _is_header(header: Any) -> bool:
    """Tell whether a header has all that readers take for granted."""
    if not isinstance(header, dict):
        return False
    keys, traces, kinds = (header.get(n) for n in ("questions", "traces", "kinds"))
    peak = header.get("peak_memory_mib")
    return (
        isinstance(keys, list)
        and all(isinstance(key, str) for key in keys)
        and isinstance(kinds, dict)
        and all(isinstance(meta, dict) for meta in kinds.values())
        and isinstance(peak, int | float | None)
        and isinstance(traces, dict)
        and all(
            isinstance(column, list)
            and len(column) == len(keys)
            and all(isinstance(v, _TRACE_TYPES.get(name, object)) for v in column)
            for name, column in traces.items()
        )
    )


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
        if len(batch) != size:
            raise DamagedError(f"{kind.__name__}: {len(batch)} of {size} in {path}")
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

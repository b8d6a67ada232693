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
import io
import json
import zipfile
from dataclasses import dataclass, fields, replace
from typing import IO, TYPE_CHECKING, Any, Self, get_type_hints

import numpy as np

from safebench.files import atomic_path, make_folder, set_aside, write_json

from .key_index import EvidenceKeys, KeyIndex
from .recording import Recording, Trace
from .trace_columns import TraceColumns, trace_column

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from safebench.typing import Array

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
class _StoredShard:
    """A shard of a store: where it is, what recorded it, and what for.

    `workers` is how many recorded side by side. `facts` are what it says beside its
    arrays, None where that is much and is read again.
    """

    path: Path
    recorder: Any
    dataset: str | None
    workers: int = 1
    facts: StoredFacts | None = None

    @classmethod
    def of(
        cls, path: Path, header: dict[str, Any], before: _StoredShard | None
    ) -> Self:
        """Describe a shard by its header; `before` is another of the store."""
        workers = header.get("workers", 1)
        return cls(
            path,
            header.get("recorder"),
            header.get("dataset"),
            workers if isinstance(workers, int) else 1,
            _compact_facts(header, None if before is None else before.facts),
        )


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
        self.damaged: dict[Path, str] = {}
        self._shards: list[_StoredShard] = []
        self._index = KeyIndex()
        self._failed: set[bytes] = set()  # digests
        kind_ids = {kind.kind_id for kind in self.kinds}
        # In order: a sample that was recorded again is read from the later shard.
        for _, shard in self._numbered():
            try:
                header = check_shard(shard, self.kinds, key)
            except DamagedError as error:
                self.damaged[shard] = str(error)
                continue
            if kind_ids <= set(header["kinds"]):
                stored = _StoredShard.of(shard, header, self._last)
                keys = header["questions"]
                errors = header["traces"].get("error", [None] * len(keys))
                self._locate(stored, keys, errors)

    def __contains__(self, key: str) -> bool:
        return bool(self.find([key])[0, 0] >= 0)

    def __len__(self) -> int:
        return len(self._index)

    def find(self, keys: Iterable[str]) -> Array:
        """Return where keys are stored, (n, 2) int: a shard's place among all, a row.

        -1 for those that are not.
        """
        return self._index.find(EvidenceKeys.of(keys))

    def keys(self) -> list[str]:
        """Return all keys, shard by shard; they are read from the shards again."""
        keys: list[str] = []
        places = self._index.shards_and_rows()
        for number in np.unique(places[:, 0]).tolist():
            header = read_header(self._shards[number].path) or {"questions": []}
            rows = places[places[:, 0] == number, 1]
            keys += (header["questions"][row] for row in rows.tolist())
        return keys

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the samples without stored evidence: in order, each once."""
        asked = EvidenceKeys.of(keys)
        return [asked[row] for row in self.missing_rows(asked).tolist()]

    def missing_rows(self, keys: EvidenceKeys) -> Array:
        """Return the places of the keys that `missing` returns."""
        return np.flatnonzero((self.find(keys)[:, 0] < 0) & keys.first)

    def stored_under(self, alternatives: Sequence[EvidenceKeys]) -> EvidenceKeys:
        """Return which of its keys the evidence of each sample has, else the first.

        The last one comes first that is stored: what earlier versions recorded about
        just this sample stays its evidence, and judging it again changes no byte.
        """
        chosen = alternatives[0]
        for other in alternatives[1:]:
            chosen = chosen.replaced(other, self.find(other)[:, 0] >= 0)
        return chosen

    def datasets_of(self, places: Array) -> list[str | None]:
        """Return the dataset that each sample was recorded for, None where unknown.

        `places` are those of `find`.
        """
        datasets = [shard.dataset for shard in self._shards]
        return [datasets[number] for number in places[:, 0].tolist()]

    def next_number(self) -> int:
        """Return the number of the next shard.

        After the largest one and not in a gap: order says which shard is later.
        """
        return max((number for number, _ in self._numbered()), default=-1) + 1

    def add(
        self,
        keys: Sequence[str],
        recording: Recording,
        dataset: str | None = None,
        *,
        number: int | None = None,
        workers: int = 1,
    ) -> None:
        """Append a shard; it is complete on disk when this returns.

        `dataset` is the label of the one that the samples were recorded for. `number`
        is one that was free from `next_number` on (None: that one), so that shards
        which are not finished in order are numbered as if they were. `workers` says how
        many recorded side by side.
        """
        make_folder(self.folder)
        number = self.next_number() if number is None else number
        shard = self.folder / f"{number:05d}.npz"
        header = write_shard(
            shard, keys, recording, self.key, self.recorder, dataset, workers=workers
        )
        stored = _StoredShard.of(shard, header, self._last)
        self._locate(stored, keys, header["traces"]["error"])

    def n_workers(self, keys: Iterable[str]) -> int:
        """Return the most workers that recorded any of some samples side by side."""
        numbers = np.unique(self.find(keys)[:, 0])
        stored = numbers[numbers >= 0].tolist()
        return max((self._shards[number].workers for number in stored), default=1)

    def recorders(self, keys: Iterable[str]) -> list[tuple[Any, int]]:
        """Return which code recorded samples, and how many of them: None is unknown."""
        numbers = self.find(keys)[:, 0]
        counts: list[tuple[Any, int]] = []
        for number in dict.fromkeys(numbers.tolist()):
            recorder = self._shards[number].recorder
            n = int((numbers == number).sum())
            before = sum(count for other, count in counts if other == recorder)
            counts = [item for item in counts if item[0] != recorder]
            counts.append((recorder, before + n))
        return counts

    def forget(self, keys: Iterable[str]) -> None:
        """Take samples for not recorded: they will be recorded again.

        Those that other code than today's recorded, or else all of them: so a repeated
        command goes on where an interrupted one was.
        """
        asked = EvidenceKeys.of(keys)
        numbers = self.find(asked)[:, 0]
        is_other = np.array([s.recorder != self.recorder for s in self._shards] or [0])
        others = (numbers >= 0) & is_other[numbers].astype(bool)
        chosen = others if others.any() else numbers >= 0
        self._index.remove(asked.select(np.flatnonzero(chosen)))

    def forget_failed(self, keys: Iterable[str]) -> int:
        """Take samples whose recording failed for not recorded; return how many."""
        if not self._failed:
            return 0
        asked = EvidenceKeys.of(keys)
        stored = (self.find(asked)[:, 0] >= 0) & asked.first
        digests = map(bytes, asked.digests)
        failed = np.array([digest in self._failed for digest in digests], dtype=bool)
        rows = np.flatnonzero(stored & failed)
        self._index.remove(asked.select(rows))
        return len(rows)

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

    @property
    def _last(self) -> _StoredShard | None:
        return self._shards[-1] if self._shards else None

    def _locate(
        self, shard: _StoredShard, keys: Sequence[str], errors: Sequence[str | None]
    ) -> None:
        located = EvidenceKeys.of(keys)
        if self._failed:  # those of an earlier shard
            self._failed.difference_update(map(bytes, located.digests))
        self._failed.update(
            bytes(located.digests[row])
            for row, error in enumerate(errors)
            if error is not None
        )
        self._index.add(located, len(self._shards))
        self._shards.append(shard)

    def load(self, keys: Sequence[str], kinds: Iterable[type[Evidence]]) -> Recording:
        """Return evidence and traces of samples in that order; repeats are fine.

        Raises KeyError for a key that is not stored.
        """
        places = self._places(keys)
        numbers = np.unique(places[:, 0])
        # by their numbers, as when evidence was found by the names of its shards
        shards = [self._shards[number] for number in numbers.tolist()]
        parts = [read_shard(shard.path, kinds, shard.facts) for shard in shards]
        rows, in_order = _rows_of_joined(places, [len(part.traces) for part in parts])
        evidence = {}
        for kind in kinds:
            batch = kind.concat([part.evidence[kind] for part in parts])
            for part in parts:  # they were copied
                del part.evidence[kind]
            evidence[kind] = batch if in_order else batch.select(rows)
        traces = TraceColumns.concat(
            [t for part in parts if isinstance(t := part.traces, TraceColumns)]
        )
        return Recording(
            evidence=evidence,
            traces=traces if in_order else traces.select(rows),
            peak_memory_mib=max(
                (part.peak_memory_mib or 0.0 for part in parts), default=0.0
            ),
        )

    def facts(
        self, keys: Sequence[str], kinds: Collection[type[Evidence]]
    ) -> StoredFacts:
        """Return what shards say of samples beside the arrays, as `load` has it.

        Raises as `load` does: ValueError for shards that do not fit together.
        """
        places = self._places(keys)
        numbers = np.unique(places[:, 0])
        traces, peaks = [], [0.0]
        metas: dict[type[Evidence], dict[str, Any]] = {}
        for shard in [self._shards[number] for number in numbers.tolist()]:
            facts = shard.facts or _read_facts(shard.path)
            traces.append(facts.traces)
            peaks.append(facts.peak_memory_mib or 0.0)
            for kind in kinds:
                # one by one: all of them may be large, and most are alike
                known = [metas[kind]] if kind in metas else []
                metas[kind] = kind.join_meta([*known, facts.metas[kind.kind_id]])
        rows, in_order = _rows_of_joined(places, [*map(len, traces)])
        joined_traces = TraceColumns.concat(traces)
        return StoredFacts(
            joined_traces if in_order else joined_traces.select(rows),
            {kind.kind_id: meta for kind, meta in metas.items()},
            max(peaks),
        )

    def _places(self, keys: Sequence[str]) -> Array:
        """Return what `find` does; raises KeyError for a key that is not stored."""
        places = self.find(keys)
        for row in np.flatnonzero(places[:, 0] < 0).tolist():
            raise KeyError(keys[row])
        return places


def _rows_of_joined(places: Array, sizes: Sequence[int]) -> tuple[Array, bool]:
    """Return the rows of samples where the shards of `sizes` are joined, (n,).

    And whether these are all rows in their order.
    """
    numbers = np.unique(places[:, 0])
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    rows = starts[np.searchsorted(numbers, places[:, 0])] + places[:, 1]
    in_order = len(rows) == starts[-1] and bool((np.diff(rows) == 1).all())
    return rows, in_order


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What shards say of samples beside the arrays; `metas` by the id of the kind."""

    traces: TraceColumns
    metas: dict[str, dict[str, Any]]
    peak_memory_mib: float | None

    @classmethod
    def of(cls, header: dict[str, Any]) -> Self:
        """Take what the header of one shard says."""
        # shards of another version may lack a field, or have one that is gone
        traces = TraceColumns.of(header["traces"], len(header["questions"]))
        return cls(traces, header["kinds"], header["peak_memory_mib"])


def _compact_facts(
    header: dict[str, Any], before: StoredFacts | None
) -> StoredFacts | None:
    """Return what a header says, None where it takes more space than a few numbers.

    As it reads back from JSON, whether it was read or is to be written. The meta data
    are those of the facts `before` where they are equal: they may be large.
    """
    facts = StoredFacts.of(header)
    if not facts.traces.is_compact:
        return None
    metas = json.loads(json.dumps(facts.metas))
    same = before is not None and before.metas == metas
    return replace(facts, metas=before.metas if before and same else metas)


def _read_facts(path: Path) -> StoredFacts:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return StoredFacts.of(json.loads(stored[HEADER].tobytes()))


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
    *,
    workers: int = 1,
) -> dict[str, Any]:
    """Write a shard in one step: a reader finds all of it or nothing.

    Returns its header.
    """
    header = {
        "key": key,
        "recorder": recorder,
        "dataset": dataset,
        "questions": list(keys),
        "traces": _trace_columns(recording.traces),
        "peak_memory_mib": recording.peak_memory_mib,
        "kinds": {k.kind_id: batch.meta for k, batch in recording.evidence.items()},
    }
    if workers > 1:  # as in versions that knew one alone
        header["workers"] = workers
    arrays = {HEADER: np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    for kind, batch in recording.evidence.items():
        name = kind.kind_id
        arrays |= {f"{name}/{field}": array for field, array in batch.arrays.items()}
        arrays |= {f"{name}/@{dim}": rows for dim, rows in batch.offsets.items()}
    with atomic_path(path) as partial:
        _write_sealed(partial, arrays)
    return header


def _write_sealed(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as `numpy.savez_compressed` does, and a checksum of all bytes.

    It ends the archive's comment, which readers of archives pass over.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            # most of a header are hashes: a harder try takes four times as long
            level = 1 if name == HEADER else None
            archive.writestr(member, content.getbuffer(), compresslevel=level)
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
    header = _header_of(io.BytesIO(content))
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
        with path.open("rb") as file:
            return _header_of(file)
    except OSError:
        return None


def _header_of(file: IO[bytes]) -> dict[str, Any] | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
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
        and all(isinstance(key, str) for key in _one_of_each_type(keys))
        and isinstance(kinds, dict)
        and all(isinstance(meta, dict) for meta in kinds.values())
        and isinstance(peak, int | float | None)
        and isinstance(traces, dict)
        and all(
            isinstance(column, list)
            and len(column) == len(keys)
            and all(
                isinstance(value, _TRACE_TYPES.get(name, object))
                for value in _one_of_each_type(column)
            )
            for name, column in traces.items()
        )
    )


def _one_of_each_type(values: Sequence[Any]) -> Iterable[Any]:
    """Return values of JSON that stand for all of their types: there are thousands."""
    return dict(zip(map(type, values), values, strict=True)).values()


def read_shard(
    path: Path, kinds: Iterable[type[Evidence]], facts: StoredFacts | None = None
) -> Recording:
    """Return the evidence of `kinds` and the traces of one shard.

    `facts` are what it says beside its arrays, if that is known.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        if facts is None:
            facts = StoredFacts.of(json.loads(stored[HEADER].tobytes()))
        metas = facts.metas
        evidence = {k: _read_kind(k, stored, metas[k.kind_id]) for k in kinds}
    size = len(facts.traces)
    for kind, batch in evidence.items():
        if len(batch) != size:
            raise DamagedError(f"{kind.__name__}: {len(batch)} of {size} in {path}")
    return Recording(
        evidence=evidence, traces=facts.traces, peak_memory_mib=facts.peak_memory_mib
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
    return {f.name: list(trace_column(traces, f.name)) for f in fields(Trace)}

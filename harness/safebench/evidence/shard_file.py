"""One shard of evidence on disk: arrays, a header of JSON, a checksum of all bytes.

A plain ``.npz`` (never pickle, which runs code when it is read). Nothing is believed
for the place where it lies: a shard knows the key that it was recorded for and the code
that recorded it, and ends with the checksum (as the comment of its archive). Shards of
early versions have none of these; they are read whole before they are used.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, fields, replace
from typing import IO, TYPE_CHECKING, Any, Self, get_type_hints

import numpy as np

from safebench.files import atomic_path

from .manifest import DamagedError
from .recording import Recording, Trace
from .trace_columns import TraceColumns, trace_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from safebench.typing import Array

    from .base import Evidence

HEADER = "head"  # the array of a shard that holds its JSON header, as bytes
# In the comment of the archive, which readers of arrays pass over: a sealed shard is
# still a plain .npz.
_SEAL = b"safebench shard, sha256 of all before: "
_DIGEST_SIZE = 64  # hex digits
_TRACE_TYPES = {
    name: hint | int if isinstance(0.0, hint) else hint
    for name, hint in get_type_hints(Trace).items()
}


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


def compact_facts(
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


def read_facts(path: Path) -> StoredFacts:
    """Read what a shard says of its samples beside the arrays."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return StoredFacts.of(json.loads(stored[HEADER].tobytes()))


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

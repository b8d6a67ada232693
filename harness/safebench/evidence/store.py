"""Evidence on disk, found by sample, whatever dataset the sample came from.

``evidence/<key>/evidence.json`` says which model recorded it, and how (manifest.py).
``evidence/<key>/<probe>/00000.npz`` and so on are the shards: evidence of up to 1,024
samples each (shard_file.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from safebench.files import make_folder, set_aside

from .key_index import EvidenceKeys, KeyIndex
from .manifest import DamagedError
from .recording import Recording
from .shard_file import (
    StoredFacts,
    check_shard,
    compact_facts,
    read_facts,
    read_header,
    read_shard,
    write_shard,
)
from .trace_columns import TraceColumns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from safebench.typing import Array

    from .base import Evidence


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
            compact_facts(header, None if before is None else before.facts),
        )


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
            facts = shard.facts or read_facts(shard.path)
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

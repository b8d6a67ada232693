"""Where stored evidence lies, by key: in arrays, since a million keys fill a dict."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safebench.typing import Array

_HASH_DIGITS = 64  # of a content hash, with which keys of evidence begin
_HEAD = 32  # of them in a digest: 128 bits
DIGEST = 16  # bytes


def key_digests(keys: Sequence[str]) -> Array:
    """Return 128 bits of each key, (n, 2) uint64: equal for equal keys alone.

    Most keys are a content hash with what was asked about it behind. Half of the hash
    is as good as all of it; of what follows few different texts occur, and their hashes
    are added without a carry.
    """
    if not keys:
        return np.empty((0, 2), dtype=np.uint64)
    heads = "".join([key[:_HEAD] for key in keys])
    if len(heads) == _HEAD * len(keys) and _is_hex(heads):
        content = np.frombuffer(bytes.fromhex(heads), dtype=np.uint64).reshape(-1, 2)
        tails = [key[_HASH_DIGITS:] for key in keys]
        codes = {tail: code for code, tail in enumerate(dict.fromkeys(tails))}
        hashed = np.stack([tail_digest(tail) for tail in codes])
        digests: Array = content ^ hashed[[codes[tail] for tail in tails]]
        return digests
    one_by_one = [
        key_digests([key])[0] if _begins_with_hash(key) else tail_digest(key)
        for key in keys
    ]
    return np.array(one_by_one, dtype=np.uint64).reshape(-1, 2)


def tail_digest(text: str) -> Array:
    """Return 128 bits of what follows a content hash, (2,) uint64; none of nothing."""
    if not text:
        return np.zeros(2, dtype=np.uint64)
    digest = hashlib.blake2b(text.encode(), digest_size=DIGEST).digest()
    return np.frombuffer(digest, dtype=np.uint64)


def _begins_with_hash(key: str) -> bool:
    return len(key) >= _HEAD and _is_hex(key[:_HEAD])


def _is_hex(text: str) -> bool:
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False


class EvidenceKeys(Sequence[str]):
    """n keys of evidence: their texts are made when they are looked at."""

    def __init__(self, size: int, text: Callable[[int], str], digests: Array) -> None:
        self._size = size
        self._text = text
        self.digests = digests

    @classmethod
    def of(cls, keys: Iterable[str]) -> EvidenceKeys:
        """Take keys as they are."""
        if isinstance(keys, EvidenceKeys):
            return keys
        texts = list(keys)
        return cls(len(texts), texts.__getitem__, key_digests(texts))

    def select(self, rows: Array) -> EvidenceKeys:
        """Return some of the keys, in the order of `rows`."""
        places = rows.astype(np.int64)

        def text(place: int) -> str:
            return self._text(int(places[place]))

        return EvidenceKeys(len(places), text, self.digests[places])

    def replaced(self, other: EvidenceKeys, where: Array) -> EvidenceKeys:
        """Return these keys, with those of `other` in places (n,) bool."""

        def text(row: int) -> str:
            return other[row] if where[row] else self[row]

        digests = np.where(where[:, None], other.digests, self.digests)
        return EvidenceKeys(len(self), text, digests)

    @cached_property
    def first(self) -> Array:
        """Which keys are the first of their kind, (n,) bool."""
        order = np.lexsort((self.digests[:, 1], self.digests[:, 0]))
        ordered = self.digests[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        first = np.empty(len(order), dtype=bool)
        first[order] = is_first  # lexsort is stable: the first of a run is the first
        return first

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(map(self._text, range(*index.indices(self._size))))
        return self._text(range(self._size)[index])


class KeyIndex:
    """Where each key was stored last: number of a shard, and row in it."""

    def __init__(self) -> None:
        self._digests = np.empty((0, 2), dtype=np.uint64)
        self._places = np.empty((0, 2), dtype=np.int32)
        self._longest_run = 1  # of digests whose first half is the same
        self._added: list[tuple[Array, int]] = []

    def add(self, keys: Sequence[str], shard: int) -> None:
        """Note a shard's keys; of a key that is known this place counts from now on."""
        self._added.append((EvidenceKeys.of(keys).digests, shard))

    def find(self, keys: EvidenceKeys) -> Array:
        """Return shard and row of each key, (n, 2) int; -1 where it is not stored."""
        entries = self._entries(keys)
        places = np.full((len(keys), 2), -1, dtype=np.int64)
        found = entries >= 0
        places[found] = self._places[entries[found]]
        return places

    def remove(self, keys: EvidenceKeys) -> None:
        """Forget keys."""
        entries = self._entries(keys)
        kept = np.ones(len(self._digests), dtype=bool)
        kept[entries[entries >= 0]] = False
        self._digests, self._places = self._digests[kept], self._places[kept]

    def __len__(self) -> int:
        self._merge()
        return len(self._digests)

    def shards_and_rows(self) -> Array:
        """Return all places, (N, 2), by shard and row."""
        self._merge()
        return self._places[np.lexsort((self._places[:, 1], self._places[:, 0]))]

    def _entries(self, keys: EvidenceKeys) -> Array:
        """Return the place of each key among the sorted digests, -1 without one."""
        self._merge()
        wanted, stored = keys.digests, self._digests
        entries = np.full(len(wanted), -1, dtype=np.int64)
        if not len(stored):
            return entries
        start = np.searchsorted(stored[:, 0], wanted[:, 0])
        for step in range(self._longest_run):
            at = np.minimum(start + step, len(stored) - 1)
            equal = (stored[at] == wanted).all(axis=1)
            entries[equal] = at[equal]
        return entries

    def _merge(self) -> None:
        if not self._added:
            return
        digests = [self._digests, *(digests for digests, _ in self._added)]
        places = [
            self._places,
            *(
                np.stack([np.full(len(d), shard), np.arange(len(d))], axis=1)
                for d, shard in self._added
            ),
        ]
        self._added = []
        joined, where = np.concatenate(digests), np.concatenate(places)
        order = np.lexsort((joined[:, 1], joined[:, 0]))  # stable: the later one last
        ordered = joined[order]
        is_last = np.ones(len(order), dtype=bool)
        is_last[:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
        self._digests = ordered[is_last]
        self._places = where[order][is_last].astype(np.int32)
        heads = self._digests[:, 0]
        runs = np.diff(np.flatnonzero(np.r_[True, heads[1:] != heads[:-1], True]))
        self._longest_run = int(runs.max(initial=1))

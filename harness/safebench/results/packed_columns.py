"""Columns of texts that take little more than their bytes, for files of many lines.

A text as an object takes 50 bytes beside its letters, a hash of 64 digits 113. These
sequences hold bytes and numbers, and make a text when somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from safebench.record_columns import DIGEST_BYTES, PackedTexts, name_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.typing import Array

T = TypeVar("T")
_DIGITS = 2 * DIGEST_BYTES
_AT_ONCE = 4096  # hashes that are texts at one time


class Repeated(Sequence[T], Generic[T]):
    """One value `size` times."""

    def __init__(self, value: T, size: int) -> None:
        self._value = value
        self._size = size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Repeated[T]: ...
    def __getitem__(self, index: int | slice) -> T | Repeated[T]:
        places = range(self._size)[index]
        if isinstance(places, range):
            return Repeated(self._value, len(places))
        return self._value

    def __iter__(self) -> Iterator[T]:
        return repeat(self._value, self._size)

    def select(self, rows: Array) -> Repeated[T]:
        """Return the values of some rows."""
        return Repeated(self._value, len(rows))


class CodedValues(Sequence[T], Generic[T]):
    """n values of which many are equal: `codes` (n,) are their places in `values`."""

    def __init__(self, codes: Array, values: Sequence[T]) -> None:
        self._codes = codes
        self._values = values

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> CodedValues[T]: ...
    def __getitem__(self, index: int | slice) -> T | CodedValues[T]:
        if isinstance(index, slice):
            return CodedValues(self._codes[index], self._values)
        return self._values[int(self._codes[index])]

    def __iter__(self) -> Iterator[T]:
        for first in range(0, len(self), _AT_ONCE):
            codes = self._codes[first : first + _AT_ONCE].tolist()
            yield from map(self._values.__getitem__, codes)

    def select(self, rows: Array) -> CodedValues[T]:
        """Return the values of some rows, in their order."""
        return CodedValues(self._codes[rows], self._values)


class HexDigests(Sequence[str]):
    """n hashes of 64 hex digits, `digests` (n, 32) uint8."""

    def __init__(self, digests: Array) -> None:
        self.digests = digests

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> HexDigests: ...
    def __getitem__(self, index: int | slice) -> str | HexDigests:
        if isinstance(index, slice):
            return HexDigests(self.digests[index])
        digits: str = self.digests[index].tobytes().hex()
        return digits

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            block = self.digests[first : first + _AT_ONCE].tobytes().hex()
            for start in range(0, len(block), _DIGITS):
                yield block[start : start + _DIGITS]

    def select(self, rows: Array) -> HexDigests:
        """Return the hashes of some rows, in their order."""
        return HexDigests(self.digests[rows])

    def codes(self) -> Array:
        """Return numbers (n,) 0..G-1 of equal hashes, in the order of their digits."""
        parts = np.ascontiguousarray(self.digests).view(">u8").astype(np.uint64)
        order = np.lexsort(parts.T[::-1])
        ordered = parts[order]
        is_new = np.zeros(len(order), dtype=np.int64)
        is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        codes = np.empty(len(order), dtype=np.int64)
        codes[order] = np.cumsum(is_new)
        return codes


class GroupNames(Sequence[str]):
    """The groups of n samples by name, and as codes that metrics read."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @cached_property
    def codes(self) -> Array:
        """Numbers 0..G-1 of the groups (n,), in the order of their names."""
        if isinstance(self._names, HexDigests):
            return self._names.codes()
        return name_codes(self._names)

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.codes.max(initial=-1)) + 1

    def group_in_both(self, part: Array) -> str | None:
        """Return the first group with samples inside and outside of a part (n,) bool.

        None where every group is on one side.
        """
        inside = np.bincount(self.codes, weights=part)
        torn = ((inside > 0) & (inside < np.bincount(self.codes)))[self.codes]
        return self[int(np.argmax(torn))] if torn.any() else None

    def select(self, rows: Array) -> GroupNames:
        """Return the groups of some rows, in their order."""
        names = self._names
        selected = GroupNames(select_values(names, rows))
        codes = np.unique(self.codes[rows], return_inverse=True)[1]
        selected.codes = codes.reshape(-1)  # sorting numbers is faster than texts
        return selected


def codes_of_both(a: Sequence[str], b: Sequence[str]) -> Array:
    """Return numbers of the texts of a, then of b, that are equal for equal texts."""
    if isinstance(a, HexDigests) and isinstance(b, HexDigests):
        return HexDigests(np.concatenate([a.digests, b.digests])).codes()
    return name_codes(PackedTexts.of(map(str, chain(a, b))))


def select_values(values: Sequence[T], rows: Array) -> Sequence[T]:
    """Return the values of some rows, in their order."""
    select = getattr(values, "select", None)
    if select is None:
        return tuple(values[row] for row in rows.tolist()) if len(values) else ()
    selected: Sequence[T] = select(rows)
    return selected


def matching_rows(a: Sequence[str], b: Sequence[str]) -> tuple[Array, Array]:
    """Return the places of what is in both, (m,) in a, in its order, and (m,) in b.

    Of texts that b has twice the last one; of itself each is the same.
    """
    if a is b:
        return np.arange(len(a)), np.arange(len(a))
    cells = None
    if isinstance(a, PackedTexts) and isinstance(b, PackedTexts):
        if a.content == b.content and np.array_equal(a.ends, b.ends):
            return np.arange(len(a)), np.arange(len(b))
        cells = a.as_array(), b.as_array()
    if cells is None or cells[0] is None or cells[1] is None:
        place = {text: row for row, text in enumerate(b)}
        rows = [row for row, text in enumerate(a) if text in place]
        others = [place[a[row]] for row in rows]
        return np.array(rows, dtype=np.int64), np.array(others, dtype=np.int64)
    order = np.argsort(cells[1], kind="stable")
    last = np.searchsorted(cells[1], cells[0], side="right", sorter=order) - 1
    there = np.zeros(len(a), dtype=bool)
    there[last >= 0] = cells[1][order[last[last >= 0]]] == cells[0][last >= 0]
    return np.flatnonzero(there), order[last[there]]


def n_different(columns: Sequence[Sequence[str]]) -> int:
    """Return how many different texts there are in all columns."""
    first, *others = columns
    packed = [column for column in columns if isinstance(column, PackedTexts)]
    if len(packed) == len(columns):
        if all(
            column.content == packed[0].content
            and np.array_equal(column.ends, packed[0].ends)
            for column in packed[1:]
        ):
            packed = packed[:1]
        cells = [column.as_array() for column in packed]
        known = [of for of in cells if of is not None]
        if len(known) == len(cells):
            return len(np.unique(np.concatenate(known)))
    return len(set(first).union(*others))


class TextCollector:
    """Collects texts of one column, some at a time, and packs them.

    With `hashes` they are kept as such, as long as all have 64 hex digits. Values that
    are no texts, which only a damaged file has, are kept as they are.
    """

    def __init__(self, *, hashes: bool = False) -> None:
        self._hashes = hashes
        self._chunks: list[bytes] = []
        self._lengths: list[Array] = []
        self._objects: list[Any] | None = None

    def add(self, values: Sequence[Any]) -> None:
        """Append some values."""
        if self._hashes and not self._add_hashes(values):
            hashes = self._packed_hashes()
            self._hashes, self._chunks = False, []
            self.add(list(hashes))
        if self._hashes:
            return
        if self._objects is None and not all(type(value) is str for value in values):
            self._objects = [*self.packed()]
        if self._objects is not None:
            self._objects += values
            return
        encoded = [value.encode("utf-8", "surrogatepass") for value in values]
        self._chunks.append(b"".join(encoded))
        self._lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))

    def packed(self) -> Sequence[str]:
        """Return what was collected."""
        if self._hashes:
            return self._packed_hashes()
        if self._objects is not None:
            return tuple(self._objects)
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        return PackedTexts(b"".join(self._chunks), np.cumsum(lengths))

    def _add_hashes(self, values: Sequence[Any]) -> bool:
        try:
            joined = "".join(values)
            content = bytes.fromhex(joined)
        except (TypeError, ValueError):
            return False
        if any(len(value) != _DIGITS for value in values) or content.hex() != joined:
            return False
        self._chunks.append(content)
        return True

    def _packed_hashes(self) -> HexDigests:
        digests = np.frombuffer(b"".join(self._chunks), dtype=np.uint8)
        return HexDigests(digests.reshape(-1, DIGEST_BYTES))

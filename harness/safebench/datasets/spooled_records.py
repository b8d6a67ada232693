"""Samples and truths whose records are read when they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from safebench.records import GroundTruth, Sample

from .record_blocks import sample_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.record_columns import RecordColumns
    from safebench.records import Dataset
    from safebench.typing import Array

    from .record_blocks import Blocks, Packed

T = TypeVar("T")
_NAMES_AT_ONCE = 1024


class _Spooled(Sequence[T], Generic[T]):
    """Records of some rows of a spool, read when they are looked at."""

    def __init__(self, blocks: Blocks, rows: Sequence[int] | Array) -> None:
        self.blocks = blocks
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return list(self._read(range(*index.indices(len(self)))))
        place = range(len(self))[index]
        return next(self._read(range(place, place + 1)))

    def __iter__(self) -> Iterator[T]:
        return self._read(range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, _Spooled)):
            return NotImplemented
        same_size = len(self) == len(other)
        return same_size and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        raise TypeError("records that compare as a list does have no hash")

    def _packed(self, places: range) -> Iterator[Packed]:
        if places.step == 1:
            return self.blocks.many(self._rows[places.start : places.stop])
        return self.blocks.many([self._rows[place] for place in places])

    def _read(self, places: range) -> Iterator[T]:
        raise NotImplementedError


class SpooledSamples(_Spooled[Sample]):
    """Samples of a spool, with the columns of the same rows; all are of one task."""

    def __init__(
        self,
        blocks: Blocks,
        rows: Sequence[int] | Array,
        columns: RecordColumns,
        task: str,
        textless: Blocks | None = None,
    ) -> None:
        super().__init__(blocks, rows)
        self.columns = columns
        self._task = task
        self._textless = textless or blocks

    def without_texts(self) -> SpooledSamples:
        """Return the same samples for what came along: their texts may be missing."""
        return SpooledSamples(self._textless, self._rows, self.columns, self._task)

    def select(self, rows: Array) -> SpooledSamples:
        """Return some of the samples, in the order of `rows`."""
        chosen, columns = _chosen(self._rows, rows), self.columns.select(rows)
        return SpooledSamples(self.blocks, chosen, columns, self._task, self._textless)

    def _read(self, places: range) -> Iterator[Sample]:
        ids, task = self.columns.ids, self._task
        if places.step != 1:
            for place, packed in zip(places, self._packed(places), strict=True):
                yield sample_of(packed, ids[place], task)
            return
        packed_rows = self._packed(places)
        for first in range(places.start, places.stop, _NAMES_AT_ONCE):
            names = ids[first : min(first + _NAMES_AT_ONCE, places.stop)]
            for sample_id, packed in zip(names, packed_rows, strict=False):
                yield sample_of(packed, sample_id, task)


class SpooledTruths(_Spooled[GroundTruth]):
    """Truths of a spool."""

    def select(self, rows: Array) -> SpooledTruths:
        """Return some of the truths, in the order of `rows`."""
        return SpooledTruths(self.blocks, _chosen(self._rows, rows))

    def _read(self, places: range) -> Iterator[GroundTruth]:
        return map(truth_of, self._packed(places))


def _chosen(rows: Sequence[int] | Array, places: Array) -> Array:
    import numpy as np

    chosen: Array = np.asarray(rows, dtype=np.int64)[places]
    return chosen


def without_texts(dataset: Dataset) -> Sequence[Sample]:
    """Return the samples for what came along with them; texts may be missing."""
    samples = dataset.samples
    return samples.without_texts() if isinstance(samples, SpooledSamples) else samples

"""What a run reads of many samples at once, in columns and not in objects.

A million samples as objects take gigabytes; their ids, content hashes, groups and
labels in arrays take a tenth of one. `Dataset.columns` gives them for any dataset.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from safebench.typing import Array

DIGEST_BYTES = 32  # of a content hash, SHA-256
_AT_ONCE = 4096  # texts whose ends are Python's numbers at one time
_LONG = 128  # bytes a text: of longer ones, places of bytes take much memory
UNKNOWN = -1  # the class of a sample whose label nobody knows


class PackedTexts(Sequence[str]):
    """n texts as UTF-8, one after another, which end at `ends` (n + 1,) int64."""

    def __init__(self, content: bytes, ends: Array) -> None:
        self.content = content
        self.ends = ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> PackedTexts:
        """Pack texts."""
        packer = TextPacker()
        for text in texts:
            packer.add(text)
        return packer.packed()

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            if places.step == 1:
                return self._texts(places.start, places.stop)
            return [self[place] for place in places]
        row = range(len(self))[index]
        start, end = self.ends[row : row + 2].tolist()
        return self.content[start:end].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self._texts(first, min(first + _AT_ONCE, len(self)))

    def _texts(self, first: int, stop: int) -> list[str]:
        content, ends = self.content, self.ends[first : stop + 1].tolist()
        return [
            content[start:end].decode("utf-8", "surrogatepass")
            for start, end in pairwise(ends)
        ]

    def select(self, rows: Array) -> PackedTexts:
        """Return the texts of some rows, in their order."""
        import numpy as np

        if len(self.content) > _LONG * max(len(self), 1):
            return PackedTexts.of(map(self.__getitem__, rows.tolist()))
        content = np.frombuffer(self.content, np.uint8)
        lengths = np.diff(self.ends)[rows]
        parts = []
        for first in range(0, len(rows), _AT_ONCE):
            of_part = lengths[first : first + _AT_ONCE]
            starts = self.ends[:-1][rows[first : first + _AT_ONCE]]
            moved = starts - (np.cumsum(of_part) - of_part)
            places = np.repeat(moved, of_part) + np.arange(of_part.sum())
            parts.append(content[places].tobytes())
        ends = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=ends[1:])
        return PackedTexts(b"".join(parts), ends)

    def as_array(self, longest: int = 64) -> Array | None:
        """Return the texts as an array (n,) of bytes, which sorts as the texts do.

        UTF-8 keeps the order of code points. None if one is longer than `longest` or
        holds a zero byte, which such arrays do not tell from an end.
        """
        import numpy as np

        lengths = np.diff(self.ends)
        width = int(lengths.max(initial=1))
        if width > longest or b"\0" in self.content:
            return None
        cells = np.zeros((len(self), max(width, 1)), dtype=np.uint8)
        filled = np.arange(width) < lengths[:, None]
        cells[:, :width][filled] = np.frombuffer(self.content, np.uint8)
        return cells.view(f"S{max(width, 1)}").reshape(-1)


def name_codes(names: Sequence[str]) -> Array:
    """Return numbers 0..G-1 of names (n,), in their order."""
    import numpy as np

    cells = names.as_array() if isinstance(names, PackedTexts) else None
    if cells is None:
        read = list(names)
        if len(set(map(type, read))) > 1:  # a file made by hand may have numbers, too
            read = list(map(str, read))
        cells = np.array(read, dtype=object)
    codes: Array = np.unique(cells, return_inverse=True)[1].reshape(-1)
    return codes


class TextPacker:
    """Collects texts for `PackedTexts`."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._ends = array("q", [0])

    def add(self, text: str) -> None:
        """Append a text."""
        self._content += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._content))

    def packed(self) -> PackedTexts:
        """Return what was collected, and forget it."""
        import numpy as np

        content, ends = bytes(self._content), np.array(self._ends, np.int64)
        self._content, self._ends = bytearray(), array("q", [0])
        return PackedTexts(content, ends)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordColumns:
    """Columns of n samples and their truths, in the order of the dataset.

    `content` (n, 32) uint8 are content hashes; `value` (n,) int8 is 1 or 0, and
    `UNKNOWN` where no label is known; `target` (n,) int32 indexes the judged turn, from
    0, of `n_turns` (n,) int32; `length` (n,) int64 counts the characters of all turns;
    `several` (n,) bool says whether a user speaks more than
    once up to it, `documents` (n,) bool whether documents come along. `task` is that of
    all samples, None if they have several. `annotated`, `paired`, `rated` and
    `described` tell whether any sample has categories, a pair, a severity, or columns
    beside its text.
    """

    ids: Sequence[str]
    groups: Sequence[str]
    content: Array
    value: Array
    target: Array
    n_turns: Array
    length: Array
    several: Array
    documents: Array
    task: str | None
    annotated: bool
    paired: bool
    rated: bool
    described: bool

    def __len__(self) -> int:
        return len(self.value)

    @cached_property
    def content_codes(self) -> Array:
        """Numbers (n,) int64 that are equal for samples that read the same."""
        import numpy as np

        # 128 of 256 bits: that two texts share them by chance does not happen
        halves = np.ascontiguousarray(self.content).view(np.uint64)[:, :2]
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        ordered = halves[order]
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        codes = np.empty(len(order), dtype=np.int64)
        codes[order] = np.cumsum(is_new) - 1
        return codes

    @cached_property
    def group_codes(self) -> Array:
        """Numbers 0..G-1 of the groups (n,), in the order of their names."""
        return name_codes(self.groups)

    def hex_contents(self) -> Iterator[str]:
        """Yield the content hashes as hex digits."""
        for first in range(0, len(self), _AT_ONCE):
            block = self.content[first : first + _AT_ONCE].tobytes().hex()
            for start in range(0, len(block), 2 * DIGEST_BYTES):
                yield block[start : start + 2 * DIGEST_BYTES]

    def conflicting(self) -> Array:
        """Return which samples read as one with another label does, (n,) bool."""
        import numpy as np

        codes = self.content_codes
        size = int(codes.max(initial=-1)) + 1
        seen = np.zeros((size, 3), dtype=bool)
        seen[codes, self.value] = True
        conflict: Array = (seen.sum(axis=1) > 1)[codes]
        return conflict

    def select(self, rows: Array) -> RecordColumns:
        """Return the columns of some samples, in the order of `rows`.

        What any sample has is left as it was: a part has it, or nothing of it.
        """
        chosen: dict[str, Any] = {name: getattr(self, name)[rows] for name in _ARRAYS}
        for name in ("ids", "groups"):
            texts = getattr(self, name)
            chosen[name] = PackedTexts.of(texts[row] for row in rows.tolist())
        return replace(self, **chosen)


_ARRAYS = ("content", "value", "target", "n_turns", "length", "several", "documents")


class ColumnsBuilder:
    """Collects the columns of samples one by one."""

    def __init__(self) -> None:
        self._ids, self._groups = TextPacker(), TextPacker()
        self._content = bytearray()
        self._value, self._flags = array("b"), array("b")
        self._target, self._n_turns = array("i"), array("i")
        self._length = array("q")
        self._tasks: set[str | None] = set()
        self._any_of = dict.fromkeys(
            ("annotated", "paired", "rated", "described"), False
        )

    def __len__(self) -> int:
        return len(self._value)

    def add(
        self,
        sample_id: str,
        group: str,
        digest: bytes,
        value: bool | None,
        *,
        roles: Sequence[str],
        target: int,
        length: int,
        documents: bool,
        task: str | None = None,
    ) -> None:
        """Append a sample: `digest` is its content hash, `roles` those of its turns.

        `length` counts the characters of all turns.
        """
        self._ids.add(sample_id)
        self._groups.add(group)
        self._content += digest
        self._value.append(UNKNOWN if value is None else int(value))
        n_turns = len(roles)
        judged = target % n_turns
        several = n_turns > 1 and roles[: judged + 1].count("user") > 1
        self._flags.append(several + 2 * documents)
        self._target.append(judged)
        self._n_turns.append(n_turns)
        self._length.append(length)
        self._tasks.add(task)

    def note_extras(
        self,
        *,
        categories: object,
        pair: object,
        meta: Mapping[str, Any],
        gold_meta: Mapping[str, Any],
        named: bool,
    ) -> None:
        """Note which of the things that few datasets have this sample has.

        `categories` and `pair` are None where there are none; `named` says whether a
        language or a transform of the sample is known.
        """
        any_of = self._any_of
        if categories is not None:
            any_of["annotated"] = True
        if pair is not None:
            any_of["paired"] = True
        if gold_meta.get("severity") is not None:
            any_of["rated"] = True
        if named or meta or gold_meta:
            any_of["described"] = True

    def columns(self, ids: PackedTexts | None = None) -> RecordColumns:
        """Return what was collected; `ids` take the place of those that were given."""
        import numpy as np

        flags = np.array(self._flags, dtype=np.int8)
        given = self._ids.packed()
        content = np.frombuffer(self._content, dtype=np.uint8)  # no copy
        return RecordColumns(
            ids=given if ids is None else ids,
            groups=self._groups.packed(),
            content=content.reshape(-1, DIGEST_BYTES),
            value=np.array(self._value, dtype=np.int8),
            target=np.array(self._target, dtype=np.int32),
            n_turns=np.array(self._n_turns, dtype=np.int32),
            length=np.array(self._length, dtype=np.int64),
            several=(flags & 1) > 0,
            documents=(flags & 2) > 0,
            task=next(iter(self._tasks)) if len(self._tasks) == 1 else None,
            **self._any_of,
        )

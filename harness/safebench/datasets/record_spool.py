"""Samples and truths of a dataset as they are read: few in memory, many in a file.

The file is an unnamed temporary one that goes with the process. What a run asks about
all samples is in columns beside it; whole records are read again block by block, when
a guard judges them or somebody looks at their texts.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from safebench.errors import DataError
from safebench.record_columns import UNKNOWN, ColumnsBuilder, TextPacker
from safebench.records import GroundTruth, Label, Sample, Turn, content_hash

from .row_bytes import encoded_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.record_columns import RecordColumns
    from safebench.typing import Array

    from .request import Example

    # what `_packed` makes of an example
    Packed = tuple[Any, ...]

BLOCK = 1024  # records that are read at once
MAX_IN_MEMORY = 20 * BLOCK  # of more, blocks go to the file
T = TypeVar("T")
_PLAIN_LABELS = {v: Label(value=v) for v in (True, False, None)}


class ReadRecords(NamedTuple):
    """What was read, in its order, with how often texts and labels go together.

    `n_contents` counts the different conversations, `n_conflicting` those of them whose
    rows have different labels, `n_unknown` the rows whose label nobody knows. `digest`
    is the hash of all `row_bytes` (hex), None where it is not known.
    """

    samples: Sequence[Sample]
    truths: Sequence[GroundTruth]
    n_contents: int
    n_conflicting: int
    n_unknown: int
    digest: str | None = None


class RecordSpool:
    """Takes examples in their order, and gives them back as samples and truths.

    Samples without an id are called `prefix`/CONTENT, after their content hash.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._builder = ColumnsBuilder()
        self._open: list[Packed] = []
        self._blocks: list[list[Packed]] = []
        self._file: Any = None
        self._starts: list[int] = []
        self._kept: dict[int, Packed] = {}  # what JSON would change
        self._named = array("q")  # hashes of the ids that the source gives
        self._unnamed: list[int] | array[int] = array("q")
        self._digest, self._pairs = hashlib.sha256(), dict[str, int]()
        self._tasks: set[str] = set()
        self.n_empty_responses = 0
        self.n_label_conflicts = 0

    def __len__(self) -> int:
        return len(self._builder)

    def add(self, example: Example, group: Callable[[Example], str], task: str) -> None:
        """Append an example; `group` names the group of one without any.

        `task` is what is known by now of the task that all have.
        """
        content = content_hash(example.turns, example.documents)
        row = len(self._builder)
        if example.id is None:
            self._unnamed.append(row)
        else:
            self._named.append(hash(example.id))
        name = example.group or group(example)
        roles = [turn.role for turn in example.turns]
        self._builder.add(
            example.id or "",
            name,
            bytes.fromhex(content),
            example.label.value,
            roles=roles,
            target=example.target,
            documents=bool(example.documents),
        )
        self._count(example)
        self._hash(example, name, task)
        self._open.append(_packed(example, name, content))
        if len(self._open) == BLOCK:
            self._close_block()

    def finish(self, task: str) -> ReadRecords:
        """Return all records; raises `DataError` for an id that occurs twice."""
        if self._file is None:
            return self._in_memory(task)
        columns = replace(self._builder.columns(), task=task)
        self._refuse_repeated_ids()
        if self._unnamed:
            columns = self._with_made_ids(columns)
        self._close_block()
        reader = _BlockReader(self._file, self._starts, self._kept)
        everything = range(len(columns))
        codes = columns.content_codes
        return ReadRecords(
            SpooledSamples(reader, everything, columns, task),
            SpooledTruths(reader, everything),
            n_contents=int(codes.max()) + 1,
            n_conflicting=len({*codes[columns.conflicting()].tolist()}),
            n_unknown=int((columns.value == UNKNOWN).sum()),
            digest=self._digest.hexdigest()
            if not self._unnamed and self._tasks == {task}
            else None,
        )

    def _in_memory(self, task: str) -> ReadRecords:
        """Return few records, without numpy: `data` commands start without it."""
        samples, truths = [], []
        copies: Counter[str] = Counter()
        first_with_id: dict[str, str] = {}
        labels: dict[str, set[bool | None]] = {}
        for packed in self._everything():
            sample_id, where, content = packed[:3]
            if sample_id is None:
                sample_id = self._made_id(content, copies[content])
            elif sample_id in first_with_id:
                raise _repeated(sample_id, where, first_with_id[sample_id])
            else:
                first_with_id[sample_id] = where
            copies[content] += 1
            samples.append(_sample(packed, sample_id, task))
            truths.append(truth := _truth(packed))
            labels.setdefault(content, set()).add(truth.label.value)
        return ReadRecords(
            samples,
            truths,
            n_contents=len(copies),
            n_conflicting=sum(len(values) > 1 for values in labels.values()),
            n_unknown=sum(truth.label.value is None for truth in truths),
        )

    def _made_id(self, content: str, copy: int) -> str:
        """Return an id that stays when rows are added, removed or moved."""
        return f"{self._prefix}/{content[:12]}{f'-{copy}' if copy else ''}"

    def _hash(self, example: Example, group: str, task: str) -> None:
        """Add a row to the hash of all, unless its id or the task is not known yet."""
        self._tasks.add(task)
        if example.id is None or len(self._tasks) > 1:
            return
        row = encoded_row(
            example.id,
            example.turns,
            (task, example.target, group),
            example.label,
            (example.categories, example.known, example.gold_meta.get("severity")),
            example.pair,
            example.documents,
            self._pairs,
        )
        self._digest.update(row)

    def _count(self, example: Example) -> None:
        any_of, truth = self._builder.any_of, example
        if truth.categories is not None:
            any_of["annotated"] = True
        if truth.pair is not None:
            any_of["paired"] = True
        if truth.gold_meta.get("severity") is not None:
            any_of["rated"] = True
        named = example.language is not None or example.transform is not None
        if named or example.meta or example.gold_meta:
            any_of["described"] = True
        judged = example.turns[example.target]
        if judged.role == "assistant" and not judged.text.strip():
            self.n_empty_responses += 1
        # with categories annotated in part, an unsafe row may well have none of them
        if truth.categories is not None and truth.known is None:
            value = truth.label.value
            if value is not None and value != bool(truth.categories):
                self.n_label_conflicts += 1

    def _close_block(self) -> None:
        if not self._open:
            return
        if self._file is None and len(self._builder) <= MAX_IN_MEMORY:
            self._blocks.append(self._open)
            self._open = []
            return
        if self._file is None:
            self._file = _Scratch()
            for block in self._blocks:
                self._write(block)
            self._blocks = []
        self._write(self._open)
        self._open = []

    def _write(self, block: list[Packed]) -> None:
        first = len(self._starts) * BLOCK
        for place, packed in enumerate(block):
            if not _is_json(packed[_META]) or not _is_json(packed[_GOLD_META]):
                self._kept[first + place] = packed
        self._starts.append(self._file.tell())
        self._file.write(_encode_block(block))

    def _refuse_repeated_ids(self) -> None:
        import numpy as np

        hashes = np.array(self._named, dtype=np.int64)
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        first_with_id: dict[str, str] = {}
        for packed in self._everything():
            sample_id, where = packed[_ID], packed[_WHERE]
            if sample_id is None:
                continue
            if sample_id in first_with_id:
                raise _repeated(sample_id, where, first_with_id[sample_id])
            first_with_id[sample_id] = where

    def _everything(self) -> Iterator[Packed]:
        if self._file is not None:
            reader = _BlockReader(self._file, self._starts, self._kept)
            for number in range(len(self._starts)):
                yield from reader.block(number)
            self._file.seek(0, 2)
        for block in (*self._blocks, self._open):
            yield from block

    def _with_made_ids(self, columns: RecordColumns) -> RecordColumns:
        """Name what has no id, by how many rows before it read the same."""
        import numpy as np

        codes = columns.content_codes
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = ordered[1:] != ordered[:-1]
        place = np.arange(len(order))
        copies = np.empty(len(order), dtype=np.int64)
        copies[order] = place - np.maximum.accumulate(np.where(first, place, 0))
        unnamed = np.zeros(len(order), dtype=bool)
        unnamed[np.array(self._unnamed, dtype=np.int64)] = True
        packer = TextPacker()
        for given, content, copy, is_unnamed in zip(
            columns.ids,
            columns.hex_contents(),
            copies.tolist(),
            unnamed.tolist(),
            strict=True,
        ):
            packer.add(self._made_id(content, copy) if is_unnamed else given)
        return replace(columns, ids=packer.packed())


class _Scratch:
    """An unnamed temporary file, closed when nobody can read it any more."""

    def __init__(self) -> None:
        file = tempfile.TemporaryFile(prefix="safebench-")  # noqa: SIM115
        self.seek, self.tell, self.write = file.seek, file.tell, file.write
        self.read, self.readline = file.read, file.readline
        self._close = file.close

    def __del__(self) -> None:
        self._close()


def _repeated(sample_id: str, where: str, first: str) -> DataError:
    return DataError(f"{where}: id {sample_id!r} repeats {first}")


# places in what `_packed` makes
_ID, _WHERE, _META, _GOLD_META = 0, 1, 9, 14
_SCALARS = (str, int, float, bool, type(None))


def _packed(example: Example, group: str, content: str) -> Packed:
    """Return an example in what JSON has, but for the values that came along."""
    label = example.label
    return (
        example.id,
        example.where,
        content,
        group,
        [(turn.role, turn.text) for turn in example.turns],
        example.target,
        example.documents,
        example.language,
        example.transform,
        example.meta,
        (label.value, label.level, label.votes, label.weight),
        None if example.categories is None else sorted(example.categories),
        None if example.known is None else sorted(example.known),
        example.pair,
        example.gold_meta,
    )


def _is_json(value: Any) -> bool:
    """Tell whether a value is the same after it was written as JSON and read again."""
    if type(value) is dict:
        keys = all(type(key) is str for key in value)
        return not value or (keys and all(map(_is_json, value.values())))
    if type(value) is list:
        return all(map(_is_json, value))
    return type(value) in _SCALARS


def _sample(packed: Packed, sample_id: str, task: str) -> Sample:
    _, _, content, group, turns, target, documents, language, transform, meta, *_ = (
        packed
    )
    sample = Sample.__new__(Sample)
    # The frozen class's own `__init__` sets each field by a call: half of the time of
    # reading a million records.
    fields = {
        "id": sample_id,
        "turns": tuple([Turn(role, text) for role, text in turns]),
        "task": task,
        "target": target,
        "documents": tuple(documents),
        "group": group,
        "language": language,
        "transform": transform,
        "meta": dict(meta),  # rows of a block may share it
        "content": content,
    }
    object.__setattr__(sample, "__dict__", fields)
    return sample


def _truth(packed: Packed) -> GroundTruth:
    *_, (value, level, votes, weight), categories, known, pair, meta = packed
    plain = level is None and votes is None and weight == 1.0
    return GroundTruth(
        label=_PLAIN_LABELS[value]
        if plain
        else Label(
            value=value, level=level, votes=votes and tuple(votes), weight=weight
        ),
        categories=None if categories is None else frozenset(categories),
        known=None if known is None else frozenset(known),
        pair=pair and tuple(pair),
        meta=dict(meta),
    )


def _encode_block(block: list[Packed]) -> bytes:
    """Return a block in bytes: a line of JSON with all but the texts, and those.

    Little but ids and texts differs from row to row: the rest is written once for all
    rows that have the same.
    """
    texts: list[bytes] = []
    rests: list[Any] = []
    numbers: dict[Any, int] = {}
    index = []
    for packed in block:
        sample_id, where, content, group, turns, *rest = packed
        texts += (
            text.encode("utf-8", "surrogatepass")
            for text in (where, content, group, *(text for _, text in turns))
        )
        roles = [role for role, _ in turns]
        key = _key_of_rest(sample_id is None, tuple(roles), rest)
        if key not in numbers:
            numbers[key] = len(rests)
            rests.append([sample_id is None, roles, *rest])
        index.append(numbers[key])
        if sample_id is not None:
            texts.append(sample_id.encode("utf-8", "surrogatepass"))
    body = b"".join(texts)
    head = {
        "ends": list(accumulate(map(len, texts))),
        "rests": rests,
        "index": index,
    }
    return json.dumps(head, default=str).encode() + b"\n" + body


def _key_of_rest(unnamed: bool, roles: tuple[str, ...], rest: list[Any]) -> Any:
    """Return what is equal for rows whose rest is; most rows have little of it."""
    target, documents, language, transform, meta, label, *truth, gold_meta = rest
    if any((documents, meta, gold_meta)) or any(part is not None for part in truth):
        return json.dumps([unnamed, roles, *rest], default=str)
    return unnamed, roles, target, language, transform, label


def _decode_block(head: bytes, read: Callable[[int], bytes]) -> list[Packed]:
    """Return what `_encode_block` was given; `read` gives the bytes after the head."""
    facts = json.loads(head)
    ends = facts["ends"]
    body = read(ends[-1])
    texts = (
        body[start:end].decode("utf-8", "surrogatepass")
        for start, end in pairwise([0, *ends])
    )
    block: list[Packed] = []
    for number in facts["index"]:
        unnamed, roles, *rest = facts["rests"][number]
        where, content, group = next(texts), next(texts), next(texts)
        turns = [(role, next(texts)) for role in roles]
        sample_id = None if unnamed else next(texts)
        block.append((sample_id, where, content, group, turns, *rest))
    return block


class _BlockReader:
    """Reads blocks of a spool; the last one is kept, since neighbours are read next."""

    def __init__(self, file: Any, starts: list[int], kept: dict[int, Packed]) -> None:
        self._file, self._starts, self._kept = file, starts, kept
        self._last: tuple[int, list[Packed]] = (-1, [])
        self._lock = Lock()  # of the file's place: threads of a server may read

    def block(self, number: int) -> list[Packed]:
        """Return a block."""
        last, block = self._last
        if last != number:
            with self._lock:
                self._file.seek(self._starts[number])
                block = _decode_block(self._file.readline(), self._file.read)
            for row in self._kept.keys() & range(number * BLOCK, (number + 1) * BLOCK):
                block[row - number * BLOCK] = self._kept[row]
            self._last = (number, block)
        return block

    def many(self, rows: Sequence[int] | Array) -> Iterator[Packed]:
        """Yield several rows; fast where they follow one another."""
        if isinstance(rows, range) and rows.step == 1:
            row = rows.start
            while row < rows.stop:
                number, place = divmod(row, BLOCK)
                part = self.block(number)[place : place + rows.stop - row]
                yield from part
                row += len(part)
            return
        for row in map(int, rows):
            number, place = divmod(row, BLOCK)
            yield self.block(number)[place]


class _Spooled(Sequence[T], Generic[T]):
    """Records of some rows of a spool, read when they are looked at."""

    def __init__(self, reader: _BlockReader, rows: Sequence[int] | Array) -> None:
        self._reader = reader
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
            return self._reader.many(self._rows[places.start : places.stop])
        return self._reader.many([self._rows[place] for place in places])

    def _read(self, places: range) -> Iterator[T]:
        raise NotImplementedError


class SpooledSamples(_Spooled[Sample]):
    """Samples of a spool, with the columns of the same rows; all are of one task."""

    def __init__(
        self,
        reader: _BlockReader,
        rows: Sequence[int] | Array,
        columns: RecordColumns,
        task: str,
    ) -> None:
        super().__init__(reader, rows)
        self.columns = columns
        self._task = task

    def select(self, rows: Array) -> SpooledSamples:
        """Return some of the samples, in the order of `rows`."""
        chosen, columns = _chosen(self._rows, rows), self.columns.select(rows)
        return SpooledSamples(self._reader, chosen, columns, self._task)

    def _read(self, places: range) -> Iterator[Sample]:
        ids, task = self.columns.ids, self._task
        if places.step != 1:
            for place, packed in zip(places, self._packed(places), strict=True):
                yield _sample(packed, ids[place], task)
            return
        packed_rows = self._packed(places)
        for first in range(places.start, places.stop, BLOCK):
            names = ids[first : min(first + BLOCK, places.stop)]
            for sample_id, packed in zip(names, packed_rows, strict=False):
                yield _sample(packed, sample_id, task)


class SpooledTruths(_Spooled[GroundTruth]):
    """Truths of a spool."""

    def select(self, rows: Array) -> SpooledTruths:
        """Return some of the truths, in the order of `rows`."""
        return SpooledTruths(self._reader, _chosen(self._rows, rows))

    def _read(self, places: range) -> Iterator[GroundTruth]:
        return map(_truth, self._packed(places))


def _chosen(rows: Sequence[int] | Array, places: Array) -> Array:
    import numpy as np

    chosen: Array = np.asarray(rows, dtype=np.int64)[places]
    return chosen

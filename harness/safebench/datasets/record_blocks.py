"""Blocks of records in bytes: of a temporary file, or without the texts of a set.

A record is a tuple of what its row had (`Packer`), from which the sample and
the truth are made when somebody looks at them.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from array import array
from threading import Lock
from typing import TYPE_CHECKING, Any

from safebench.records import GroundTruth, Label, Sample, Turn

from .sample_columns import is_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.typing import Array

    from .request import Example

    # what `Packer` makes of an example: id, where, content hash, group, texts,
    # and the rest, one object for all rows that have the same (see `packed_rest`)
    Packed = tuple[Any, ...]
    Rest = tuple[Any, ...]

# places in what `Packer` makes
ID, WHERE, REST = 0, 1, 5
# places in the rest
_DOCUMENTS, _NAMES, META, GOLD_META = 2, (3, 4), 5, 10
_SCALARS = (str, int, float, bool, type(None))
_MAX_RESTS = 4096  # of different rows that are known
_PLAIN_LABELS = {v: Label(value=v) for v in (True, False, None)}


class Scratch:
    """An unnamed temporary file, closed when nobody can read it any more."""

    def __init__(self) -> None:
        file = tempfile.TemporaryFile(prefix="safebench-")  # noqa: SIM115
        self.seek, self.write, self.read = file.seek, file.write, file.read
        self._close = file.close

    def __del__(self) -> None:
        self._close()


def packed_rest(example: Example, roles: tuple[str, ...]) -> Rest:
    """Return what an example has beside its texts and names, as JSON has it."""
    label = example.label
    return (
        roles,
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


class Packer:
    """Makes records of examples.

    Little but ids and texts differs from row to row: most rows share the rest.
    """

    def __init__(self) -> None:
        self._rests: dict[Any, Rest] = {}

    def packed(
        self, example: Example, roles: tuple[str, ...], group: str, content: str
    ) -> Packed:
        """Return an example in what JSON has, but for the values that came along."""
        texts = tuple([turn.text for turn in example.turns])
        rest = self._rest(example, roles)
        return example.id, example.where, content, group, texts, rest

    def _rest(self, example: Example, roles: tuple[str, ...]) -> Rest:
        e, label = example, example.label
        if e.documents or e.meta or e.gold_meta or e.pair is not None:
            return packed_rest(e, roles)
        if e.categories is not None or e.known is not None or label.votes is not None:
            return packed_rest(e, roles)
        of_label = (label.value, label.level, label.weight)
        key = (roles, e.target, e.language, e.transform, of_label)
        rest = self._rests.get(key)
        if rest is None:
            rest = packed_rest(e, roles)
            if len(self._rests) < _MAX_RESTS:
                self._rests[key] = rest
        return rest


def is_json(value: Any) -> bool:
    """Tell whether a value is the same after it was written as JSON and read again."""
    if type(value) is dict:
        keys = all(type(key) is str for key in value)
        return not value or (keys and all(map(is_json, value.values())))
    if type(value) is list:
        return all(map(is_json, value))
    return type(value) in _SCALARS


def sample_of(packed: Packed, sample_id: str, task: str) -> Sample:
    """Return the sample of a record."""
    _, _, content, group, texts, rest = packed
    roles, target, documents, language, transform, meta, *_ = rest
    sample = Sample.__new__(Sample)
    # The frozen class's own `__init__` sets each field by a call: half of the time of
    # reading a million records.
    fields = {
        "id": sample_id,
        "turns": tuple(map(Turn, roles, texts)),
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


def truth_of(packed: Packed) -> GroundTruth:
    """Return the truth about a record."""
    *_, (value, level, votes, weight), categories, known, pair, meta = packed[REST]
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


def shared_rests(block: Sequence[Packed]) -> tuple[list[Rest], list[int]]:
    """Return the different rests of a block, and which of them each record has."""
    numbers: dict[int, int] = {}
    rests: list[Rest] = []
    index = []
    for packed in block:
        rest = packed[REST]
        number = numbers.setdefault(id(rest), len(rests))
        if number == len(rests):
            rests.append(rest)
        index.append(number)
    return rests, index


def encode_block(
    block: Sequence[Packed], rests: Sequence[Rest | None], index: Sequence[int]
) -> bytes:
    """Return a block as JSON, in which a rest is written once for all that share it."""
    rows = [packed[:REST] for packed in block]
    return json.dumps([rows, rests, index], default=str).encode()


def decode_block(content: bytes) -> list[Packed]:
    """Return what `encode_block` was given, with lists for tuples."""
    rows, rests, index = json.loads(content)
    return [(*row, rests[place]) for row, place in zip(rows, index, strict=True)]


def textless_block(rests: Sequence[Rest], index: Sequence[int]) -> bytes:
    """Return a block without texts, ids, hashes and groups, as JSON, compressed.

    Of the rests there is what predictions may hold.
    """
    head = {"rests": list(map(_without_long_values, rests)), "index": index}
    return zlib.compress(json.dumps(head, default=str).encode(), 1)


def _without_long_values(rest: Rest) -> list[Any]:
    """Return the rest of a record with the values alone that predictions may hold."""
    short = list(rest)
    short[_DOCUMENTS] = []
    for place in _NAMES:
        short[place] = rest[place] if is_short(rest[place]) else None
    for place in (META, GOLD_META):
        short[place] = {
            name: value
            for name, value in rest[place].items()
            if is_short(value) or name == "severity"
        }
    return short


class Blocks:
    """Records in blocks of `size`; the last block is kept: neighbours are read next."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._last: tuple[int, list[Packed]] = (-1, [])

    def block(self, number: int) -> list[Packed]:
        """Return a block."""
        last, block = self._last
        if last != number:
            block = self._read(number)
            self._last = (number, block)
        return block

    def many(self, rows: Sequence[int] | Array) -> Iterator[Packed]:
        """Yield several rows; fast where they follow one another."""
        if isinstance(rows, range) and rows.step == 1:
            row = rows.start
            while row < rows.stop:
                number, place = divmod(row, self.size)
                part = self.block(number)[place : place + rows.stop - row]
                yield from part
                row += len(part)
            return
        for row in map(int, rows):
            number, place = divmod(row, self.size)
            yield self.block(number)[place]

    @property
    def storable(self) -> bool:
        """Whether `textless` gives the blocks without a loss but that of texts."""
        return False

    def textless(self) -> list[bytes]:
        """Return the blocks as `TextlessBlocks` takes them."""
        raise NotImplementedError

    def _read(self, number: int) -> list[Packed]:
        raise NotImplementedError


class BlockFile:
    """Blocks of records in a temporary file, one written after another.

    What JSON would change stays in memory, and is not `storable`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._file = Scratch()
        self._starts = array("q", [0])  # and the end of the last
        self._kept: dict[int, Packed] = {}  # by row
        self._textless: list[bytes] = []
        self._lock = Lock()  # of the file's place: threads of a server may read

    def __len__(self) -> int:
        return len(self._starts) - 1

    def write(self, block: Sequence[Packed]) -> None:
        """Append a block; all but the last one have `size` records."""
        rests, index = shared_rests(block)
        as_json = [is_json(r[META]) and is_json(r[GOLD_META]) for r in rests]
        if not all(as_json):
            first = len(self) * self.size
            for row, packed in enumerate(block, first):
                if not as_json[index[row - first]]:
                    self._kept[row] = packed
        written = [r if same else None for r, same in zip(rests, as_json, strict=True)]
        content = encode_block(block, written, index)
        with self._lock:
            self._file.seek(self._starts[-1])
            self._file.write(content)
        self._starts.append(self._starts[-1] + len(content))
        self._textless.append(b"" if self._kept else textless_block(rests, index))

    def read(self, number: int) -> list[Packed]:
        """Return a block."""
        start, end = self._starts[number : number + 2]
        with self._lock:
            self._file.seek(start)
            content = self._file.read(end - start)
        block = decode_block(content)
        first = number * self.size
        for row in self._kept.keys() & range(first, first + len(block)):
            block[row - first] = self._kept[row]
        return block

    @property
    def storable(self) -> bool:
        """Whether JSON changes no value of any row."""
        return not self._kept

    def textless(self) -> list[bytes]:
        """Return the blocks without texts and long values."""
        return self._textless


class FileBlocks(Blocks):
    """Blocks of a temporary file."""

    def __init__(self, file: BlockFile) -> None:
        super().__init__(file.size)
        self._file = file

    @property
    def storable(self) -> bool:
        """Whether JSON changes no value of any row."""
        return self._file.storable

    def textless(self) -> list[bytes]:
        """Return the blocks without texts and long values."""
        return self._file.textless()

    def _read(self, number: int) -> list[Packed]:
        return self._file.read(number)


class TextlessBlocks(Blocks):
    """Records without texts, ids, hashes and groups: truths, and what came along.

    `blocks` are what `Blocks.textless` gave.
    """

    def __init__(self, blocks: Sequence[bytes], size: int) -> None:
        super().__init__(size)
        self._blocks = blocks

    def _read(self, number: int) -> list[Packed]:
        head = json.loads(zlib.decompress(self._blocks[number]))
        records: list[Packed] = [
            (None, "", "", "", ("",) * len(rest[0]), tuple(rest))
            for rest in head["rests"]
        ]
        return [records[place] for place in head["index"]]


class LateBlocks(Blocks):
    """Blocks that are read from their source if anybody looks at a text."""

    def __init__(self, load: Callable[[], Blocks], size: int) -> None:
        super().__init__(size)
        self._load = load
        self._loaded: Blocks | None = None
        self._lock = Lock()

    def block(self, number: int) -> list[Packed]:
        """Return a block."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
        return self._loaded.block(number)

"""Blocks of records in bytes: of a temporary file, or without the texts of a set.

A record is a tuple of what its row had (`packed_example`), from which the sample and
the truth are made when somebody looks at them.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from array import array
from itertools import accumulate, pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

from safebench.records import GroundTruth, Label, Sample, Turn

from .sample_columns import is_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.typing import Array

    from .request import Example

    # what `packed_example` makes of an example
    Packed = tuple[Any, ...]

# places in what `packed_example` makes
ID, WHERE, META, GOLD_META = 0, 1, 9, 14
# places in what a block keeps once for all records that have it
_DOCUMENTS, _NAMES, _METAS = 3, (4, 5), (6, 11)
_NO_TRUTH = [None, None, None]  # neither categories, nor which are known, nor a pair
_SCALARS = (str, int, float, bool, type(None))
_PLAIN_LABELS = {v: Label(value=v) for v in (True, False, None)}


class Scratch:
    """An unnamed temporary file, closed when nobody can read it any more."""

    def __init__(self) -> None:
        file = tempfile.TemporaryFile(prefix="safebench-")  # noqa: SIM115
        self.seek, self.tell, self.write = file.seek, file.tell, file.write
        self.read, self.readline = file.read, file.readline
        self._close = file.close

    def __del__(self) -> None:
        self._close()


def packed_example(example: Example, group: str, content: str) -> Packed:
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


def truth_of(packed: Packed) -> GroundTruth:
    """Return the truth about a record."""
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


def encode_block(block: list[Packed]) -> bytes:
    """Return a block in bytes: a line of JSON with all but texts, their ends, and them.

    Little but ids and texts differs from row to row: the rest is written once for all
    rows that have the same.
    """
    texts: list[bytes] = []
    rests: list[Any] = []
    numbers: dict[Any, int] = {}
    index = []
    for packed in block:
        sample_id, where, content, group, turns, *rest = packed
        of_row = [where, content, group, *[text for _, text in turns]]
        texts += [text.encode("utf-8", "surrogatepass") for text in of_row]
        roles = [role for role, _ in turns]
        key = _key_of_rest(sample_id is None, tuple(roles), rest)
        if key not in numbers:
            numbers[key] = len(rests)
            rests.append([sample_id is None, roles, *rest])
        index.append(numbers[key])
        if sample_id is not None:
            texts.append(sample_id.encode("utf-8", "surrogatepass"))
    ends = array("q", accumulate(map(len, texts)))
    head = {"n_texts": len(texts), "rests": rests, "index": index}
    line = json.dumps(head, default=str).encode() + b"\n"
    return b"".join([line, ends.tobytes(), *texts])


def _key_of_rest(unnamed: bool, roles: tuple[str, ...], rest: list[Any]) -> Any:
    """Return what is equal for rows whose rest is; most rows have little of it."""
    target, documents, language, transform, meta, label, *truth, gold_meta = rest
    if documents or meta or gold_meta or truth != _NO_TRUTH:
        return json.dumps([unnamed, roles, *rest], default=str)
    return unnamed, roles, target, language, transform, label


def decode_block(head: bytes, read: Callable[[int], bytes]) -> list[Packed]:
    """Return what `encode_block` was given; `read` gives the bytes after the head."""
    facts = json.loads(head)
    ends = array("q")
    ends.frombytes(read(ends.itemsize * facts["n_texts"]))
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


class FileBlocks(Blocks):
    """Blocks of a temporary file; `kept` are the rows that JSON would change."""

    def __init__(
        self, file: Scratch, starts: list[int], kept: dict[int, Packed], size: int
    ) -> None:
        super().__init__(size)
        self._file, self._starts, self._kept = file, starts, kept
        self._lock = Lock()  # of the file's place: threads of a server may read

    @property
    def storable(self) -> bool:
        """Whether JSON changes no value of any row."""
        return not self._kept

    def textless(self) -> list[bytes]:
        """Return the blocks without texts and long values."""
        blocks = []
        for start in self._starts:
            with self._lock:
                self._file.seek(start)
                line = self._file.readline()
            blocks.append(zlib.compress(_without_long_values(line), 1))
        return blocks

    def _read(self, number: int) -> list[Packed]:
        with self._lock:
            self._file.seek(self._starts[number])
            block = decode_block(self._file.readline(), self._file.read)
        first = number * self.size
        for row in self._kept.keys() & range(first, first + self.size):
            block[row - first] = self._kept[row]
        return block


def _without_long_values(line: bytes) -> bytes:
    """Return the head of a block with the values alone that predictions may hold."""
    head = json.loads(line)
    for rest in head["rests"]:
        rest[_DOCUMENTS] = []
        for place in _NAMES:
            rest[place] = rest[place] if is_short(rest[place]) else None
        for place in _METAS:
            rest[place] = {
                name: value
                for name, value in rest[place].items()
                if is_short(value) or name == "severity"
            }
    return json.dumps({"rests": head["rests"], "index": head["index"]}).encode()


class TextlessBlocks(Blocks):
    """Records without texts, ids, hashes and groups: truths, and what came along.

    `blocks` are what `Blocks.textless` gave.
    """

    def __init__(self, blocks: Sequence[bytes], size: int) -> None:
        super().__init__(size)
        self._blocks = blocks

    def _read(self, number: int) -> list[Packed]:
        facts = json.loads(zlib.decompress(self._blocks[number]))
        records = [
            (None, "", "", "", [(role, "") for role in roles], *rest)
            for _, roles, *rest in facts["rests"]
        ]
        return [records[place] for place in facts["index"]]


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

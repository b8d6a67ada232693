"""Samples and truths of a dataset as they are read: few in memory, many in a file.

The file is an unnamed temporary one that goes with the process. What a run asks about
all samples is in columns beside it; whole records are read again block by block, when
a guard judges them or somebody looks at their texts.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from safebench.errors import DataError
from safebench.record_columns import UNKNOWN, ColumnsBuilder, TextPacker
from safebench.records import content_hash

from .record_blocks import (
    ID,
    WHERE,
    BlockFile,
    FileBlocks,
    Packer,
    sample_of,
    truth_of,
)
from .row_bytes import encoded_row
from .spooled_records import SpooledSamples, SpooledTruths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.record_columns import RecordColumns
    from safebench.records import GroundTruth, Sample

    from .record_blocks import Packed
    from .request import Example

BLOCK = 1024  # records that are read at once
MAX_IN_MEMORY = 20 * BLOCK  # of more, blocks go to the file


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
        self._file: BlockFile | None = None
        self._packer = Packer()
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
        turns = example.turns
        roles = tuple([turn.role for turn in turns])
        self._builder.add(
            example.id or "",
            name,
            bytes.fromhex(content),
            example.label.value,
            roles=roles,
            target=example.target,
            length=sum([len(turn.text) for turn in turns]),
            documents=bool(example.documents),
        )
        self._count(example)
        self._hash(example, name, task)
        self._open.append(self._packer.packed(example, roles, name, content))
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
        reader = FileBlocks(self._file)
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
            samples.append(sample_of(packed, sample_id, task))
            truths.append(truth := truth_of(packed))
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
        named = example.language is not None or example.transform is not None
        categories, pair = example.categories, example.pair
        meta, gold_meta = example.meta, example.gold_meta
        if named or meta or gold_meta or categories is not None or pair is not None:
            self._builder.note_extras(
                categories=categories,
                pair=pair,
                meta=meta,
                gold_meta=gold_meta,
                named=named,
            )
        judged = example.turns[example.target]
        if judged.role == "assistant" and not judged.text.strip():
            self.n_empty_responses += 1
        # with categories annotated in part, an unsafe row may well have none of them
        if example.categories is not None and example.known is None:
            value = example.label.value
            if value is not None and value != bool(example.categories):
                self.n_label_conflicts += 1

    def _close_block(self) -> None:
        if not self._open:
            return
        if self._file is None and len(self._builder) <= MAX_IN_MEMORY:
            self._blocks.append(self._open)
            self._open = []
            return
        if self._file is None:
            self._file = BlockFile(BLOCK)
            for block in self._blocks:
                self._file.write(block)
            self._blocks = []
        self._file.write(self._open)
        self._open = []

    def _refuse_repeated_ids(self) -> None:
        import numpy as np

        hashes = np.array(self._named, dtype=np.int64)
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        first_with_id: dict[str, str] = {}
        for packed in self._everything():
            sample_id, where = packed[ID], packed[WHERE]
            if sample_id is None:
                continue
            if sample_id in first_with_id:
                raise _repeated(sample_id, where, first_with_id[sample_id])
            first_with_id[sample_id] = where

    def _everything(self) -> Iterator[Packed]:
        if self._file is not None:
            for number in range(len(self._file)):
                yield from self._file.read(number)
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


def _repeated(sample_id: str, where: str, first: str) -> DataError:
    return DataError(f"{where}: id {sample_id!r} repeats {first}")

"""The keys of a dataset's evidence, from its columns where they say enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence.key_index import EvidenceKeys, key_digests, tail_digest
from safebench.evidence.scope import sample_keys, sample_to_record

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from safebench.evidence.scope import EvidenceScope
    from safebench.records import Dataset, Sample
    from safebench.typing import Array


def dataset_keys(dataset: Dataset, scope: EvidenceScope) -> list[EvidenceKeys]:
    """Return the keys of every sample as `sample_keys` has them: today's first.

    Of samples whose evidence depends on all that they have, the content hash is known;
    the others are read.
    """
    columns = dataset.columns
    plain = columns.n_turns == 1
    if scope == "target":
        plain = np.ones(len(columns), dtype=bool)
    if columns.task is None:
        plain = np.zeros(len(columns), dtype=bool)
    tails = _tails(dataset, scope)
    content = np.ascontiguousarray(columns.content).view(np.uint64)[:, :2]
    read: list[dict[int, str]] = [{} for _ in tails]
    keys = []
    others = np.flatnonzero(~plain).tolist()
    for row in others:
        for place, key in enumerate(sample_keys(dataset.samples[row], scope)):
            read[place][row] = key
    for place, (codes, texts) in enumerate(tails):
        hashed = np.stack([tail_digest(text) for text in texts] or [tail_digest("")])
        digests = content ^ hashed[codes]
        digests[others] = key_digests([read[place][row] for row in others])
        keys.append(
            EvidenceKeys(
                len(columns), _Texts(dataset, codes, texts, read[place]), digests
            )
        )
    return keys


class _Texts:
    """Makes the text of a key when it is asked for."""

    def __init__(
        self, dataset: Dataset, codes: Array, tails: Sequence[str], read: dict[int, str]
    ) -> None:
        self._content = dataset.columns.content
        self._codes, self._tails, self._read = codes, tails, read

    def __call__(self, row: int) -> str:
        if row in self._read:
            return self._read[row]
        content: str = self._content[row].tobytes().hex()
        tail: str = self._tails[self._codes[row]]
        return content + tail


def _tails(dataset: Dataset, scope: EvidenceScope) -> list[tuple[Array, list[str]]]:
    """Return what follows the content hash in each key: codes (n,), and their texts."""
    columns = dataset.columns
    targets, codes = np.unique(columns.target, return_inverse=True)
    narrow = (
        codes.reshape(-1),
        [f":{target}:{columns.task}" for target in targets.tolist()],
    )
    same = np.zeros(len(columns), dtype=np.int64)
    return {
        "target": [narrow],
        "turn": [(same, [":turn"]), narrow],
        "conversation": [(same, [""])],
    }[scope]


class MissingSamples:
    """Samples of a dataset that are to be recorded, with the keys of their evidence.

    Both are made when a shard is due: all of them would fill the memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        keys: EvidenceKeys,
        rows: Array,
        scope: EvidenceScope,
        tasks: Collection[str],
    ) -> None:
        self._dataset, self._keys, self._rows = dataset, keys, rows
        self._scope, self._tasks = scope, tasks

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self, start: int, stop: int) -> list[str]:
        """Return the keys of some of the samples."""
        return [self._keys[row] for row in self._rows[start:stop].tolist()]

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some of the samples as a classifier is handed them."""
        rows, samples = self._rows[start:stop], self._dataset.samples
        first, last = int(rows[0]), int(rows[-1])
        if last - first == len(rows) - 1:  # none between them is stored
            chosen = samples[first : last + 1]
        else:
            chosen = [samples[row] for row in rows.tolist()]
        return [sample_to_record(s, self._scope, self._tasks) for s in chosen]

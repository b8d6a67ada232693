"""Evidence of many samples, which is read from its shards part by part."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.errors import RunFolderError
from safebench.evidence.base import EvidenceBundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.evidence import Evidence
    from safebench.evidence.key_index import EvidenceKeys
    from safebench.evidence.store import EvidenceStore
    from safebench.typing import Array

    from .evidence_set import Kinds

MAX_WHOLE = 4096  # samples; much evidence of more is judged in parts
MAX_WHOLE_BYTES = 2**25  # of arrays: a few numbers of each of a million samples
PART = 1024  # samples of trees: some 15 MB, and a few times as much derived from them


class StoredKinds(NamedTuple):
    """Kinds of evidence in one store, with the key of each sample there."""

    store: EvidenceStore
    keys: EvidenceKeys
    kinds: Kinds


@contextmanager
def fitting_together(store: EvidenceStore) -> Iterator[None]:
    """Raise `RunFolderError` for shards of a store that cannot be joined."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        # each part is whole, and was recorded under this key
        raise RunFolderError(
            f"the evidence in {store.folder} does not fit together ({error}): "
            f"delete {store.folder} to record it again"
        ) from error


def fits_whole(stored: StoredKinds) -> bool:
    """Tell whether the evidence has a few numbers a sample, and can be held whole.

    Its parts would cost more than they save: each shard would be read once more.
    """
    store, keys, kinds = stored
    if any(kind.leading_dim(name) != "B" for kind in kinds for name in kind.SCHEMA):
        return False  # some samples have more rows than others
    with fitting_together(store):
        example = store.load(keys.select(np.arange(1)), kinds).evidence
    arrays = (array for batch in example.values() for array in batch.arrays.values())
    return len(keys) * sum(array.nbytes for array in arrays) <= MAX_WHOLE_BYTES


class StoredBundle(EvidenceBundle):
    """The evidence of a dataset: whole if it is asked for, or in parts."""

    def __init__(self, stored: Sequence[StoredKinds]) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored[0].keys)

    def parts(self, rows: Array) -> Iterator[tuple[Array, EvidenceBundle]]:
        """Yield the numbers of some samples, each once, with their evidence.

        In the order of the shards, so that each of them is read once; in parts of about
        the same size. One sample is a part only where it is all: numpy adds up a single
        row of columns in another order than several, and the last bit would differ.
        """
        first = self._stored[0]
        places = first.store.find(first.keys)[rows]
        order = rows[np.lexsort((places[:, 1], places[:, 0]))]
        for part in np.array_split(order, -(-len(order) // PART)):
            yield part, EvidenceBundle(self._load(part))

    @property
    def decisions_only_at(self) -> float | None:
        """The only threshold at which the evidence supports decisions, or None."""
        return self._example.decisions_only_at  # its meta data say it, equal for all

    @property
    def _kinds(self) -> dict[type[Evidence], Evidence]:
        return self._whole

    @cached_property
    def _whole(self) -> dict[type[Evidence], Evidence]:
        return self._load(np.arange(len(self)))

    @cached_property
    def _example(self) -> EvidenceBundle:
        return EvidenceBundle(self._load(np.arange(1)))

    def _load(self, rows: Array) -> dict[type[Evidence], Evidence]:
        evidence: dict[type[Evidence], Evidence] = {}
        for store, keys, kinds in self._stored:
            with fitting_together(store):
                evidence |= store.load(keys.select(rows), kinds).evidence
        return evidence

"""Keys of evidence in arrays: found, replaced and removed as in a dictionary."""

from __future__ import annotations

import hashlib

import numpy as np

from safebench.evidence.key_index import EvidenceKeys, KeyIndex, key_digests


def key(number: int, tail: str = "") -> str:
    """Return a key as evidence has: a content hash, and what was asked."""
    return hashlib.sha256(str(number).encode()).hexdigest() + tail


def test_an_index_answers_as_a_dictionary_does() -> None:
    """Random shards, some of whose keys come again, and some of which go."""
    rng = np.random.default_rng(5)
    index, known = KeyIndex(), {}
    tails = ("", ":turn", ":0:prompt_harm")
    for shard in range(20):
        keys = list(dict.fromkeys(
            key(int(n), tails[int(n) % 3]) for n in rng.integers(200, size=15)
        ))  # fmt: skip
        index.add(keys, shard)
        known |= {name: (shard, row) for row, name in enumerate(keys)}
        if shard % 5 == 4:
            gone = list(known)[::7]
            index.remove(EvidenceKeys.of(gone))
            for name in gone:
                del known[name]

    asked = [key(n, tail) for n in range(220) for tail in tails] + ["plain", ""]
    found = index.find(EvidenceKeys.of(asked)).tolist()

    assert [list(known.get(name, (-1, -1))) for name in asked] == found
    assert len(known) == len(index)


def test_digests_do_not_depend_on_what_stands_beside_a_key() -> None:
    """Whether or not all keys begin with a content hash."""
    keys = [key(1), key(1, ":turn"), key(2, ":turn"), "a", "A" * 70, key(3).upper()]

    together = key_digests(keys)

    alone = np.concatenate([key_digests([name]) for name in keys])
    assert np.array_equal(together, alone)
    assert len(keys) == len({bytes(row) for row in together})


def test_the_first_of_equal_keys_is_marked() -> None:
    """And a selection has the keys of its rows."""
    keys = EvidenceKeys.of(["b", "a", "b", key(1), "a", key(1)])

    assert [True, True, False, True, False, False] == keys.first.tolist()
    assert ["b", key(1)] == list(keys.select(np.array([2, 5])))

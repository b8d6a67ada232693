"""Columns of texts in bytes say what the texts themselves say."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest

from safebench.record_columns import PackedTexts
from safebench.results.packed_columns import (
    CodedValues,
    GroupNames,
    HexDigests,
    Repeated,
    TextCollector,
    codes_of_both,
    matching_rows,
    n_different,
    select_values,
)
from safebench.results.stored_columns import SharedValues

TEXTS = ["b", "", "é", "a", "b", "zz", "\ud800", "a\0", "𝄞", "a"]
DIGESTS = [
    hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in "abca"
]


def collected(values: list[Any], *, hashes: bool = False, at_once: int = 3) -> Any:
    """Return values that were collected some at a time."""
    collector = TextCollector(hashes=hashes)
    for first in range(0, len(values), at_once):
        collector.add(values[first : first + at_once])
    return collector.packed()


COLUMNS: dict[str, tuple[Any, list[Any], type]] = {
    "texts": (collected(TEXTS), TEXTS, PackedTexts),
    "hashes": (collected(DIGESTS, hashes=True), DIGESTS, HexDigests),
    "capitals are no hash": (
        collected([*DIGESTS, DIGESTS[0].upper()], hashes=True),
        [*DIGESTS, DIGESTS[0].upper()],
        PackedTexts,
    ),
    "of another length": (
        collected([*DIGESTS, DIGESTS[0] * 2], hashes=True),
        [*DIGESTS, DIGESTS[0] * 2],
        PackedTexts,
    ),
    "no texts": (collected([*TEXTS, 7, None]), [*TEXTS, 7, None], tuple),
    "none": (collected([]), [], PackedTexts),
    "coded": (CodedValues(np.array([1, 0, 1]), ["x", None]), [None, "x", None], object),
    "repeated": (Repeated("x", 3), ["x"] * 3, object),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_a_sequence(name: str) -> None:
    """By place, by slice, one after another, and some of them."""
    column, values, kind = COLUMNS[name]

    assert isinstance(column, kind)
    assert len(values) == len(column)
    assert values == list(column)
    assert values == [column[place] for place in range(len(values))]
    assert values[1:3] == list(column[1:3])
    assert values[-1:] == [column[-1] for _ in values[:1]]
    rows = np.array([*range(len(values))][::-2], dtype=np.int64)
    assert [values[row] for row in rows] == list(select_values(column, rows))


@pytest.mark.parametrize("names", [DIGESTS, ["b", "a", "é", "b"], TEXTS, ["a" * 99]])
def test_codes_are_those_of_sorted_names(names: list[str]) -> None:
    """Also of some of them, and joined with others."""
    groups = GroupNames(collected(names, hashes=True))
    expected = [sorted(set(names)).index(name) for name in names]

    assert expected == groups.codes.tolist()
    assert len(set(names)) == groups.n_groups
    rows = np.arange(len(names))[::2]
    assert GroupNames(names[::2]).codes.tolist() == groups.select(rows).codes.tolist()
    both = codes_of_both(collected(names, hashes=True), collected(names[::-1]))
    assert both[: len(names)].tolist() == both[len(names) :][::-1].tolist()


def test_a_group_on_both_sides_of_a_part() -> None:
    """The first one in the order of the samples."""
    groups = GroupNames(["z", "a", "b", "b", "z"])

    assert groups.group_in_both(np.array([True, False, True, False, False])) == "z"
    assert groups.group_in_both(np.array([True, False, True, True, True])) is None


@pytest.mark.parametrize("longest", [8, 100])
def test_what_two_columns_share(longest: int) -> None:
    """As a dictionary finds it, whether texts fit into an array or not."""
    draw = random.Random(longest)
    texts = [
        f"{draw.randrange(40)}".zfill(draw.choice([1, longest])) for _ in range(60)
    ]
    a, b = list(dict.fromkeys(texts[:40])), list(dict.fromkeys(texts[20:]))

    rows, others = matching_rows(PackedTexts.of(a), PackedTexts.of(b))

    assert [row for row, text in enumerate(a) if text in b] == rows.tolist()
    assert [a[row] for row in rows] == [b[row] for row in others]
    packed = [PackedTexts.of(a), PackedTexts.of(b)]
    assert len({*a, *b}) == n_different(packed) == n_different([a, b])
    assert len(a) == n_different([packed[0], packed[0]])


def test_shared_values_keep_their_type() -> None:
    """True, 1 and 1.0 are equal, and are not the same; dictionaries of them neither."""
    values = [True, 1, 1.0, None, {"a": 1}, {"a": True}, {"a": 1}, {"a": [1]}, ("p", 1)]
    column = SharedValues()
    column.add(values)

    read = list(column.column())

    assert [repr(value) for value in values] == [repr(value) for value in read]
    assert read[4] is read[6]


def test_a_column_matches_itself_text_by_text() -> None:
    """Also one with a text twice, which another column would have the last one of."""
    ids = collected([3, 3, 4])
    rows, others = matching_rows(ids, ids)
    assert [0, 1, 2] == rows.tolist() == others.tolist()
    assert [1, 1, 2] == matching_rows(ids, collected([3, 3, 4]))[1].tolist()


def test_choosing_long_texts_takes_what_they_take() -> None:
    """And no number for each of their bytes."""
    texts = PackedTexts.of("xyz"[n % 3] * 5000 for n in range(600))
    tracemalloc.start()
    chosen = texts.select(np.arange(600)[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(texts)[::-1] == list(chosen)
    assert peak < 4 * 600 * 5000


def test_groups_of_numbers_and_texts_are_groups() -> None:
    """As files made by hand have them; a number is the text that it is written as."""
    mixed: Any = [10, "b", 10, 9, "9"]
    assert [0, 2, 0, 1, 1] == GroupNames(collected(mixed)).codes.tolist()
    assert [1, 1, 0] == GroupNames(collected([10, 10, 9])).codes.tolist()
    assert [0, 2, 0, 1, 1] == codes_of_both(mixed[:2], mixed[2:]).tolist()

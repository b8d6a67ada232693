"""Evidence is columnar: selecting and joining samples moves ragged rows correctly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebench.classifiers import Recording, Trace
from safebench.errors import PluginError
from safebench.evidence import Evidence, Scores
from safebench.executors.worker import record_kinds


class Words(Evidence):
    """Two ragged columns and one regular one."""

    SCHEMA = {"letters": ("i32", "T"), "vector": ("f64", "T,K"), "total": ("i64", "B")}
    OPTIONAL = frozenset({"vector"})


def words_of(lengths: list[list[int]]) -> Words:
    """Build evidence from nested lists."""
    flat = [n for row in lengths for n in row]
    return Words(
        {"letters": flat, "total": [sum(row) for row in lengths]},
        offsets={"T": np.concatenate(([0], np.cumsum([len(r) for r in lengths])))},
        meta={"unit": "letter"},
        size=len(lengths),
    )


def nested(batch: Words) -> list[list[int]]:
    """Read the nested lists back."""
    rows = batch.offsets["T"]
    return [batch["letters"][rows[i] : rows[i + 1]].tolist() for i in range(len(batch))]


LISTS = st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=8)


@given(LISTS, st.data())
def test_select_gives_what_lists_give(
    lengths: list[list[int]], data: st.DataObject
) -> None:
    """Any choice of samples, repeats and empty ones included, is as with lists."""
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10))

    selected = words_of(lengths).select(rows)

    assert [lengths[i] for i in rows] == nested(selected)
    assert [sum(lengths[i]) for i in rows] == selected["total"].tolist()


@given(LISTS, LISTS)
def test_concat_gives_what_lists_give(
    first: list[list[int]], second: list[list[int]]
) -> None:
    """Joining batches is joining lists."""
    assert first + second == nested(Words.concat([words_of(first), words_of(second)]))


@pytest.mark.parametrize(
    ("notes", "joined"),
    [
        ([["a"], ["a"]], ["a"]),
        ([None, ["a", "b"], ["b", "c"]], ["a", "b", "c"]),
        ([None, None], None),
    ],
)
def test_notes_of_joined_batches_are_kept_once(
    notes: list[list[str] | None], joined: list[str] | None
) -> None:
    """Shards of early versions have none, and still join those that do."""
    batches = [
        Words(
            {"letters": [], "total": []},
            offsets={"T": [0]},
            meta={"unit": "letter"} | ({} if lines is None else {"notes": lines}),
        )
        for lines in notes
    ]

    assert joined == Words.concat(batches).meta.get("notes")


def test_joining_batches_of_different_meta_is_refused() -> None:
    """Evidence under another policy or unit must not be mixed."""
    other = Words({"letters": [], "total": []}, offsets={"T": [0]}, meta={"unit": "m"})

    with pytest.raises(ValueError, match="different meta"):
        Words.concat([words_of([[1]]), other])


@pytest.mark.parametrize(
    ("arrays", "offsets", "message"),
    [
        ({"letters": [1, 2]}, {"T": [0, 2]}, "missing fields"),
        ({"letters": [1], "total": [1], "x": [1]}, {"T": [0, 1]}, "unknown"),
        ({"letters": [1, 2], "total": [3]}, {"T": [0, 1]}, "letters: shape"),
        ({"letters": [1, 2], "total": [3]}, {"T": [1, 2]}, "bad offsets"),
    ],
)
def test_arrays_that_do_not_fit_the_schema_are_refused(
    arrays: dict[str, list[int]], offsets: dict[str, list[int]], message: str
) -> None:
    """A wrong shape is an error where it is made, not where it is read."""
    with pytest.raises(ValueError, match=message):
        Words(arrays, offsets=offsets)


def test_dtypes_follow_the_schema() -> None:
    """Columns are converted once, so that every reader can rely on them."""
    scores = Scores({"values": [[1, 0]]}, meta={"labels": ["a", "b"]})

    assert np.float64 == scores["values"].dtype
    assert "flagged" not in scores


@pytest.mark.parametrize(
    ("kind_id", "message"),
    [
        ("safebench.evidence.kinds.Scores", "ids that start with safebench. are the"),
        ("safebench.evidence.kinds.Later", "ids that start with safebench. are the"),
        ("", "is no name, such as package.Class"),
        ("a/b", "is no name, such as package.Class"),
        ("a b", "is no name, such as package.Class"),
        (7, "is no name, such as package.Class"),
        (None, "is no name, such as package.Class"),
    ],
)
def test_ids_of_kinds_are_names_of_their_own(kind_id: object, message: str) -> None:
    """A plugin's class under the id of another would be read as that one."""
    with pytest.raises(TypeError, match=message) as error:
        type("Mine", (Evidence,), {"kind_id": kind_id})

    assert f"Mine: kind_id {kind_id!r}" in str(error.value)


@pytest.mark.parametrize("kind_id", ["mine", "safebench_plugin.Kind", "a.b:C-2"])
def test_ids_of_plugins_are_kept(kind_id: str) -> None:
    """Classes that moved keep the id under which they are stored."""
    kind = type("Mine", (Scores,), {"kind_id": kind_id})

    assert kind_id == kind.kind_id
    assert type("Child", (kind,), {}).kind_id.endswith(".Child")


def test_two_kinds_of_one_id_are_no_recording() -> None:
    """The second would overwrite the first in the file."""
    kinds = [type(name, (Scores,), {"kind_id": "mine"}) for name in ("One", "Two")]

    class Twins:
        def record(self, samples: Any, *_: Any) -> Recording:
            batch = {kind: kind({"values": [[0.5]] * len(samples)}) for kind in kinds}
            return Recording(evidence=batch, traces=[Trace()] * len(samples))

    with pytest.raises(PluginError, match=r"two kinds .* have the kind_id 'mine'"):
        record_kinds("twins", Twins(), [None], frozenset(kinds), print)  # type: ignore[arg-type, list-item]

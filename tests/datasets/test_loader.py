"""Ids, groups, counts and revision of a loaded split."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from safebench import Plugins
from safebench.datasets import DatasetRequest, Example, exchange, resolve_dataset
from safebench.datasets.loader import load_dataset, prompt_hash
from safebench.datasets.splits import subsample
from safebench.errors import DataError
from safebench.records import Label, Turn
from safebench.specs import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.records import Dataset

MODULE = "dataset_functions_for_tests"


@pytest.fixture
def load_examples(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """Return a function that loads a dataset of these examples."""
    import sys
    from types import ModuleType

    def _load_examples(*examples: Example) -> Dataset:
        def read(request: DatasetRequest) -> Iterator[Example]:
            yield from examples

        module = ModuleType(MODULE)
        module.read = read
        monkeypatch.setitem(sys.modules, MODULE, module)
        spec = DatasetSpec(name="mine", load=f"{MODULE}:read", revision="main")
        return load_dataset(DatasetRequest(spec=spec, split="test"))

    return _load_examples


def example(prompt: str, value: bool | None = True, **rest: object) -> Example:
    """Return an example with one user turn."""
    return Example(turns=exchange(prompt), label=Label(value=value), **rest)


def test_ids_come_from_content_and_repeats_are_numbered(
    load_examples: Callable[..., Dataset],
) -> None:
    """The id is dataset/split/ and 12 hex of the content, then -1, -2 for repeats."""
    dataset = load_examples(example("x"), example(" x\r\n"), example("y"), example("x"))

    hexes = hashlib.sha256(b'[["user", "x"]]').hexdigest()[:12]
    ids = [sample.id for sample in dataset.samples]
    assert f"mine/test/{hexes}" == ids[0]
    assert [f"{ids[0]}-1", f"{ids[0]}-2"] == [ids[1], ids[3]]
    assert {"duplicates": 2} == dataset.counts


def test_conflicting_duplicates_are_counted_by_content(
    load_examples: Callable[..., Dataset],
) -> None:
    """Three copies of a prompt with both labels are one conflict."""
    dataset = load_examples(example("x"), example("x", value=False), example("x"))

    assert {"duplicates": 2, "conflicting_duplicates": 1} == dataset.counts


def test_given_ids_are_kept_and_repeats_refused(
    load_examples: Callable[..., Dataset],
) -> None:
    """A reader that gives an id twice is refused with both places."""
    assert ["a"] == [s.id for s in load_examples(example("x", id="a")).samples]
    with pytest.raises(DataError, match="SET:2: id 'a' repeats SET:1"):
        load_examples(
            example("x", id="a", where="SET:1"), example("y", id="a", where="SET:2")
        )


def test_the_group_is_the_first_user_turn_unless_given(
    load_examples: Callable[..., Dataset],
) -> None:
    """Two answers to one prompt are one group; a given group stands."""
    one = Example(turns=exchange("x", "a"), label=Label(value=True))
    two = Example(turns=exchange("x", "b"), label=Label(value=False))

    groups = [s.group for s in load_examples(one, two, example("z", group="g")).samples]

    assert groups[0] == groups[1]
    assert "g" == groups[2]


def test_no_examples_are_refused(load_examples: Callable[..., Dataset]) -> None:
    """A dataset without rows has nothing to score."""
    with pytest.raises(DataError, match="no rows in dataset mine:test"):
        load_examples()


def test_the_prompt_of_a_conversation_is_its_first_user_turn() -> None:
    """A system turn before it and answers after it do not change it."""
    short = (Turn("user", "x"),)
    long = (Turn("system", "s"), Turn("user", " x "), Turn("assistant", "y"))

    assert prompt_hash(short) == prompt_hash(long)


def test_the_revision_falls_back_to_the_pinned_one(
    load_examples: Callable[..., Dataset],
) -> None:
    """A reader that notes no revision leaves the spec's."""
    assert "main" == load_examples(example("x")).revision


def test_a_limit_takes_whole_groups() -> None:
    """What is read first and cut down after is the same as what is read cut down."""
    dataset = load_dataset(resolve_dataset("starter", Plugins()))

    part = load_dataset(resolve_dataset("starter", Plugins()), limit=40, seed=3)

    assert 0 < len(part) <= 40
    assert part.samples == subsample(dataset, 40, 3).samples

"""Duplicates become one row; contradictions go by majority."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.records import Gold, Label, Sample, Turn
from safebench.training.merge import merged, up_to_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset


def rows_of(dataset: Dataset) -> list[tuple[Sample, Gold]]:
    """Return a dataset as rows."""
    return list(zip(dataset.samples, dataset.golds, strict=True))


def test_the_majority_wins_and_its_votes_are_kept(make: Callable[..., Dataset]) -> None:
    """Two of three say harmful; the row that stays says so, too."""
    rows = rows_of(
        make(
            [("a", False, "g"), ("a ", True, "g"), ("a", True, "g"), ("b", False, "h")]
        )
    )

    kept, counts = merged(rows)

    assert ["s1", "s3"] == [sample.id for sample, _ in kept]
    assert [True, False] == [gold.label.value for _, gold in kept]
    assert (2, 3) == kept[0][1].label.votes
    assert kept[1][1].label.votes is None
    assert {"duplicates merged": 2, "with contradictory labels": 1} == dict(counts)


def test_a_tie_leaves_the_content_out(make: Callable[..., Dataset]) -> None:
    """One harmful, one not: nobody knows."""
    kept, counts = merged(rows_of(make([("a", False, "g"), ("a", True, "g")])))

    assert [] == kept
    assert 1 == counts["ties left out"]


def test_weights_decide_a_contradiction(make: Callable[..., Dataset]) -> None:
    """A label of weight 3 outweighs two of weight 1."""
    rows = rows_of(make([("a", True, "g"), ("a", False, "g"), ("a", False, "g")]))
    rows[0] = (rows[0][0], replace(rows[0][1], label=Label(value=True, weight=3.0)))

    ((_, gold),), _ = merged(rows)

    assert gold.label.value is True


def test_the_same_rows_stay_in_any_order(make: Callable[..., Dataset]) -> None:
    """The row that stands for its like does not depend on the order."""
    rows = rows_of(make([("a", True, "g"), ("a", True, "g"), ("b", True, "g")]))

    def kept(given: list[tuple[Sample, Gold]]) -> set[str]:
        return {sample.id for sample, _ in merged(given)[0]}

    assert kept(rows) == kept(rows[::-1])


def test_answers_do_not_tell_prompts_apart_where_prompts_are_judged() -> None:
    """Only turns up to the judged one are kept, and they come last."""
    turns = (Turn("user", "ask"), Turn("assistant", "one"))
    first = up_to_target(Sample(id="1", turns=turns, target=0))
    other = up_to_target(
        Sample(id="2", turns=(turns[0], Turn("assistant", "two")), target=0)
    )

    assert first.content == other.content
    assert "ask" == first.judged.text
    assert turns == up_to_target(Sample(id="3", turns=turns)).turns

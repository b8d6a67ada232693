"""Duplicates become one row; contradictions go by majority."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.records import GroundTruth, Label, Sample, Turn
from safebench.training.splits import deduplicate, truncate_after_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset


def rows_of(dataset: Dataset) -> list[tuple[Sample, GroundTruth]]:
    """Return a dataset as rows."""
    return list(zip(dataset.samples, dataset.ground_truth, strict=True))


def test_the_majority_wins_and_its_votes_are_kept(
    make_dataset: Callable[..., Dataset],
) -> None:
    """Two of three say harmful; the row that stays says so, too."""
    rows = rows_of(
        make_dataset(
            [("a", False, "g"), ("a ", True, "g"), ("a", True, "g"), ("b", False, "h")]
        )
    )

    kept, counts = deduplicate(rows)

    assert ["s1", "s3"] == [sample.id for sample, _ in kept]
    assert [True, False] == [truth.label.value for _, truth in kept]
    assert (2, 3) == kept[0][1].label.votes
    assert kept[1][1].label.votes is None
    assert {"duplicates merged": 2, "with contradictory labels": 1} == dict(counts)


def test_a_tie_leaves_the_content_out(make_dataset: Callable[..., Dataset]) -> None:
    """One harmful, one not: the label is not known."""
    kept, counts = deduplicate(
        rows_of(make_dataset([("a", False, "g"), ("a", True, "g")]))
    )

    assert [] == kept
    assert 1 == counts["ties left out"]


def test_weights_decide_a_contradiction(make_dataset: Callable[..., Dataset]) -> None:
    """A label of weight 3 outweighs two of weight 1."""
    rows = rows_of(
        make_dataset([("a", True, "g"), ("a", False, "g"), ("a", False, "g")])
    )
    rows[0] = (rows[0][0], replace(rows[0][1], label=Label(value=True, weight=3.0)))

    ((_, truth),), _ = deduplicate(rows)

    assert truth.label.value is True


def test_the_same_rows_stay_in_any_order(make_dataset: Callable[..., Dataset]) -> None:
    """The row that represents its duplicates does not depend on the order."""
    rows = rows_of(make_dataset([("a", True, "g"), ("a", True, "g"), ("b", True, "g")]))

    def kept_ids(rows_in_order: list[tuple[Sample, GroundTruth]]) -> set[str]:
        return {sample.id for sample, _ in deduplicate(rows_in_order)[0]}

    assert kept_ids(rows) == kept_ids(rows[::-1])


def test_later_turns_do_not_make_prompts_different() -> None:
    """Only turns up to the judged one are kept, and they come last."""
    turns = (Turn("user", "ask"), Turn("assistant", "one"))
    first = truncate_after_target(Sample(id="1", turns=turns, target=0))
    other = truncate_after_target(
        Sample(id="2", turns=(turns[0], Turn("assistant", "two")), target=0)
    )

    assert first.content == other.content
    assert "ask" == first.judged.text
    assert turns == truncate_after_target(Sample(id="3", turns=turns)).turns

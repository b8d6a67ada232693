"""Pairs of answers: read, checked, and merged where they are the same."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.errors import DataError
from safebench.records import Dataset, Gold, Label, Sample, Turn
from safebench.training.pairs import Pair, merge_pairs, pairs_of

if TYPE_CHECKING:
    from safebench.plugins import Plugins


def answers(
    *rows: tuple[str, str, str, bool, bool], meta: tuple[dict[str, Any], ...] = ({}, {})
) -> Dataset:
    """Return (prompt, safer, unsafer, safer is harmful, unsafer is harmful) rows."""
    samples, golds = [], []
    for i, (prompt, safer, unsafer, *harms) in enumerate(rows):
        for rank, text, harm, facts in zip(
            ("safer", "unsafer"), (safer, unsafer), harms, meta, strict=True
        ):
            turns = (Turn("user", prompt), Turn("assistant", text))
            samples.append(Sample(id=f"{i}-{rank}", turns=turns, group=prompt))
            golds.append(
                Gold(label=Label(value=harm), pair=(f"row {i}", rank), meta=facts)
            )
    return Dataset(
        name="pairs",
        config=None,
        split="train",
        task="response_harm",
        policy=None,
        revision="r",
        samples=samples,
        golds=golds,
    )


def test_a_pair_knows_prompt_answers_labels_and_severities() -> None:
    """Everything that a row says is in its pair."""
    (pair,) = pairs_of(
        answers(
            ("ask", "no", "yes", False, True), meta=({"severity": 0}, {"severity": 3})
        )
    )

    assert ("ask", "no", "yes") == (pair.prompt, pair.safer, pair.unsafer)
    assert (-1, 1) == pair.signs
    assert "mixed" == pair.kind
    assert (0.0, 3.0) == (pair.safer_severity, pair.unsafer_severity)
    assert "ask" == pair.group


def test_a_safer_answer_that_alone_is_unsafe_is_refused() -> None:
    """The two labels contradict each other, and the row is named."""
    with pytest.raises(DataError, match="row 0: the answer called safer is labelled"):
        pairs_of(answers(("ask", "bad", "good", True, False)))


def test_answers_to_different_prompts_are_no_pair() -> None:
    """They are refused by the pair's name."""
    whole = answers(("ask", "no", "yes", False, True))
    other = replace(
        whole.samples[1], turns=(Turn("user", "else"), Turn("assistant", "yes"))
    )

    with pytest.raises(DataError, match="row 0: the two answers are not to the same"):
        pairs_of(replace(whole, samples=[whole.samples[0], other]))


def test_half_pairs_are_passed_over_and_none_at_all_is_an_error() -> None:
    """A side without its counterpart teaches nothing about order."""
    whole = answers(("a", "1", "2", False, True), ("b", "1", "2", False, True))
    half = replace(whole, samples=whole.samples[:3], golds=whole.golds[:3])
    none = replace(whole, samples=whole.samples[:1], golds=whole.golds[:1])

    assert ["row 0"] == [pair.id for pair in pairs_of(half)]
    with pytest.raises(DataError, match="holds no pairs"):
        pairs_of(none)


def test_identical_pairs_become_one_with_shares_for_labels() -> None:
    """Three rows, one of them the other way round: 2/3, and labels by vote."""
    (pair,) = merge_pairs(
        pairs_of(
            answers(
                ("ask", "x", "y", False, True),
                ("ask", "y", "x ", False, True),
                ("ask", "x", "y", True, True),
            )
        )
    )

    assert ("x", "y") == (pair.safer.strip(), pair.unsafer)
    assert 3 == pair.rows
    assert pytest.approx(2 / 3) == pair.preference
    assert pytest.approx(2 / 3) == pair.safer_harm
    assert pytest.approx(2 / 3) == pair.unsafer_harm


def test_an_answer_has_one_truth_in_all_its_pairs() -> None:
    """An answer is harmful in one row and not in another: a half in both pairs."""
    first, second = merge_pairs(
        pairs_of(
            answers(("ask", "x", "y", False, True), ("ask", "y", "z", False, True))
        )
    )

    assert (0.0, 0.5) == (first.safer_harm, first.unsafer_harm)
    assert (0.5, 1.0) == (second.safer_harm, second.unsafer_harm)
    assert "tied" == first.kind


def test_an_even_vote_on_the_order_is_a_tie() -> None:
    """Both orders once: preference 0.5, in whichever order the rows come."""
    rows = (("ask", "x", "y", False, True), ("ask", "y", "x", False, True))

    (one,) = merge_pairs(pairs_of(answers(*rows)))
    (two,) = merge_pairs(pairs_of(answers(*rows[::-1])))

    assert 0.5 == one.preference == two.preference
    assert (one.safer, one.unsafer) == (two.safer, two.unsafer)


def test_merging_twice_changes_nothing() -> None:
    """A merged list has no identical pairs, and its shares stay."""
    rows = [
        ("ask", "x", "y", False, True),
        ("ask", "y", "x", False, True),
        ("ask", "x", "z", True, True),
        ("other", "x", "y", False, False),
    ]
    once = merge_pairs(pairs_of(answers(*rows)))

    def numbers(pairs: list[Pair]) -> list[tuple[Any, ...]]:
        return [(p.safer, p.rows, p.preference, p.group) for p in pairs]

    assert numbers(once) == numbers(merge_pairs(once))


@pytest.mark.parametrize(
    ("split", "rows", "distinct", "prompts", "contradicted"),
    [("train", 3312, 2254, 600, 846), ("test", 581, 365, 100, 157)],
)
def test_the_real_pairs_are_counted_as_known(
    plugins: Plugins,
    split: str,
    rows: int,
    distinct: int,
    prompts: int,
    contradicted: int,
) -> None:
    """PKU-SafeRLHF v0: rows, distinct pairs, prompts, and answers with both labels."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root:
        pytest.skip("SAFEBENCH_DATA names no folder of local copies")
    request = choose(f"pku_safe_rlhf:{split}", plugins, data_root=root)

    single = pairs_of(load_dataset(request))
    pairs = merge_pairs(single)

    assert rows == len(single) == sum(pair.rows for pair in pairs)
    assert distinct == len(pairs)
    assert prompts == len({pair.group for pair in pairs})
    soft = {
        (pair.prompt, text)
        for pair in pairs
        for text, harm in (
            (pair.safer, pair.safer_harm),
            (pair.unsafer, pair.unsafer_harm),
        )
        if 0 < harm < 1
    }
    sides = [
        (pair.prompt, text) for pair in single for text in (pair.safer, pair.unsafer)
    ]
    assert contradicted == sum(side in soft for side in sides)
    assert all(0.5 <= pair.preference <= 1 for pair in pairs)

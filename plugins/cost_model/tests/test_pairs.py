"""Pairs out of datasets: merged, soft where annotators disagree, checked."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import DataError
from safebench.plugins import Plugins
from safebench.records import Label
from safebench.torch_utils.loading import load_tokenizer
from safebench_cost_model.model.encoding import ExchangeEncoder
from safebench_cost_model.model.template import QA, prompt_and_response
from safebench_cost_model.train.dataset import encode_pairs
from safebench_cost_model.train.pairs import read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Make = Callable[..., Dataset]

BAD, GOOD = ("the dog kills", True, None), ("the dog helps", False, None)


def test_identical_pairs_become_one_with_shares(make_dataset: Make) -> None:
    """Two rows say that the dog kills, one the opposite: shares of a third."""
    turned = ((GOOD[0], True, None), (BAD[0], False, None))

    (pair,) = read_pairs(
        make_dataset([("what", BAD, GOOD), ("what", *turned), ("what", BAD, GOOD)])
    )

    assert ("the dog kills", "the dog helps") == pair.responses
    assert 2 / 3 == pytest.approx(pair.p_first)
    assert (2 / 3, 1 / 3) == pytest.approx(pair.unsafe)
    assert ("mixed", 3) == (pair.kind, pair.rows)


def test_a_response_is_learnt_from_all_its_rows(make_dataset: Make) -> None:
    """In one pair called unsafe, in another safe: soft is a half, unsafe is not."""
    third = ("the dog robs", True, None)
    again = (BAD[0], False, None)

    first, second = read_pairs(
        make_dataset([("what", BAD, GOOD), ("what", third, again)])
    )

    assert ((0.5, 0.0), (1.0, 0.0)) == (first.soft_labels, first.unsafe)
    assert ((1.0, 0.5), (1.0, 0.0)) == (second.soft_labels, second.unsafe)


def test_kinds_and_gaps_in_severity(make_dataset: Make) -> None:
    """Signs give the kind; levels give the gap, unknown ones none."""
    rows = [
        ("a", ("dog kills", True, 3), ("dog robs", True, 1)),
        ("b", ("dog waits", False, 0), ("dog helps", False, 0)),
        ("c", BAD, GOOD),
    ]

    pairs = read_pairs(make_dataset(rows))

    assert ["both unsafe", "both safe", "mixed"] == [pair.kind for pair in pairs]
    assert [2.0, 0.0, 0.0] == [pair.gap for pair in pairs]
    assert [(3.0, 1.0), (0.0, 0.0), None] == [pair.severity for pair in pairs]


def test_an_order_against_the_labels_is_refused_or_skipped(make_dataset: Make) -> None:
    """A safer response that is unsafe beside a safe one names its row."""
    dataset = make_dataset([("a", BAD, GOOD), ("b", GOOD, BAD)])
    lines: list[str] = []

    with pytest.raises(DataError, match=r"in 1 pair .* \(set\[1\]\); --conflicts skip"):
        read_pairs(dataset)

    assert ["a"] == [pair.prompt for pair in read_pairs(dataset, "skip", lines.append)]
    assert "left out" in lines[0]


def test_half_pairs_and_unlabelled_sides_are_passed_over(make_dataset: Make) -> None:
    """A side without its counterpart teaches nothing about order."""
    dataset = make_dataset([("a", BAD, GOOD), ("b", BAD, GOOD), ("c", BAD, GOOD)])
    golds = list(dataset.ground_truth[:-1])
    golds[3] = replace(golds[3], label=Label(value=None))
    less = replace(dataset, samples=dataset.samples[:-1], ground_truth=golds)

    assert ["a"] == [pair.prompt for pair in read_pairs(less)]


def test_responses_to_different_prompts_are_no_pair(make_dataset: Make) -> None:
    """They are refused by the pair's name."""
    dataset = make_dataset([("a", BAD, GOOD), ("b", BAD, GOOD)])
    mixed = [dataset.samples[0], dataset.samples[3]]

    with pytest.raises(DataError, match=r"pair set\[0\] has responses to different"):
        read_pairs(
            replace(dataset, samples=mixed, ground_truth=dataset.ground_truth[:2])
        )


def test_an_even_vote_on_the_order_is_a_tie(make_dataset: Make) -> None:
    """Both orders once: a half, with the same responses whatever comes first."""
    turned = ((GOOD[0], True, None), (BAD[0], False, None))
    rows = [("what", BAD, GOOD), ("what", *turned)]

    (pair,) = read_pairs(make_dataset(rows))
    (reversed_pair,) = read_pairs(make_dataset(rows[::-1]))

    assert 0.5 == pair.p_first == reversed_pair.p_first
    assert set(pair.responses) == set(reversed_pair.responses)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "rows", "distinct", "prompts", "contradicted"),
    [("train", 3312, 2254, 600, 846), ("test", 581, 365, 100, 157)],
)
def test_the_real_pairs_are_counted_as_known(
    split: str, rows: int, distinct: int, prompts: int, contradicted: int
) -> None:
    """PKU-SafeRLHF v0: rows, distinct pairs, prompts, responses with both labels."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root:
        pytest.skip("SAFEBENCH_DATA names no folder of local copies")
    request = resolve_dataset(f"pku_safe_rlhf:{split}", Plugins(), data_root=root)
    dataset = load_dataset(request)

    pairs = read_pairs(dataset)

    assert (rows, distinct, prompts) == (
        sum(pair.rows for pair in pairs),
        len(pairs),
        len({pair.group for pair in pairs}),
    )
    soft = {
        (pair.prompt, text)
        for pair in pairs
        for text, share in zip(pair.responses, pair.soft_labels, strict=True)
        if 0 < share < 1
    }
    assert contradicted == sum(prompt_and_response(s) in soft for s in dataset.samples)
    assert all(0.5 <= pair.p_first <= 1 for pair in pairs)


def test_responses_of_the_same_tokens_are_refused_or_skipped(
    make_dataset: Make, tiny_llama: Path
) -> None:
    """Texts that differ only where they are cut cannot be told apart."""
    encoder = ExchangeEncoder(load_tokenizer(tiny_llama, "x"), QA, 48)
    same = ("the dog  kills", False, None)
    pairs = read_pairs(make_dataset([("a", BAD, same), ("b", BAD, GOOD)]))

    with pytest.raises(DataError, match="1 pair has two responses of the same tokens"):
        encode_pairs(pairs, encoder)

    kept, encoded = encode_pairs(pairs, encoder, "skip", lambda _: None)
    assert ["b"] == [pair.prompt for pair in kept]
    assert 1 == len(encoded)

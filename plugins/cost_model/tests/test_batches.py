"""Batches: what is padded, which token is scored, and in which order pairs come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from safebench.neural.loading import load_tokenizer
from safebench_cost_model.batches import Collator, EncodedPair, Grouped
from safebench_cost_model.encode import Encoded, Encoder
from safebench_cost_model.network import (
    choose_padding,
    load_network,
    score,
)
from safebench_cost_model.template import QA

if TYPE_CHECKING:
    from pathlib import Path


def test_a_batch_holds_every_response_once() -> None:
    """Padded on the right; `where` finds either response of a pair."""
    same = Encoded((7,), (0,))
    one = EncodedPair(Encoded((5, 6), (0, 0)), same, (1, 1, 0, 0))
    two = EncodedPair(same, Encoded((9, 9, 9), (1,) * 3), (0.5, 1, 1, 2))

    batch = Collator(pad=0, with_types=True)([one, two])

    assert [[5, 6, 0], [7, 0, 0], [9, 9, 9]] == batch["input_ids"].tolist()
    assert [2, 1, 3] == batch["attention_mask"].sum(dim=1).tolist()
    assert [[0, 1], [1, 2]] == batch["where"].tolist()
    assert [[1, 1, 0, 0], [0.5, 1, 1, 2]] == batch["targets"].tolist()
    assert 3 == batch["token_type_ids"].sum()


def test_the_scored_token_is_the_last_real_one(tiny_llama: Path) -> None:
    """A padded row costs what it costs alone, at the place of its EOS."""
    torch.manual_seed(1)
    network = load_network(tiny_llama, "tiny", new_head=True)
    tokenizer = load_tokenizer(tiny_llama, "tiny")
    pad = choose_padding(network, tokenizer)
    encoder = Encoder(tokenizer, QA, 48)
    rows = [
        encoder.encode("dog", "cat"),
        encoder.encode("the dog", "the cat tree road"),
    ]
    collator = Collator(pad, with_types=False)

    together = score(network, [collator.padded(rows)])
    alone = torch.cat([score(network, [collator.padded([row])]) for row in rows])
    batch = collator.padded(rows)
    states = network.model(**batch).last_hidden_state.detach()  # (2, T, H)
    ends = torch.tensor([len(row.ids) - 1 for row in rows])
    by_hand = states[torch.arange(2), ends] @ network.score.weight[0].detach()

    assert pad != tokenizer.eos_token_id
    assert [tokenizer.eos_token_id] * 2 == batch["input_ids"][[0, 1], ends].tolist()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, by_hand, atol=1e-5, rtol=0)


def test_heads_compute_in_float32_whatever_lies_below(tiny_llama: Path) -> None:
    """A bfloat16 network, with autocast or without, gives float32 costs."""
    network = load_network(tiny_llama, "tiny", new_head=True, dtype=torch.bfloat16)
    ids = torch.tensor([[1, 5, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = network(**batch).logits
    outside = network(**batch).logits

    assert torch.float32 == inside.dtype == outside.dtype == network.score.weight.dtype
    assert torch.bfloat16 == network.model.embed_tokens.weight.dtype


def test_an_epoch_holds_every_pair_once_in_a_seeded_order() -> None:
    """Same seed and epoch, same order; like lengths are neighbours."""
    lengths = [i % 37 + 1 for i in range(101)]
    sampler = Grouped(lengths, 4, seed=5)

    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))

    assert all(list(range(101)) == sorted(order) for order in orders)
    assert orders[0] == orders[2] != orders[1]
    spans = [
        max(lengths[i] for i in orders[0][at : at + 4])
        - min(lengths[i] for i in orders[0][at : at + 4])
        for at in range(0, 100, 4)
    ]
    assert sum(spans) / len(spans) < 3


def test_pairs_of_a_prompt_stay_together() -> None:
    """Groups of four fill batches of four, whatever the order of the pairs."""
    groups = [f"prompt {i % 25}" for i in range(100)]

    order = list(Grouped([7] * 100, 4, seed=1, groups=groups))

    assert list(range(100)) == sorted(order)
    for at in range(0, 100, 4):
        assert 1 == len({groups[i] for i in order[at : at + 4]})

"""Networks with one output: the scored token, and the number format of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from safebench.torch_utils.loading import load_tokenizer
from safebench_cost_model.model.encoding import (
    ExchangeCollator,
    ExchangeEncoder,
)
from safebench_cost_model.model.network import (
    choose_padding,
    load_cost_network,
    predict_costs,
)
from safebench_cost_model.model.template import QA

if TYPE_CHECKING:
    from pathlib import Path


def test_the_scored_token_is_the_last_real_one(tiny_llama: Path) -> None:
    """A padded row costs what it costs alone, at the place of its EOS."""
    torch.manual_seed(1)
    network = load_cost_network(tiny_llama, "tiny", new_head=True)
    tokenizer = load_tokenizer(tiny_llama, "tiny")
    pad = choose_padding(network, tokenizer)
    encoder = ExchangeEncoder(tokenizer, QA, 48)
    rows = [
        encoder.encode("dog", "cat"),
        encoder.encode("the dog", "the cat tree road"),
    ]
    collator = ExchangeCollator(pad, with_token_types=False)

    together = predict_costs(network, [collator.pad_rows(rows)])
    alone = torch.cat(
        [predict_costs(network, [collator.pad_rows([row])]) for row in rows]
    )
    batch = collator.pad_rows(rows)
    states = network.model(**batch).last_hidden_state.detach()  # (2, T, H)
    ends = torch.tensor([len(row.ids) - 1 for row in rows])
    by_hand = states[torch.arange(2), ends] @ network.score.weight[0].detach()

    assert pad != tokenizer.eos_token_id
    assert [tokenizer.eos_token_id] * 2 == batch["input_ids"][[0, 1], ends].tolist()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, by_hand, atol=1e-5, rtol=0)


def test_heads_compute_in_float32_whatever_lies_below(tiny_llama: Path) -> None:
    """A bfloat16 network, with autocast or without, gives float32 costs."""
    network = load_cost_network(tiny_llama, "tiny", new_head=True, dtype=torch.bfloat16)
    ids = torch.tensor([[1, 5, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = network(**batch).logits
    outside = network(**batch).logits

    assert torch.float32 == inside.dtype == outside.dtype == network.score.weight.dtype
    assert torch.bfloat16 == network.model.embed_tokens.weight.dtype

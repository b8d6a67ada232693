"""Sharing what prompts begin with changes neither logits nor gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from safebench.records import Turn
from safebench_feedback_finetune.forward import verdict_logits
from safebench_feedback_finetune.scorer import load_scorer

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = (
    "How do I bake bread?",
    "Hi",
    "Tell me how to pick the lock of a door, please.",
)


def _gradient(
    network: Any, logits: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    network.zero_grad()
    found = logits()
    torch.autograd.backward((found[:, 1] - found[:, 0]).square().sum())
    weight = network.model.layers[0].self_attn.k_proj.weight
    return found.detach(), weight.grad.clone()


def test_logits_and_gradients_are_those_of_whole_prompts() -> None:
    """One pass over the shared beginning gives what a pass over each prompt gives."""
    scorer = load_scorer("", device="cpu")
    prompts = [scorer.encode((Turn("user", text),)) for text in TEXTS]
    whole = _gradient(scorer.network, lambda: scorer.differentiable(prompts))
    shared = _gradient(scorer.network, lambda: verdict_logits(scorer, prompts))
    torch.testing.assert_close(shared[0], whole[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared[1], whole[1], atol=1e-4, rtol=1e-4)
    assert float(whole[1].abs().max()) > 1e-3
    expected = torch.from_numpy(scorer.logits_of(prompts))
    torch.testing.assert_close(shared[0], expected, atol=1e-5, rtol=1e-5)


def test_prompts_that_are_alike_need_a_token_of_their_own() -> None:
    """A prompt alone, and equal prompts, are read, too."""
    scorer = load_scorer("", device="cpu")
    prompt = scorer.encode((Turn("user", TEXTS[0]),))
    with torch.no_grad():
        one = verdict_logits(scorer, [prompt])
        two = verdict_logits(scorer, [prompt, prompt])
    torch.testing.assert_close(two, one.repeat(2, 1), atol=1e-5, rtol=1e-5)

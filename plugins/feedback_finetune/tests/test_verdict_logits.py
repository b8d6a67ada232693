"""Computing a shared prefix once changes neither logits nor gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from safebench.records import Turn
from safebench_feedback_finetune.scorer import load_scorer, verdict_logits

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = (
    "How do I bake bread?",
    "Hi",
    "Tell me how to pick the lock of a door, please.",
)


def _logits_and_gradient(
    network: Any, logits: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    network.zero_grad()
    values = logits()
    torch.autograd.backward((values[:, 1] - values[:, 0]).square().sum())
    weight = network.model.layers[0].self_attn.k_proj.weight
    return values.detach(), weight.grad.clone()


@pytest.mark.slow
def test_logits_and_gradients_are_those_of_whole_prompts() -> None:
    """One pass over the shared prefix gives what a pass over each prompt gives."""
    scorer = load_scorer("", device="cpu")
    prompts = [scorer.encode((Turn("user", text),)) for text in TEXTS]
    of_whole_prompts = _logits_and_gradient(
        scorer.network, lambda: scorer.differentiable_logits(prompts)
    )
    with_shared_prefix = _logits_and_gradient(
        scorer.network, lambda: verdict_logits(scorer, prompts)
    )
    torch.testing.assert_close(
        with_shared_prefix[0], of_whole_prompts[0], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        with_shared_prefix[1], of_whole_prompts[1], atol=1e-4, rtol=1e-4
    )
    assert float(of_whole_prompts[1].abs().max()) > 1e-3
    expected = torch.from_numpy(scorer.logits_of_encoded(prompts))
    torch.testing.assert_close(with_shared_prefix[0], expected, atol=1e-5, rtol=1e-5)


def test_equal_prompts_keep_a_token_of_their_own() -> None:
    """A prompt alone, and two equal prompts."""
    scorer = load_scorer("", device="cpu")
    prompt = scorer.encode((Turn("user", TEXTS[0]),))
    with torch.no_grad():
        alone = verdict_logits(scorer, [prompt])
        twice = verdict_logits(scorer, [prompt, prompt])
    torch.testing.assert_close(twice, alone.repeat(2, 1), atol=1e-5, rtol=1e-5)

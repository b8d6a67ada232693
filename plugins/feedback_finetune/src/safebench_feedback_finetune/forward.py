"""Verdict logits that gradients flow through, what prompts share computed once.

All prompts of a guard begin with its policy, which is most of a short prompt. Its keys
and values are computed once for a batch and repeated: the gradient is the same, since
that of a repeated tensor is the sum over its copies.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench_llamaguard_marginal.head import FrontierHead
from safebench_llamaguard_marginal.padding import left_padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scorer import VerdictScorer

    Array = np.ndarray[Any, np.dtype[Any]]
    Ids = tuple[int, ...]

WORTH = 16  # tokens from which sharing pays


def verdict_logits(scorer: VerdictScorer, prompts: Sequence[Ids]) -> torch.Tensor:
    """Return logits of safe and unsafe (n, 2), in the network's current mode."""
    shared = _shared(prompts)
    cached = scorer.guard.model.layout == "tree"  # layers with windows hold no prefix
    if len(prompts) == 1 or len(shared) < WORTH or not cached:
        return scorer.differentiable(prompts)
    network, device = scorer.network, scorer.network.device
    head = FrontierHead.install(network)
    rest, real = left_padded([prompt[len(shared) :] for prompt in prompts])
    last = np.zeros(rest.shape, dtype=bool)
    last[:, -1] = True
    whole = np.concatenate([np.ones((len(prompts), len(shared)), bool), real], axis=1)
    places = len(shared) + np.maximum(np.cumsum(real, axis=1) - 1, 0)
    try:
        head.wanted = torch.zeros((1, len(shared)), dtype=torch.bool, device=device)
        begun = network(
            input_ids=torch.tensor([shared], device=device), use_cache=True
        ).past_key_values
        begun.batch_repeat_interleave(len(prompts))
        head.wanted = _tensor(last, device)
        out = network(
            input_ids=_tensor(rest, device),
            position_ids=_tensor(places, device),
            attention_mask=_tensor(whole.astype(np.int64), device),
            past_key_values=begun,
            use_cache=True,
        )
    finally:
        head.wanted = None
    logits: torch.Tensor = out.logits[0][:, list(scorer.verdict_ids)]
    return logits


def _shared(prompts: Sequence[Ids]) -> Ids:
    """Return what all prompts begin with; each keeps a token of its own."""
    same = takewhile(lambda at: len(set(at)) == 1, zip(*prompts, strict=False))
    found = tuple(at[0] for at in same)
    return found[: min(map(len, prompts)) - 1]


def _tensor(array: Array, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
